//! The life of one task: a chain with a source or an input at its head.

use std::{
    collections::VecDeque,
    sync::{Arc, mpsc},
    time::Duration,
};

use flott_core::{
    CheckpointId, Error, MonotonicTime, OperatorUid, ProcessingTime, Result,
    element::Barrier,
    operator::{StepTime, TaskEvent},
    snapshot::FrozenSnapshot,
    source::SourceStatus,
    task::{Failure, TaskAction, TaskFact, TaskId},
};

use crate::{
    commits::TaskCommits,
    input::{InputStatus, TaskInput},
    program::TaskSource,
};

/// Longest time that a record waits in a partly filled batch.
const BUFFER_TIMEOUT: Duration = Duration::from_millis(10);

/// How often the operators are told the time.
const TICK_INTERVAL: Duration = Duration::from_millis(1);

/// Source polls in one step, so that the other tasks of the slot get their turn.
const POLLS_PER_STEP: usize = 8;

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

/// What stands at the head of the chain.
pub enum TaskHead {
    /// It reads an external system.
    Source(Box<dyn TaskSource>),
    /// It reads other tasks.
    Input(Box<dyn TaskInput>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Created,
    Running,
    /// A source that has emitted the barrier of the last checkpoint before its input has ended.
    Stopped,
    Ended,
}

/// One subtask of a vertex, in one attempt.
pub struct Task {
    id: TaskId,
    head: TaskHead,
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
        head: TaskHead,
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
        matches!(self.head, TaskHead::Source(_))
    }

