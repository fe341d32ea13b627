//! The life of one task: a chain with a source or an input at its head.

use std::{
    collections::VecDeque,
    sync::{Arc, mpsc},
    time::Duration,
};

use flott_core::{
    CheckpointId, Error, MonotonicTime, OperatorUid, ProcessingTime, Result,
    element::{Barrier, Signal},
    operator::{Head, Next, StepTime, TaskEvent},
    snapshot::FrozenSnapshot,
    task::{Failure, TaskAction, TaskFact, TaskId},
};

use crate::commits::TaskCommits;

/// Longest time that a record waits in a partly filled batch.
const BUFFER_TIMEOUT: Duration = Duration::from_millis(10);

/// How often the operators are told the time.
const TICK_INTERVAL: Duration = Duration::from_millis(1);

/// Elements that one step gives the chain at most, so that the other tasks of the slot get their turn.
const ELEMENTS_PER_STEP: usize = 16;

/// Whether a step did anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Yes: step again at once.
    Made,
    /// No: nothing to read, or no room for output.
    None,
}

/// Takes the facts that tasks report. Called from slot threads; must not block.
pub trait TaskListener: Send + Sync {
    /// Takes one fact.
    fn report(&self, task: TaskId, fact: TaskFact<FrozenSnapshot>);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Created,
    Reading,
    /// A source has sent the barrier of the last checkpoint before its input has ended: it reads no more.
    Stopped,
    /// The chain has been given the end. Barriers still come.
    Ended,
}

/// One subtask of a vertex, in one attempt.
pub struct Task {
    id: TaskId,
    head: Box<dyn Head>,
    phase: Phase,
    actions: mpsc::Receiver<TaskAction>,
    listener: Arc<dyn TaskListener>,
    commits: TaskCommits,
    /// Checkpoints whose barriers wait for room, as batches do. `true`: the last one before the end or a suspension.
    triggered: VecDeque<(CheckpointId, bool)>,
    /// Facts of this step that are not reported yet.
    facts: Vec<TaskFact<FrozenSnapshot>>,
    last_tick: Option<MonotonicTime>,
    last_flush: MonotonicTime,
    is_flushed: bool,
}

impl Task {
    /// A task that has not been opened. `committers`: its sinks that commit.
    #[must_use]
    pub fn new(
        id: TaskId,
        committers: impl IntoIterator<Item = OperatorUid>,
        head: Box<dyn Head>,
        actions: mpsc::Receiver<TaskAction>,
        listener: Arc<dyn TaskListener>,
    ) -> Self {
        Self {
            id,
            head,
            phase: Phase::Created,
            actions,
            listener,
            commits: TaskCommits::new(committers),
            triggered: VecDeque::new(),
            facts: Vec::new(),
            last_tick: None,
            last_flush: MonotonicTime::ZERO,
            is_flushed: true,
        }
    }

    /// Whether a source is at its head.
    #[must_use]
    pub fn is_source(&self) -> bool {
        self.head.is_source()
    }

    /// When one of its operators wants to be told the time.
    #[must_use]
    pub fn next_timer(&self) -> Option<ProcessingTime> {
        self.head.next_timer()
    }

    /// Reports a failure.
    pub fn fail(&self, error: &Error) {
        self.report(TaskFact::Failed { failure: Failure::from(error) });
    }

    /// Does a bounded amount of work. Never blocks.
    ///
    /// # Errors
    /// When the task cannot go on; it must not be stepped again.
    pub fn step(&mut self, time: StepTime) -> Result<Progress> {
        if self.phase == Phase::Created {
            self.head.open()?;
            self.phase = Phase::Reading;
            self.report(TaskFact::Running);
        }
        let mut progress = self.take_actions()?;
        // The first tick comes before the first record, so that operators know the time.
        if self.last_tick.is_none_or(|last| time.now.since(last) >= TICK_INTERVAL) {
            self.last_tick = Some(time.now);
            self.event(TaskEvent::Tick(time))?;
        }
        if self.advance(time)? {
            progress = Progress::Made;
            self.is_flushed = false;
        }
        for fact in self.facts.drain(..) {
            self.listener.report(self.id, fact);
        }
        self.flush_in_time(time, progress)?;
        Ok(progress)
    }

