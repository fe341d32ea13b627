use std::time::Duration;

use flott_core::{
    AttemptId, CheckpointId, ErrorKind, Generation,
    task::{Failure, TaskFact},
};

use super::kit::*;
use crate::{
    checkpoint::StoreFailure,
    job::{Action, Fact, History, JobMaster, JobSettings, JobStatus, nothing_to_restore},
    restart::RestartSettings,
    testing::{at, task},
};

const LOST_B: &str = "TaskManager 2 was lost: reset";

#[test]
fn a_failed_task_settles_at_once_and_gives_the_next_attempt_a_generation_of_its_own() {
    let mut job = Job::with_checkpoint();
    let failed = restart(ErrorKind::User, "task 0/0: boom", 1000);
    let expected = [cancel(ONE, &[A, B]), failed, raise(1), settle(Some(1), 1)];
    assert_eq!(job.failed(ONE, ErrorKind::User), expected);
    assert_eq!(job.gone(ONE, A), []);
    assert_eq!(job.settled(Some(1)), []);
    assert_eq!(job.gone(ONE, B), [], "also when every task is known to have ended");
    assert_eq!(job.raised(2), [deploy(TWO, 2, Some(1), &[A, B])]);
}

#[test]
fn a_lost_task_manager_raises_the_generation_and_standby_takes_over() {
    let mut job = Job::with_checkpoint();
    job.registered(C);
    let expected =
        [cancel(ONE, &[A]), restart(ErrorKind::Transient, LOST_B, 1000), raise(1), settle(Some(1), 1)];
    assert_eq!(job.lost(B), expected);
    assert_eq!(job.raised(2), []);
    assert_eq!(job.settled(Some(1)), []);
    assert_eq!(job.gone(ONE, A), [deploy(TWO, 2, Some(1), &[A, C])]);
}

#[test]
fn settling_waits_for_neither_task_managers_nor_slots() {
    let mut job = Job::with_checkpoint();
    job.lost(B);
    let actions = job.lost(A);
    assert_eq!(actions, []);
    assert_eq!(job.master.status(), JobStatus::Settling);
    job.settled(Some(1));
    assert_eq!(job.master.status(), JobStatus::WaitingForSlots);
    job.raised(2);
    job.registered(C);
    let four = flott_core::TaskManagerId(4);
    assert_eq!(job.registered(four), [deploy(TWO, 2, Some(1), &[C, four])]);
}

#[test]
fn an_attempt_is_deployed_beside_tasks_that_have_not_reported_their_end() {
    let mut job = Job::with_checkpoint();
    job.registered(C);
    job.registered(flott_core::TaskManagerId(4));
    job.failed(ONE, ErrorKind::User);
    assert_eq!(job.settled(Some(1)), []);
    assert_eq!(job.raised(2), [deploy(TWO, 2, Some(1), &[C, flott_core::TaskManagerId(4)])]);
}

#[test]
fn a_silent_task_manager_is_lost() {
    let mut job = Job::running();
    job.at(1000);
    job.fact(Fact::Heartbeat { task_manager: A });
    job.now = 2500;
    job.fact(Fact::Heartbeat { task_manager: A });
    let actions = job.deadline(4000);
    let reason = "no heartbeat for 3000 ms";
    let expected = [
        Action::Disconnect { task_manager: B, reason: reason.into() },
        cancel(ONE, &[A]),
        abort(ONE, 1),
        restart(ErrorKind::Transient, &format!("TaskManager 2 was lost: {reason}"), 4000),
        raise(1),
        settle(None, 1),
    ];
    assert_eq!(actions, expected);
}

#[test]
fn settling_waits_for_a_manifest_that_is_being_written() {
    let mut job = Job::with_checkpoint();
    job.at(2000);
    job.acked(ONE, 2);
    assert_eq!(job.lost(B), [cancel(ONE, &[A]), restart(ErrorKind::Transient, LOST_B, 2000), raise(1)]);
    assert_eq!(job.fact(stored(2)), [complete(2), settle(Some(2), 1)]);
}

