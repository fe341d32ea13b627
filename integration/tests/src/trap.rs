use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
    mpsc::{Receiver, SyncSender, sync_channel},
};

use flott_cards::kafka::proxy::{KafkaProxy, ProxiedRequest, Verdict};

use crate::waiting::PATIENCE;

/// Holds the first request that comes through a proxy and is as wanted. All others pass.
///
/// When the trap is dropped, the connection of the held request breaks.
pub struct Trap {
    caught: Receiver<Caught>,
    verdict: SyncSender<Verdict>,
}

/// A request that is held.
pub struct Caught {
    /// The broker that it is for: 1 for that of the first proxy.
    pub broker: i32,
    /// The request.
    pub request: ProxiedRequest,
}

impl Trap {
    /// Replaces the judges of these proxies.
    pub fn set(
        proxies: &[KafkaProxy],
        is_wanted: impl Fn(i32, &ProxiedRequest) -> bool + Send + Sync + 'static,
    ) -> Self {
        let (report, caught) = sync_channel(1);
        let (verdict, given) = sync_channel(1);
        let (is_set, given, is_wanted) =
            (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(given)), Arc::new(is_wanted));
        for (broker, proxy) in (1..).zip(proxies) {
            let (is_set, given) = (Arc::clone(&is_set), Arc::clone(&given));
            let (is_wanted, report) = (Arc::clone(&is_wanted), report.clone());
            proxy.judge(move |request| {
                if !is_wanted(broker, request) || !is_set.swap(false, Ordering::AcqRel) {
                    return Verdict::Pass;
                }
                let is_awaited = report.send(Caught { broker, request: request.clone() }).is_ok();
                // Nobody else waits: the trap holds one request.
                let given = given.lock().ok().filter(|_| is_awaited);
                given.and_then(|given| given.recv().ok()).unwrap_or(Verdict::Break)
            });
        }
        Self { caught, verdict }
    }

    /// Waits until a request is held.
    pub fn wait(&self) -> Caught {
        self.caught.recv_timeout(PATIENCE).expect("a request as wanted comes")
    }

    /// Lets the held request go.
    pub fn release(self, verdict: Verdict) {
        self.verdict.send(verdict).expect("the held request waits");
    }
}