    fn take_actions(&mut self) -> Result<Progress> {
        let mut progress = Progress::None;
        while let Ok(action) = self.actions.try_recv() {
            progress = Progress::Made;
            match action {
                TaskAction::CompleteCheckpoint(id) => self.event(TaskEvent::CheckpointComplete(id))?,
                TaskAction::TriggerCheckpoint { .. } if !self.is_source() => {
                    return Err(Error::internal("a checkpoint was triggered at a task without a source"));
                }
                TaskAction::TriggerCheckpoint { checkpoint, is_last } => {
                    self.triggered.push_back((checkpoint, is_last));
                }
                TaskAction::AddSplits(splits) => self.head.add_splits(splits)?,
                TaskAction::NoMoreSplits => self.head.no_more_splits()?,
            }
        }
        Ok(progress)
    }

    /// Gives the chain what comes next, as long as it has room; returns `true` if there was anything to do.
    ///
    /// Nothing overtakes what earlier elements have made due. A barrier that was triggered goes before what could be read.
    fn advance(&mut self, time: StepTime) -> Result<bool> {
        let mut has_worked = false;
        for _ in 0..ELEMENTS_PER_STEP {
            if !self.head.is_ready() {
                break;
            }
            if !self.head.resume()? {
                has_worked = true;
                continue;
            }
            match self.next(time)? {
                Next::Nothing => break,
                Next::Progress => {}
                Next::Signal(signal) => {
                    self.head.signal(signal)?;
                    if signal == Signal::End {
                        self.phase = Phase::Ended;
                        self.facts.push(TaskFact::Ended);
                    }
                }
                Next::Barrier(barrier) => self.barrier(barrier)?,
            }
            has_worked = true;
        }
        Ok(has_worked)
    }

    fn next(&mut self, time: StepTime) -> Result<Next> {
        if let Some((checkpoint, is_last)) = self.triggered.pop_front() {
            if is_last && self.phase == Phase::Reading {
                self.phase = Phase::Stopped;
            }
            return Ok(Next::Barrier(Barrier { checkpoint }));
        }
        if self.phase == Phase::Stopped { Ok(Next::Nothing) } else { self.head.read(time) }
    }

    fn barrier(&mut self, barrier: Barrier) -> Result<()> {
        let mut operators = Vec::new();
        self.head.barrier(barrier, &mut operators)?;
        let (checkpoint, snapshot) = (barrier.checkpoint, FrozenSnapshot { operators });
        self.facts.push(TaskFact::Snapshot { checkpoint, snapshot });
        Ok(())
    }

    fn event(&mut self, event: TaskEvent) -> Result<()> {
        // A timer may have emitted, with nothing to read behind it.
        self.is_flushed = false;
        let mut committed = Vec::new();
        self.head.event(event, &mut committed)?;
        for (sink, checkpoint) in committed {
            self.commits.on_committed(&sink, checkpoint);
        }
        self.facts.extend(self.commits.take_news().map(|checkpoint| TaskFact::Committed { checkpoint }));
        Ok(())
    }

    /// Partly filled batches wait for company only while there is more to read, and never long.
    fn flush_in_time(&mut self, time: StepTime, progress: Progress) -> Result<()> {
        let is_due = progress == Progress::None || time.now.since(self.last_flush) >= BUFFER_TIMEOUT;
        if self.is_flushed || !is_due {
            return Ok(());
        }
        self.last_flush = time.now;
        self.is_flushed = true;
        self.head.flush()
    }

    fn report(&self, fact: TaskFact<FrozenSnapshot>) {
        self.listener.report(self.id, fact);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    };

    use flott_core::{SubtaskIndex, VertexId, snapshot::OperatorSnapshot};

    use super::*;

    /// Notes what happens to it. A source has always more to read, unless it `is_done`; from another head nothing comes.
    #[derive(Clone, Default)]
    pub(crate) struct Noting {
        log: Arc<Mutex<Vec<String>>>,
        is_source: bool,
        is_done: bool,
        is_over: bool,
        is_full: Arc<AtomicBool>,
        /// Times that the chain has to go on before the next element.
        due: Arc<Mutex<usize>>,
        /// Commits of the sinks behind it that no event has found yet.
        committed: Arc<Mutex<Vec<(OperatorUid, CheckpointId)>>>,
    }

    impl Noting {
        fn source() -> Self {
            Self { is_source: true, ..Self::default() }
        }

        fn note(&self, text: impl Into<String>) {
            self.log.lock().unwrap().push(text.into());
        }

        fn commit(&self, sink: &str, checkpoint: u64) {
            self.committed.lock().unwrap().push((uid(sink), CheckpointId(checkpoint)));
        }
    }

    fn uid(name: &str) -> OperatorUid {
        OperatorUid::new(name).unwrap()
    }

