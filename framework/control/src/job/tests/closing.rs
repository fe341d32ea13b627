use flott_core::{
    CheckpointId, ErrorKind,
    task::{Failure, TaskFact},
};

use super::kit::*;
use crate::{
    checkpoint::CheckpointKind,
    job::{Action, Fact, JobStatus, ShutdownStep},
    testing::task,
};

#[test]
fn a_stop_takes_a_last_checkpoint_commits_it_and_suspends() {
    let mut job = Job::running();
    assert_eq!(job.fact(Fact::StopRequested), [trigger(ONE, 1, CheckpointKind::Stop)]);
    assert_eq!(job.fact(Fact::StopRequested), []);
    assert_eq!(job.master.status(), JobStatus::Stopping);
    job.acked(ONE, 1);
    assert_eq!(job.fact(stored(1)), [notify(ONE, 1)]);
    assert_eq!(job.committed(ONE, 1), [cancel(ONE, &[A, B])]);
    assert_eq!(job.gone(ONE, A), []);
    assert_eq!(job.gone(ONE, B), [finish(JobStatus::Suspended)]);
}

#[test]
fn a_stop_checkpoint_that_fails_is_taken_again_and_no_other() {
    let mut job = Job::running();
    job.fact(Fact::StopRequested);
    let declined = |number| {
        let (checkpoint, reason) = (CheckpointId(number), "no".into());
        reported(ONE, task(0, 0), TaskFact::Declined { checkpoint, reason })
    };
    for number in 1..=3 {
        job.fact(declined(number));
        assert_eq!(job.at(number * 1000), [trigger(ONE, number + 1, CheckpointKind::Stop)]);
    }
    // The sources have stopped: the attempt ends with the job suspended, whatever happens.
    assert!(job.fact(declined(4)).ends_with(&[cancel(ONE, &[A, B]), settle(None, 1)]));
    assert_eq!(job.master.status(), JobStatus::Stopping);
}

#[test]
fn a_stop_that_takes_too_long_settles_and_suspends() {
    let mut job = Job::with_checkpoint();
    job.fact(Fact::StopRequested);
    for now in (2000..21_000).step_by(1000) {
        assert_eq!(job.at(now), []);
    }
    assert_eq!(job.at(21_000), [cancel(ONE, &[A, B]), abort(ONE, 2), settle(Some(1), 1)]);
    job.gone(ONE, A);
    job.gone(ONE, B);
    assert_eq!(job.settled(Some(1)), [finish(JobStatus::Suspended)]);
}

#[test]
fn a_failure_while_stopping_settles_and_suspends() {
    let mut job = Job::with_checkpoint();
    job.fact(Fact::StopRequested);
    let expected = [cancel(ONE, &[A, B]), abort(ONE, 2), settle(Some(1), 1)];
    assert_eq!(job.failed(ONE, ErrorKind::User), expected);
    assert_eq!(job.master.status(), JobStatus::Stopping);
}

#[test]
fn a_stop_of_a_job_that_has_not_begun_is_immediate() {
    let mut job = Job::new();
    assert_eq!(job.fact(Fact::StopRequested), [finish(JobStatus::Suspended)]);
}

#[test]
fn a_stop_while_settling_waits_for_the_outcome() {
    let mut job = Job::with_checkpoint();
    job.failed(ONE, ErrorKind::User);
    job.gone(ONE, A);
    job.gone(ONE, B);
    assert_eq!(job.fact(Fact::StopRequested), []);
    assert_eq!(job.settled(Some(1)), [finish(JobStatus::Suspended)]);
}

#[test]
fn a_cancelled_job_is_settled_once() {
    let mut job = Job::with_checkpoint();
    assert_eq!(job.fact(Fact::CancelRequested), [cancel(ONE, &[A, B]), settle(Some(1), 1)]);
    assert_eq!(job.master.status(), JobStatus::Cancelling);
    assert_eq!(job.settled(Some(1)), []);
    job.gone(ONE, A);
    assert_eq!(job.gone(ONE, B), [sweep(2)]);
    assert_eq!(job.fact(Fact::Swept), [finish(JobStatus::Cancelled)]);
}

