//! Has what a lane gave its producer sent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use flott_core::{Error, ErrorKind, Result, ResultExt};
use rdkafka::producer::ProducerContext;

use crate::kafka::native::BatchProducer;

/// How soon it is noticed that a lane is given up.
const PATIENCE: Duration = Duration::from_millis(50);

/// Flushes a producer on a thread of its own.
///
/// An idempotent producer has one request per partition under way. While a partition has more to send, librdkafka's
/// thread does not wait for the answer but looks again and again (`rd_kafka_toppar_producer_serve` sets the time of its
/// next look before it finds that nothing may be sent): a core is busy as long as the broker takes, and for good when
/// it is away. So a lane gives what fits into one request, and librdkafka must not begin to send before it has all of
/// that, however long the giving thread is interrupted. Its `linger.ms` is long enough for that, and only a flush that is
/// under way overrides it.
pub(super) struct Dispatcher {
    orders: SyncSender<()>,
    is_busy: Arc<AtomicBool>,
}

impl Dispatcher {
    pub(super) fn new<C: ProducerContext + 'static>(
        producer: &Arc<BatchProducer<C>>,
        is_abandoned: &Arc<AtomicBool>,
    ) -> Result<Self> {
        let (orders, received) = sync_channel(1);
        let is_busy = Arc::<AtomicBool>::default();
        let theirs = (Arc::clone(producer), Arc::clone(is_abandoned), Arc::clone(&is_busy));
        let work = move || work(&received, &theirs.0, &theirs.1, &theirs.2);
        let thread = thread::Builder::new().name("kafka-send".into()).spawn(work);
        thread.or_error(ErrorKind::Transient, "cannot start a thread that sends to Kafka")?;
        Ok(Self { orders, is_busy })
    }

    /// Sends what the producer has been given.
    pub(super) fn dispatch(&self) -> Result<()> {
        self.is_busy.store(true, Ordering::Release);
        self.orders.try_send(()).map_err(|_| Error::internal("a lane sends twice at a time"))
    }

    /// Whether records that are given now may be sent before others that belong to them.
    pub(super) fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Acquire)
    }
}

fn work<C: ProducerContext + 'static>(
    orders: &Receiver<()>,
    producer: &BatchProducer<C>,
    is_abandoned: &AtomicBool,
    is_busy: &AtomicBool,
) {
    while orders.recv().is_ok() {
        while !producer.flush(PATIENCE) && !is_abandoned.load(Ordering::Acquire) {}
        is_busy.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use flott_core::{Clock, SystemClock};
    use rdkafka::{
        mocking::MockCluster,
        producer::{BaseProducer, DefaultProducerContext, Producer},
    };
    use xtask::processor::{TICKS_PER_SECOND, thread_ticks};

    use super::*;
    use crate::kafka::{native::Outgoing, sink::settings::SinkSettings};

    const ROUND_TRIP: Duration = Duration::from_secs(1);

    type Records = BatchProducer<DefaultProducerContext>;

    fn give(producer: &Records, count: usize) {
        let record = Outgoing { value: Some(b"value"), partition: Some(0), ..Outgoing::default() };
        assert_eq!(producer.produce(std::iter::repeat_n(record, count)).count, count);
    }

    fn drain(producer: &Records, dispatcher: &Dispatcher) {
        let started = SystemClock.now();
        while dispatcher.is_busy() || producer.client().in_flight_count() > 0 {
            producer.client().poll(Duration::from_millis(5));
            assert!(SystemClock.now().since(started) < ROUND_TRIP * 30, "not delivered");
        }
    }

    /// Processor time of librdkafka's threads for brokers, in seconds.
    fn seconds_of_broker_threads() -> f64 {
        let threads = thread_ticks(std::process::id());
        let brokers = threads.iter().filter(|((name, _), _)| name.starts_with("rdk:broker"));
        brokers.map(|(_, &ticks)| ticks as f64).sum::<f64>() / TICKS_PER_SECOND
    }

    #[test]
    fn an_interrupted_lane_keeps_no_core_busy_while_the_broker_takes_its_time() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let config = SinkSettings::new(cluster.bootstrap_servers(), "t").idempotent_config().unwrap();
        let producer: BaseProducer = config.create().unwrap();
        let producer = Arc::new(BatchProducer::new(producer, "t").unwrap());
        let dispatcher = Dispatcher::new(&producer, &Arc::default()).unwrap();
        give(&producer, 1);
        dispatcher.dispatch().unwrap();
        drain(&producer, &dispatcher);
        cluster.broker_round_trip_time(1, ROUND_TRIP).unwrap();
        give(&producer, 100);
        // As if this thread had lost its processor.
        thread::park_timeout(ROUND_TRIP / 4);
        give(&producer, 100);
        let before = seconds_of_broker_threads();
        dispatcher.dispatch().unwrap();
        drain(&producer, &dispatcher);
        let seconds = seconds_of_broker_threads() - before;
        assert!(seconds < ROUND_TRIP.as_secs_f64() / 4.0, "{seconds} s");
    }
}
