//! Requests to end this process: signals, or a test.

use std::{sync::Arc, time::Duration};

use flott_core::{Clock, ErrorKind, MonotonicTime, Result, ResultExt};
use tokio::sync::mpsc;

use crate::launch::StopSignal;

/// Requests that wait at most: who asks more often has said it already.
const REQUESTS_MAX: usize = 8;

/// Signals that follow another one this soon belong to the same request: a terminal, a supervisor and `timeout` often
/// signal a process and its group within a millisecond.
const SAME_REQUEST: Duration = Duration::from_millis(500);

/// Who may ask this process to end.
#[derive(Debug)]
pub enum Termination {
    /// SIGTERM and SIGINT.
    Signals,
    /// The holder of the sending end, for tests and for programs that handle signals themselves.
    Requests(mpsc::Receiver<StopSignal>),
}

impl Termination {
    /// A termination asked for by hand.
    #[must_use]
    pub fn by_hand() -> (mpsc::Sender<StopSignal>, Self) {
        let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
        (sender, Self::Requests(receiver))
    }

    /// Starts to listen. Call it within the runtime.
    pub(crate) fn listen(self, clock: Arc<dyn Clock>) -> Result<StopRequests> {
        match self {
            Self::Requests(requests) => Ok(StopRequests { requests, signals: None }),
            Self::Signals => {
                let signals = Some((clock, SignalBursts::default()));
                Ok(StopRequests { requests: from_signals()?, signals })
            }
        }
    }
}

#[cfg(unix)]
fn from_signals() -> Result<mpsc::Receiver<StopSignal>> {
    use tokio::signal::unix::{SignalKind, signal};

    let (sender, requests) = mpsc::channel(REQUESTS_MAX);
    for (kind, request) in
        [(SignalKind::terminate(), StopSignal::Terminate), (SignalKind::interrupt(), StopSignal::Interrupt)]
    {
        let mut signals = signal(kind).or_error(ErrorKind::Internal, "cannot listen to signals")?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                // A full queue has this request in it already.
                let _ = sender.try_send(request);
            }
        });
    }
    Ok(requests)
}

#[cfg(not(unix))]
fn from_signals() -> Result<mpsc::Receiver<StopSignal>> {
    let (sender, requests) = mpsc::channel(REQUESTS_MAX);
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            let _ = sender.try_send(StopSignal::Interrupt);
        }
    });
    Ok(requests)
}

/// The requests as they come in.
pub(crate) struct StopRequests {
    requests: mpsc::Receiver<StopSignal>,
    /// Set when the requests are signals.
    signals: Option<(Arc<dyn Clock>, SignalBursts)>,
}

impl StopRequests {
    /// The next request. Waits for ever when none can come any more.
    pub(crate) async fn next(&mut self) -> StopSignal {
        while let Some(signal) = self.requests.recv().await {
            let is_new = match &mut self.signals {
                None => true,
                Some((clock, bursts)) => bursts.is_new_request(clock.now()),
            };
            if is_new {
                return signal;
            }
        }
        std::future::pending().await
    }
}

/// Tells a second request to end from a repetition of the first.
#[derive(Debug, Default)]
struct SignalBursts {
    request: Option<MonotonicTime>,
}

impl SignalBursts {
    /// A signal has come. Returns `true` if it is a request of its own.
    fn is_new_request(&mut self, now: MonotonicTime) -> bool {
        let is_new = self.request.is_none_or(|request| now.since(request) >= SAME_REQUEST);
        if is_new {
            self.request = Some(now);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_within_half_a_second_are_one_request() {
        let mut bursts = SignalBursts::default();
        let mut signal = |ms| bursts.is_new_request(MonotonicTime::from_millis(ms));
        assert_eq!([signal(1_000), signal(1_000), signal(1_001), signal(1_499)], [true, false, false, false]);
        // Someone who asks again and again is heard.
        assert_eq!([signal(1_500), signal(1_900), signal(2_000)], [true, false, true]);
    }
}
