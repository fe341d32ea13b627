//! Waits of the JobManager for external systems. A wait that takes long is reported.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flott_core::{Clock, MonotonicTime};
use tokio::time::sleep;

use crate::progress::{JobEvent, ProgressListener};

/// After so long a wait is told, and told again.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Interval at which a JobManager that does not lead yet looks for waits to tell.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The waits that are under way; clones share them.
#[derive(Clone)]
pub(super) struct Waits {
    clock: Arc<dyn Clock>,
    list: Arc<Mutex<WaitList>>,
}

/// A wait; over when it is dropped.
pub(super) struct Wait {
    number: u64,
    list: Arc<Mutex<WaitList>>,
}

impl Waits {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, list: Arc::default() }
    }

    /// Begins to wait. `what` completes "still waiting for".
    pub(super) fn begin(&self, what: impl Into<String>) -> Wait {
        let number = lock(&self.list).begin(what.into(), self.clock.now());
        Wait { number, list: Arc::clone(&self.list) }
    }

    /// One line for each wait that is to be told now.
    pub(super) fn overdue(&self) -> Vec<String> {
        lock(&self.list).overdue(self.clock.now())
    }

    /// Does `work`, and tells the waits in it that take long. A JobManager that leads tells its waits itself.
    pub(super) async fn tell_during<T>(
        &self,
        progress: &dyn ProgressListener,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = sleep(LOOK_EVERY) => for text in self.overdue() {
                    progress.on_event(&JobEvent { is_warning: true, is_routine: false, text });
                },
            }
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        lock(&self.list).waits.remove(&self.number);
    }
}

fn lock(list: &Mutex<WaitList>) -> MutexGuard<'_, WaitList> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct WaitList {
    last: u64,
    waits: BTreeMap<u64, Entry>,
}

struct Entry {
    what: String,
    since: MonotonicTime,
    told_at: MonotonicTime,
}

impl WaitList {
    fn begin(&mut self, what: String, now: MonotonicTime) -> u64 {
        self.last += 1;
        self.waits.insert(self.last, Entry { what, since: now, told_at: now });
        self.last
    }

    fn overdue(&mut self, now: MonotonicTime) -> Vec<String> {
        let due = self.waits.values_mut().filter(|wait| now.since(wait.told_at) >= TELL_EVERY);
        due.map(|wait| {
            wait.told_at = now;
            format!("still waiting for {}, for {} s", wait.what, now.since(wait.since).as_secs())
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime::from_millis(seconds * 1000)
    }

    #[test]
    fn a_wait_is_told_every_ten_seconds_until_it_is_over() {
        let mut list = WaitList::default();
        let slow = list.begin("/shared/job (storing checkpoint 7)".into(), at(0));
        list.begin("sink \"alerts\"".into(), at(5));
        assert_eq!(list.overdue(at(9)), [""; 0]);
        assert_eq!(list.overdue(at(12)), ["still waiting for /shared/job (storing checkpoint 7), for 12 s"]);
        assert_eq!(list.overdue(at(16)), ["still waiting for sink \"alerts\", for 11 s"]);
        assert_eq!(list.overdue(at(22)), ["still waiting for /shared/job (storing checkpoint 7), for 22 s"]);
        list.waits.remove(&slow);
        assert_eq!(list.overdue(at(100)), ["still waiting for sink \"alerts\", for 95 s"]);
    }
}
