use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
    time::Duration,
};

use flott_connectors::kafka::source::{BoundedAt, KafkaSource, OffsetReset, Poison, StartOffsets};
use flott_core::{
    CheckpointId, ErrorKind, EventTime, Record,
    source::{Source, Split},
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use xtask::clock::{Stopwatch, pause};

use crate::support::{
    Ended, PATIENCE, ReaderRun, fresh, grow_topic, make_topic, numbered, produce, produce_in_transaction,
    recreate_topic,
};

fn first_splits<T: Record>(source: &KafkaSource<T>) -> Vec<Split> {
    source.enumerator().unwrap().discover(&BTreeSet::new(), true).unwrap().splits
}

fn read_all<T: Record>(source: &KafkaSource<T>) -> ReaderRun<T> {
    let mut run = ReaderRun::restored(source, first_splits(source));
    run.until_end();
    run
}

#[test]
fn a_bounded_source_reads_all_partitions_and_ends() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "plain", 3);
    produce(brokers, &topic, 0, numbered("a", 5));
    produce(brokers, &topic, 1, numbered("b", 2));
    let source = KafkaSource::utf8(brokers, &topic).bounded(BoundedAt::Latest);
    let splits = first_splits(&source);
    // What comes later does not belong to the run.
    produce(brokers, &topic, 0, numbered("late", 5));
    let mut run = ReaderRun::restored(&source, splits);
    run.until_end();
    assert_eq!(run.sorted(), ["a0", "a1", "a2", "a3", "a4", "b0", "b1"]);
    assert_eq!(run.seen.ended.len(), 3);
    let time_of = |text: &str| run.seen.records.iter().find(|record| record.0 == text).unwrap().1;
    assert_eq!((time_of("a0"), time_of("a4")), (EventTime(1), EventTime(5)));
}

#[test]
fn it_goes_on_exactly_where_the_snapshot_was_taken() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "resume", 2);
    produce(brokers, &topic, 0, numbered("a", 3000));
    produce(brokers, &topic, 1, numbered("b", 2000));
    let source = KafkaSource::utf8(brokers, &topic).bounded(BoundedAt::Latest);
    let mut splits = first_splits(&source);
    let mut seen = Vec::new();
    for cut in [1, 1024, 2500] {
        let mut run = ReaderRun::restored(&source, splits);
        run.until(cut);
        splits = run.reader.snapshot(CheckpointId(1)).unwrap();
        seen.append(&mut run.seen.records);
    }
    let mut run = ReaderRun::restored(&source, splits);
    run.until_end();
    seen.append(&mut run.seen.records);
    for (prefix, count) in [("a", 3000), ("b", 2000)] {
        let texts: Vec<_> =
            seen.iter().map(|r| r.0.clone()).filter(|text| text.starts_with(prefix)).collect();
        assert_eq!(texts, numbered(prefix, count));
    }
}

#[test]
fn start_offsets() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "start", 1);
    produce(brokers, &topic, 0, numbered("a", 10));
    let group = fresh("group");
    commit(brokers, &group, &topic, 7);
    for (start, expected) in [
        (StartOffsets::Earliest, 10),
        (StartOffsets::Latest, 0),
        (StartOffsets::Timestamp(4), 7),
        (StartOffsets::Timestamp(1_000_000), 0),
        (StartOffsets::Explicit(BTreeMap::from([(0, 8)])), 2),
        (StartOffsets::Explicit(BTreeMap::new()), 10),
        (StartOffsets::Committed { group, or: OffsetReset::Fail }, 3),
        (StartOffsets::Committed { group: fresh("none"), or: OffsetReset::Earliest }, 10),
        (StartOffsets::Committed { group: fresh("none"), or: OffsetReset::Latest }, 0),
    ] {
        let source = KafkaSource::utf8(brokers, &topic).start(start.clone()).bounded(BoundedAt::Latest);
        assert_eq!(read_all(&source).sorted(), numbered("a", 10)[10 - expected..], "{start:?}");
    }
    for start in [
        StartOffsets::Committed { group: fresh("none"), or: OffsetReset::Fail },
        StartOffsets::Explicit(BTreeMap::from([(5, 8)])),
    ] {
        let source = KafkaSource::utf8(brokers, &topic).start(start);
        let error = source.enumerator().unwrap().discover(&BTreeSet::new(), true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings, "{error}");
    }
}