#[test]
fn a_manifest_that_was_not_written_leaves_the_one_before() {
    let mut job = Job::with_checkpoint();
    job.at(2000);
    job.acked(ONE, 2);
    job.lost(B);
    let cause = StoreFailure::Io("full".into());
    let actions = job.fact(Fact::CheckpointStoreFailed { checkpoint: CheckpointId(2), cause });
    let reason = "it was not stored: full".into();
    let aborted = Action::AbortCheckpoint { attempt: ONE, checkpoint: CheckpointId(2), reason };
    assert_eq!(actions, [aborted, settle(Some(1), 1)]);
}

#[test]
fn facts_of_an_attempt_that_is_over_are_ignored() {
    let mut job = Job::with_checkpoint();
    job.failed(ONE, ErrorKind::User);
    assert_eq!(job.failed(ONE, ErrorKind::State), []);
    assert_eq!(job.all_running(ONE), []);
    assert_eq!(job.all_ended(ONE), []);
    assert_eq!(job.committed(ONE, 9), []);
    assert_eq!(job.fact(stored(1)), []);
    assert!(job.acked(ONE, 1).iter().all(|action| matches!(action, Action::RefuseAck { .. })));
}

#[test]
fn the_second_restart_in_a_row_waits() {
    let restart_settings = RestartSettings { jitter: 0.0, ..RestartSettings::default() };
    let settings = JobSettings { restart: restart_settings, ..JobSettings::default() };
    let mut job = Job::with(settings, History::default()).started();
    job.raised(1);
    job.settled(None);
    job.failed(ONE, ErrorKind::User);
    job.gone(ONE, A);
    job.gone(ONE, B);
    job.raised(2);
    assert_eq!(job.settled(None), [deploy(TWO, 2, None, &[A, B])]);
    assert!(job.failed(TWO, ErrorKind::User).contains(&restart(ErrorKind::User, "task 0/0: boom", 500)));
    job.gone(TWO, A);
    job.gone(TWO, B);
    job.raised(3);
    assert_eq!(job.settled(None), []);
    assert_eq!(job.master.status(), JobStatus::Restarting);
    assert_eq!(job.at(499), []);
    assert!(matches!(job.at(500)[..], [Action::Deploy { .. }]));
}

#[test]
fn a_job_that_has_worked_is_restarted_when_it_is_refused() {
    let mut job = Job::with_checkpoint();
    let message = "task 0/0: boom (refused 1 times within 0 s; the limit is 600 s: `refusal_timeout`)";
    let actions = job.failed(ONE, ErrorKind::Refused);
    assert!(actions.contains(&restart(ErrorKind::Refused, message, 1000)), "{actions:?}");
    job.raised(2);
    let failure = Failure::new(ErrorKind::Refused, "wrong password");
    job.at(600_999);
    assert!(matches!(
        job.fact(Fact::SettleFailed { failure: failure.clone() })[..],
        [Action::ReportRestart { .. }]
    ));
    job.at(700_000);
    job.fact(Fact::SettleFailed { failure });
    let status = job.master.status();
    assert!(matches!(status, JobStatus::Failing | JobStatus::Failed), "refused for too long, and {status}");
}

#[test]
fn refusals_before_another_failure_do_not_count() {
    let mut job = Job::with_checkpoint();
    job.failed(ONE, ErrorKind::Refused);
    job.raised(2);
    let failure = |kind, message| Fact::SettleFailed { failure: Failure::new(kind, message) };
    job.at(1_000);
    job.fact(failure(ErrorKind::Transient, "the broker is away"));
    job.at(700_000);
    let actions = job.fact(failure(ErrorKind::Refused, "the broker does not know any user yet"));
    assert!(matches!(actions[..], [Action::ReportRestart { .. }, ..]), "{actions:?}");
}

#[test]
fn refusals_before_a_healthy_time_do_not_count() {
    let mut job = Job::with_checkpoint();
    job.failed(ONE, ErrorKind::Refused);
    job.raised(2);
    job.settled(Some(1));
    job.gone(ONE, A);
    job.gone(ONE, B);
    job.all_running(TWO);
    for now in (1000..700_000).step_by(1000) {
        job.at(now);
    }
    let message = "task 0/0: boom (refused 1 times within 0 s; the limit is 600 s: `refusal_timeout`)";
    assert!(job.failed(TWO, ErrorKind::Refused).contains(&restart(ErrorKind::Refused, message, 699_000)));
}

