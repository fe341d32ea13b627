//! Blocking work of one writer, on a thread of its own.
//!
//! A writer runs on a slot's thread and never waits for a disk. It submits jobs, and a [`Worker`] does them in their order. The
//! first error ends this: no later job is begun, and the writer finds the error when it asks. Nobody waits for a worker that is
//! dropped, also if a job hangs: a job that has not been begun by then is never done.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use flott_core::{Error, ErrorKind, Result, ResultExt, operator::Readiness};

/// The place of a job in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JobNumber(u64);

/// Does the jobs of one writer. `S` is what they work on; it lives on the thread.
pub(crate) struct Worker<S> {
    jobs: Jobs<S>,
    /// Bytes of jobs that are not done, from which on there is no room.
    bytes_max: usize,
}

/// The way to a worker for those who may wait.
pub(crate) struct Jobs<S>(Arc<Shared<S>>);

struct Shared<S> {
    queue: Mutex<Queue<S>>,
    /// There is a job, or one has ended, or the worker is dropped.
    changed: Condvar,
}

struct Queue<S> {
    jobs: VecDeque<Job<S>>,
    /// Bytes of jobs that are not done.
    bytes: usize,
    submitted: u64,
    done: u64,
    failure: Option<(ErrorKind, String)>,
    is_closed: bool,
}

struct Job<S> {
    bytes: usize,
    work: Box<dyn FnOnce(&mut S) -> Result<()> + Send>,
}

impl<S: Send + 'static> Worker<S> {
    /// Starts a thread that works on `state`.
    pub(crate) fn spawn(name: &str, bytes_max: usize, state: S) -> Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::default(), changed: Condvar::new() });
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new().name(name.into()).spawn(move || theirs.work(state));
        thread.or_error(ErrorKind::Transient, "cannot start a thread that writes")?;
        Ok(Self { jobs: Jobs(shared), bytes_max })
    }

    /// Puts a job behind all others. It holds `bytes` until it is done.
    pub(crate) fn submit(
        &self,
        bytes: usize,
        work: impl FnOnce(&mut S) -> Result<()> + Send + 'static,
    ) -> JobNumber {
        self.jobs.submit(bytes, work)
    }

    /// The room for more jobs.
    pub(crate) fn readiness(&self) -> Result<Readiness> {
        let queue = self.jobs.0.lock();
        queue.check()?;
        Ok(if queue.bytes < self.bytes_max { Readiness::Ready } else { Readiness::Full })
    }

    /// Fails if a job has failed.
    pub(crate) fn check(&self) -> Result<()> {
        self.jobs.0.lock().check()
    }

    /// Returns `true` if this job and all before it are done.
    pub(crate) fn is_done(&self, job: JobNumber) -> bool {
        self.jobs.0.lock().done >= job.0
    }

    /// The way to it for those who may wait.
    pub(crate) fn jobs(&self) -> Jobs<S> {
        Jobs(Arc::clone(&self.jobs.0))
    }
}

impl<S> Drop for Worker<S> {
    fn drop(&mut self) {
        let mut queue = self.jobs.0.lock();
        queue.is_closed = true;
        let left_undone = std::mem::take(&mut queue.jobs);
        drop(queue);
        self.jobs.0.changed.notify_all();
        drop(left_undone);
    }
}

impl<S: 'static> Jobs<S> {
    fn submit(&self, bytes: usize, work: impl FnOnce(&mut S) -> Result<()> + Send + 'static) -> JobNumber {
        let mut queue = self.0.lock();
        queue.submitted += 1;
        let number = JobNumber(queue.submitted);
        // After a failure or the end nobody does it.
        if queue.failure.is_none() && !queue.is_closed {
            queue.bytes += bytes;
            queue.jobs.push_back(Job { bytes, work: Box::new(work) });
            drop(queue);
            self.0.changed.notify_all();
        }
        number
    }

    /// Puts a job behind all others and waits until it is done. Blocks, but not longer than the worker lives.
    pub(crate) fn run(&self, work: impl FnOnce(&mut S) -> Result<()> + Send + 'static) -> Result<()> {
        let number = self.submit(0, work);
        let mut queue = self.0.lock();
        while queue.done < number.0 {
            queue.check()?;
            if queue.is_closed {
                return Err(Error::new(ErrorKind::Cancelled, "the attempt is over"));
            }
            queue = self.0.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }
}

