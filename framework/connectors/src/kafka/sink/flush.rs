//! The end of a stretch of output: everything before a barrier is delivered before anything after it is sent, so that
//! records of one key stay in order.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use flott_core::{Error, ErrorKind, Result};

use super::{lane::Lane, outbox::Outbox};
use crate::kafka::background;

pub(super) struct Flush {
    lane: Arc<Lane>,
    is_transaction: bool,
    state: Mutex<FlushState>,
    is_done: AtomicBool,
}

enum FlushState {
    Waiting { outbox: Outbox, earlier: Option<Arc<Flush>> },
    Done(Result<(), (ErrorKind, String)>),
}

impl Flush {
    /// Of what is in `outbox`, after `earlier` is done.
    pub(super) fn new(
        lane: Arc<Lane>,
        outbox: Outbox,
        is_transaction: bool,
        earlier: Option<Arc<Self>>,
    ) -> Self {
        let state = Mutex::new(FlushState::Waiting { outbox, earlier });
        Self { lane, is_transaction, state, is_done: AtomicBool::new(false) }
    }

    /// Whether later records may be sent.
    pub(super) fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }

    /// Delivers what is left, once; later calls wait for the first one and give its result. Blocks.
    pub(super) fn run(&self) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let FlushState::Waiting { outbox, earlier } = &mut *state {
            let result = earlier.take().map_or(Ok(()), |earlier| earlier.run());
            let result = result.and_then(|()| if self.is_transaction { self.lane.begin() } else { Ok(()) });
            let result = result.and_then(|()| self.lane.drain(outbox));
            *state = FlushState::Done(result.map_err(|error| (error.kind(), error.to_string())));
            self.is_done.store(true, Ordering::Release);
        }
        match &*state {
            FlushState::Waiting { .. } => Err(Error::internal("a flush was left half way")),
            FlushState::Done(Ok(())) => Ok(()),
            FlushState::Done(Err((kind, message))) => Err(Error::new(*kind, message.clone())),
        }
    }

    /// The failure, once there is one.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_done() { self.run() } else { Ok(()) }
    }
}

/// Runs a flush also when the checkpoint that asked for it was given up: later records wait for it.
pub(super) struct FlushGuard(pub(super) Arc<Flush>);

impl Drop for FlushGuard {
    fn drop(&mut self) {
        if !self.0.is_done() {
            let flush = Arc::clone(&self.0);
            // The writer sees a failure at its next tick.
            background::run("kafka-flush", move || drop(flush.run()));
        }
    }
}
