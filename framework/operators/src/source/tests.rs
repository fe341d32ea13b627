use std::{collections::VecDeque, sync::atomic::Ordering, time::Duration};

use flott_core::{
    BATCH_RECORDS_MAX, Barrier, Batch, CheckpointId, DecodeError, EventTime, MonotonicTime, OperatorUid,
    ProcessingTime, Record, Result, Schema,
    operator::{Head, Next, OperatorMetrics, StepTime, TaskEvent},
    snapshot::StateContent,
    source::{SPLITS_STATE, SourceOutput, SourceReader, SourceStatus, Split},
    testkit::{Collector, Seen},
};

use super::SourceOperator;
use crate::watermark::Watermarks;

/// What a reader does in one poll.
enum Act<T> {
    Read(usize, Vec<(T, i64)>),
    EndSplit(usize),
    /// The poll is over.
    Pause,
    /// The poll is over, and nothing could be read.
    Prepare,
    End,
}
use Act::{End, EndSplit, Pause, Prepare, Read};

struct Scripted<T> {
    acts: VecDeque<Act<T>>,
    splits: Vec<Split>,
    completed: std::sync::mpsc::Sender<u64>,
}

impl<T: Record> SourceReader for Scripted<T> {
    type Out = T;
    fn add_splits(&mut self, splits: Vec<Split>) -> Result<()> {
        self.splits.extend(splits);
        Ok(())
    }
    fn no_more_splits(&mut self) {
        self.acts.push_back(End);
    }
    fn poll(&mut self, _time: StepTime, out: &mut dyn SourceOutput<T>) -> Result<SourceStatus> {
        while let Some(act) = self.acts.pop_front() {
            match act {
                Read(split, records) => {
                    let mut batch = Batch::new();
                    records.into_iter().for_each(|(record, time)| batch.push(record, EventTime(time)));
                    out.batch(split, &mut batch)?;
                    assert!(batch.is_empty(), "the records are taken out");
                }
                EndSplit(split) => out.split_ended(split)?,
                Pause => return Ok(SourceStatus::More),
                Prepare => return Ok(SourceStatus::Preparing),
                End => return Ok(SourceStatus::End),
            }
        }
        Ok(SourceStatus::Idle)
    }
    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Vec<Split>> {
        Ok(self.splits.clone())
    }
    fn on_checkpoint_complete(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.completed.send(checkpoint.0).expect("the test listens");
        Ok(())
    }
}

struct Test<T: Record> {
    source: SourceOperator<T>,
    output: Collector<T>,
    metrics: std::sync::Arc<OperatorMetrics>,
    completed: std::sync::mpsc::Receiver<u64>,
}

impl<T: Record> Test<T> {
    fn new(watermarks: Watermarks<T>, splits: usize, acts: impl IntoIterator<Item = Act<T>>) -> Self {
        let (sender, completed) = std::sync::mpsc::channel();
        let reader = Scripted { acts: acts.into_iter().collect(), splits: Vec::new(), completed: sender };
        let (output, metrics) = (Collector::default(), std::sync::Arc::<OperatorMetrics>::default());
        let uid = OperatorUid::new("numbers").unwrap();
        let (reader, target) = (Box::new(reader), Box::new(output.clone()));
        let mut source = SourceOperator::new(uid, watermarks, reader, metrics.clone(), target);
        source.open().unwrap();
        source
            .add_splits((0..splits).map(|n| Split { id: format!("s{n}"), state: vec![7] }).collect())
            .unwrap();
        Self { source, output, metrics, completed }
    }

    /// Lets the reader poll once, and gives the chain the signals that follow.
    fn poll(&mut self, millis: u64) -> Vec<Seen<T>> {
        let now = MonotonicTime::from_millis(millis);
        let time = StepTime { now, processing_time: ProcessingTime(1_000_000 + millis as i64) };
        loop {
            if let Next::Signal(signal) = self.source.read(time).unwrap() {
                self.source.signal(signal).unwrap();
            }
            if self.source.signals.is_empty() {
                return self.output.take();
            }
        }
    }

