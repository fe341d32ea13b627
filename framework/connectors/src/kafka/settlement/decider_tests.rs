use flott_core::{CheckpointId, ErrorKind, Generation, OperatorUid};

use super::*;
use crate::kafka::{
    client::{KafkaCode, ProducerIdentity, TransactionPhase},
    settlement::{IdScope, LossCause, Marker, MarkerOwner, Outcome, PartitionRecords, SettlementPolicy},
};

const ID: &str = "p.a.g1.0.0";

/// Brokers as a script: what they answer, and what they were asked for.
#[derive(Default)]
struct Script {
    cluster: Option<String>,
    listed: Vec<String>,
    descriptions: BTreeMap<String, TransactionDescription>,
    answers: BTreeMap<String, i16>,
    markers: BTreeMap<String, MarkerReading>,
    /// Groups that wait in vain for the end of a transaction, and where.
    unstable: BTreeMap<String, (String, i32)>,
    fate: Option<RecordFate>,
    /// Producers that were named as over when records were asked for.
    ended: EndedProducers,
    log: Vec<String>,
}

impl Script {
    fn knows(mut self, id: &str, phase: TransactionPhase, start_ms: i64) -> Self {
        let description = TransactionDescription {
            phase,
            producer_id: 7,
            producer_epoch: 3,
            timeout_ms: 15_000,
            start_ms: Some(start_ms),
            partitions: BTreeSet::new(),
        };
        self.descriptions.insert(id.into(), description);
        self
    }

    fn answers(mut self, id: &str, code: i16) -> Self {
        self.answers.insert(id.into(), code);
        self
    }

    fn marks(mut self, id: &str, job: &str, run: &str, checkpoint: u64) -> Self {
        let owner = MarkerOwner { job: job.into(), run: run.into() };
        let marker = Marker { owner, checkpoint: CheckpointId(checkpoint), generation: Generation(1) };
        self.markers.insert(id.into(), MarkerReading::Found(marker));
        self
    }

    fn run(&mut self, request: SettlementRequest) -> SettlementReport {
        let mut settlement = Settlement::new(request).unwrap();
        loop {
            let actions = settlement.next_actions();
            if actions.is_empty() {
                return settlement.into_report();
            }
            for action in actions {
                settlement.on_fact(self.perform(action));
            }
        }
    }

    fn perform(&mut self, action: Action) -> Fact {
        let (line, fact) = match action {
            Action::ReadClusterId => ("cluster".into(), Fact::ClusterId(self.cluster.clone())),
            Action::FindLater(ids) => {
                let found = ids.iter().filter(|id| self.listed.contains(id)).cloned().collect();
                (format!("find {} to {}", ids[0], ids[ids.len() - 1]), Fact::FoundLater(found))
            }
            Action::ListTransactions { stem } => {
                let listed = self.listed.iter().filter(|id| id.starts_with(&stem)).cloned().collect();
                (format!("list {stem}"), Fact::Listed(listed))
            }
            Action::Describe(ids) => {
                let found = ids.iter().map(|id| (id.clone(), self.descriptions.get(id).cloned())).collect();
                (format!("describe {}", ids.join(" ")), Fact::Described(found))
            }
            Action::Commit { index, transactional_id: id, producer } => {
                let code = KafkaCode(self.answers.get(&id).copied().unwrap_or(0));
                (format!("commit {id} {producer}"), Fact::Answered { index, code })
            }
            Action::Fence(id) => (format!("fence {id}"), Fact::Fenced(id)),
            Action::ReadMarker { transactional_id, topic, is_stable } => {
                let reading = match self.unstable.get(&transactional_id) {
                    Some(place) if is_stable => MarkerReading::Unstable(Some(place.clone())),
                    _ => self.markers.get(&transactional_id).cloned().unwrap_or(MarkerReading::Absent),
                };
                let sort = if is_stable { "stable" } else { "unstable" };
                (
                    format!("{sort} marker {transactional_id} {topic}"),
                    Fact::Marker { transactional_id, reading },
                )
            }
            Action::WriteMarker { group, topic, marker } => {
                let line = format!("write {group} {topic} for {} at {}", marker.owner.run, marker.checkpoint);
                self.markers.insert(group.clone(), MarkerReading::Found(marker));
                (line, Fact::MarkerWritten(group))
            }
            Action::LookUpRecords { index, records, ended, .. } => {
                let fate = self.fate.expect("no record is asked for");
                self.ended = ended;
                let places = records.iter().map(|of| format!(" {}/{}/{}", of.topic, of.partition, of.offset));
                (format!("records{}", places.collect::<String>()), Fact::Records { index, fates: vec![fate] })
            }
        };
        self.log.push(line);
        fact
    }
}

