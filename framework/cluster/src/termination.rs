//! Requests to end this process: signals, or a test.

use flott_core::{ErrorKind, Result, ResultExt};
use tokio::sync::mpsc;

use crate::launch::StopSignal;

/// Requests that wait at most: who asks more often has said it already.
const REQUESTS_MAX: usize = 8;

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
    pub(crate) fn listen(self) -> Result<StopRequests> {
        match self {
            Self::Requests(requests) => Ok(StopRequests { requests }),
            Self::Signals => from_signals(),
        }
    }
}

#[cfg(unix)]
fn from_signals() -> Result<StopRequests> {
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
    Ok(StopRequests { requests })
}

#[cfg(not(unix))]
fn from_signals() -> Result<StopRequests> {
    let (sender, requests) = mpsc::channel(REQUESTS_MAX);
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            let _ = sender.try_send(StopSignal::Interrupt);
        }
    });
    Ok(StopRequests { requests })
}

/// The requests as they come in.
pub(crate) struct StopRequests {
    requests: mpsc::Receiver<StopSignal>,
}

impl StopRequests {
    /// The next request. Waits for ever when none can come any more.
    pub(crate) async fn next(&mut self) -> StopSignal {
        match self.requests.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}