    /// Polls every 100 ms from `from` to `to` and returns what was emitted last.
    fn wait(&mut self, from: u64, to: u64) -> Vec<Seen<T>> {
        (from..=to).step_by(100).map(|millis| self.poll(millis)).last().unwrap_or_default()
    }
}

fn bounded<T>() -> Watermarks<T> {
    Watermarks::bounded(Duration::from_millis(10))
}

#[test]
fn a_poll_is_followed_by_one_watermark_and_by_the_end_once() {
    let acts = [
        Read(0, vec![(1, 100)]),
        Read(0, vec![(2, 200)]),
        Pause,
        Read(0, vec![(3, 150)]),
        Pause,
        Read(0, vec![(4, 300)]),
        EndSplit(0),
        End,
    ];
    let mut test = Test::new(bounded::<u64>(), 1, acts);
    let first = vec![Seen::Record(1, 100), Seen::Record(2, 200), Seen::Watermark(189)];
    assert_eq!(test.poll(0), first);
    assert_eq!(test.poll(1), vec![Seen::Record(3, 150)]);
    let last = vec![Seen::Record(4, 300), Seen::Watermark(i64::MAX), Seen::End];
    assert_eq!(test.poll(2), last);
    assert_eq!(test.poll(3), vec![]);
    assert_eq!(test.metrics.records_in.load(Ordering::Relaxed), 4);
    assert_eq!(test.metrics.watermark.load(Ordering::Relaxed), i64::MAX);
}

#[test]
fn the_slowest_split_gives_the_watermark() {
    let acts =
        [Read(0, vec![(1, 100)]), Pause, Read(1, vec![(2, 50)]), Pause, EndSplit(1), Pause, EndSplit(0)];
    let mut test = Test::new(bounded::<u64>(), 2, acts);
    assert_eq!(test.poll(0), [Seen::Record(1, 100)]);
    assert_eq!(test.poll(1), [Seen::Record(2, 50), Seen::Watermark(39)]);
    assert_eq!(test.poll(2), [Seen::Watermark(89)]);
    assert_eq!(test.poll(3), vec![Seen::Idle]);
    test.source.no_more_splits().unwrap();
    assert_eq!(test.poll(4), [Seen::Watermark(i64::MAX), Seen::End]);
}

#[test]
fn a_reader_without_splits_is_idle() {
    let mut test = Test::new(bounded::<u64>(), 0, []);
    assert_eq!(test.poll(0), vec![Seen::Idle]);
    assert_eq!(test.poll(1), vec![]);
}

#[test]
fn idleness_counts_only_time_in_which_the_source_could_read() {
    let acts = [Read(0, vec![(1, 100)]), Read(1, vec![(2, 50)]), Pause, Read(0, vec![(3, 200)])];
    let mut test = Test::new(bounded().idleness(Duration::from_secs(1)), 2, acts);
    assert_eq!(test.poll(0), [Seen::Record(1, 100), Seen::Record(2, 50), Seen::Watermark(39)]);
    assert_eq!(test.wait(100, 900), []);
    // A minute without room, and a minute in which the task did not run, do not make a split idle.
    test.output.stall(true);
    assert!(!test.source.is_ready());
    test.output.stall(false);
    assert_eq!(test.poll(60_000), []);
    // Split 0 was heard of at 100, so that only split 1 is idle now.
    assert_eq!(test.poll(120_000), [Seen::Watermark(189)]);
    assert_eq!(test.poll(120_100), [Seen::Idle]);
}

