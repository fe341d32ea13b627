//! Makes the exchange parts of one edge: the place where the type of its records is known.

use std::{marker::PhantomData, sync::Arc};

use flott_core::{
    Record, SubtaskIndex,
    operator::{Downstream, Head},
};

use crate::{
    exchange::{LocalReceiver, LocalSender, RemoteReceiver, RemoteSender, local::local_channel},
    input::{InputGate, Receiver},
    output::{ExchangeOutput, Partitioner, Sender},
    program::{EdgeFactory, ErasedChannel, ErasedDownstream, InputChannel, OutputChannel},
    slot::SlotWaker,
};

const ONE_TYPE: &str = "both ends of an edge are made by the same factory";

/// Makes the partitioner of a sending subtask for so many receiving subtasks.
type MakePartitioner<T> = dyn Fn(SubtaskIndex, u32) -> Box<dyn Partitioner<T>> + Send + Sync;

/// An edge that carries records of type `T`.
#[derive(Clone)]
pub struct Edge<T> {
    make_partitioner: Arc<MakePartitioner<T>>,
    marker: PhantomData<fn(T)>,
}

impl<T: Record> Edge<T> {
    /// An edge whose partitioners come from `make_partitioner`, given the sending subtask and the number of channels.
    #[must_use]
    pub fn new(
        make_partitioner: impl Fn(SubtaskIndex, u32) -> Box<dyn Partitioner<T>> + Send + Sync + 'static,
    ) -> Self {
        Self { make_partitioner: Arc::new(make_partitioner), marker: PhantomData }
    }
}

impl<T: Record> EdgeFactory for Edge<T> {
    fn local_channel(&self, sender: SlotWaker, receiver: SlotWaker) -> (ErasedChannel, ErasedChannel) {
        let (sending, receiving) = local_channel::<T>(sender, receiver);
        (Box::new(sending), Box::new(receiving))
    }

    fn output(&self, sender: SubtaskIndex, channels: Vec<OutputChannel>) -> ErasedDownstream {
        let count = u32::try_from(channels.len()).expect("not more channels than key groups");
        let partitioner = (self.make_partitioner)(sender, count);
        let senders = channels.into_iter().map(|channel| match channel {
            OutputChannel::Local(sender) => {
                Sender::Local(*sender.downcast::<LocalSender<T>>().expect(ONE_TYPE))
            }
            OutputChannel::Remote(output) => Sender::Remote(RemoteSender::new(output)),
        });
        let output = ExchangeOutput::new(partitioner, senders.collect());
        Box::new(Box::new(output) as Box<dyn Downstream<T>>)
    }

    fn input(&self, channels: Vec<InputChannel>, target: ErasedDownstream) -> Box<dyn Head> {
        let receivers = channels.into_iter().map(|channel| match channel {
            InputChannel::Local(receiver) => {
                Receiver::Local(*receiver.downcast::<LocalReceiver<T>>().expect(ONE_TYPE))
            }
            InputChannel::Remote(input) => Receiver::Remote(RemoteReceiver::new(input)),
        });
        let target = target.downcast::<Box<dyn Downstream<T>>>().expect(ONE_TYPE);
        Box::new(InputGate::new(receivers.collect(), *target))
    }
}
