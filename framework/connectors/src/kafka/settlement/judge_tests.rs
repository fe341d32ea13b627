use flott_core::{CheckpointId, Generation};

use super::*;
use crate::kafka::{
    client::TransactionPhase,
    settlement::{Evidence, Marker, PartitionRecords},
};

const FENCED: Doubt = Doubt::Answered(KafkaCode::PRODUCER_FENCED);
const NOT_OPEN: Doubt = Doubt::Answered(KafkaCode::INVALID_TXN_STATE);

fn owner(run: &str) -> MarkerOwner {
    MarkerOwner { job: "job".into(), run: run.into() }
}

fn committable() -> Committable {
    let records =
        PartitionRecords { topic: "out".into(), partition: 1, records: 5, offset_first: 10, offset_last: 14 };
    Committable {
        transactional_id: "p.a.g1.0.0".into(),
        producer_id: 7,
        producer_epoch: 3,
        checkpoint_id: CheckpointId(5),
        txn_start_ms: Some(1_000),
        timeout_ms: 15_000,
        cluster_id: None,
        marker_topic: "out".into(),
        records: vec![records],
    }
}

fn at(checkpoint: u64, run: &str) -> MarkerReading {
    let (checkpoint, generation) = (CheckpointId(checkpoint), Generation(1));
    MarkerReading::Found(Marker { owner: owner(run), checkpoint, generation })
}

fn seen(phase: TransactionPhase, epoch: i16, start_ms: i64) -> TransactionDescription {
    TransactionDescription {
        phase,
        producer_id: 7,
        producer_epoch: epoch,
        timeout_ms: 15_000,
        start_ms: Some(start_ms),
        partitions: Default::default(),
    }
}

fn judge(
    committable: &Committable,
    doubt: Doubt,
    marker: &MarkerReading,
    seen: &[TransactionDescription],
    record: Option<RecordFate>,
) -> Judgement {
    judge_all(committable, doubt, marker, seen, record.as_ref().map(std::slice::from_ref))
}

fn judge_all(
    committable: &Committable,
    doubt: Doubt,
    marker: &MarkerReading,
    seen: &[TransactionDescription],
    records: Option<&[RecordFate]>,
) -> Judgement {
    Witnesses { doubt, seen, marker, records }.judge(committable, &owner("r"))
}

#[test]
fn the_marker_decides_first() {
    let ours = committable();
    let timed_out = [seen(TransactionPhase::CompleteAbort, 4, 1_000)];
    for doubt in [FENCED, NOT_OPEN, Doubt::Superseded, Doubt::Answered(KafkaCode(-1))] {
        assert_eq!(judge(&ours, doubt, &at(5, "r"), &[], None), Judgement::Committed);
        assert_eq!(
            judge(&ours, doubt, &at(6, "r"), &[], None),
            Judgement::Committed,
            "the id was used again"
        );
        assert!(matches!(judge(&ours, doubt, &at(4, "r"), &[], None), Judgement::Lost(_)));
    }
    assert_eq!(judge(&ours, FENCED, &at(4, "r"), &[], None), Judgement::Lost(LossCause::Fenced));
    assert_eq!(judge(&ours, FENCED, &at(4, "r"), &timed_out, None), Judgement::Lost(LossCause::TimedOut));
}

#[test]
fn without_a_marker_the_coordinator_decides() {
    let ours = committable();
    let absent = MarkerReading::Absent;
    let judge = |doubt, state: &TransactionDescription| {
        judge(&ours, doubt, &absent, std::slice::from_ref(state), Some(RecordFate::Gone))
    };
    let aborted = TransactionPhase::CompleteAbort;
    assert_eq!(judge(FENCED, &seen(aborted.clone(), 4, 1_000)), Judgement::Lost(LossCause::TimedOut));
    assert_eq!(judge(NOT_OPEN, &seen(aborted.clone(), 3, 1_000)), Judgement::Lost(LossCause::Aborted));
    assert_eq!(judge(FENCED, &seen(aborted, 4, 1_001)), Judgement::Unknown(LossCause::Fenced), "another one");
    let empty = seen(TransactionPhase::Empty, 4, 1_000);
    assert_eq!(judge(FENCED, &empty), Judgement::Unknown(LossCause::Fenced), "fenced says nothing");
}

