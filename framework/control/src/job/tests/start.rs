use std::time::Duration;

use flott_core::{
    CheckpointId, ErrorKind, Generation,
    task::{Failure, TaskAction, TaskFact},
};

use super::kit::*;
use crate::{
    job::{Action, Fact, History, JobSettings, JobStatus},
    testing::task,
};

#[test]
fn generation_then_settle_then_deploy() {
    let mut job = Job::new();
    assert_eq!(job.master.status(), JobStatus::Created);
    assert_eq!(job.start(), [raise(0)]);
    assert_eq!(job.start(), []);
    assert_eq!(job.raised(1), [settle(None, 0)]);
    assert_eq!(job.master.status(), JobStatus::Settling);
    assert_eq!(job.settled(None), [discover()]);
    assert_eq!(job.master.status(), JobStatus::WaitingForSlots);
    assert_eq!(job.registered(A), []);
    assert_eq!(job.registered(B), [deploy(ONE, 1, None, &[A, B])]);
    assert_eq!(job.master.status(), JobStatus::Deploying);
    assert_eq!(job.all_running(ONE), []);
    assert_eq!(job.master.status(), JobStatus::Running);
}

#[test]
fn a_later_job_manager_goes_on_from_what_it_finds() {
    let completed = vec![CheckpointId(6), CheckpointId(7)];
    let history = History {
        completed,
        last_checkpoint_id: CheckpointId(9),
        generation: Generation(4),
        unswept: vec![(Generation(3), 2), (Generation(4), 2)],
        is_repeat: false,
    };
    let mut job = Job::with(JobSettings::default(), history);
    assert_eq!(job.start(), [raise(4)]);
    job.registered(A);
    job.registered(B);
    assert_eq!(job.raised(5), [settle(Some(7), 4)]);
    assert_eq!(job.settled(Some(6)), [discover(), deploy(ONE, 5, Some(6), &[A, B])]);
    job.all_running(ONE);
    assert_eq!(job.at(1000), [trigger(ONE, 10, crate::checkpoint::CheckpointKind::Periodic)]);
}

#[test]
fn a_restored_final_checkpoint_finishes_without_slots() {
    let history = History { completed: vec![CheckpointId(3)], ..History::default() };
    let mut job = Job::with(JobSettings::default(), history);
    job.start();
    assert_eq!(job.raised(1), [settle(Some(3), 0)]);
    let actions = job.fact(settled(Some(restored(3, true))));
    assert_eq!(actions, [Action::FinishJob { status: JobStatus::Finished, failure: None }]);
    assert_eq!(job.registered(A), []);
}

#[test]
fn restored_splits_are_assigned_with_the_deployment() {
    let history = History { completed: vec![CheckpointId(3)], ..History::default() };
    let mut job = Job::with(JobSettings::default(), history).started();
    job.raised(1);
    let mut checkpoint = restored(3, false);
    checkpoint.sources.insert(SOURCE, source(&["a", "b", "read"], &["b", "a"]));
    let tell = |subtask, action| Action::TellTask { attempt: ONE, task: task(SOURCE.0, subtask), action };
    let assign = |subtask, id| tell(subtask, TaskAction::AddSplits(vec![split(id)]));
    let expected = [discover(), deploy(ONE, 1, Some(3), &[A, B]), assign(0, "a"), assign(1, "b")];
    assert_eq!(job.fact(settled(Some(checkpoint))), expected);
    let found = Fact::SplitsDiscovered { vertex: SOURCE, splits: vec![split("read"), split("c")] };
    assert_eq!(job.fact(found), [assign(0, "c")]);
    let no_more = |subtask| tell(subtask, TaskAction::NoMoreSplits);
    assert_eq!(job.fact(Fact::DiscoveryEnded { vertex: SOURCE }), [no_more(0), no_more(1)]);
}

#[test]
fn a_generation_that_cannot_be_raised_is_tried_again() {
    let mut job = Job::new().started();
    let failure = Failure::new(ErrorKind::Transient, "store away");
    let not_raised = Fact::GenerationNotRaised { failure };
    assert_eq!(job.fact(not_raised.clone()), [restart(ErrorKind::Transient, "store away", 0), raise(0)]);
    assert!(matches!(job.fact(not_raised)[..], [Action::ReportRestart { .. }]));
    assert_eq!(job.at(600), [raise(0)]);
}

