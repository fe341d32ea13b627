use std::time::Duration;

use flott_core::{ErrorKind, task::Failure};

use super::kit::*;
use crate::job::{Action, Fact, History, JobSettings, JobStatus};

/// A later JobManager, running in generation 5. Late zombies are worth a sweep for 90 s.
fn resumed() -> Job {
    let generation = flott_core::Generation(4);
    let history = History { generation, unswept: vec![(generation, 2)], ..History::default() };
    let mut job = Job::with(JobSettings::default(), history).started();
    job.raised(5);
    job.fact(Fact::Settled { restored: None, sweep_for: Duration::from_secs(90), transaction_timeout: None });
    job.all_running(ONE);
    job
}

fn sweeps(actions: &[Action<&'static str>]) -> Vec<Action<&'static str>> {
    actions.iter().filter(|action| matches!(action, Action::Sweep { .. })).cloned().collect()
}

/// Time passes, second by second, until `end`. When there were sweeps, each of which is answered at once.
fn sweeps_until(job: &mut Job, end: u64) -> Vec<u64> {
    let mut times = Vec::new();
    while job.now < end {
        if !sweeps(&job.at(job.now + 1000)).is_empty() {
            times.push(job.now);
            job.fact(Fact::Swept);
        }
    }
    times
}

#[test]
fn late_zombies_of_older_generations_are_swept_for_a_while() {
    let mut job = resumed();
    assert_eq!(sweeps_until(&mut job, 29_000), [0; 0]);
    assert_eq!(sweeps(&job.at(30_000)), [sweep(5)]);
    job.fact(Fact::Swept);
    assert_eq!(sweeps_until(&mut job, 200_000), [60_000, 90_000]);
}

#[test]
fn a_slow_sweep_is_not_overtaken_by_the_next() {
    let mut job = resumed();
    job.at(30_000);
    for now in (31_000..70_000).step_by(1000) {
        assert_eq!(sweeps(&job.at(now)), []);
    }
    assert_eq!(job.fact(Fact::Swept), [sweep(5)]);
}

#[test]
fn there_is_nobody_older_than_the_first_generation() {
    let mut job = Job::new().started();
    job.raised(1);
    job.fact(Fact::Settled { restored: None, sweep_for: Duration::from_secs(90), transaction_timeout: None });
    job.all_running(ONE);
    assert_eq!(sweeps_until(&mut job, 100_000), [0; 0]);
}

#[test]
fn settling_waits_for_a_sweep_and_replaces_the_next() {
    let mut job = resumed();
    job.at(30_000);
    assert!(!job.failed(ONE, ErrorKind::User).iter().any(|action| matches!(action, Action::Settle { .. })));
    assert_eq!(job.fact(Fact::Swept), [settle(None, 5)]);
    assert_eq!(sweeps_until(&mut job, 60_000), [0; 0]);
    job.raised(6);
    job.fact(Fact::Settled { restored: None, sweep_for: Duration::from_secs(30), transaction_timeout: None });
    assert_eq!(sweeps_until(&mut job, 200_000), [90_000]);
}

#[test]
fn a_job_that_waits_for_slots_is_swept_too() {
    let mut job = resumed();
    job.lost(A);
    job.lost(B);
    job.raised(6);
    job.fact(Fact::Settled { restored: None, sweep_for: Duration::from_secs(90), transaction_timeout: None });
    assert_eq!(job.master.status(), JobStatus::WaitingForSlots);
    assert_eq!(job.deadline(30_000), [sweep(6)]);
}

#[test]
fn before_a_job_finishes_all_is_swept_once_more() {
    let mut job = resumed();
    job.all_ended(ONE);
    job.acked(ONE, 1);
    job.fact(stored(1));
    assert_eq!(job.committed(ONE, 1), [sweep(6)]);
    assert_eq!(job.master.status(), JobStatus::Finishing);
    assert_eq!(job.lost(A), []);
    assert_eq!(job.fact(Fact::Swept), [finish(JobStatus::Finished)]);
}

#[test]
fn a_job_of_one_attempt_finishes_without_a_sweep() {
    let mut job = Job::running();
    job.all_ended(ONE);
    job.acked(ONE, 1);
    job.fact(stored(1));
    assert_eq!(job.committed(ONE, 1), [finish(JobStatus::Finished)]);
}

#[test]
fn a_last_sweep_waits_for_the_tasks_and_for_the_sweep_before_it() {
    let mut job = resumed();
    job.at(30_000);
    assert_eq!(job.fact(Fact::CancelRequested).last(), Some(&abort(ONE, 1)));
    assert_eq!(job.fact(Fact::Swept), [settle(None, 5)]);
    assert_eq!(job.settled(None), []);
    assert_eq!(job.gone(ONE, A), []);
    assert_eq!(job.gone(ONE, B), [sweep(6)]);
    assert_eq!(job.fact(Fact::Swept), [finish(JobStatus::Cancelled)]);
}

#[test]
fn a_last_sweep_that_takes_too_long_is_not_waited_for() {
    let mut job = resumed();
    job.fact(Fact::CancelRequested);
    job.gone(ONE, A);
    job.gone(ONE, B);
    assert_eq!(job.settled(None), [sweep(6)]);
    assert_eq!(job.at(59_999), []);
    assert_eq!(job.at(60_000), [finish(JobStatus::Cancelled)]);
}

#[test]
fn a_suspended_job_is_left_to_the_next_job_manager() {
    let mut job = resumed();
    job.fact(Fact::StopRequested);
    job.acked(ONE, 1);
    job.fact(stored(1));
    job.committed(ONE, 1);
    job.gone(ONE, A);
    assert_eq!(job.gone(ONE, B), [finish(JobStatus::Suspended)]);
}

#[test]
fn under_names_that_are_not_ours_nothing_is_swept() {
    let history = History { generation: flott_core::Generation(4), ..History::default() };
    let mut job = Job::with(JobSettings::default(), history).started();
    job.raised(5);
    let failure = Failure::new(ErrorKind::Settings, "these are another run's");
    let actions = job.fact(Fact::SettleFailed { failure: failure.clone() });
    assert_eq!(actions, [Action::FinishJob { status: JobStatus::Failed, failure: Some(failure) }]);
}
