//! Whole settlements.

use std::time::{Duration, Instant};

use flott_connectors::kafka::{
    client::{KafkaClient, TransactionPhase},
    settlement::{
        AuditReport, Committable, IdScope, LossCause, MarkerOwner, SettlementPolicy, SettlementRequest,
        Sweep, TransactionalIds, audit, settle,
    },
};
use flott_core::{CheckpointId, ErrorKind, Generation, OperatorUid, SubtaskIndex};

use crate::{
    answers::wait_until_aborted,
    bench_brokers::{broker, client, create_topic, own_broker, read_committed, unique},
    transactions::{Slot, committable, write_in_a_killed_process},
};

const MINUTE: Duration = Duration::from_secs(60);
const STRICT: SettlementPolicy = SettlementPolicy { allow_repeated_output: false, accept_lost_output: false };

/// One sink of one test: parallelism 1, generation 1.
struct Sink {
    bootstrap: String,
    client: KafkaClient,
    prefix: String,
    topic: String,
}

impl Sink {
    async fn new(bootstrap: &str) -> Self {
        let topic = unique("out");
        create_topic(bootstrap, &topic).await;
        Self { bootstrap: bootstrap.into(), client: client(bootstrap), prefix: unique("job"), topic }
    }

    fn uid() -> OperatorUid {
        OperatorUid::new("sink").unwrap()
    }

    fn owner() -> MarkerOwner {
        MarkerOwner { job: "job".into(), run: "r".into() }
    }

    fn id(&self, generation: u64, slot: u32) -> String {
        let generation = Generation(generation);
        TransactionalIds::new(&self.prefix, Self::uid(), generation, 1, 64)
            .unwrap()
            .name(SubtaskIndex(0), slot)
    }

    fn slot(&self, slot: u32, timeout: Duration) -> Slot {
        Slot::open(&self.bootstrap, &self.id(1, slot), &self.topic, timeout)
    }

    fn request(&self, restored: u64, committables: &[Committable]) -> SettlementRequest {
        SettlementRequest {
            restored: Some(CheckpointId(restored)),
            committables: committables.to_vec(),
            scopes: vec![IdScope { generation: Generation(1), parallelism: 1, slots_max: 4 }],
            ..self.fresh()
        }
    }

    fn fresh(&self) -> SettlementRequest {
        SettlementRequest::new(&self.prefix, Self::uid(), &self.topic, Self::owner())
    }

    fn sweep(&self, below: u64, run: &str) -> Sweep {
        Sweep {
            prefix: self.prefix.clone(),
            sink_uid: Self::uid(),
            marker_topic: self.topic.clone(),
            owner: MarkerOwner { run: run.into(), ..Self::owner() },
            below: Generation(below),
        }
    }