#[test]
fn a_job_that_never_ran_gives_up() {
    let mut job = Job::new().started();
    job.raised(1);
    let failure = Failure::new(ErrorKind::Unreachable, "no broker");
    let first = job.fact(Fact::SettleFailed { failure: failure.clone() });
    assert_eq!(first, [restart(ErrorKind::Unreachable, "no broker", 0), settle(None, 0)]);
    job.at(60_000);
    let actions = job.fact(Fact::SettleFailed { failure: failure.clone() });
    assert_eq!(actions, [Action::FinishJob { status: JobStatus::Failed, failure: Some(failure) }]);
}

#[test]
fn three_refusals_end_a_job_that_has_never_completed_a_checkpoint() {
    let failure = || Fact::SettleFailed { failure: Failure::new(ErrorKind::Refused, "wrong password") };
    let mut job = Job::new().started();
    job.raised(1);
    for second in 0..2 {
        job.at(second * 1_000);
        let actions = job.fact(failure());
        assert!(matches!(actions[..], [Action::ReportRestart { .. }, ..]), "{actions:?}");
    }
    job.at(2_000);
    let actions = job.fact(failure());
    let [Action::FinishJob { status: JobStatus::Failed, failure: Some(failure) }] = &actions[..] else {
        panic!("{actions:?}")
    };
    let limit = "(refused 3 times within 2 s; the limit is 3 times, without a completed checkpoint)";
    assert_eq!(failure.message, format!("wrong password {limit}"));
}

#[test]
fn a_broker_that_is_killed_while_it_checks_a_login_does_not_end_a_new_job() {
    let actions = Job::running().failed(ONE, ErrorKind::Refused);
    let is_restart = |action: &Action<_>| matches!(action, Action::ReportRestart { .. });
    assert!(actions.iter().any(is_restart), "{actions:?}");
}

#[test]
fn lost_output_ends_the_job() {
    let mut job = Job::new().started();
    job.raised(1);
    let failure = Failure::new(ErrorKind::OutputLost, "12 records");
    let actions = job.fact(Fact::SettleFailed { failure: failure.clone() });
    assert_eq!(actions, [Action::FinishJob { status: JobStatus::Failed, failure: Some(failure) }]);
}

#[test]
fn an_old_registration_is_refused() {
    let mut job = Job::deployed();
    job.lost(B);
    assert!(matches!(job.registered(B)[..], [Action::Disconnect { task_manager: B, .. }]));
}

#[test]
fn a_deployment_that_takes_too_long_fails() {
    let mut job = Job::deployed();
    job.fact(reported(ONE, task(0, 0), TaskFact::Running));
    let message = "not every task was running after 600000 ms";
    let failed = restart(ErrorKind::Transient, message, 600_000);
    let expected = [cancel(ONE, &[A, B]), failed, raise(1), settle(None, 1)];
    for now in (0..600_000).step_by(2000) {
        job.at(now);
    }
    assert_eq!(job.at(600_000), expected);
}

#[test]
fn failed_discovery_restarts_the_job_and_is_asked_for_again() {
    let mut job = Job::running();
    let failure = Failure::new(ErrorKind::Transient, "no metadata");
    let actions = job.fact(Fact::DiscoveryFailed { vertex: SOURCE, failure });
    let message = "split discovery of vertex 0: no metadata";
    let failed = restart(ErrorKind::Transient, message, 0);
    assert_eq!(actions, [cancel(ONE, &[A, B]), failed, raise(1), settle(None, 1)]);
    assert_eq!(job.settled(None), [discover()]);
}

#[test]
fn a_run_that_repeats_another_says_so_to_sinks_and_journal_while_it_has_no_checkpoint() {
    let mut job =
        Job::with(JobSettings::default(), History { is_repeat: true, ..History::default() }).started();
    let asked = job.raised(1);
    assert!(matches!(asked[..], [Action::Settle { is_repeat: true, .. }]), "{asked:?}");
    let transaction_timeout = Some(Duration::from_secs(16));
    job.fact(Fact::Settled { restored: None, sweep_for: Duration::ZERO, transaction_timeout });
    job.all_running(ONE);
    job.at(1000);
    job.acked(ONE, 1);
    job.at(9000);
    let checkpoint = CheckpointId(1);
    assert_eq!(job.fact(stored(1)), [Action::WithdrawCheckpoint { checkpoint, is_repeat: true }]);
}
