//! Work that must not hold up a slot's thread.

use std::thread;

/// Runs `work` on a thread of its own; here, should no thread be had.
pub(super) fn run(name: &str, work: impl FnOnce() + Send + 'static) {
    let shared = std::sync::Arc::new(std::sync::Mutex::new(Some(work)));
    let theirs = std::sync::Arc::clone(&shared);
    let spawned = thread::Builder::new().name(name.into()).spawn(move || take(&theirs).map(|work| work()));
    if spawned.is_err()
        && let Some(work) = take(&shared)
    {
        work();
    }
}

fn take<T>(shared: &std::sync::Mutex<Option<T>>) -> Option<T> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
}