    impl Head for Noting {
        fn open(&mut self) -> Result<()> {
            Ok(())
        }
        fn is_source(&self) -> bool {
            self.is_source
        }
        fn is_ready(&mut self) -> bool {
            !self.is_full.load(Ordering::Relaxed)
        }
        fn resume(&mut self) -> Result<bool> {
            let mut due = self.due.lock().unwrap();
            if *due > 0 {
                *due -= 1;
                self.note("resume");
                return Ok(false);
            }
            Ok(true)
        }
        fn read(&mut self, _time: StepTime) -> Result<Next> {
            if !self.is_source || self.is_over {
                return Ok(Next::Nothing);
            }
            self.note("read");
            Ok(if self.is_done { Next::Signal(Signal::End) } else { Next::Progress })
        }
        fn signal(&mut self, signal: Signal) -> Result<()> {
            self.note(format!("{signal:?}"));
            self.is_over |= signal == Signal::End;
            Ok(())
        }
        fn barrier(
            &mut self,
            barrier: Barrier,
            _snapshots: &mut Vec<(OperatorUid, OperatorSnapshot)>,
        ) -> Result<()> {
            self.note(format!("barrier {}", barrier.checkpoint));
            Ok(())
        }
        fn event(
            &mut self,
            event: TaskEvent,
            committed: &mut Vec<(OperatorUid, CheckpointId)>,
        ) -> Result<()> {
            match event {
                TaskEvent::CheckpointComplete(checkpoint) => self.note(format!("complete {checkpoint}")),
                TaskEvent::Tick(_) => self.note("tick"),
            }
            committed.append(&mut self.committed.lock().unwrap());
            Ok(())
        }
        fn flush(&mut self) -> Result<()> {
            self.note("flush");
            Ok(())
        }
        fn next_timer(&self) -> Option<ProcessingTime> {
            None
        }
    }

    /// A task of which nobody wants to know anything.
    pub(crate) fn task(head: Box<dyn Head>) -> Task {
        let id = TaskId::new(VertexId(0), SubtaskIndex(0));
        Task::new(id, [], head, mpsc::sync_channel(1).1, Arc::new(Listener::default()))
    }

    #[derive(Default)]
    pub(crate) struct Listener(Mutex<Vec<String>>);

    impl TaskListener for Listener {
        fn report(&self, _task: TaskId, fact: TaskFact<FrozenSnapshot>) {
            let text = match fact {
                TaskFact::Snapshot { checkpoint, .. } => format!("snapshot {checkpoint}"),
                TaskFact::Committed { checkpoint } => format!("committed {checkpoint}"),
                TaskFact::Running => "running".into(),
                TaskFact::Ended => "ended".into(),
                TaskFact::Declined { .. } | TaskFact::Failed { .. } => panic!("nothing fails"),
            };
            self.0.lock().unwrap().push(text);
        }
    }

    struct Kit {
        task: Task,
        source: Noting,
        actions: mpsc::SyncSender<TaskAction>,
        listener: Arc<Listener>,
    }

    impl Kit {
        /// A task into which nothing comes.
        fn idle() -> Self {
            Self::new(Noting::default())
        }

        fn new(source: Noting) -> Self {
            let head = Box::new(source.clone());
            let (actions, received) = mpsc::sync_channel(8);
            let listener = Arc::new(Listener::default());
            let told = Arc::clone(&listener) as Arc<dyn TaskListener>;
            let task = Task::new(
                TaskId::new(VertexId(0), SubtaskIndex(0)),
                [uid("a"), uid("b")],
                head,
                received,
                told,
            );
            Self { task, source, actions, listener }
        }

        fn trigger(&self, checkpoint: u64, is_last: bool) {
            let checkpoint = CheckpointId(checkpoint);
            self.actions.send(TaskAction::TriggerCheckpoint { checkpoint, is_last }).unwrap();
        }

        /// What a step does, each thing once.
        fn step(&mut self) -> Vec<String> {
            self.step_at(0)
        }

        fn complete(&self, checkpoint: u64) {
            self.actions.send(TaskAction::CompleteCheckpoint(CheckpointId(checkpoint))).unwrap();
        }

        /// The facts that the task reports in a step.
        fn facts_at(&mut self, now_ms: u64) -> Vec<String> {
            self.step_at(now_ms);
            std::mem::take(&mut *self.listener.0.lock().unwrap())
        }

        fn step_at(&mut self, now_ms: u64) -> Vec<String> {
            let now = MonotonicTime::from_millis(now_ms);
            self.task.step(StepTime { now, ..StepTime::default() }).unwrap();
            let mut log = std::mem::take(&mut *self.source.log.lock().unwrap());
            log.dedup();
            log
        }
    }