    fn read(&self) -> Vec<String> {
        read_committed(&self.bootstrap, &self.topic)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_listed_becomes_visible_and_nothing_else() {
    let Some(bootstrap) = broker() else { return };
    let sink = Sink::new(bootstrap).await;
    let killed =
        write_in_a_killed_process(bootstrap, &sink.id(1, 0), &sink.topic, ("a", 3), (&Sink::owner(), 5));
    let killed = committable(&sink.client, &sink.id(1, 0), &sink.topic, 5, &killed).await;
    let done = sink.slot(1, MINUTE);
    done.write("b", 2);
    done.mark(&Sink::owner(), 5);
    let done_committable = done.committable(&sink.client, 5).await;
    done.commit();
    let unlisted = sink.slot(2, MINUTE);
    unlisted.write("c", 2);
    unlisted.mark(&Sink::owner(), 6);

    let request = sink.request(5, &[killed, done_committable]);
    let report = settle(&sink.client, request.clone()).await.unwrap();
    report.verdict(STRICT).unwrap();
    assert_eq!((report.committed.len(), report.already_committed.len(), report.fenced.len()), (2, 0, 3));
    assert_eq!(sink.read(), ["a-0", "a-1", "a-2", "b-0", "b-1"]);
    assert!(!report.to_audit.is_empty());
    let audited = audit(&sink.client, &report.to_audit).await.unwrap();
    assert_eq!(audited, AuditReport::default(), "every partition knows that the transactions are over");

    let again = settle(&sink.client, request).await.unwrap();
    again.verdict(STRICT).unwrap();
    assert_eq!((again.committed.len(), again.already_committed.len()), (0, 2), "by their markers");
    assert_eq!(sink.read().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_is_named_exactly_and_also_the_second_time() {
    let Some(bootstrap) = broker() else { return };
    let sink = Sink::new(bootstrap).await;
    let slot = sink.slot(0, Duration::from_secs(1));
    slot.write("gone", 4);
    slot.mark(&Sink::owner(), 5);
    let listed = slot.committable(&sink.client, 5).await;
    wait_until_aborted(&sink.client, &sink.id(1, 0)).await;

    for cause in [LossCause::TimedOut, LossCause::Fenced] {
        let report = settle(&sink.client, sink.request(5, std::slice::from_ref(&listed))).await.unwrap();
        assert_eq!((report.lost.len(), report.unknown.len(), report.lost_records()), (1, 0, 4));
        assert_eq!(report.lost[0].cause, cause, "the second time its record is the only witness left");
        let error = report.verdict(STRICT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutputLost);
        for part in [format!("{}/0: 4 at offsets 0 to 3", sink.topic), sink.id(1, 0), "checkpoint 5".into()] {
            assert!(error.to_string().contains(&part), "{error}");
        }
        report.verdict(SettlementPolicy { accept_lost_output: true, ..STRICT }).unwrap();
    }
    assert!(sink.read().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_without_a_marker_is_found_committed_by_its_record() {
    let Some(bootstrap) = broker() else { return };
    let sink = Sink::new(bootstrap).await;
    let slot = sink.slot(0, MINUTE);
    slot.write("kept", 2);
    let listed = slot.committable(&sink.client, 5).await;
    slot.commit();
    sink.client.fence(&sink.id(1, 0), MINUTE).await.unwrap();
    let report = settle(&sink.client, sink.request(5, &[listed])).await.unwrap();
    report.verdict(STRICT).unwrap();
    assert_eq!(report.already_committed.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_transaction_of_the_same_producer_is_not_committed() {
    let Some(bootstrap) = broker() else { return };
    let sink = Sink::new(bootstrap).await;
    let slot = sink.slot(0, MINUTE);
    slot.write("first", 2);
    slot.mark(&Sink::owner(), 5);
    let listed = slot.committable(&sink.client, 5).await;
    slot.commit();
    // What quarantine forbids: the same producer at work again while a checkpoint still lists its transaction.
    slot.write("second", 2);
    let report = settle(&sink.client, sink.request(5, &[listed])).await.unwrap();
    report.verdict(STRICT).unwrap();
    assert_eq!(report.already_committed.len(), 1);
    assert_eq!(sink.read(), ["first-0", "first-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn output_of_a_later_checkpoint_is_noticed() {
    let Some(bootstrap) = broker() else { return };
    let sink = Sink::new(bootstrap).await;
    let slot = sink.slot(3, MINUTE);
    slot.write("later", 1);
    slot.mark(&Sink::owner(), 6);
    slot.commit();
    let report = settle(&sink.client, sink.request(5, &[])).await.unwrap();
    assert_eq!(report.verdict(STRICT).unwrap_err().kind(), ErrorKind::State);
    let report = settle(&sink.client, sink.request(6, &[])).await.unwrap();
    report.verdict(STRICT).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_jobs_open_transaction_survives_a_start_on_its_prefix() {
    let Some(bootstrap) = broker() else { return };
    let sink = Sink::new(bootstrap).await;
    let slot = sink.slot(0, MINUTE);
    slot.write("theirs", 1);
    slot.mark(&MarkerOwner { job: "their job".into(), run: "x".into() }, 1);
    slot.commit();
    slot.write("theirs too", 1);
    let report = settle(&sink.client, sink.fresh()).await.unwrap();
    let error = report.verdict(STRICT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.to_string().contains("their job"), "{error}");
    let seen = sink.client.describe_transaction(&sink.id(1, 0)).await.unwrap().unwrap();
    assert_eq!(seen.phase, TransactionPhase::Ongoing);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_zombies_are_swept() {
    let Some(bootstrap) = broker() else { return };
    let sink = Sink::new(bootstrap).await;
    // The settlement knows nothing of it yet, so it cannot fence it.
    let request = sink.request(5, &[]);
    settle(&sink.client, request).await.unwrap().verdict(STRICT).unwrap();
    let zombie = sink.slot(9, MINUTE);
    zombie.write("late", 1);
    let live = Slot::open(bootstrap, &sink.id(2, 0), &sink.topic, MINUTE);
    live.write("live", 1);
    assert!(sink.sweep(2, "another run").run(&sink.client).await.unwrap().is_empty());
    assert_eq!(sink.sweep(2, "r").run(&sink.client).await.unwrap(), [sink.id(1, 9)]);
    assert!(sink.sweep(2, "r").run(&sink.client).await.unwrap().is_empty());
    live.commit();
    assert_eq!(sink.read(), ["live-0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_broker_still_settles() {
    let Some((mut broker, _directory)) = own_broker(|settings| settings) else { return };
    let bootstrap = broker.bootstrap().to_owned();
    let sink = Sink::new(&bootstrap).await;
    let slot = sink.slot(0, MINUTE);
    slot.write("a", 2);
    slot.mark(&Sink::owner(), 5);
    let listed = slot.committable(&sink.client, 5).await;
    drop(slot);
    broker.kill9();
    // The client keeps asking while the broker is away.
    let settling = tokio::spawn({
        let (client, request) = (sink.client.clone(), sink.request(5, &[listed]));
        async move { settle(&client, request).await }
    });
    tokio::task::spawn_blocking(move || broker.restart().map(|()| broker))
        .await
        .unwrap()
        .map(|broker| async move {
            let report = settling.await.unwrap().unwrap();
            report.verdict(STRICT).unwrap();
            assert_eq!(report.committed.len(), 1);
            assert_eq!(sink.read(), ["a-0", "a-1"]);
            drop(broker);
        })
        .unwrap()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "the time is printed, nothing is decided by it")]
async fn dozens_of_transactions_are_settled_together() {
    let Some(bootstrap) = broker() else { return };
    let sink = Sink::new(bootstrap).await;
    let mut listed = Vec::new();
    for number in 0..36 {
        let slot = sink.slot(number, MINUTE);
        slot.write("x", 1);
        listed.push(slot.committable(&sink.client, 5).await);
    }
    let start = Instant::now();
    let report = settle(&sink.client, sink.request(5, &listed)).await.unwrap();
    println!("{} transactions settled in {:?}", listed.len(), start.elapsed());
    report.verdict(STRICT).unwrap();
    assert_eq!((report.committed.len(), sink.read().len()), (36, 36));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_ids_of_one_sink_are_listed() {
    let Some(bootstrap) = broker() else { return };
    let sink = Sink::new(bootstrap).await;
    let stranger = Sink::new(bootstrap).await;
    for of in [&sink, &stranger] {
        of.client.fence(&of.id(1, 0), MINUTE).await.unwrap();
    }
    let stem = TransactionalIds::stem(&sink.prefix, &Sink::uid());
    let listed = sink.client.list_transactions(&stem, &[]).await.unwrap();
    let ids: Vec<_> = listed.iter().map(|listed| listed.transactional_id.as_str()).collect();
    assert_eq!(ids, [sink.id(1, 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_of_the_checkpoints_is_noticed_by_later_generations() {
    let Some(bootstrap) = broker() else { return };
    let sink = Sink::new(bootstrap).await;
    let later = Slot::open(bootstrap, &sink.id(9, 0), &sink.topic, MINUTE);
    later.write("later", 1);
    later.mark(&Sink::owner(), 77);
    later.commit();
    let report = settle(&sink.client, sink.request(5, &[])).await.unwrap();
    assert_eq!(report.repeated.len(), 1);
    assert_eq!(report.verdict(STRICT).unwrap_err().kind(), ErrorKind::State);
}