fn commit(brokers: &str, group: &str, topic: &str, offset: i64) {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    consumer.commit(&list, rdkafka::consumer::CommitMode::Sync).unwrap();
}

fn committed(brokers: &str, group: &str, topic: &str) -> Offset {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, 0);
    consumer.committed_offsets(list, PATIENCE).unwrap().find_partition(topic, 0).unwrap().offset()
}

#[test]
fn bounds() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "bounds", 1);
    produce(brokers, &topic, 0, numbered("a", 10));
    for (at, expected) in [
        (BoundedAt::Latest, 10),
        (BoundedAt::Timestamp(4), 3),
        (BoundedAt::Explicit(BTreeMap::from([(0, 2)])), 2),
        (BoundedAt::Explicit(BTreeMap::from([(0, 0)])), 0),
    ] {
        let source = KafkaSource::utf8(brokers, &topic).bounded(at.clone());
        assert_eq!(read_all(&source).sorted(), numbered("a", 10)[..expected], "{at:?}");
    }
}

/// At the end of each partition there is nothing that a reader ever gets to see.
#[test]
fn control_records_and_aborted_transactions_at_the_end_do_not_hang_it() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "control", 3);
    produce_in_transaction(brokers, &topic, 0, numbered("a", 3), Ended::Commit);
    produce_in_transaction(brokers, &topic, 1, numbered("b", 3), Ended::Commit);
    produce_in_transaction(brokers, &topic, 1, numbered("x", 3), Ended::Abort);
    produce_in_transaction(brokers, &topic, 2, numbered("y", 3), Ended::Abort);
    let source = KafkaSource::utf8(brokers, &topic).bounded(BoundedAt::Latest);
    let run = read_all(&source);
    assert_eq!(run.sorted(), ["a0", "a1", "a2", "b0", "b1", "b2"]);
    assert_eq!(run.seen.ended.len(), 3);
}

#[test]
fn new_partitions_are_read_from_their_beginning() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "grow", 1);
    produce(brokers, &topic, 0, numbered("old", 3));
    let source = KafkaSource::utf8(brokers, &topic).start(StartOffsets::Latest);
    let mut enumerator = source.enumerator().unwrap();
    let found = enumerator.discover(&BTreeSet::new(), true).unwrap();
    assert!(!found.is_complete && enumerator.discovery_interval().is_some());
    let known: BTreeSet<_> = found.splits.iter().map(|split| split.id.clone()).collect();
    let mut run = ReaderRun::new(&source);
    run.reader.add_splits(found.splits).unwrap();
    run.poll().unwrap();

    grow_topic(brokers, &topic, 2);
    produce(brokers, &topic, 1, numbered("b", 4));
    let watch = Stopwatch::start();
    let found = loop {
        let found = enumerator.discover(&known, false).unwrap();
        if !found.splits.is_empty() {
            break found;
        }
        assert!(watch.elapsed() < PATIENCE);
        pause(Duration::from_millis(100));
    };
    assert_eq!(found.splits.len(), 1);
    run.reader.add_splits(found.splits).unwrap();
    produce(brokers, &topic, 0, numbered("a", 1));
    assert_eq!(run.until(5).sorted(), ["a0", "b0", "b1", "b2", "b3"]);
}

#[test]
fn undecodable_records_are_named_or_skipped() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "poison", 1);
    produce(brokers, &topic, 0, ["1", "x", "3"].map(String::from));
    let source = KafkaSource::json::<u64>(brokers, &topic).bounded(BoundedAt::Latest);
    let error = ReaderRun::restored(&source, first_splits(&source)).until_error();
    assert_eq!(error.kind(), ErrorKind::User);
    let place = format!("topic {topic}, partition 0, offset 1");
    assert!(error.to_string().contains(&place), "{error}");
    let run = read_all(&source.on_undecodable(Poison::Skip));
    assert_eq!(run.seen.records.iter().map(|record| record.0).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(run.metrics.records_dropped.load(Ordering::Relaxed), 1);
}