    #[test]
    fn a_source_reads_no_further_behind_the_last_barrier() {
        let mut kit = Kit::new(Noting::source());
        kit.trigger(1, false);
        assert_eq!(kit.step(), ["tick", "barrier 1", "read"]);
        kit.trigger(2, true);
        assert_eq!(kit.step(), ["barrier 2"]);
        assert_eq!(kit.step(), ["flush"]);
        assert_eq!(kit.step(), [""; 0]);
        // It failed: the next one has nothing new.
        kit.trigger(3, true);
        assert_eq!(kit.step(), ["barrier 3"]);
        kit.complete(3);
        assert_eq!(kit.step(), ["complete 3"]);
        let facts = ["running", "snapshot 1", "snapshot 2", "snapshot 3"];
        assert_eq!(*kit.listener.0.lock().unwrap(), facts);
    }

    #[test]
    fn a_source_that_has_ended_stays_so() {
        let mut kit = Kit::new(Noting { is_done: true, ..Noting::source() });
        assert_eq!(kit.step(), ["tick", "read", "End"]);
        kit.trigger(1, true);
        assert_eq!(kit.step(), ["barrier 1"]);
        assert_eq!(kit.task.phase, Phase::Ended);
    }

    #[test]
    fn a_barrier_waits_for_room_and_nothing_is_read_before_it() {
        let mut kit = Kit::new(Noting::source());
        assert_eq!(kit.step(), ["tick", "read"]);
        kit.source.is_full.store(true, Ordering::Relaxed);
        kit.trigger(1, false);
        kit.trigger(2, true);
        kit.step();
        assert_eq!(kit.step(), ["flush"]);
        kit.source.is_full.store(false, Ordering::Relaxed);
        let barriers = kit.step();
        assert_eq!(barriers[..2], ["barrier 1", "barrier 2"]);
        assert!(!barriers.contains(&"read".into()), "{barriers:?}");
        assert_eq!(*kit.listener.0.lock().unwrap(), ["running", "snapshot 1", "snapshot 2"]);
    }

    #[test]
    fn a_barrier_waits_for_what_is_due() {
        let mut kit = Kit::new(Noting::source());
        kit.step();
        *kit.source.due.lock().unwrap() = ELEMENTS_PER_STEP + 1;
        kit.trigger(1, false);
        assert_eq!(kit.step(), ["resume"]);
        assert_eq!(kit.step()[..2], ["resume", "barrier 1"]);
    }

    #[test]
    fn what_a_timer_emits_is_sent_though_nothing_comes_in() {
        let mut kit = Kit::idle();
        assert_eq!(kit.step_at(0), ["tick", "flush"]);
        assert_eq!(kit.step_at(0), [""; 0]);
        assert_eq!(kit.step_at(1), ["tick", "flush"]);
        kit.complete(1);
        assert_eq!(kit.step_at(1), ["complete 1"]);
        assert_eq!(kit.step_at(1), ["flush"]);
    }

    /// Two sinks commit in the background, long after the completion, and nothing comes in meanwhile.
    fn check_late_commits(kit: &mut Kit) {
        kit.complete(7);
        assert_eq!(kit.facts_at(10), [""; 0]);
        assert_eq!(kit.facts_at(20), [""; 0]);
        kit.source.commit("b", 7);
        assert_eq!(kit.facts_at(21), [""; 0], "the other sink has not committed");
        kit.source.commit("a", 7);
        assert_eq!(kit.facts_at(22), ["committed 7"]);
        assert_eq!(kit.facts_at(23), [""; 0]);
        // Sinks that commit at once.
        kit.complete(8);
        kit.source.commit("a", 8);
        kit.source.commit("b", 8);
        assert_eq!(kit.facts_at(23), ["committed 8"]);
    }

    #[test]
    fn commits_are_reported_when_the_last_sink_has_committed_though_the_task_is_idle() {
        let mut kit = Kit::idle();
        assert_eq!(kit.facts_at(0), ["running"]);
        check_late_commits(&mut kit);
    }

    #[test]
    fn commits_are_reported_also_after_the_end() {
        let mut kit = Kit::new(Noting { is_done: true, ..Noting::source() });
        assert_eq!(kit.facts_at(0), ["running", "ended"]);
        check_late_commits(&mut kit);
    }

    #[test]
    fn commits_are_reported_also_by_a_source_that_has_stopped() {
        let mut kit = Kit::new(Noting::source());
        kit.trigger(7, true);
        assert_eq!(kit.facts_at(0), ["running", "snapshot 7"]);
        check_late_commits(&mut kit);
    }
}
