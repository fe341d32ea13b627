use std::{collections::BTreeMap, sync::Arc, time::Duration};

use flott_connectors::kafka::{
    sink::KafkaSink,
    source::{BoundedAt, KafkaSource},
};
use flott_core::{
    AttemptId, CheckpointId, Error, ErrorKind, EventTime, Generation, OperatorUid, Result, SubtaskIndex,
    operator::Readiness,
    sink::{SettleReport, SettleRequest, Sink, SweepRequest, WriterContext},
    snapshot::WriteList,
    source::Source,
    testkit::{WriterHarness, verify_writer},
};
use xtask::clock::{Stopwatch, pause};

use crate::support::{PATIENCE, ReaderRun, fresh, make_topic, numbered, own_broker, read_topic};

/// One writer of a sink, driven as a task would.
struct WriterRun(WriterHarness<String>);

fn context(generation: u64) -> WriterContext {
    WriterContext {
        job: Arc::default(),
        uid: OperatorUid::new("sink").unwrap(),
        subtask: SubtaskIndex(0),
        parallelism: 1,
        attempt: AttemptId(1),
        generation: Generation(generation),
        metrics: Arc::default(),
    }
}

impl WriterRun {
    fn new(sink: &KafkaSink<String>, generation: u64) -> Self {
        Self(WriterHarness::new(sink.writer(&context(generation)).unwrap(), pause))
    }

    fn advance(&mut self) -> Result<()> {
        self.0.advance()
    }

    fn readiness(&self) -> Readiness {
        self.0.readiness().unwrap()
    }

    fn write(&mut self, texts: Vec<String>) {
        texts.chunks(1024).for_each(|chunk| self.0.write(chunk.to_vec()).unwrap());
    }

    fn barrier(&mut self, checkpoint: u64) -> WriteList {
        self.0.precommit(checkpoint).unwrap()
    }

    fn precommit(&mut self, checkpoint: u64) -> Vec<Vec<u8>> {
        self.barrier(checkpoint)().unwrap()
    }

    /// Lets it go on until it fails.
    fn until_failed(&mut self) -> Error {
        let watch = Stopwatch::start();
        loop {
            if let Err(error) = self.advance() {
                return error;
            }
            assert!(watch.elapsed() < PATIENCE, "it does not fail");
        }
    }

    /// Completes a checkpoint and waits until its output is visible.
    fn complete(&mut self, checkpoint: u64) {
        self.0.commit(checkpoint).unwrap();
    }
}

fn exactly_once(brokers: &str, topic: &str) -> KafkaSink<String> {
    KafkaSink::utf8(brokers, topic).exactly_once(fresh("job"))
}

fn settle(
    sink: &KafkaSink<String>,
    checkpoint: Option<u64>,
    committables: Vec<Vec<u8>>,
    generations: &[u64],
) -> Result<SettleReport> {
    let request = SettleRequest {
        job: flott_core::JobIdentity::default(),
        uid: OperatorUid::new("sink").unwrap(),
        checkpoint: checkpoint.map(CheckpointId),
        is_fallback: false,
        committables,
        generations: generations.iter().map(|&generation| (Generation(generation), 1)).collect(),
        allow_repeated_output: false,
        accept_lost_output: false,
    };
    sink.settler().unwrap().unwrap().settle(&request)
}

fn visible(brokers: &str, topic: &str) -> Vec<String> {
    read_topic(brokers, topic, "read_committed").remove(&0).unwrap_or_default()
}

#[test]
fn exactly_once_output_is_visible_when_its_checkpoint_is_complete() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "eos", 1);
    let sink = exactly_once(brokers, &topic);
    let mut run = WriterRun::new(&sink, 0);
    let mut expected = Vec::new();
    for checkpoint in 1..=12 {
        let texts = numbered(&format!("c{checkpoint}-"), 3000);
        run.write(texts.clone());
        assert_eq!(run.precommit(checkpoint).len(), 1);
        assert_eq!(visible(brokers, &topic).len(), expected.len());
        run.complete(checkpoint);
        expected.extend(texts);
    }
    assert_eq!(visible(brokers, &topic), expected);
    // Nothing written, nothing to commit.
    assert_eq!(run.precommit(13).len(), 0);
    run.complete(13);
}