#[test]
fn a_later_job_manager_also_restarts_a_job_that_is_refused() {
    let history = History { completed: vec![CheckpointId(3)], ..History::default() };
    let mut job = Job::with(JobSettings::default(), history);
    job.start();
    job.raised(1);
    let failure = Failure::new(ErrorKind::Refused, "wrong password");
    assert!(matches!(job.fact(Fact::SettleFailed { failure })[..], [Action::ReportRestart { .. }, ..]));
}

#[test]
fn a_failed_settling_is_repeated() {
    let mut job = Job::with_checkpoint();
    job.failed(ONE, ErrorKind::User);
    job.raised(2);
    let failure = Failure::new(ErrorKind::Unreachable, "no broker");
    assert!(matches!(job.fact(Fact::SettleFailed { failure })[..], [Action::ReportRestart { .. }]));
    assert_eq!(job.at(1449), []);
    assert_eq!(job.at(1551), [settle(Some(1), 1)]);
}

#[test]
fn cancelled_tasks_that_do_not_end_cost_their_task_manager() {
    let mut job = Job::with_checkpoint();
    job.failed(ONE, ErrorKind::User);
    job.gone(ONE, A);
    job.raised(2);
    job.settled(Some(1));
    for now in (1000..31_000).step_by(1000) {
        assert_eq!(job.at(now), []);
    }
    let reason = "cancelled tasks did not end within 30000 ms".into();
    assert_eq!(job.at(31_000), [Action::Disconnect { task_manager: B, reason }]);
    assert_eq!(job.registered(C), [deploy(TWO, 2, Some(1), &[A, C])]);
}

#[test]
fn lacking_slots_end_the_job_in_the_end() {
    let mut job = Job::with_checkpoint();
    job.lost(B);
    job.raised(2);
    job.settled(Some(1));
    job.lost(A);
    assert_eq!(job.master.next_deadline(), Some(at(301_000)));
    assert_eq!(job.at(301_000), [sweep(3)]);
    let actions = job.fact(Fact::Swept);
    let [Action::FinishJob { status: JobStatus::Failed, failure: Some(failure) }] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(failure.kind, ErrorKind::Unreachable);
}

#[test]
fn the_first_start_waits_for_slots_as_long_as_any_other() {
    for (slot_timeout, deadline) in [(None, None), (Some(Duration::from_secs(10)), Some(at(10_000)))] {
        let mut job = Job::with(JobSettings { slot_timeout, ..JobSettings::default() }, History::default());
        job.start();
        job.raised(1);
        job.settled(None);
        assert_eq!(job.master.next_deadline(), deadline);
    }
}

#[test]
fn a_draining_task_manager_moves_its_tasks_without_a_failure() {
    let mut job = Job::with_checkpoint();
    job.registered(C);
    let actions = job.fact(Fact::TaskManagerDraining { task_manager: B });
    assert_eq!(actions, [cancel(ONE, &[A, B]), raise(1), settle(Some(1), 1)]);
    job.gone(ONE, A);
    job.gone(ONE, B);
    job.lost(B);
    job.raised(2);
    assert_eq!(job.settled(Some(1)), [deploy(TWO, 2, Some(1), &[A, C])]);
}

#[test]
fn tasks_that_vanish_are_a_failure() {
    let mut job = Job::running();
    let message = "the tasks of attempt 1 in TaskManager 1 ended early";
    let expected = [cancel(ONE, &[B]), restart(ErrorKind::Transient, message, 0), raise(1), settle(None, 1)];
    assert_eq!(job.gone(ONE, A), expected);
    job.settled(None);
    job.raised(2);
    assert_eq!(job.gone(ONE, B), [deploy(TWO, 2, None, &[A, B])]);
}

#[test]
fn a_corrupt_newest_checkpoint_falls_back() {
    let mut job = Job::with_checkpoint();
    job.at(2000);
    job.acked(ONE, 2);
    job.fact(stored(2));
    job.unreadable.insert(2);
    assert!(job.failed(ONE, ErrorKind::User).contains(&settle_older(1, 1)));
    job.gone(ONE, A);
    job.gone(ONE, B);
    job.raised(2);
    assert_eq!(job.settled(Some(1)), [deploy(TWO, 2, Some(1), &[A, B])]);
    assert_eq!(job.master.latest_checkpoint(), Some(CheckpointId(1)));
    job.all_running(TWO);
    job.at(3000);
    job.acked(TWO, 3);
    let discarded = Action::DiscardCheckpoints { checkpoints: vec![CheckpointId(2)] };
    assert_eq!(job.fact(stored(3)), [notify(TWO, 3), discarded]);
}