fn committable(id: &str, checkpoint: u64) -> Committable {
    let records =
        PartitionRecords { topic: "out".into(), partition: 1, records: 5, offset_first: 10, offset_last: 14 };
    Committable {
        transactional_id: id.into(),
        producer_id: 7,
        producer_epoch: 3,
        checkpoint_id: CheckpointId(checkpoint),
        txn_start_ms: Some(1_000),
        timeout_ms: 15_000,
        cluster_id: None,
        marker_topic: "out".into(),
        records: vec![records],
    }
}

fn fresh() -> SettlementRequest {
    let owner = MarkerOwner { job: "job".into(), run: "r".into() };
    SettlementRequest::new("p", OperatorUid::new("a").unwrap(), "out", owner)
}

/// Checkpoint 5 is restored; generation 1 had one subtask with two slots.
fn restored(committables: Vec<Committable>) -> SettlementRequest {
    let scopes = vec![IdScope { generation: Generation(1), parallelism: 1, slots_max: 2 }];
    SettlementRequest { restored: Some(CheckpointId(5)), committables, scopes, ..fresh() }
}

fn ongoing() -> Script {
    Script::default().knows(ID, TransactionPhase::Ongoing, 1_000)
}

/// The id was taken over since.
fn ended() -> Script {
    Script::default().knows(ID, TransactionPhase::Empty, 1_000)
}

const STRICT: SettlementPolicy = SettlementPolicy { allow_repeated_output: false, accept_lost_output: false };

#[test]
fn settle_then_fence_then_read_markers() {
    let mut script = ongoing();
    let report = script.run(restored(vec![committable(ID, 5)]));
    assert_eq!(
        script.log,
        [
            "find p.a.g2.0.0 to p.a.g501.0.0",
            "unstable marker p.a.owner out",
            "write p.a.owner out for r at 0",
            "describe p.a.g1.0.0",
            "commit p.a.g1.0.0 7/3",
            "describe p.a.g1.0.0 p.a.g1.0.1",
            "fence p.a.g1.0.0",
            "unstable marker p.a.g1.0.0 out",
        ],
        "an id that the broker does not know is neither fenced nor read"
    );
    assert_eq!((report.committed.len(), report.fenced.len()), (1, 1));
    report.verdict(STRICT).unwrap();
}

#[test]
fn no_marker_is_believed_before_every_id_is_fenced() {
    let other = "p.a.g1.0.1";
    let mut script = ended().knows(other, TransactionPhase::Empty, 1_000).answers(ID, 90).answers(other, 90);
    script = script.marks(ID, "job", "r", 5).marks(other, "job", "r", 5);
    script.run(restored(vec![committable(ID, 5), committable(other, 5)]));
    let first_marker = script.log.iter().position(|line| line.starts_with("stable marker")).unwrap();
    let last_fence = script.log.iter().rposition(|line| line.starts_with("fence")).unwrap();
    let last_commit = script.log.iter().rposition(|line| line.starts_with("commit")).unwrap();
    let first_fence = script.log.iter().position(|line| line.starts_with("fence")).unwrap();
    assert!(last_commit < first_fence && last_fence < first_marker, "{:?}", script.log);
}