#[test]
fn records_after_the_barrier_stay_behind_those_before_it() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "order", 1);
    let sink = exactly_once(brokers, &topic);
    let mut run = WriterRun::new(&sink, 0);
    for checkpoint in 1..=5 {
        run.write(numbered(&format!("{checkpoint}-"), 20_000));
        let seal = run.barrier(checkpoint);
        let sealing = std::thread::spawn(seal);
        run.write(numbered(&format!("{checkpoint}b-"), 500));
        while !sealing.is_finished() {
            run.advance().unwrap();
        }
        sealing.join().unwrap().unwrap();
        run.complete(checkpoint);
    }
    run.precommit(6);
    run.complete(6);
    let expected: Vec<_> = (1..=5)
        .flat_map(|c| [numbered(&format!("{c}-"), 20_000), numbered(&format!("{c}b-"), 500)].concat())
        .collect();
    assert!(visible(brokers, &topic) == expected, "records are lost or out of order");
}

#[test]
fn recovery_commits_what_the_checkpoint_lists_and_nothing_else() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "settle", 1);
    let sink = exactly_once(brokers, &topic);
    let mut run = WriterRun::new(&sink, 0);
    run.write(numbered("a", 10));
    let listed = run.precommit(1);
    run.write(numbered("b", 10));
    run.precommit(2);
    run.write(numbered("c", 10));
    drop(run);
    assert_eq!(visible(brokers, &topic).len(), 0);
    for _ in 0..2 {
        let report = settle(&sink, Some(1), listed.clone(), &[0]).unwrap();
        assert_eq!((report.committed, report.lost_records), (1, 0));
        assert_eq!(visible(brokers, &topic), numbered("a", 10));
    }
    let mut next = WriterRun::new(&sink, 1);
    next.write(numbered("b", 10));
    next.precommit(3);
    next.complete(3);
    assert_eq!(visible(brokers, &topic), [numbered("a", 10), numbered("b", 10)].concat());
}

#[test]
fn a_writer_that_was_fenced_fails_and_a_late_commit_does_no_harm() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "zombie", 1);
    let sink = exactly_once(brokers, &topic);
    let mut zombie = WriterRun::new(&sink, 0);
    zombie.write(numbered("a", 10));
    let listed = zombie.precommit(1);
    zombie.write(numbered("lost", 10));
    settle(&sink, Some(1), listed, &[0]).unwrap();
    zombie.0.writer().commit(CheckpointId(1)).unwrap();
    let watch = Stopwatch::start();
    let error = loop {
        if let Err(error) = zombie.advance() {
            break error;
        }
        assert!(watch.elapsed() < PATIENCE, "a fenced writer goes on");
    };
    assert!(error.kind().is_restartable(), "{error:?}");
    assert_eq!(visible(brokers, &topic), numbered("a", 10));
}

#[test]
fn a_zombie_that_opens_a_transaction_after_the_settling_holds_up_nobody() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "late", 1);
    let sink = exactly_once(brokers, &topic);
    let report = settle(&sink, None, Vec::new(), &[1]).unwrap();
    assert_eq!(report.sweep_for, Duration::from_secs(30 * 60));
    let mut zombie = WriterRun::new(&sink, 1);
    zombie.write(numbered("z", 10));
    zombie.precommit(1);
    let mut live = WriterRun::new(&sink, 2);
    live.write(numbered("a", 10));
    live.precommit(2);
    live.complete(2);
    assert_eq!(visible(brokers, &topic).len(), 0, "readers wait for the zombie");
    live.write(numbered("b", 10));
    let uid = OperatorUid::new("sink").unwrap();
    let request = SweepRequest { uid, job: flott_core::JobIdentity::default(), below: Generation(2) };
    let swept = sink.settler().unwrap().unwrap().sweep(&request).unwrap();
    assert_eq!(swept.len(), 1, "{swept:?}");
    live.precommit(3);
    live.complete(3);
    assert_eq!(visible(brokers, &topic), [numbered("a", 10), numbered("b", 10)].concat());
}

#[test]
fn a_checkpoint_that_was_given_up_rides_along_with_the_next() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "ride", 1);
    let sink = exactly_once(brokers, &topic);
    let mut run = WriterRun::new(&sink, 0);
    run.write(numbered("a", 10));
    drop(run.barrier(1));
    run.write(numbered("b", 10));
    let listed = run.precommit(2);
    assert_eq!(listed.len(), 2);
    drop(run);
    assert_eq!(settle(&sink, Some(2), listed, &[0]).unwrap().committed, 2);
    assert_eq!(visible(brokers, &topic), [numbered("a", 10), numbered("b", 10)].concat());
}