#[test]
fn without_both_a_record_decides() {
    let ours = committable();
    let judge = |record| judge(&ours, FENCED, &MarkerReading::Absent, &[], record);
    assert_eq!(judge(None), Judgement::NeedsEvidence);
    assert_eq!(judge(Some(RecordFate::Committed)), Judgement::Committed);
    assert_eq!(judge(Some(RecordFate::Aborted)), Judgement::Lost(LossCause::Fenced));
    assert_eq!(judge(Some(RecordFate::Gone)), Judgement::Unknown(LossCause::Fenced));
}

#[test]
fn any_partition_speaks_for_the_whole_transaction() {
    use RecordFate::{Aborted, Committed, Gone, HeldBack};
    let (lost, unknown) = (Judgement::Lost(LossCause::Fenced), Judgement::Unknown(LossCause::Fenced));
    for (fates, expected) in [
        (vec![HeldBack], unknown),
        (vec![HeldBack, Gone], unknown),
        (vec![HeldBack, Committed, Gone], Judgement::Committed),
        (vec![HeldBack, Aborted], lost),
        (vec![Committed, Aborted], unknown),
    ] {
        let unstable = MarkerReading::Unstable(None);
        assert_eq!(judge_all(&committable(), FENCED, &unstable, &[], Some(&fates)), expected, "{fates:?}");
    }
}

#[test]
fn with_no_witness_at_all_it_is_unknown_and_not_lost() {
    let ours = Committable { records: Vec::new(), ..committable() };
    for (code, cause) in [
        (90, LossCause::Fenced),
        (47, LossCause::Fenced),
        (49, LossCause::Forgotten),
        (-1, LossCause::Code(KafkaCode(-1))),
        (999, LossCause::Code(KafkaCode(999))),
    ] {
        let doubt = Doubt::Answered(KafkaCode(code));
        assert_eq!(
            judge(&ours, doubt, &MarkerReading::Absent, &[], None),
            Judgement::Unknown(cause),
            "{code}"
        );
    }
}

#[test]
fn a_marker_of_another_run_does_not_speak_of_this_transaction() {
    let ours = committable();
    for checkpoint in [4, 5, 6] {
        assert_eq!(judge(&ours, FENCED, &at(checkpoint, "before"), &[], None), Judgement::NeedsEvidence);
    }
}

#[test]
fn an_empty_transaction_is_no_loss() {
    let empty = Committable { records: Vec::new(), ..committable() };
    assert_eq!(judge(&empty, NOT_OPEN, &MarkerReading::Absent, &[], None), Judgement::Empty);
    assert_ne!(judge(&committable(), NOT_OPEN, &MarkerReading::Absent, &[], None), Judgement::Empty);
}

#[test]
fn the_first_record_of_each_partition_is_a_witness() {
    let mut ours = committable();
    let part =
        |partition, offset_first| PartitionRecords { partition, offset_first, ..ours.records[0].clone() };
    ours.records = vec![part(1, 10), part(2, -1), part(3, 7)];
    let expected =
        [(1, 10), (3, 7)].map(|(partition, offset)| Evidence { topic: "out".into(), partition, offset });
    assert_eq!(ours.witnesses(), expected);
}

#[test]
fn a_transaction_is_listed_again_while_it_may_be_committed() {
    use TransactionPhase::{CompleteAbort, CompleteCommit, Empty, Ongoing, PrepareAbort, PrepareCommit};
    let ours = committable();
    let is_listed = |phase, start_ms| ours.may_be_committed(&seen(phase, 3, start_ms));
    assert!([Ongoing, PrepareCommit, CompleteCommit].into_iter().all(|phase| is_listed(phase, 1_000)));
    assert!(![Empty, PrepareAbort, CompleteAbort].into_iter().any(|phase| is_listed(phase, 1_000)));
    assert!(!is_listed(Ongoing, 2_000), "a later transaction");
    let other = TransactionDescription { producer_id: 8, ..seen(Ongoing, 3, 1_000) };
    assert!(!ours.may_be_committed(&other));
}
