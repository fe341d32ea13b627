//! A slot: a thread that steps its tasks in turn and sleeps when none of them can go on.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering, fence},
    },
    thread::{self, Thread},
    time::Duration,
};

use flott_core::{Clock, ProcessingTime, operator::StepTime, panic};

use crate::task::{Progress, Task};

/// Idle rounds before a slot's thread sleeps: a batch that is on its way usually arrives within them.
const SPIN_ROUNDS: u32 = 64;

/// Longest sleep. Sources are polled at least this often; everything else wakes the slot.
const SLEEP_MAX: Duration = Duration::from_millis(1);

/// Shortest sleep, also when a timer is due already.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// Longest sleep when there is no source to poll.
const SLEEP_MAX_WITHOUT_SOURCE: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
struct WakerState {
    is_asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

/// Wakes a slot's thread: something may have become possible for one of its tasks.
#[derive(Clone, Debug, Default)]
pub struct SlotWaker(Arc<WakerState>);

impl SlotWaker {
    /// Wakes the thread if it sleeps. Call it after the change it is about.
    #[inline]
    pub fn wake(&self) {
        // Pairs with the fence in `fall_asleep`: either this load sees the sleeper, or the sleeper sees the change.
        fence(Ordering::SeqCst);
        if self.0.is_asleep.load(Ordering::Relaxed) {
            self.unpark();
        }
    }

    /// Returns `true` if both wake the same thread.
    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    #[cold]
    fn unpark(&self) {
        if let Some(thread) = self.0.thread.get() {
            thread.unpark();
        }
    }

    fn announce_sleep(&self, is_asleep: bool) {
        self.0.is_asleep.store(is_asleep, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}

/// The tasks of one slot, and the thread that runs them.
pub struct SlotThread {
    waker: SlotWaker,
    is_cancelled: Arc<AtomicBool>,
}

impl SlotThread {
    /// Starts a thread that runs `tasks` until it is cancelled or one of them fails. `on_stopped` is called last, when
    /// the tasks have been dropped and hold nothing any more.
    ///
    /// # Errors
    /// When the operating system has no thread left.
    pub fn spawn(
        name: String,
        waker: SlotWaker,
        tasks: Vec<Task>,
        clock: Arc<dyn Clock>,
        on_stopped: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let (cancelled, own_waker) = (Arc::clone(&is_cancelled), waker.clone());
        thread::Builder::new().name(name).spawn(move || {
            let _ = own_waker.0.thread.set(thread::current());
            run(tasks, &own_waker, &cancelled, &*clock);
            on_stopped();
        })?;
        Ok(Self { waker, is_cancelled })
    }

    /// Asks the thread to drop its tasks and end. Does not wait.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
        self.waker.wake();
    }
}

fn run(mut tasks: Vec<Task>, waker: &SlotWaker, is_cancelled: &AtomicBool, clock: &dyn Clock) {
    let has_source = tasks.iter().any(Task::is_source);
    let sleep_max = if has_source { SLEEP_MAX } else { SLEEP_MAX_WITHOUT_SOURCE };
    let mut idle_rounds = 0;
    while !is_cancelled.load(Ordering::Acquire) {
        let time = StepTime { now: clock.now(), processing_time: clock.processing_time() };
        match step_all(&mut tasks, time) {
            Round::Failed => return,
            Round::Progress => {
                if idle_rounds > SPIN_ROUNDS {
                    waker.announce_sleep(false);
                }
                idle_rounds = 0;
            }
            Round::Idle if idle_rounds < SPIN_ROUNDS => {
                idle_rounds += 1;
                std::hint::spin_loop();
            }
            // Announce first, look at everything once more, and only then sleep: a change that came before the
            // announcement is seen by that look, one that comes after it wakes the thread.
            Round::Idle if idle_rounds == SPIN_ROUNDS => {
                idle_rounds += 1;
                waker.announce_sleep(true);
            }
            Round::Idle => {
                let next_timer = tasks.iter().filter_map(Task::next_timer).min();
                thread::park_timeout(sleep_for(next_timer, time.processing_time, sleep_max));
            }
        }
    }
}

fn sleep_for(next_timer: Option<ProcessingTime>, now: ProcessingTime, sleep_max: Duration) -> Duration {
    next_timer.map_or(sleep_max, |timer| {
        let millis = timer.0.saturating_sub(now.0).max(0);
        sleep_max.min(Duration::from_millis(millis.unsigned_abs()).max(SLEEP_MIN))
    })
}

enum Round {
    Progress,
    Idle,
    Failed,
}

fn step_all(tasks: &mut [Task], time: StepTime) -> Round {
    let mut round = Round::Idle;
    for task in tasks {
        // A panic in user code fails the task, not the process. The task is dropped without being used again.
        match panic::catch(|| task.step(time)) {
            Ok(Progress::Made) => round = Round::Progress,
            Ok(Progress::None) => {}
            Err(error) => {
                task.fail(&error);
                return Round::Failed;
            }
        }
    }
    round
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_sleeps_until_its_next_timer_and_briefly_when_that_is_due() {
        let sleep = |next_timer: Option<i64>| {
            sleep_for(next_timer.map(ProcessingTime), ProcessingTime(1000), SLEEP_MAX_WITHOUT_SOURCE)
        };
        assert_eq!(sleep(None), SLEEP_MAX_WITHOUT_SOURCE);
        assert_eq!(sleep(Some(1030)), Duration::from_millis(30));
        assert_eq!(sleep(Some(9000)), SLEEP_MAX_WITHOUT_SOURCE);
        for due in [1000, 0, i64::MIN] {
            assert_eq!(sleep(Some(due)), SLEEP_MIN);
        }
    }
}