#[test]
fn a_deleted_offset_is_an_error_unless_told() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "gone", 1);
    produce(brokers, &topic, 0, numbered("a", 3));
    let start = StartOffsets::Explicit(BTreeMap::from([(0, 1000)]));
    let source = || KafkaSource::utf8(brokers, &topic).start(start.clone());
    let error = ReaderRun::restored(&source(), first_splits(&source())).until_error();
    assert_eq!(error.kind(), ErrorKind::State);
    assert!(error.to_string().contains("on_missing_offset"), "{error}");
    let told = source().on_missing_offset(OffsetReset::Earliest);
    // The position in the checkpoint is behind what is there; it must not hide the records.
    let mut run = ReaderRun::restored(&told, first_splits(&told));
    run.until(3);
}

#[test]
fn whole_records_can_be_decoded() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "whole", 1);
    let producer: rdkafka::producer::BaseProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let headers = rdkafka::message::OwnedHeaders::new()
        .insert(rdkafka::message::Header { key: "trace", value: Some("t1") })
        .insert(rdkafka::message::Header { key: "none", value: None::<&str> });
    let record =
        rdkafka::producer::BaseRecord::<str, str>::to(&topic).key("k").timestamp(77).headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    rdkafka::producer::Producer::flush(&producer, PATIENCE).unwrap();
    let source = KafkaSource::with(brokers, &topic, |message| {
        assert!(message.value.is_none());
        let trace = message.headers.first("trace").unwrap_or_default().to_vec();
        let count = message.headers.iter().count() as u64;
        Ok((String::from_utf8(trace)?, count, message.key.unwrap_or_default().to_vec(), message.offset))
    });
    let run = read_all(&source.bounded(BoundedAt::Latest));
    assert_eq!(run.seen.records, [(("t1".into(), 2, b"k".to_vec(), 0), EventTime(77))]);
}

#[test]
fn a_group_sees_the_progress_of_complete_checkpoints() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "progress", 1);
    produce(brokers, &topic, 0, numbered("a", 5));
    let group = fresh("monitoring");
    let source = KafkaSource::utf8(brokers, &topic).group(&group);
    let mut run = ReaderRun::restored(&source, first_splits(&source));
    run.until(5);
    run.reader.snapshot(CheckpointId(1)).unwrap();
    run.reader.on_checkpoint_complete(CheckpointId(1)).unwrap();
    let watch = Stopwatch::start();
    while committed(brokers, &group, &topic) != Offset::Offset(5) {
        assert!(watch.elapsed() < PATIENCE, "{:?}", committed(brokers, &group, &topic));
        run.poll().unwrap();
    }
}

#[test]
fn a_missing_topic_and_an_unreachable_broker_are_told_apart() {
    let brokers = kafka!();
    let discover = |source: KafkaSource<String>| {
        source.enumerator().unwrap().discover(&BTreeSet::new(), true).unwrap_err()
    };
    let error = discover(KafkaSource::utf8(brokers, "no-such-topic"));
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("no-such-topic") && error.to_string().contains("create"), "{error}");
    let error = discover(KafkaSource::utf8("127.0.0.1:1", "t"));
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

#[test]
fn properties_that_are_ours_are_refused() {
    for key in ["group.id", "auto.offset.reset", "enable.auto.commit"] {
        let source = KafkaSource::utf8("127.0.0.1:1", "t").property(key, "x");
        let error = source.enumerator().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert!(error.to_string().contains(key), "{error}");
    }
}

#[test]
fn a_topic_that_was_created_again_is_not_read_from_where_the_old_one_was() {
    let brokers = kafka!();
    let topic = make_topic(brokers, "again", 1);
    produce(brokers, &topic, 0, numbered("old", 3));
    let source = KafkaSource::utf8(brokers, &topic);
    let mut enumerator = source.enumerator().unwrap();
    let splits = enumerator.discover(&BTreeSet::new(), true).unwrap().splits;
    let known: BTreeSet<_> = splits.iter().map(|split| split.id.clone()).collect();
    let mut run = ReaderRun::restored(&source, splits);
    run.until(3);
    let splits = run.reader.snapshot(CheckpointId(1)).unwrap();
    drop(run);
    // The same topic goes on.
    produce(brokers, &topic, 0, numbered("more", 1));
    ReaderRun::restored(&source, splits.clone()).until(1);

    recreate_topic(brokers, &topic);
    produce(brokers, &topic, 0, numbered("new", 9));
    let error = ReaderRun::restored(&source, splits).until_error();
    assert_eq!(error.kind(), ErrorKind::State);
    assert!(error.to_string().contains("deleted and created again"), "{error}");
    let error = enumerator.discover(&known, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State, "{error}");
}