#[test]
fn splits_that_an_older_checkpoint_may_lack_are_looked_for() {
    let completed = [6, 7].map(CheckpointId).to_vec();
    let mut job = Job::with(JobSettings::default(), History { completed, ..History::default() }).started();
    let settled_from = |number, is_complete| {
        let mut checkpoint = restored(number, false);
        let mut source = source(&["a"], &["a"]);
        source.enumerator.is_complete = is_complete;
        checkpoint.sources.insert(SOURCE, source);
        settled(Some(checkpoint))
    };
    job.raised(1);
    assert!(!job.fact(settled_from(7, true)).contains(&discover()));
    job.unreadable.insert(7);
    job.failed(ONE, ErrorKind::Transient);
    assert!(job.fact(settled_from(6, false)).contains(&discover()));
}

#[test]
fn a_failure_without_a_task_names_none() {
    let mut job = Job::running();
    let failure = Failure::new(ErrorKind::Transient, "refused");
    let actions = job.fact(Fact::AttemptFailed { attempt: ONE, failure });
    assert!(actions.contains(&restart(ErrorKind::Transient, "refused", 0)));
    let late = reported(ONE, task(0, 0), TaskFact::Running);
    assert_eq!(job.fact(late), []);
}

#[test]
fn giving_up_between_attempts_still_awaits_the_settling() {
    let restart_settings = RestartSettings { attempts_max: Some(1), ..RestartSettings::default() };
    let settings = JobSettings { restart: restart_settings, ..JobSettings::default() };
    let mut job = Job::with(settings, History::default()).started();
    job.raised(1);
    job.settled(None);
    job.lost(A);
    job.gone(ONE, B);
    let failure = Failure::new(ErrorKind::Transient, "store away");
    assert_eq!(job.fact(Fact::GenerationNotRaised { failure: failure.clone() }), []);
    assert_eq!(job.master.status(), JobStatus::Failing);
    let finished = Action::FinishJob { status: JobStatus::Failed, failure: Some(failure) };
    assert_eq!(job.settled(None), [sweep(2)]);
    assert_eq!(job.fact(Fact::Swept), [finished]);
}

#[test]
fn a_job_that_fails_three_times_in_the_same_way_without_a_checkpoint_ends() {
    let mut job = Job::with_checkpoint();
    for (attempt, now) in [(1, 2_000), (2, 6_000), (3, 10_000)].map(|(id, now)| (AttemptId(id), now)) {
        job.failed(attempt, ErrorKind::User);
        if attempt == AttemptId(3) {
            break;
        }
        job.raised(attempt.0 + 1);
        job.settled(Some(1));
        job.gone(attempt, A);
        job.gone(attempt, B);
        job.at(now);
        job.all_running(attempt.next());
    }
    assert_eq!(job.master.status(), JobStatus::Failing);
    job.gone(AttemptId(3), A);
    job.gone(AttemptId(3), B);
    job.settled(Some(1));
    let actions = job.fact(Fact::Swept);
    let ended = |action: &Action<_>| match action {
        Action::FinishJob { status: JobStatus::Failed, failure } => failure.clone(),
        _ => None,
    };
    let failure = actions.iter().find_map(ended).expect("the job has ended");
    assert!(
        failure.message.contains("3 times in the same way") && failure.message.contains("boom"),
        "{failure}"
    );
}

#[test]
fn the_newest_checkpoint_that_can_be_read_is_settled() {
    let ends = [
        (&[][..], vec![7], settle(Some(7), 0)),
        (&[7], vec![7, 6], settle_older(6, 0)),
        (&[5, 7], vec![7, 6], settle_older(6, 0)),
        (&[6, 7], vec![7, 6, 5], settle_older(5, 0)),
        (&[5, 6, 7], vec![7, 6, 5], nothing_can_be_read(&[7, 6, 5])),
    ];
    for (unreadable, reads, end) in ends {
        let completed = [5, 6, 7].map(CheckpointId).to_vec();
        let mut job = Job::with(JobSettings::default(), History { completed, ..History::default() });
        job.unreadable.extend(unreadable);
        job.start();
        assert_eq!(job.raised(1), [end], "{unreadable:?} cannot be read");
        assert_eq!(job.reads, reads.into_iter().map(|number| (number, false)).collect::<Vec<_>>());
    }
}