#[test]
fn a_fenced_transaction_is_committed_if_its_marker_says_so() {
    for (code, checkpoint, is_lost) in
        [(90, 5, false), (47, 5, false), (49, 5, false), (-1, 5, false), (90, 4, true), (48, 4, true)]
    {
        let mut script = ended().answers(ID, code).marks(ID, "job", "r", checkpoint);
        let report = script.run(restored(vec![committable(ID, 5)]));
        assert_eq!(
            (report.already_committed.len(), report.lost.len()),
            (!is_lost as usize, is_lost as usize)
        );
        assert_eq!(report.verdict(STRICT).is_err(), is_lost);
    }
}

#[test]
fn an_answer_that_is_no_success_does_not_condemn_a_transaction_that_is_open() {
    for code in [-1, 13, 42, 56, 90, 999] {
        let mut script = ongoing().knows("p.a.g1.0.1", TransactionPhase::Ongoing, 1_000).answers(ID, code);
        let report = script.run(restored(vec![committable(ID, 5)]));
        assert!(!script.log.iter().any(|line| line.starts_with("fence")), "{code}: {:?}", script.log);
        let error = report.verdict(STRICT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
        assert!(error.to_string().contains("checkpoint 5, transaction p.a.g1.0.0: answered with"), "{error}");
        let policy = SettlementPolicy { accept_lost_output: true, allow_repeated_output: true };
        assert!(report.verdict(policy).is_err(), "nobody accepts what is not lost");
        // Settled again, when the broker answers as it should.
        let report = ongoing().run(restored(vec![committable(ID, 5)]));
        assert_eq!((report.committed.len(), report.open.len()), (1, 0));
    }
}

/// A partition of the groups' offsets.
fn offsets() -> (String, i32) {
    ("__consumer_offsets".into(), 36)
}

fn unstable(mut script: Script, id: &str) -> Script {
    script.unstable.insert(id.into(), offsets());
    script
}

#[test]
fn a_group_that_waits_in_vain_does_not_hold_up_what_is_committed() {
    let mut script = ongoing();
    script.descriptions.get_mut(ID).unwrap().partitions = BTreeSet::from([("out".into(), 2), offsets()]);
    let mut script = unstable(script, ID);
    let report = script.run(restored(vec![committable(ID, 5)]));
    report.verdict(STRICT).unwrap();
    let places: Vec<_> = report.to_audit.iter().map(|item| (item.topic.as_str(), item.partition)).collect();
    assert_eq!(places, [("__consumer_offsets", 36), ("out", 1), ("out", 2)]);
    assert!(!script.log.iter().any(|line| line.starts_with("stable")), "{:?}", script.log);
}

#[test]
fn an_unstable_marker_is_no_witness_and_its_partition_is_audited() {
    let mut script = unstable(ended().answers(ID, 90).marks(ID, "job", "r", 4), ID);
    script.fate = Some(RecordFate::Committed);
    let report = script.run(restored(vec![committable(ID, 5)]));
    assert_eq!(script.log.last().unwrap(), "records out/1/10", "{:?}", script.log);
    assert_eq!((report.already_committed.len(), report.lost.len()), (1, 0));
    let places: Vec<_> = report.to_audit.iter().map(|item| (item.topic.as_str(), item.partition)).collect();
    assert_eq!(places, [("__consumer_offsets", 36), ("out", 1)]);
}

#[test]
fn behind_an_unstable_marker_later_output_is_found_all_the_same() {
    let other = "p.a.g1.0.1";
    let mut script =
        ongoing().knows(other, TransactionPhase::CompleteCommit, 900).marks(other, "job", "r", 6);
    script = unstable(script, other);
    let report = script.run(restored(vec![committable(ID, 5)]));
    assert_eq!((report.repeated.len(), report.repeated[0].marker.checkpoint), (1, CheckpointId(6)));
    let item = report.to_audit.iter().find(|item| item.topic == "__consumer_offsets").unwrap();
    assert_eq!((item.transactional_id.as_str(), item.outcome), (other, Outcome::Committed));
}

#[test]
fn the_partitions_of_what_was_committed_and_of_what_was_fenced_are_audited() {
    let other = "p.a.g1.0.1";
    let mut script = ongoing().knows(other, TransactionPhase::Ongoing, 1_000);
    for (id, partition) in [(ID, 2), (other, 3)] {
        script.descriptions.get_mut(id).unwrap().partitions = BTreeSet::from([("out".to_owned(), partition)]);
    }
    let report = script.run(restored(vec![committable(ID, 5)]));
    // Earlier output of both producers is looked for as well.
    let audited = report.to_audit.iter().filter(|item| item.outcome != Outcome::Unknown);
    let audited: Vec<_> =
        audited.map(|item| (&*item.transactional_id, item.partition, item.outcome)).collect();
    assert_eq!(
        audited,
        [(ID, 1, Outcome::Committed), (ID, 2, Outcome::Committed), (other, 3, Outcome::Aborted)]
    );
}

#[test]
fn without_a_marker_the_record_is_looked_up() {
    for (fate, lost, unknown) in [
        (RecordFate::Committed, 0, 0),
        (RecordFate::Aborted, 1, 0),
        (RecordFate::Gone, 0, 1),
        (RecordFate::HeldBack, 0, 1),
    ] {
        let mut script = ended().answers(ID, 90);
        script.fate = Some(fate);
        let report = script.run(restored(vec![committable(ID, 5)]));
        assert_eq!(script.log.last().unwrap(), "records out/1/10");
        assert_eq!((report.lost.len(), report.unknown.len()), (lost, unknown), "{fate:?}");
        assert_eq!(report.verdict(STRICT).is_err(), lost + unknown > 0);
    }
}

#[test]
fn what_the_fence_has_shut_out_is_named_as_over() {
    let other = "p.a.g1.0.1";
    let mut script = ended().answers(ID, 90).knows(other, TransactionPhase::CompleteCommit, 900);
    script.descriptions.get_mut(other).unwrap().producer_id = 8;
    script.descriptions.get_mut(ID).unwrap().producer_epoch = 4;
    script.fate = Some(RecordFate::HeldBack);
    script.run(restored(vec![committable(ID, 5)]));
    let mut expected = EndedProducers::default();
    [(7, 4), (8, 3)].into_iter().for_each(|(id, epoch)| expected.add(ProducerIdentity { id, epoch }));
    assert_eq!(script.ended, expected);
}

#[test]
fn a_later_transaction_of_the_same_producer_is_not_committed() {
    let mut script = Script::default().knows(ID, TransactionPhase::Ongoing, 2_000).marks(ID, "job", "r", 5);
    let report = script.run(restored(vec![committable(ID, 5)]));
    assert!(!script.log.iter().any(|line| line.starts_with("commit")), "{:?}", script.log);
    assert_eq!(report.already_committed.len(), 1);
}

#[test]
fn transactions_of_one_id_are_committed_in_checkpoint_order() {
    let mut script = ongoing();
    let mut second = committable(ID, 5);
    second.producer_epoch = 4;
    script.run(restored(vec![second, committable(ID, 4)]));
    let commits: Vec<_> = script.log.iter().filter(|line| line.starts_with("commit")).collect();
    assert_eq!(commits, ["commit p.a.g1.0.0 7/3", "commit p.a.g1.0.0 7/4"]);
}

#[test]
fn an_empty_transaction_is_no_loss() {
    let mut script = Script::default().knows(ID, TransactionPhase::Empty, 1_000).answers(ID, 48);
    let report = script.run(restored(vec![Committable { records: Vec::new(), ..committable(ID, 5) }]));
    assert_eq!(report.empty.len(), 1);
    report.verdict(STRICT).unwrap();
}

#[test]
fn output_of_a_later_checkpoint_stops_the_job_unless_repeats_are_allowed() {
    let other = "p.a.g1.0.1";
    let mut script =
        ongoing().knows(other, TransactionPhase::CompleteCommit, 900).marks(other, "job", "r", 6);
    let report = script.run(restored(vec![committable(ID, 5)]));
    let error = report.verdict(STRICT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State);
    for part in [
        "checkpoint 5 is restored",
        "p.a.g1.0.1: committed with checkpoint 6",
        "--set allow_repeated_output=true",
    ] {
        assert!(error.to_string().contains(part), "{error}");
    }
    report.verdict(SettlementPolicy { allow_repeated_output: true, ..STRICT }).unwrap();
}

#[test]
fn output_of_attempts_that_the_restored_checkpoint_cannot_know_is_found() {
    let (later, earlier) = ("p.a.g2.0.0", "p.a.g0.0.0");
    let script = || {
        let mut script = ongoing().marks(later, "job", "r", 200).marks(earlier, "job", "r", 6);
        script.listed = vec![later.into(), earlier.into()];
        script
    };
    // An old copy of the checkpoint directory.
    let mut copied = script();
    let report = copied.run(restored(vec![committable(ID, 5)]));
    assert_eq!(report.verdict(STRICT).unwrap_err().kind(), ErrorKind::State);
    assert_eq!(report.repeated.len(), 1, "older attempts are known to be settled");
    assert!(!copied.log.iter().any(|line| line.starts_with("fence")), "{:?}", copied.log);
    // The newest checkpoint is damaged.
    let fallback = SettlementRequest { is_fallback: true, ..restored(vec![committable(ID, 5)]) };
    assert_eq!(script().run(fallback).repeated.len(), 2);
    // A person allows it: when checkpoint 6 comes again, the old marker must not speak for it.
    let policy = SettlementPolicy { allow_repeated_output: true, ..STRICT };
    let mut allowed = script();
    allowed.run(SettlementRequest { policy, ..restored(vec![committable(ID, 5)]) }).verdict(policy).unwrap();
    assert!(allowed.log.contains(&"write p.a.g2.0.0 out for r at 5".into()), "{:?}", allowed.log);
    allowed.log.clear();
    allowed.run(restored(vec![committable(ID, 5)])).verdict(STRICT).unwrap();
}

#[test]
fn markers_of_the_restored_checkpoint_and_of_other_runs_are_no_repeats() {
    let other = "p.a.g1.0.1";
    let mut script = ongoing().knows(other, TransactionPhase::CompleteCommit, 900);
    script = script.marks(ID, "job", "r", 5).marks(other, "job", "an earlier run", 99);
    script.run(restored(vec![committable(ID, 5)])).verdict(STRICT).unwrap();
}

#[test]
fn a_prefix_in_other_hands_stops_the_job() {
    let mut script = ongoing().marks(ID, "other job", "x", 1);
    let error = script.run(restored(vec![committable(ID, 5)])).verdict(STRICT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.to_string().contains("p.a.g1.0.0: job \"other job\""), "{error}");

    let mut script = ongoing();
    script.markers.insert(ID.into(), MarkerReading::Unreadable("offset 3, \"\"".into()));
    let error = script.run(restored(Vec::new())).verdict(STRICT).unwrap_err();
    assert!(error.to_string().contains("no Flott marker"), "{error}");
}

#[test]
fn a_job_that_starts_from_nothing_leaves_another_jobs_transactions_alone() {
    for (job, kind) in [("other job", ErrorKind::Settings), ("job", ErrorKind::State)] {
        let mut script = ongoing().marks(ID, job, "x", 1);
        script.listed = vec![ID.into(), "q.a.g1.0.0".into()];
        let report = script.run(fresh());
        assert_eq!(
            script.log,
            ["list p.a.g", "unstable marker p.a.g1.0.0 out", "unstable marker p.a.owner out"]
        );
        assert_eq!(report.verdict(STRICT).unwrap_err().kind(), kind);
    }
}

#[test]
fn a_job_that_starts_from_nothing_fences_what_was_left_over() {
    let mut script = ongoing();
    script.listed = vec![ID.into(), "q.a.g1.0.0".into()];
    let report = script.run(fresh());
    assert_eq!(report.fenced, [ID]);
    report.verdict(STRICT).unwrap();

    let mut script = ongoing().marks(ID, "job", "x", 1);
    script.listed = vec![ID.into()];
    let policy = SettlementPolicy { allow_repeated_output: true, ..STRICT };
    let report = script.run(SettlementRequest { policy, ..fresh() });
    assert_eq!(report.fenced, [ID]);
    report.verdict(policy).unwrap();
}

#[test]
fn the_ids_of_a_successor_are_left_alone() {
    let (own, newer) = ("p.a.g1.0.0", "p.a.g2.0.0");
    let scopes = vec![IdScope { generation: Generation(1), parallelism: 1, slots_max: 1 }];
    let script = || {
        let mut script = ongoing().knows(newer, TransactionPhase::Ongoing, 1_000);
        script.listed = vec![own.into(), newer.into()];
        script
    };
    // This run's names already: only a JobManager that has taken over can have raised the generation.
    let mut claimed = script().marks("p.a.owner", "job", "r", 0);
    let report = claimed.run(SettlementRequest { scopes: scopes.clone(), ..fresh() });
    assert_eq!(report.fenced, [own]);
    // Nobody's names yet: what is listed is left over from an earlier run.
    let report = script().run(SettlementRequest { scopes, ..fresh() });
    assert_eq!(report.fenced, [own, newer]);
}

#[test]
fn a_job_with_nothing_to_settle_asks_once() {
    let mut script = Script::default();
    script.run(fresh()).verdict(STRICT).unwrap();
    assert_eq!(script.log, ["list p.a.g", "unstable marker p.a.owner out", "write p.a.owner out for r at 0"]);
    script.log.clear();
    script.run(fresh()).verdict(STRICT).unwrap();
    assert_eq!(
        script.log,
        ["list p.a.g", "unstable marker p.a.owner out"],
        "what is its own it need not claim again"
    );
}

#[test]
fn a_run_that_has_committed_nothing_yet_is_left_alone() {
    for request in [fresh(), restored(vec![committable(ID, 5)])] {
        let mut script = ongoing().marks("p.a.owner", "job", "another run", 0);
        script.listed = vec![ID.into()];
        let report = script.run(request);
        assert!(
            script.log.iter().all(|line| {
                ["list p.a.g", "find p.a.g", "unstable marker"].iter().any(|start| line.starts_with(start))
            }),
            "{:?}",
            script.log
        );
        let error = report.verdict(STRICT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        for part in
            ["sink a", "another run of job \"job\", run another run", "--set allow_repeated_output=true"]
        {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
    let mut script = ongoing().marks("p.a.owner", "other job", "x", 0);
    let error = script.run(fresh()).verdict(STRICT).unwrap_err();
    assert!(error.to_string().contains("p.a.owner: job \"other job\""), "{error}");
}

#[test]
fn a_prefix_is_taken_over_when_a_person_says_so() {
    let mut script = ongoing().marks("p.a.owner", "job", "another run", 0);
    script.listed = vec![ID.into()];
    let policy = SettlementPolicy { allow_repeated_output: true, ..STRICT };
    let report = script.run(SettlementRequest { policy, ..fresh() });
    assert!(script.log.contains(&"write p.a.owner out for r at 0".to_owned()), "{:?}", script.log);
    assert_eq!(report.fenced, [ID]);
    report.verdict(policy).unwrap();
    // Later it is its own, also without that permission.
    script.run(fresh()).verdict(STRICT).unwrap();
}

#[test]
fn transactions_of_another_cluster_are_left_alone() {
    let mut script = ongoing();
    script.cluster = Some("new".into());
    let report =
        script.run(restored(vec![Committable { cluster_id: Some("old".into()), ..committable(ID, 5) }]));
    assert_eq!(script.log, ["cluster"]);
    let error = report.verdict(SettlementPolicy { accept_lost_output: true, ..STRICT }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(
        error.to_string().contains("cluster old") && error.to_string().contains("leads to new"),
        "{error}"
    );
}

#[test]
fn a_loss_is_told_in_full_and_can_be_accepted() {
    let mut script = Script::default().knows(ID, TransactionPhase::CompleteAbort, 1_000).answers(ID, 90);
    script.descriptions.get_mut(ID).unwrap().producer_epoch = 4;
    let report = script.run(restored(vec![committable(ID, 5)]));
    assert_eq!((report.lost_records(), report.lost[0].cause), (5, LossCause::TimedOut));
    let error = report.verdict(STRICT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutputLost);
    for part in [
        "sink a: output of checkpoint 5 is lost: 5 records in 1 transactions",
        "checkpoint 5, transaction p.a.g1.0.0 (producer 7/3), 5 records; out/1: 5 at offsets 10 to 14",
        "begun at 1970-01-01T00:00:01Z, aborted by the broker at about 1970-01-01T00:00:16Z, when its timeout of 15s",
        "--set accept_lost_output=true",
    ] {
        assert!(error.to_string().contains(part), "{part} not in {error}");
    }
    report.verdict(SettlementPolicy { accept_lost_output: true, ..STRICT }).unwrap();
}

#[test]
fn what_is_lost_or_unknown_is_audited_and_so_are_earlier_transactions_of_fenced_producers() {
    let other = "p.a.g1.0.1";
    for (fate, outcome) in [
        (RecordFate::Aborted, Outcome::Aborted),
        (RecordFate::Gone, Outcome::Unknown),
        (RecordFate::HeldBack, Outcome::Unknown),
    ] {
        let mut script = ended().answers(ID, 90).knows(other, TransactionPhase::CompleteCommit, 900);
        script.descriptions.get_mut(other).unwrap().producer_id = 8;
        script.fate = Some(fate);
        let report = script.run(restored(vec![committable(ID, 5)]));
        let items: Vec<_> = report
            .to_audit
            .iter()
            .map(|item| {
                (&*item.transactional_id, item.producer.id, item.outcome, &*item.topic, item.partition)
            })
            .collect();
        assert_eq!(items, [(ID, 7, outcome, "out", 1), (other, 8, Outcome::Unknown, "out", 1)], "{fate:?}");
    }
}

#[test]
fn a_contradiction_is_refused() {
    let request = SettlementRequest { restored: None, ..restored(vec![committable(ID, 5)]) };
    assert_eq!(Settlement::new(request).unwrap_err().kind(), ErrorKind::Internal);
    assert!(Settlement::new(SettlementRequest { prefix: String::new(), ..restored(Vec::new()) }).is_err());
}

#[cfg(feature = "ablation")]
#[test]
fn without_settling_the_fence_aborts_what_was_pre_committed() {
    let mut script = ongoing();
    let report = script.run(SettlementRequest { skip_settle: true, ..restored(vec![committable(ID, 5)]) });
    assert!(!script.log.iter().any(|line| line.starts_with("commit")));
    assert_eq!(report.fenced, [ID]);
    report.verdict(STRICT).unwrap();
}

#[cfg(feature = "ablation")]
#[test]
fn without_start_times_a_later_transaction_of_the_producer_is_committed() {
    let is_committed = |skip_start_times| {
        let mut script =
            Script::default().knows(ID, TransactionPhase::Ongoing, 2_000).marks(ID, "job", "r", 5);
        script.run(SettlementRequest { skip_start_times, ..restored(vec![committable(ID, 5)]) });
        script.log.iter().any(|line| line.starts_with("commit"))
    };
    assert!(is_committed(true));
    assert!(!is_committed(false));
}
