//! What the broker answers: the facts on which settlement rests.

use std::{collections::BTreeSet, time::Duration};

use flott_connectors::kafka::{
    client::{
        EndedProducers, KafkaClient, KafkaCode, ProducerIdentity, RecordFate, TransactionDescription,
        TransactionPhase,
    },
    settlement::{EndAnswer, MarkerOwner, MarkerReading},
};
use flott_core::ErrorKind;

use crate::{
    bench_brokers::{broker, client, create_topic, read_committed, unique},
    transactions::{Slot, write_in_a_killed_process},
};

const MINUTE: Duration = Duration::from_secs(60);

fn owner() -> MarkerOwner {
    MarkerOwner { job: "job".into(), run: "r".into() }
}

async fn describe(client: &KafkaClient, id: &str) -> (TransactionDescription, ProducerIdentity) {
    let seen = client.describe_transaction(id).await.unwrap().unwrap();
    let producer = ProducerIdentity { id: seen.producer_id, epoch: seen.producer_epoch };
    (seen, producer)
}

async fn answer(client: &KafkaClient, id: &str, producer: ProducerIdentity) -> EndAnswer {
    EndAnswer::of(client.end_transaction(id, producer, true).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_producers_transaction_can_be_committed_and_again() {
    let Some(bootstrap) = broker() else { return };
    let (client, id, topic) = (client(bootstrap), unique("s1"), unique("t1"));
    create_topic(bootstrap, &topic).await;
    write_in_a_killed_process(bootstrap, &id, &topic, ("one", 3), (&owner(), 1));
    let (seen, producer) = describe(&client, &id).await;
    assert_eq!((seen.phase, read_committed(bootstrap, &topic).len()), (TransactionPhase::Ongoing, 0));
    assert!(seen.partitions.contains(&(topic.clone(), 0)));

    assert_eq!(answer(&client, &id, producer).await, EndAnswer::Committed);
    assert_eq!(answer(&client, &id, producer).await, EndAnswer::Committed);
    assert_eq!(read_committed(bootstrap, &topic), ["one-0", "one-1", "one-2"]);
    let aborted = client.end_transaction(&id, producer, false).await.unwrap();
    assert_eq!(aborted, KafkaCode::INVALID_TXN_STATE);

    let fenced = client.fence(&id, MINUTE).await.unwrap();
    assert_eq!(fenced, ProducerIdentity { epoch: producer.epoch + 1, ..producer });
    assert_eq!(answer(&client, &id, producer).await, EndAnswer::Fenced);
    let other = ProducerIdentity { id: producer.id + 1_000, ..producer };
    assert_eq!(answer(&client, &id, other).await, EndAnswer::Forgotten);
    let never = unique("never");
    assert_eq!(answer(&client, &never, producer).await, EndAnswer::Forgotten);
    assert_eq!(client.describe_transaction(&never).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_transaction_is_aborted_and_answers_fenced() {
    let Some(bootstrap) = broker() else { return };
    let (client, id, topic) = (client(bootstrap), unique("s2"), unique("t2"));
    create_topic(bootstrap, &topic).await;
    let slot = Slot::open(bootstrap, &id, &topic, MINUTE);
    slot.write("two", 2);
    drop(slot);
    let (seen, producer) = describe(&client, &id).await;
    assert_eq!(seen.phase, TransactionPhase::Ongoing, "a dropped producer aborts nothing");
    client.fence(&id, MINUTE).await.unwrap();
    assert_eq!(answer(&client, &id, producer).await, EndAnswer::Fenced);
    let (seen, _) = describe(&client, &id).await;
    assert_eq!((seen.phase, seen.start_ms), (TransactionPhase::Empty, None), "the witness is gone");
    assert!(read_committed(bootstrap, &topic).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_or_an_empty_transaction_answers_not_open() {
    let Some(bootstrap) = broker() else { return };
    let (client, id, topic) = (client(bootstrap), unique("s3"), unique("t3"));
    create_topic(bootstrap, &topic).await;
    let slot = Slot::open(bootstrap, &id, &topic, MINUTE);
    slot.write("three", 2);
    let (before, producer) = describe(&client, &id).await;
    assert_eq!(client.end_transaction(&id, producer, false).await.unwrap(), KafkaCode::NONE);
    assert_eq!(answer(&client, &id, producer).await, EndAnswer::NotOpen);
    let (after, _) = describe(&client, &id).await;
    assert!(after.phase.is_aborted());
    assert_eq!(after.start_ms, before.start_ms);

    let id = unique("s3-empty");
    let producer = client.fence(&id, MINUTE).await.unwrap();
    assert_eq!(answer(&client, &id, producer).await, EndAnswer::NotOpen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timed_out_transaction_answers_fenced_and_keeps_its_start_time() {
    let Some(bootstrap) = broker() else { return };
    let (client, id, topic) = (client(bootstrap), unique("s4"), unique("t4"));
    create_topic(bootstrap, &topic).await;
    let slot = Slot::open(bootstrap, &id, &topic, Duration::from_secs(1));
    slot.write("four", 2);
    let (before, producer) = describe(&client, &id).await;
    wait_until_aborted(&client, &id).await;
    assert_eq!(answer(&client, &id, producer).await, EndAnswer::Fenced);
    let (after, bumped) = describe(&client, &id).await;
    assert_eq!((bumped.epoch, after.start_ms), (producer.epoch + 1, before.start_ms));
    assert!(read_committed(bootstrap, &topic).is_empty());
}

pub(crate) async fn wait_until_aborted(client: &KafkaClient, id: &str) {
    while describe(client, id).await.0.phase != TransactionPhase::CompleteAbort {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_is_there_exactly_if_its_transaction_is() {
    let Some(bootstrap) = broker() else { return };
    let (client, topic) = (client(bootstrap), unique("t5"));
    create_topic(bootstrap, &topic).await;
    for commits in [true, false] {
        let id = unique("s5");
        let slot = Slot::open(bootstrap, &id, &topic, MINUTE);
        slot.write("five", 1);
        slot.mark(&owner(), 7);
        let hasty = client.with_patience(Duration::from_millis(300));
        let key = BTreeSet::from([(topic.clone(), 0)]);
        let error = hasty.committed_offsets(&id, &key, true).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(error.to_string().contains("UNSTABLE_OFFSET_COMMIT"), "{error}");
        assert!(hasty.committed_offsets(&id, &key, false).await.unwrap().is_empty());

        let (_, producer) = describe(&client, &id).await;
        assert_eq!(client.end_transaction(&id, producer, commits).await.unwrap(), KafkaCode::NONE);
        let found = client.committed_offsets(&id, &key, true).await.unwrap();
        let reading =
            found.into_values().next().map(|found| MarkerReading::of(found.offset, &found.metadata));
        match reading {
            Some(MarkerReading::Found(marker)) => {
                assert!(commits);
                assert_eq!((marker.owner, marker.checkpoint.0), (owner(), 7));
            }
            reading => assert!(!commits && reading.is_none(), "{reading:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_tells_the_fate_of_its_transaction_when_it_is_fenced() {
    let Some(bootstrap) = broker() else { return };
    let (client, topic, ended) = (client(bootstrap), unique("t13"), EndedProducers::default());
    create_topic(bootstrap, &topic).await;
    for (commits, fate) in
        [(true, RecordFate::Committed), (false, RecordFate::Aborted), (true, RecordFate::Committed)]
    {
        let id = unique("s13");
        let slot = Slot::open(bootstrap, &id, &topic, MINUTE);
        slot.write("thirteen", 3);
        let committable = slot.committable(&client, 1).await;
        client.end_transaction(&id, committable.producer(), commits).await.unwrap();
        client.fence(&id, MINUTE).await.unwrap();
        for offset in [committable.records[0].offset_first, committable.records[0].offset_last] {
            let found =
                client.record_fate((&topic, 0), offset, committable.producer_id, &ended).await.unwrap();
            assert_eq!(found, fate, "offset {offset}");
        }
    }
    assert_eq!(client.record_fate((&topic, 0), 10_000, 1, &ended).await.unwrap(), RecordFate::Gone);
    assert_eq!(client.record_fate(("no-such-topic", 0), 0, 1, &ended).await.unwrap(), RecordFate::Gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_offsets_and_broker_settings() {
    let Some(bootstrap) = broker() else { return };
    let (client, id, topic) = (client(bootstrap), unique("m"), unique("tm"));
    create_topic(bootstrap, &topic).await;
    let slot = Slot::open(bootstrap, &id, &topic, MINUTE);
    slot.write("m", 4);
    slot.commit();
    let metadata = client.metadata(Some(&[&topic, "no-such-topic"])).await.unwrap();
    assert_eq!(metadata.topics[&topic].partitions.len(), 2);
    assert_eq!(metadata.topics["no-such-topic"].code, KafkaCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(metadata.brokers[&1].to_string(), bootstrap);
    assert!(metadata.cluster_id.is_some());
    assert!(client.metadata(None).await.unwrap().topics.contains_key(&topic));

    let keys = BTreeSet::from([(topic.clone(), 0), (topic.clone(), 1)]);
    let ends = async || client.end_offsets(&keys).await.unwrap().into_values().collect::<Vec<_>>();
    // A commit is answered when it is decided; its marker comes a little later.
    let reach = async |end| {
        while ends().await != [end, 0] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    reach(5).await;
    slot.write("n", 2);
    assert_eq!(ends().await, [5, 0], "what is open is not there yet");
    slot.commit();
    reach(8).await;
    let missing = client.end_offsets(&BTreeSet::from([(topic, 9)])).await.unwrap_err();
    assert!(missing.to_string().contains("UNKNOWN_TOPIC_OR_PARTITION"), "{missing}");

    assert_eq!(client.transaction_timeout_max().await.unwrap(), Some(15 * MINUTE));
}