impl<S> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, Queue<S>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, mut state: S) {
        let _death = Death(self);
        while let Some(Job { bytes, work }) = self.next() {
            let result = work(&mut state);
            let mut queue = self.lock();
            queue.bytes -= bytes;
            match result {
                Ok(()) => queue.done += 1,
                Err(error) => queue.fail(error.kind(), error.to_string()),
            }
            drop(queue);
            self.changed.notify_all();
        }
    }

    /// Waits for a job; `None` when there is nobody for whom to do it, or one has failed.
    fn next(&self) -> Option<Job<S>> {
        let mut queue = self.lock();
        while !queue.is_closed && queue.failure.is_none() {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }
}

impl<S> Queue<S> {
    fn check(&self) -> Result<()> {
        self.failure.as_ref().map_or(Ok(()), |(kind, message)| Err(Error::new(*kind, message.clone())))
    }

    fn fail(&mut self, kind: ErrorKind, message: String) {
        self.failure.get_or_insert((kind, message));
        self.jobs.clear();
    }
}

impl<S> Default for Queue<S> {
    fn default() -> Self {
        Self { jobs: VecDeque::new(), bytes: 0, submitted: 0, done: 0, failure: None, is_closed: false }
    }
}

/// Makes a panic of a job the worker's failure.
struct Death<'a, S>(&'a Shared<S>);

impl<S> Drop for Death<'_, S> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().fail(ErrorKind::Internal, "a thread that writes has panicked".into());
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    type Numbers = Vec<u32>;

    fn worker() -> Worker<Numbers> {
        Worker::spawn("test", 100, Numbers::new()).unwrap()
    }

    /// A job that hangs until the sender is used or dropped, and a receiver that tells when it has begun.
    fn hang(worker: &Worker<Numbers>, bytes: usize) -> (SyncSender<()>, Receiver<()>) {
        let ((release, released), (begin, begun)) = (sync_channel::<()>(1), sync_channel(1));
        worker.submit(bytes, move |_| {
            begin.send(()).unwrap();
            let _ = released.recv();
            Ok(())
        });
        (release, begun)
    }

    #[test]
    fn jobs_are_done_in_their_order_and_hold_their_bytes_until_then() {
        let worker = worker();
        let (release, begun) = hang(&worker, 99);
        begun.recv().unwrap();
        assert_eq!(worker.readiness().unwrap(), Readiness::Ready);
        let submitted = (0..10).map(|number| {
            worker.submit(1, move |numbers| {
                numbers.push(number);
                Ok(())
            })
        });
        let last = *submitted.collect::<Vec<_>>().last().unwrap();
        assert_eq!(worker.readiness().unwrap(), Readiness::Full);
        assert!(!worker.is_done(last));
        release.send(()).unwrap();
        worker
            .jobs()
            .run(|numbers| {
                assert_eq!(*numbers, Vec::from_iter(0..10));
                Ok(())
            })
            .unwrap();
        assert!(worker.is_done(last));
        assert_eq!(worker.readiness().unwrap(), Readiness::Ready);
    }

    #[test]
    fn the_first_error_is_kept_and_no_later_job_is_begun() {
        let worker = worker();
        worker.submit(1, |_| Err(Error::transient("the disk is full")));
        let later = worker.submit(1, |_| panic!("it is begun"));
        for error in [
            worker.jobs().run(|_| Ok(())).unwrap_err(),
            worker.check().unwrap_err(),
            worker.readiness().unwrap_err(),
        ] {
            assert_eq!(
                (error.kind(), error.to_string().as_str()),
                (ErrorKind::Transient, "the disk is full")
            );
        }
        assert!(!worker.is_done(later));
    }

    #[test]
    fn a_panic_is_a_failure() {
        let worker = worker();
        worker.submit(1, |_| panic!("as tests do"));
        assert_eq!(worker.jobs().run(|_| Ok(())).unwrap_err().kind(), ErrorKind::Internal);
    }

    #[test]
    fn nobody_waits_for_a_worker_that_is_dropped() {
        let worker = worker();
        let (release, begun) = hang(&worker, 1);
        begun.recv().unwrap();
        let (done, undone) = sync_channel::<()>(1);
        worker.submit(1, move |_| {
            done.send(()).unwrap();
            Ok(())
        });
        let jobs = worker.jobs();
        let waiting = thread::spawn(move || jobs.run(|_| Ok(())));
        drop(worker);
        assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
        assert!(undone.recv().is_err(), "it was dropped without having been begun");
        drop(release);
    }
}