    /// When one of its operators wants to be told the time.
    #[must_use]
    pub fn next_timer(&self) -> Option<ProcessingTime> {
        match &self.head {
            TaskHead::Source(source) => source.next_timer(),
            TaskHead::Input(input) => input.next_timer(),
        }
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
            self.open()?;
            self.phase = Phase::Running;
            self.report(TaskFact::Running);
        }
        let mut progress = self.take_actions()?;
        // The first tick comes before the first record, so that operators know the time.
        if self.last_tick.is_none_or(|last| time.now.since(last) >= TICK_INTERVAL) {
            self.last_tick = Some(time.now);
            self.event(TaskEvent::Tick(time))?;
        }
        self.start_checkpoints()?;
        if self.read(time)? {
            progress = Progress::Made;
            self.is_flushed = false;
        }
        for fact in self.facts.drain(..) {
            self.listener.report(self.id, fact);
        }
        self.flush_in_time(time, progress)?;
        Ok(progress)
    }

    fn open(&mut self) -> Result<()> {
        match &mut self.head {
            TaskHead::Source(source) => source.open(),
            TaskHead::Input(input) => input.open(),
        }
    }

    fn take_actions(&mut self) -> Result<Progress> {
        let mut progress = Progress::None;
        while let Ok(action) = self.actions.try_recv() {
            progress = Progress::Made;
            match action {
                TaskAction::CompleteCheckpoint(id) => self.event(TaskEvent::CheckpointComplete(id))?,
                TaskAction::TriggerCheckpoint { checkpoint, is_last } => {
                    self.triggered.push_back((checkpoint, is_last));
                }
                TaskAction::AddSplits(splits) => self.source()?.add_splits(splits)?,
                TaskAction::NoMoreSplits => self.source()?.no_more_splits(),
            }
        }
        Ok(progress)
    }

    fn source(&mut self) -> Result<&mut dyn TaskSource> {
        match &mut self.head {
            TaskHead::Source(source) => Ok(&mut **source),
            TaskHead::Input(_) => Err(Error::internal("an action for a source reached another task")),
        }
    }

    /// Sends the barriers for which the chain has room.
    fn start_checkpoints(&mut self) -> Result<()> {
        while let Some(&(checkpoint, is_last)) = self.triggered.front() {
            if !self.source()?.is_ready() {
                break;
            }
            self.triggered.pop_front();
            self.start_checkpoint(checkpoint)?;
            if is_last && self.phase == Phase::Running {
                self.phase = Phase::Stopped;
            }
        }
        Ok(())
    }

    fn start_checkpoint(&mut self, checkpoint: CheckpointId) -> Result<()> {
        let mut operators = Vec::new();
        self.source()?.barrier(Barrier { checkpoint }, &mut operators)?;
        let snapshot = FrozenSnapshot { operators };
        self.facts.push(TaskFact::Snapshot { checkpoint, snapshot });
        self.is_flushed = false;
        Ok(())
    }

    fn event(&mut self, event: TaskEvent) -> Result<()> {
        // A timer may have emitted, with nothing to read behind it.
        self.is_flushed = false;
        let mut committed = Vec::new();
        match &mut self.head {
            TaskHead::Source(source) => source.event(event, &mut committed)?,
            TaskHead::Input(input) => input.event(event, &mut committed)?,
        }
        for (sink, checkpoint) in committed {
            self.commits.on_committed(&sink, checkpoint);
        }
        self.facts.extend(self.commits.take_news().map(|checkpoint| TaskFact::Committed { checkpoint }));
        Ok(())
    }

    /// Reads some; whether there was anything to do.
    fn read(&mut self, time: StepTime) -> Result<bool> {
        match &mut self.head {
            TaskHead::Source(_) if !self.triggered.is_empty() => Ok(false),
            TaskHead::Source(source) if matches!(self.phase, Phase::Stopped | Phase::Ended) => {
                // Asking for room moves what still waits in the outputs.
                source.is_ready();
                Ok(false)
            }
            TaskHead::Source(source) => {
                let mut has_read = false;
                // A poll can move the watermark without reading anything.
                self.is_flushed = false;
                for _ in 0..POLLS_PER_STEP {
                    if !source.is_ready() {
                        break;
                    }
                    match source.poll(time)? {
                        SourceStatus::More => has_read = true,
                        SourceStatus::Idle | SourceStatus::Preparing => break,
                        SourceStatus::End => {
                            self.end();
                            return Ok(true);
                        }
                    }
                }
                Ok(has_read)
            }
            TaskHead::Input(input) => match input.step(&mut self.facts)? {
                InputStatus::Progress => Ok(true),
                InputStatus::Waiting => Ok(false),
                InputStatus::Ended => {
                    self.end();
                    Ok(true)
                }
            },
        }
    }

    fn end(&mut self) {
        self.phase = Phase::Ended;
        self.facts.push(TaskFact::Ended);
    }

    /// Partly filled batches wait for company only while there is more to read, and never long.
    fn flush_in_time(&mut self, time: StepTime, progress: Progress) -> Result<()> {
        let is_due = progress == Progress::None || time.now.since(self.last_flush) >= BUFFER_TIMEOUT;
        if self.is_flushed || !is_due {
            return Ok(());
        }
        self.last_flush = time.now;
        self.is_flushed = true;
        match &mut self.head {
            TaskHead::Source(source) => source.flush(),
            TaskHead::Input(input) => input.flush(),
        }
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

    use flott_core::{SubtaskIndex, VertexId, snapshot::OperatorSnapshot, source::Split};

    use super::*;

    /// Notes what happens to it; has always more to read, unless it `is_done`.
    #[derive(Clone, Default)]
    pub(crate) struct Source {
        log: Arc<Mutex<Vec<String>>>,
        is_done: bool,
        is_full: Arc<AtomicBool>,
        /// Commits of the sinks behind it that no event has found yet.
        committed: Arc<Mutex<Vec<(OperatorUid, CheckpointId)>>>,
    }

    impl Source {
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

    /// An input from which nothing comes.
    impl TaskInput for Source {
        fn open(&mut self) -> Result<()> {
            Ok(())
        }
        fn step(&mut self, _facts: &mut Vec<TaskFact<FrozenSnapshot>>) -> Result<InputStatus> {
            Ok(InputStatus::Waiting)
        }
        fn event(
            &mut self,
            _event: TaskEvent,
            committed: &mut Vec<(OperatorUid, CheckpointId)>,
        ) -> Result<()> {
            self.note("event");
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

    impl TaskSource for Source {
        fn open(&mut self) -> Result<()> {
            Ok(())
        }
        fn add_splits(&mut self, _splits: Vec<Split>) -> Result<()> {
            Ok(())
        }
        fn no_more_splits(&mut self) {}
        fn poll(&mut self, _time: StepTime) -> Result<SourceStatus> {
            self.note("poll");
            Ok(if self.is_done { SourceStatus::End } else { SourceStatus::More })
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
            if let TaskEvent::CheckpointComplete(checkpoint) = event {
                self.note(format!("complete {checkpoint}"));
            }
            committed.append(&mut self.committed.lock().unwrap());
            Ok(())
        }
        fn flush(&mut self) -> Result<()> {
            self.note("flush");
            Ok(())
        }
        fn is_ready(&mut self) -> bool {
            !self.is_full.load(Ordering::Relaxed)
        }
        fn next_timer(&self) -> Option<ProcessingTime> {
            None
        }
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
        source: Source,
        actions: mpsc::SyncSender<TaskAction>,
        listener: Arc<Listener>,
    }

    impl Kit {
        fn new(source: Source) -> Self {
            let head = TaskHead::Source(Box::new(source.clone()));
            Self::with_head(source, head)
        }

        /// A task into which nothing comes.
        fn idle() -> Self {
            let source = Source::default();
            Self::with_head(source.clone(), TaskHead::Input(Box::new(source)))
        }

        fn with_head(source: Source, head: TaskHead) -> Self {
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
        let mut kit = Kit::new(Source::default());
        kit.trigger(1, false);
        assert_eq!(kit.step(), ["barrier 1", "poll"]);
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
        let mut kit = Kit::new(Source { is_done: true, ..Source::default() });
        assert_eq!(kit.step(), ["poll"]);
        kit.trigger(1, true);
        assert_eq!(kit.step(), ["barrier 1"]);
        assert_eq!(kit.task.phase, Phase::Ended);
    }

    #[test]
    fn a_barrier_waits_for_room_and_nothing_is_read_before_it() {
        let mut kit = Kit::new(Source::default());
        assert_eq!(kit.step(), ["poll"]);
        kit.source.is_full.store(true, Ordering::Relaxed);
        kit.trigger(1, false);
        kit.trigger(2, true);
        kit.step();
        assert_eq!(kit.step(), ["flush"]);
        kit.source.is_full.store(false, Ordering::Relaxed);
        let barriers = kit.step();
        assert_eq!(barriers[..2], ["barrier 1", "barrier 2"]);
        assert!(!barriers.contains(&"poll".into()), "{barriers:?}");
        assert_eq!(*kit.listener.0.lock().unwrap(), ["running", "snapshot 1", "snapshot 2"]);
    }

    #[test]
    fn what_a_timer_emits_is_sent_though_nothing_comes_in() {
        let mut kit = Kit::idle();
        assert_eq!(kit.step_at(0), ["event", "flush"]);
        assert_eq!(kit.step_at(0), [""; 0]);
        assert_eq!(kit.step_at(1), ["event", "flush"]);
        kit.complete(1);
        assert_eq!(kit.step_at(1), ["event"]);
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
        let mut kit = Kit::new(Source { is_done: true, ..Source::default() });
        assert_eq!(kit.facts_at(0), ["running", "ended"]);
        check_late_commits(&mut kit);
    }

    #[test]
    fn commits_are_reported_also_by_a_source_that_has_stopped() {
        let mut kit = Kit::new(Source::default());
        kit.trigger(7, true);
        assert_eq!(kit.facts_at(0), ["running", "snapshot 7"]);
        check_late_commits(&mut kit);
    }
}