fn nothing_can_be_read(checkpoints: &[u64]) -> Action<&'static str> {
    let reason = |number| format!("checkpoint {number} cannot be read: its checksum is wrong");
    let reasons: Vec<_> = checkpoints.iter().map(reason).collect();
    Action::FinishJob { status: JobStatus::Failed, failure: Some(nothing_to_restore(&reasons)) }
}

#[test]
fn a_repeated_settlement_begins_with_the_newest_checkpoint_again() {
    let completed = [6, 7].map(CheckpointId).to_vec();
    let mut job = Job::with(JobSettings::default(), History { completed, ..History::default() }).started();
    job.unreadable.insert(7);
    job.raised(1);
    job.unreadable.clear();
    let failure = Failure::new(ErrorKind::Unreachable, "no broker");
    let again = job.fact(Fact::SettleFailed { failure });
    assert!(
        matches!(&again[..], [Action::ReportRestart { .. }, last] if *last == settle(Some(7), 0)),
        "{again:?}"
    );
    assert_eq!(job.reads, [(7, false), (6, false), (7, false)]);
}

#[test]
fn a_checkpoint_that_cannot_be_read_now_is_read_again() {
    let completed = vec![CheckpointId(7)];
    let mut master =
        JobMaster::new(JobSettings::default(), outline(), History { completed, ..History::default() }, 7);
    let read = Action::ReadCheckpoint { checkpoint: CheckpointId(7), is_thorough: false };
    let mut out = Actions::new();
    master.start(at(0), &mut out);
    master.on_fact(at(0), Fact::GenerationRaised { generation: Generation(1) }, &mut out);
    assert_eq!(out.split_off(1), std::slice::from_ref(&read));
    // Nobody has asked for this one.
    master.on_fact(at(0), Fact::CheckpointRead { checkpoint: CheckpointId(6) }, &mut out);
    let failure = Failure::new(ErrorKind::Transient, "the storage is away");
    master.on_fact(at(0), Fact::SettleFailed { failure }, &mut out);
    assert_eq!(out.split_off(1), [restart(ErrorKind::Transient, "the storage is away", 0), read]);
}

#[test]
fn a_job_that_ends_falls_back_as_well() {
    let mut job = Job::with_checkpoint();
    job.at(2000);
    job.acked(ONE, 2);
    job.fact(stored(2));
    job.unreadable.insert(2);
    assert_eq!(job.fact(Fact::CancelRequested), [cancel(ONE, &[A, B]), settle_older(1, 1)]);
    job.settled(Some(1));
    job.gone(ONE, A);
    job.gone(ONE, B);
    assert_eq!(job.fact(Fact::Swept), [finish(JobStatus::Cancelled)]);
}

#[test]
fn a_job_that_ends_without_a_checkpoint_that_can_be_read_fails() {
    let mut job = Job::with_checkpoint();
    job.unreadable.insert(1);
    job.fact(Fact::CancelRequested);
    job.gone(ONE, A);
    assert_eq!(job.gone(ONE, B), [nothing_can_be_read(&[1])]);
}

#[test]
fn a_damaged_snapshot_has_files_read_through_until_a_settlement_succeeds() {
    let mut job = Job::with_checkpoint();
    assert_eq!(job.fact(Fact::SnapshotDamaged), []);
    job.failed(ONE, ErrorKind::Transient);
    let failure = Failure::new(ErrorKind::Unreachable, "no broker");
    job.fact(Fact::SettleFailed { failure });
    job.at(1551);
    job.raised(2);
    job.settled(Some(1));
    job.gone(ONE, A);
    job.gone(ONE, B);
    job.failed(TWO, ErrorKind::Transient);
    assert_eq!(job.reads, [(1, true), (1, true), (1, false)]);
}