#[test]
fn no_split_becomes_idle_while_its_reader_prepares() {
    let acts = (0..30).map(|_| Prepare).chain([Read(0, vec![(1, 100)])]);
    let mut test = Test::new(bounded().idleness(Duration::from_secs(1)), 1, acts);
    assert_eq!(test.poll(0), vec![]);
    assert_eq!(test.wait(100, 2_900), []);
    assert_eq!(test.poll(3_000), [Seen::Record(1, 100), Seen::Watermark(89)]);
    assert_eq!(test.wait(3_100, 4_000), [Seen::Idle]);
}

#[test]
fn the_next_poll_is_asked_for_while_a_split_may_become_idle() {
    let mut test = Test::new(bounded().idleness(Duration::from_millis(150)), 1, [Read(0, vec![(1, 100)])]);
    test.poll(0);
    assert_eq!(test.source.next_timer(), Some(ProcessingTime(1_000_100)));
    test.poll(100);
    assert_eq!(test.source.next_timer(), Some(ProcessingTime(1_000_150)));
    assert_eq!(test.poll(150), [Seen::Idle]);
    assert_eq!(test.source.next_timer(), None);
}

#[test]
fn small_batches_are_put_together_and_stay_in_order() {
    let read =
        |split, start: u64, count| Read(split, (start..start + count).map(|n| (n, i64::MIN)).collect());
    let acts = [read(0, 0, 3), read(1, 3, 1000), read(0, 1003, 2), read(1, 1005, 1024), read(1, 2029, 1)];
    let mut test = Test::new(Watermarks::none(), 2, acts);
    let expected = (0..2030).map(|n| Seen::Record(n, i64::MIN));
    assert!(test.poll(0).into_iter().eq(expected));
    const { assert!(2030 > BATCH_RECORDS_MAX) };
}

/// A record that may know its event time.
#[derive(Debug, PartialEq)]
struct Timed(Option<EventTime>);

impl Record for Timed {
    const FIXED_SIZE: Option<usize> = None;
    fn schema() -> Schema {
        Option::<EventTime>::schema()
    }
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Option::decode(input).map(Self)
    }
    fn duplicate(&self) -> Self {
        Self(self.0)
    }
    fn event_time(&self) -> Option<EventTime> {
        self.0
    }
}

#[test]
fn a_records_own_event_time_counts_before_the_readers_and_a_functions_before_both() {
    let acts = || [Read(0, vec![(Timed(None), 5), (Timed(Some(EventTime(70))), 6)])];
    let times = |watermarks| {
        let seen = Test::new(watermarks, 1, acts()).poll(0);
        seen.into_iter()
            .map(|seen| if let Seen::Record(_, time) = seen { time } else { -1 })
            .collect::<Vec<_>>()
    };
    assert_eq!(times(Watermarks::none()), [5, 70]);
    assert_eq!(times(Watermarks::none().event_time(|_| EventTime(9))), [9, 9]);
}

#[test]
fn barriers_snapshot_the_splits_also_after_the_end() {
    let mut test = Test::new(bounded::<u64>(), 2, [End]);
    for checkpoint in [1, 2] {
        let mut snapshots = Vec::new();
        test.source.barrier(Barrier { checkpoint: CheckpointId(checkpoint) }, &mut snapshots).unwrap();
        assert_eq!(test.output.take(), [Seen::Barrier(checkpoint)]);
        let (uid, mut snapshot) = snapshots.pop().unwrap();
        let state = snapshot.states.pop().unwrap();
        assert_eq!((uid.as_str(), &*state.declaration.name), ("numbers", SPLITS_STATE));
        let StateContent::List(write) = state.content else { panic!("splits are a list") };
        let ids = write().unwrap().into_iter().map(|bytes| Split::decode(&bytes).unwrap().id);
        assert!(ids.eq(["s0", "s1"]));
        test.poll(checkpoint);
        test.output.take();
        let complete = TaskEvent::CheckpointComplete(CheckpointId(checkpoint));
        test.source.event(complete, &mut Vec::new()).unwrap();
    }
    assert!(test.completed.try_iter().eq([1, 2]));
}
