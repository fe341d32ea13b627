use std::time::Duration;

use flott_core::{CheckpointId, ErrorKind, task::TaskFact};

use super::kit::*;
use crate::{
    checkpoint::{AckRefusal, CheckpointKind, Part, StoreFailure},
    job::{Action, Fact, JobStatus},
    splits::EnumeratorSnapshot,
    testing::{at, task},
};

#[test]
fn a_checkpoint_holds_all_parts_and_what_the_enumerators_knew_at_its_trigger() {
    let mut job = Job::running();
    job.fact(Fact::SplitsDiscovered { vertex: SOURCE, splits: vec![split("a")] });
    assert_eq!(job.at(1000), [trigger(ONE, 1, CheckpointKind::Periodic)]);
    job.fact(Fact::SplitsDiscovered { vertex: SOURCE, splits: vec![split("late")] });
    let known = EnumeratorSnapshot { known: ["a".to_owned()].into(), is_complete: false };
    let parts = [task(0, 0), task(0, 1), task(1, 0)].map(|task| Part { task, snapshot: "s" });
    let store = Action::StoreCheckpoint {
        attempt: ONE,
        checkpoint: CheckpointId(1),
        kind: CheckpointKind::Periodic,
        sources: [(SOURCE, known)].into(),
        parts: parts.into(),
        append_before: at(601_000),
    };
    assert_eq!(job.acked(ONE, 1), [store]);
    assert_eq!(job.fact(stored(1)), [notify(ONE, 1)]);
    assert_eq!(job.master.latest_checkpoint(), Some(CheckpointId(1)));
}

#[test]
fn a_strange_acknowledgement_is_refused() {
    let mut job = Job::running();
    let (checkpoint, refusal) = (CheckpointId(8), AckRefusal::NotCollecting);
    let task = task(0, 0);
    let fact = TaskFact::Snapshot { checkpoint, snapshot: "s" };
    assert_eq!(
        job.fact(reported(ONE, task, fact)),
        [Action::RefuseAck { attempt: ONE, checkpoint, task, refusal }]
    );
}

#[test]
fn too_many_failed_checkpoints_restart_the_job() {
    let mut job = Job::running();
    let mut last = Vec::new();
    for number in 1..=4 {
        job.at(number * 1000);
        let (checkpoint, reason) = (CheckpointId(number), "no".into());
        last = job.fact(reported(ONE, task(0, 0), TaskFact::Declined { checkpoint, reason }));
    }
    assert!(matches!(
        last[..],
        [
            Action::AbortCheckpoint { .. },
            Action::CancelTasks { .. },
            Action::ReportRestart { .. },
            Action::RaiseGeneration { .. },
            Action::Settle { .. }
        ]
    ));
}

#[test]
fn a_conflicting_manifest_deposes_this_job_manager() {
    let mut job = Job::running();
    job.at(1000);
    job.acked(ONE, 1);
    let fact = Fact::CheckpointStoreFailed { checkpoint: CheckpointId(1), cause: StoreFailure::Conflict };
    assert_eq!(job.fact(fact), [Action::StepDown]);
    assert_eq!(job.lost(A), []);
    assert_eq!(job.master.next_deadline(), None);
}

#[test]
fn a_checkpoint_that_was_stored_too_late_is_not_restored() {
    let mut job = Job::with_checkpoint();
    let transaction_timeout = Some(Duration::from_secs(16));
    let settled = |number| Fact::Settled {
        restored: Some(restored(number, false)),
        sweep_for: Duration::ZERO,
        transaction_timeout,
    };
    job.failed(ONE, ErrorKind::User);
    job.gone(ONE, A);
    job.gone(ONE, B);
    job.raised(2);
    job.fact(settled(1));
    job.all_running(TWO);
    assert_eq!(job.at(2000), [trigger(TWO, 2, CheckpointKind::Periodic)]);
    job.acked(TWO, 2);
    // The storage stalls, and the attempt fails.
    job.at(9000);
    let actions = job.failed(TWO, ErrorKind::User);
    assert!(!actions.iter().any(|action| matches!(action, Action::Settle { .. })), "{actions:?}");
    assert_eq!(
        job.fact(stored(2)),
        [Action::WithdrawCheckpoint { checkpoint: CheckpointId(2), is_repeat: false }]
    );
    let actions = job.fact(Fact::CheckpointWithdrawn { checkpoint: CheckpointId(2) });
    assert!(matches!(&actions[0], Action::AbortCheckpoint { .. }), "{actions:?}");
    assert_eq!(actions[1..], [settle(Some(1), 2)]);
}

#[test]
fn a_bounded_job_finishes_after_its_last_commit() {
    let mut job = Job::running();
    assert_eq!(job.all_ended(ONE), [trigger(ONE, 1, CheckpointKind::Final)]);
    job.acked(ONE, 1);
    assert_eq!(job.fact(stored(1)), [notify(ONE, 1)]);
    assert_eq!(job.master.status(), JobStatus::Finishing);
    let finished = Action::FinishJob { status: JobStatus::Finished, failure: None };
    assert_eq!(job.committed(ONE, 1), [finished]);
    assert_eq!(job.master.status(), JobStatus::Finished);
}

#[test]
fn tasks_may_end_before_the_last_one_runs() {
    let mut job = Job::deployed();
    assert_eq!(job.all_ended(ONE), []);
    assert_eq!(job.all_running(ONE), [trigger(ONE, 1, CheckpointKind::Final)]);
}

#[test]
fn a_failure_after_the_final_checkpoint_settles_and_finishes() {
    let mut job = Job::running();
    job.all_ended(ONE);
    job.acked(ONE, 1);
    job.fact(stored(1));
    assert!(job.failed(ONE, ErrorKind::Transient).contains(&settle(Some(1), 1)));
    assert_eq!(job.fact(settled(Some(restored(1, true)))), []);
    job.gone(ONE, A);
    assert_eq!(job.gone(ONE, B), [finish(JobStatus::Finished)]);
}

#[test]
fn a_failure_while_the_final_manifest_is_written_does_the_same() {
    let mut job = Job::running();
    job.all_ended(ONE);
    job.acked(ONE, 1);
    let actions = job.lost(A);
    assert!(!actions.iter().any(|action| matches!(action, Action::Settle { .. })));
    assert_eq!(job.fact(stored(1)), [complete(1), settle(Some(1), 1)]);
    assert_eq!(job.fact(settled(Some(restored(1, true)))), []);
    assert_eq!(job.gone(ONE, B), [finish(JobStatus::Finished)]);
}