#[test]
fn without_complete_checkpoints_the_writer_stalls_and_recovers() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "stall", 1);
    let sink = exactly_once(brokers, &topic);
    let mut run = WriterRun::new(&sink, 0);
    for checkpoint in 1..=16 {
        run.write(numbered(&format!("{checkpoint}-"), 2));
        run.precommit(checkpoint);
    }
    // Nothing waits: the barrier of the checkpoint that frees producers gets through.
    for _ in 0..100 {
        run.advance().unwrap();
        assert_eq!(run.readiness(), Readiness::Ready);
    }
    run.complete(16);
    assert_eq!(visible(brokers, &topic).len(), 32);
    run.precommit(17);
    run.write(numbered("again", 1));
    for _ in 0..100 {
        run.advance().unwrap();
        assert_eq!(run.readiness(), Readiness::Full, "all producers are in quarantine");
    }
    run.complete(17);
    run.precommit(18);
    run.complete(18);
    assert_eq!(visible(brokers, &topic).len(), 33);
}

#[test]
fn a_writer_whose_producers_all_wait_for_a_checkpoint_fails_its_task() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "stuck", 1);
    let sink = exactly_once(brokers, &topic);
    let mut run = WriterRun::new(&sink, 0);
    for checkpoint in 1..=16 {
        run.write(numbered(&format!("{checkpoint}-"), 2));
        run.precommit(checkpoint);
    }
    run.write(numbered("one more", 1));
    let error = run.until_failed();
    assert!(error.kind().is_restartable(), "{error:?}");
    assert!(error.to_string().contains("all 16 Kafka producers"), "{error}");
}

#[test]
fn a_transaction_that_could_be_aborted_before_its_commit_is_not_listed() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "old", 1);
    let timeout = Duration::from_secs(10);
    let sink = exactly_once(brokers, &topic).transaction_timeout(timeout);
    let mut run = WriterRun::new(&sink, 0);
    run.write(numbered("a", 10));
    assert_eq!(run.precommit(1).len(), 1);
    // Checkpoint 1 fails, and the next one comes late. The broker would keep the transaction for a while yet.
    pause(timeout / 2 + Duration::from_millis(100));
    run.write(numbered("b", 10));
    let refused = run.barrier(2)().unwrap_err();
    assert!(refused.to_string().contains("half of its timeout"), "{refused}");
    let error = run.until_failed();
    assert!(error.kind().is_restartable(), "{error:?}");
    assert!(error.to_string().contains("of checkpoint 1 has been open for"), "{error}");
}

#[test]
fn a_pending_transaction_that_is_gone_fails_the_task() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "gone", 1);
    let sink = exactly_once(brokers, &topic);
    let mut run = WriterRun::new(&sink, 0);
    run.write(numbered("a", 10));
    run.precommit(1);
    settle(&sink, None, Vec::new(), &[0]).unwrap();
    assert!(run.barrier(2)().is_err());
    let error = run.until_failed();
    assert!(error.kind().is_restartable(), "{error:?}");
    assert!(error.to_string().contains("of checkpoint 1 is no longer open"), "{error}");
}

/// The tasks of an attempt that is over have to be gone soon, whether or not there is a broker.
#[test]
fn a_writer_that_is_dropped_waits_for_no_broker() {
    let Some(broker) = own_broker() else { return };
    let topic = make_topic(broker.bootstrap(), "dropped", 1);
    for sink in [exactly_once(broker.bootstrap(), &topic), KafkaSink::utf8(broker.bootstrap(), &topic)] {
        let mut run = WriterRun::new(&sink, 0);
        run.write(numbered("a", 10));
        run.precommit(1);
        run.write(numbered("b", 10));
        run.0.until_ready().unwrap();
        broker.freeze().unwrap();
        let seal = run.barrier(2);
        let sealing = std::thread::spawn(seal);
        for _ in 0..100 {
            run.advance().unwrap();
        }
        assert!(!sealing.is_finished());
        let watch = Stopwatch::start();
        drop(run);
        assert!(sealing.join().unwrap().is_err());
        assert!(watch.elapsed() < Duration::from_secs(5), "{:?}", watch.elapsed());
        // Its producers are being made.
        let starting = WriterRun::new(&sink, 1);
        let watch = Stopwatch::start();
        drop(starting);
        assert!(watch.elapsed() < Duration::from_secs(1), "{:?}", watch.elapsed());
        broker.thaw().unwrap();
    }
}

#[test]
fn lost_output_is_reported_by_checkpoint_partition_and_count() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "lost", 1);
    let sink = exactly_once(brokers, &topic);
    let mut run = WriterRun::new(&sink, 0);
    run.write(numbered("a", 25));
    let listed = run.precommit(1);
    drop(run);
    // A newcomer takes the ids over before anybody settles, as the broker does when a transaction times out: three
    // transactions use all the ids that a writer starts with, of which the lost output is in any one.
    let mut intruder = WriterRun::new(&sink, 0);
    for checkpoint in 1..=3 {
        intruder.write(numbered("x", 1));
        intruder.precommit(checkpoint);
    }
    drop(intruder);
    let error = settle(&sink, Some(1), listed, &[0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutputLost);
    assert!(error.to_string().contains("25"), "{error}");
}