#[test]
fn a_cancelled_job_that_waits_for_slots_is_not_settled_again() {
    let mut job = Job::new();
    job.start();
    job.raised(1);
    job.settled(None);
    assert_eq!(job.fact(Fact::CancelRequested), [finish(JobStatus::Cancelled)]);
}

#[test]
fn cancelling_a_stop_ends_it_now() {
    let mut job = Job::running();
    job.fact(Fact::StopRequested);
    assert_eq!(job.fact(Fact::CancelRequested), [cancel(ONE, &[A, B]), abort(ONE, 1), settle(None, 1)]);
}

#[test]
fn a_failure_that_no_restart_heals_ends_the_job() {
    let mut job = Job::with_checkpoint();
    assert_eq!(job.failed(ONE, ErrorKind::State), [cancel(ONE, &[A, B]), settle(Some(1), 1)]);
    assert_eq!(job.master.status(), JobStatus::Failing);
    job.gone(ONE, A);
    job.gone(ONE, B);
    let failure = Some(Failure::new(ErrorKind::State, "task 0/0: boom"));
    assert_eq!(job.settled(Some(1)), [sweep(2)]);
    assert_eq!(job.fact(Fact::Swept), [Action::FinishJob { status: JobStatus::Failed, failure }]);
}

#[test]
fn lost_output_found_while_closing_is_told() {
    let mut job = Job::with_checkpoint();
    job.fact(Fact::CancelRequested);
    job.lost(A);
    job.lost(B);
    let failure = Failure::new(ErrorKind::OutputLost, "12 records");
    let actions = job.fact(Fact::SettleFailed { failure: failure.clone() });
    assert_eq!(actions, [Action::FinishJob { status: JobStatus::Failed, failure: Some(failure) }]);
}

#[test]
fn closing_repeats_the_settling_and_ends_in_the_end() {
    let mut job = Job::with_checkpoint();
    job.fact(Fact::CancelRequested);
    let away = Fact::SettleFailed { failure: Failure::new(ErrorKind::Unreachable, "no broker") };
    assert_eq!(job.fact(away.clone()), []);
    assert_eq!(job.at(1500), [settle(Some(1), 1)]);
    job.fact(away);
    job.lost(A);
    job.lost(B);
    job.at(2000);
    let actions = job.at(61_000);
    let [Action::FinishJob { status: JobStatus::Cancelled, failure: Some(failure) }] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(failure.kind, ErrorKind::Unreachable);
}

#[test]
fn a_deposed_job_manager_steps_down() {
    let mut job = Job::running();
    assert_eq!(job.fact(Fact::Deposed), [Action::StepDown]);
    assert_eq!(job.fact(Fact::CancelRequested), []);
}

#[test]
fn requests_to_end_the_process_escalate() {
    let report = |step| Action::ReportShutdown { step };
    let mut job = Job::with_checkpoint();
    let stop = trigger(ONE, 2, CheckpointKind::Stop);
    assert_eq!(job.fact(Fact::ShutdownRequested), [report(ShutdownStep::Stop), stop]);
    let cancelled = [cancel(ONE, &[A, B]), abort(ONE, 2), settle(Some(1), 1)];
    let asked_twice = job.fact(Fact::ShutdownRequested);
    assert_eq!(asked_twice[0], report(ShutdownStep::Cancel));
    assert_eq!(asked_twice[1..], cancelled);
    let abandoned = [report(ShutdownStep::Abandon), finish(JobStatus::Suspended)];
    assert_eq!(job.fact(Fact::ShutdownRequested), abandoned);
    assert_eq!(job.fact(Fact::ShutdownRequested), []);
}

#[test]
fn a_process_that_is_asked_twice_to_end_leaves_its_job_to_a_later_one() {
    let mut job = Job::with_checkpoint();
    job.fact(Fact::ShutdownRequested);
    job.fact(Fact::ShutdownRequested);
    assert_eq!(job.master.status(), JobStatus::Cancelling);
    job.settled(Some(1));
    job.gone(ONE, A);
    assert_eq!(job.gone(ONE, B), [sweep(2)]);
    assert_eq!(job.fact(Fact::Swept), [finish(JobStatus::Suspended)]);
}