#[test]
fn at_least_once_output_is_delivered_before_the_checkpoint_is_complete() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "alo", 1);
    let sink = KafkaSink::utf8(brokers, &topic);
    let mut run = WriterRun::new(&sink, 0);
    run.write(numbered("a", 50_000));
    assert_eq!(run.precommit(1).len(), 0);
    assert!(visible(brokers, &topic) == numbered("a", 50_000));
    run.write(numbered("b", 10));
    run.precommit(2);
    assert_eq!(visible(brokers, &topic).len(), 50_010);
}

#[test]
fn the_writers_keep_the_contract() {
    let brokers = kafka!();
    let topics = [make_topic(brokers, "contract", 1), make_topic(brokers, "contract-eos", 1)];
    let sinks = [KafkaSink::utf8(brokers, &topics[0]), exactly_once(brokers, &topics[1])];
    for (topic, sink) in topics.iter().zip(sinks) {
        let records = |batch| numbered(&format!("{batch}-"), 500);
        verify_writer(sink.writer(&context(0)).unwrap(), records, pause);
        assert_eq!(visible(brokers, topic), (0..8).flat_map(records).collect::<Vec<_>>());
    }
}

#[test]
fn whole_records_can_be_written() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "parts", 3);
    let sink = KafkaSink::with(brokers, &topic, |text: &String, record| {
        match text.as_str() {
            "tombstone" => record.key("t").partition(2),
            text => record.key("k").value(text).header("h", "x").timestamp(EventTime(99)).partition(1),
        };
        Ok(())
    });
    let mut run = WriterRun::new(&sink, 0);
    run.write(vec!["v".into(), "tombstone".into(), "w".into()]);
    run.precommit(1);
    let source = KafkaSource::with(brokers, &topic, |message| {
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let header = message.headers.first("h").unwrap_or_default().to_vec();
        Ok((message.partition, text(message.key), text(message.value), header))
    })
    .bounded(BoundedAt::Latest);
    let splits = source.enumerator().unwrap().discover(&Default::default(), true).unwrap().splits;
    let mut reader = ReaderRun::restored(&source, splits);
    reader.until_end();
    let seen: BTreeMap<_, _> =
        reader.seen.records.into_iter().map(|(r, time)| ((r.0, r.2), (r.1, r.3, time))).collect();
    assert_eq!(seen.len(), 3);
    let whole = &seen[&(1, Some("v".into()))];
    assert_eq!((whole.0.as_deref(), &whole.1[..], whole.2), (Some("k"), &b"x"[..], EventTime(99)));
    assert!(seen.contains_key(&(2, None)));
}

#[test]
fn keys_choose_partitions_as_kafkas_own_clients_do() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "keys", 4);
    let sink = KafkaSink::utf8(brokers, &topic).key(|text: &String| text.clone());
    let mut run = WriterRun::new(&sink, 0);
    run.write(["1", "2", "3", "42"].map(String::from).to_vec());
    run.precommit(1);
    // (murmur2(key) & 0x7fffffff) % 4, by Kafka's Java client.
    let partition = |key: &str| i32::try_from((murmur2(key.as_bytes()) & 0x7fff_ffff) % 4).unwrap();
    for (number, texts) in read_topic(brokers, &topic, "read_committed") {
        assert!(texts.iter().all(|text| partition(text) == number), "{number}: {texts:?}");
    }
}

fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ u32::try_from(data.len()).unwrap();
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    for (index, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * index);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[test]
fn what_is_wrong_is_told_before_the_job_starts() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "check", 1);
    for sink in [KafkaSink::<String>::utf8(brokers, &topic), exactly_once(brokers, &topic)] {
        sink.check(1000).unwrap();
    }
    let refusal = |sink: KafkaSink<String>| sink.check(1000).unwrap_err();
    let missing = refusal(KafkaSink::utf8(brokers, "no-such-topic").exactly_once("p"));
    assert_eq!(missing.kind(), ErrorKind::Refused);
    assert!(missing.to_string().contains("no-such-topic"), "{missing}");
    let long = refusal(exactly_once(brokers, &topic).transaction_timeout(Duration::from_secs(3600)));
    assert_eq!(long.kind(), ErrorKind::Settings);
    assert!(long.to_string().contains("1h") && long.to_string().contains("15m"), "{long}");
    let ours = refusal(KafkaSink::utf8(brokers, &topic).property("transactional.id", "x"));
    assert!(ours.to_string().contains("transactional.id"), "{ours}");
}

#[test]
fn an_unreachable_broker_is_told_before_the_job_starts() {
    let error = KafkaSink::<String>::utf8("127.0.0.1:1", "t").check(1000).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}
