use std::{collections::BTreeSet, time::Duration};

use flott_core::{AttemptId, CheckpointId};

use super::*;
use crate::testing::{Xorshift, at, task};

type Actions = Vec<CheckpointAction<&'static str>>;

const ATTEMPT: AttemptId = AttemptId(4);

fn id(number: u64) -> CheckpointId {
    CheckpointId(number)
}

fn settings() -> CheckpointSettings {
    CheckpointSettings { tolerable_failures: 1, ..CheckpointSettings::default() }
}

/// Two tasks, checkpoint 10 completed before, running since 0.
fn running_with(settings: CheckpointSettings) -> CheckpointCoordinator<&'static str> {
    let mut coordinator =
        CheckpointCoordinator::new(settings, [task(0, 0), task(1, 0)].into(), [id(10)], id(0));
    coordinator.on_attempt_running(at(0), ATTEMPT);
    coordinator
}

fn running() -> CheckpointCoordinator<&'static str> {
    running_with(settings())
}

fn acts(run: impl FnOnce(&mut Actions)) -> Actions {
    let mut out = Vec::new();
    run(&mut out);
    out
}

fn trigger(number: u64, kind: CheckpointKind) -> CheckpointAction<&'static str> {
    CheckpointAction::Trigger { attempt: ATTEMPT, checkpoint: id(number), kind }
}

fn store(number: u64, kind: CheckpointKind) -> CheckpointAction<&'static str> {
    let part = |vertex, snapshot| Part { task: task(vertex, 0), snapshot };
    let parts = vec![part(0, "source"), part(1, "sink")];
    CheckpointAction::Store { attempt: ATTEMPT, checkpoint: id(number), kind, parts }
}

fn complete(number: u64, kind: CheckpointKind) -> CheckpointAction<&'static str> {
    CheckpointAction::Complete { attempt: Some(ATTEMPT), checkpoint: id(number), kind }
}

fn abort(number: u64, reason: &str) -> CheckpointAction<&'static str> {
    CheckpointAction::Abort { attempt: ATTEMPT, checkpoint: id(number), reason: reason.into() }
}

fn discard(numbers: &[u64]) -> CheckpointAction<&'static str> {
    CheckpointAction::Discard { checkpoints: numbers.iter().copied().map(CheckpointId).collect() }
}

fn ack_all(coordinator: &mut CheckpointCoordinator<&'static str>, number: u64) -> Actions {
    acts(|out| {
        coordinator.on_ack(ATTEMPT, id(number), task(1, 0), "sink", out).unwrap();
        coordinator.on_ack(ATTEMPT, id(number), task(0, 0), "source", out).unwrap();
    })
}

#[test]
fn a_checkpoint_is_triggered_acknowledged_stored_and_completed() {
    use CheckpointKind::Periodic;
    let mut coordinator = running();
    assert_eq!(coordinator.next_deadline(), Some(at(1000)));
    assert_eq!(acts(|out| coordinator.on_deadline(at(999), out)), []);
    assert_eq!(acts(|out| coordinator.on_deadline(at(1000), out)), [trigger(11, Periodic)]);
    assert_eq!(coordinator.next_deadline(), Some(at(601_000)));
    assert_eq!(ack_all(&mut coordinator, 11), [store(11, Periodic)]);
    assert!(coordinator.is_storing());
    assert_eq!(coordinator.next_deadline(), None);
    assert_eq!(acts(|out| coordinator.on_stored(at(1500), id(11), out)), [complete(11, Periodic)]);
    assert_eq!(coordinator.latest(), Some(id(11)));
    assert_eq!(coordinator.next_deadline(), Some(at(2000)));
}

#[test]
fn a_slow_checkpoint_is_followed_at_once() {
    use CheckpointKind::Periodic;
    let mut coordinator = running();
    acts(|out| coordinator.on_deadline(at(1000), out));
    ack_all(&mut coordinator, 11);
    let actions = acts(|out| coordinator.on_stored(at(5000), id(11), out));
    assert_eq!(actions, [complete(11, Periodic), trigger(12, Periodic)]);
}

#[test]
fn the_pause_after_a_slow_checkpoint_is_kept() {
    let min_pause = Duration::from_millis(300);
    let mut coordinator = running_with(CheckpointSettings { min_pause, ..settings() });
    acts(|out| coordinator.on_deadline(at(1000), out));
    ack_all(&mut coordinator, 11);
    let actions = acts(|out| coordinator.on_stored(at(5000), id(11), out));
    assert_eq!(actions, [complete(11, CheckpointKind::Periodic)]);
    assert_eq!(coordinator.next_deadline(), Some(at(5300)));
}

#[test]
fn the_oldest_checkpoint_is_discarded() {
    let mut coordinator = running();
    acts(|out| coordinator.on_deadline(at(1000), out));
    ack_all(&mut coordinator, 11);
    acts(|out| coordinator.on_stored(at(1001), id(11), out));
    acts(|out| coordinator.on_deadline(at(2000), out));
    ack_all(&mut coordinator, 12);
    let actions = acts(|out| coordinator.on_stored(at(2001), id(12), out));
    assert_eq!(actions, [complete(12, CheckpointKind::Periodic), discard(&[10])]);
}

#[test]
fn strange_acknowledgements_are_refused_with_a_reason() {
    let mut coordinator = running();
    let mut out = Vec::new();
    acts(|out| coordinator.on_deadline(at(1000), out));
    let mut ack = |attempt, number, task| coordinator.on_ack(attempt, id(number), task, "x", &mut out);
    assert_eq!(ack(AttemptId(3), 11, task(0, 0)), Err(AckRefusal::ForeignAttempt));
    assert_eq!(ack(ATTEMPT, 12, task(0, 0)), Err(AckRefusal::NotCollecting));
    assert_eq!(ack(ATTEMPT, 11, task(0, 7)), Err(AckRefusal::UnknownTask));
    assert_eq!(ack(ATTEMPT, 11, task(0, 0)), Ok(()));
    assert_eq!(ack(ATTEMPT, 11, task(0, 0)), Err(AckRefusal::Duplicate));
    assert_eq!(ack(ATTEMPT, 11, task(1, 0)), Ok(()));
    // What is being stored, or is kept, was acknowledged by all: its files stay.
    assert_eq!(ack(ATTEMPT, 11, task(1, 0)), Err(AckRefusal::Duplicate));
    for attempt in [ATTEMPT, AttemptId(3)] {
        assert_eq!(ack(attempt, 10, task(0, 0)), Err(AckRefusal::Duplicate));
    }
}

#[test]
fn only_what_can_never_be_completed_is_dead() {
    let dead = [AckRefusal::ForeignAttempt, AckRefusal::NotCollecting];
    assert!(dead.into_iter().all(AckRefusal::is_checkpoint_dead));
    let alive = [AckRefusal::Duplicate, AckRefusal::UnknownTask];
    assert!(!alive.into_iter().any(AckRefusal::is_checkpoint_dead));
}

#[test]
fn a_declined_checkpoint_fails_and_the_next_comes_in_time() {
    let mut coordinator = running();
    acts(|out| coordinator.on_deadline(at(1000), out));
    let actions =
        acts(|out| coordinator.on_decline(at(1100), ATTEMPT, id(11), task(1, 0), "full", out).unwrap());
    assert_eq!(actions, [abort(11, "task 1/0 declined it: full")]);
    assert_eq!(acts(|out| coordinator.on_deadline(at(2000), out)), [trigger(12, CheckpointKind::Periodic)]);
}

#[test]
fn one_failure_more_than_tolerated_fails_the_attempt() {
    let mut coordinator = running();
    acts(|out| coordinator.on_deadline(at(1000), out));
    acts(|out| coordinator.on_decline(at(1100), ATTEMPT, id(11), task(1, 0), "full", out).unwrap());
    acts(|out| coordinator.on_deadline(at(2000), out));
    ack_all(&mut coordinator, 12);
    let cause = StoreFailure::Io("disk full".into());
    let actions = acts(|out| coordinator.on_store_failed(at(2100), id(12), cause, out));
    let message = "2 checkpoints failed in a row, 1 are tolerated; \
                   checkpoint 12: its manifest was not stored: disk full";
    let expected = [
        abort(12, "its manifest was not stored: disk full"),
        CheckpointAction::FailAttempt { message: message.into() },
    ];
    assert_eq!(actions, expected);
}

#[test]
fn nothing_is_triggered_when_a_timeout_fails_the_attempt() {
    let settings = CheckpointSettings { tolerable_failures: 0, ..settings() };
    let timeout_ms = settings.timeout.as_millis();
    let mut coordinator = running_with(settings);
    assert_eq!(acts(|out| coordinator.on_deadline(at(1000), out)), [trigger(11, CheckpointKind::Periodic)]);
    let late = 1000 + u64::try_from(timeout_ms).unwrap();
    let actions = acts(|out| coordinator.on_deadline(at(late), out));
    assert!(
        matches!(actions[..], [CheckpointAction::Abort { .. }, CheckpointAction::FailAttempt { .. }]),
        "{actions:?}"
    );
    assert_eq!(coordinator.next_deadline(), None);
}

#[test]
fn a_completed_checkpoint_forgives_earlier_failures() {
    let mut coordinator = running();
    for round in 0..3 {
        let (number, now) = (11 + 2 * round, 1000 + 2000 * round);
        acts(|out| coordinator.on_deadline(at(now), out));
        let actions =
            acts(|out| coordinator.on_decline(at(now), ATTEMPT, id(number), task(0, 0), "no", out).unwrap());
        assert_eq!(actions, [abort(number, "task 0/0 declined it: no")]);
        acts(|out| coordinator.on_deadline(at(now + 1000), out));
        ack_all(&mut coordinator, number + 1);
        acts(|out| coordinator.on_stored(at(now + 1001), id(number + 1), out));
    }
}

#[test]
fn a_checkpoint_times_out() {
    let mut coordinator = running();
    acts(|out| coordinator.on_deadline(at(1000), out));
    let actions = acts(|out| coordinator.on_deadline(at(601_000), out));
    let expected = [abort(11, "it did not complete within 600000 ms"), trigger(12, CheckpointKind::Periodic)];
    assert_eq!(actions, expected);
}

#[test]
fn a_checkpoint_ends_before_the_transactions_it_lists() {
    let mut coordinator = running();
    coordinator.limit_timeout(Some(Duration::from_secs(15)));
    acts(|out| coordinator.on_deadline(at(1000), out));
    assert_eq!(acts(|out| coordinator.on_deadline(at(7999), out)), []);
    let actions = acts(|out| coordinator.on_deadline(at(8000), out));
    let why = "it did not complete within 7000 ms, for which the transactions of a sink leave time";
    assert_eq!(actions, [abort(11, why), trigger(12, CheckpointKind::Periodic)]);
}

#[test]
fn a_conflict_deposes() {
    let mut coordinator = running();
    acts(|out| coordinator.on_deadline(at(1000), out));
    ack_all(&mut coordinator, 11);
    let actions = acts(|out| coordinator.on_store_failed(at(1100), id(11), StoreFailure::Conflict, out));
    assert_eq!(actions, [CheckpointAction::StepDown]);
}

#[test]
fn the_end_of_an_attempt_aborts_what_collects_and_keeps_what_is_stored() {
    let mut coordinator = running_with(CheckpointSettings { in_flight_max: 2, ..settings() });
    acts(|out| coordinator.on_deadline(at(1000), out));
    acts(|out| coordinator.on_deadline(at(2000), out));
    ack_all(&mut coordinator, 11);
    assert_eq!(acts(|out| coordinator.on_attempt_over(out)), [abort(12, "the attempt is over")]);
    assert!(coordinator.is_storing());
    let actions = acts(|out| coordinator.on_stored(at(2100), id(11), out));
    let kind = CheckpointKind::Periodic;
    assert_eq!(actions, [CheckpointAction::Complete { attempt: None, checkpoint: id(11), kind }]);
    assert_eq!(coordinator.latest(), Some(id(11)));
    coordinator.on_attempt_running(at(3000), AttemptId(5));
    let late = coordinator.on_ack(ATTEMPT, id(12), task(0, 0), "x", &mut Vec::new());
    assert_eq!(late, Err(AckRefusal::ForeignAttempt));
}

#[test]
fn a_newer_checkpoint_subsumes_an_older_one() {
    let mut coordinator = running_with(CheckpointSettings { in_flight_max: 2, ..settings() });
    acts(|out| coordinator.on_deadline(at(1000), out));
    acts(|out| coordinator.on_deadline(at(2000), out));
    ack_all(&mut coordinator, 12);
    let actions = acts(|out| coordinator.on_stored(at(2100), id(12), out));
    let expected = [abort(11, "a newer checkpoint completed first"), complete(12, CheckpointKind::Periodic)];
    assert_eq!(actions, expected);
}

#[test]
fn a_manifest_stored_after_a_newer_one_is_discarded() {
    let mut coordinator = running_with(CheckpointSettings { in_flight_max: 2, ..settings() });
    acts(|out| coordinator.on_deadline(at(1000), out));
    acts(|out| coordinator.on_deadline(at(2000), out));
    ack_all(&mut coordinator, 11);
    ack_all(&mut coordinator, 12);
    acts(|out| coordinator.on_stored(at(2100), id(12), out));
    assert_eq!(acts(|out| coordinator.on_stored(at(2200), id(11), out)), [discard(&[11])]);
    assert_eq!(coordinator.latest(), Some(id(12)));
}

#[test]
fn the_final_checkpoint_comes_at_once_and_nothing_follows_it() {
    use CheckpointKind::Final;
    let mut coordinator = running();
    assert_eq!(acts(|out| coordinator.on_task_ended(at(100), task(0, 0), out)), []);
    assert_eq!(acts(|out| coordinator.on_task_ended(at(100), task(0, 0), out)), []);
    assert_eq!(acts(|out| coordinator.on_task_ended(at(100), task(9, 9), out)), []);
    assert_eq!(acts(|out| coordinator.on_task_ended(at(150), task(1, 0), out)), [trigger(11, Final)]);
    assert_eq!(ack_all(&mut coordinator, 11), [store(11, Final)]);
    assert_eq!(acts(|out| coordinator.on_stored(at(160), id(11), out)), [complete(11, Final)]);
    assert_eq!(coordinator.next_deadline(), None);
    assert_eq!(acts(|out| coordinator.on_deadline(at(99_000), out)), []);
}

#[test]
fn the_final_checkpoint_waits_for_the_one_in_flight() {
    use CheckpointKind::{Final, Periodic};
    let mut coordinator = running();
    acts(|out| coordinator.on_deadline(at(1000), out));
    acts(|out| coordinator.on_task_ended(at(1001), task(0, 0), out));
    assert_eq!(acts(|out| coordinator.on_task_ended(at(1002), task(1, 0), out)), []);
    ack_all(&mut coordinator, 11);
    let actions = acts(|out| coordinator.on_stored(at(1003), id(11), out));
    assert_eq!(actions, [complete(11, Periodic), trigger(12, Final)]);
}

#[test]
fn a_failed_final_checkpoint_is_repeated_after_the_interval() {
    use CheckpointKind::Final;
    let mut coordinator = running();
    acts(|out| coordinator.on_task_ended(at(100), task(0, 0), out));
    acts(|out| coordinator.on_task_ended(at(100), task(1, 0), out));
    acts(|out| coordinator.on_decline(at(200), ATTEMPT, id(11), task(0, 0), "no", out).unwrap());
    assert_eq!(coordinator.next_deadline(), Some(at(1200)));
    assert_eq!(acts(|out| coordinator.on_deadline(at(1200), out)), [trigger(12, Final)]);
}

#[test]
fn a_stop_takes_a_checkpoint_at_once() {
    use CheckpointKind::Stop;
    let mut coordinator = running();
    assert_eq!(acts(|out| coordinator.request_stop(at(100), out)), [trigger(11, Stop)]);
    ack_all(&mut coordinator, 11);
    assert_eq!(acts(|out| coordinator.on_stored(at(160), id(11), out)), [complete(11, Stop)]);
    assert_eq!(coordinator.next_deadline(), None);
}

/// Random facts. Ids only grow, what completes has all its parts, deadlines lie ahead, and the seed fixes the trace.
#[test]
fn random_walks_keep_the_invariants_and_repeat() {
    for seed in 0..300 {
        assert_eq!(walk(seed), walk(seed), "seed {seed}");
    }
}

fn walk(seed: u64) -> Actions {
    let mut random = Xorshift::new(seed);
    let in_flight_max = 1 + random.below(3);
    let mut coordinator = running_with(CheckpointSettings { in_flight_max, ..settings() });
    let (mut now, mut attempt, mut trace) = (0, ATTEMPT, Actions::new());
    for _ in 0..300 {
        let mut out = Vec::new();
        let number = id(11 + random.below(60) as u64);
        let some_task = task(random.below(2) as u32, 0);
        now += random.below(300) as u64;
        match random.below(12) {
            0..=1 => coordinator.on_deadline(at(now), &mut out),
            2..=6 => drop(coordinator.on_ack(attempt, number, some_task, "x", &mut out)),
            7 => coordinator.on_stored(at(now), number, &mut out),
            8 => coordinator.on_store_failed(at(now), number, StoreFailure::Io("no".into()), &mut out),
            9 => drop(coordinator.on_decline(at(now), attempt, number, some_task, "no", &mut out)),
            10 if random.is_hit(5) => coordinator.on_task_ended(at(now), some_task, &mut out),
            11 if random.is_hit(10) => {
                coordinator.on_attempt_over(&mut out);
                attempt = attempt.next();
                coordinator.on_attempt_running(at(now), attempt);
            }
            _ => coordinator.on_deadline(at(now), &mut out),
        }
        coordinator.on_deadline(at(now), &mut out);
        assert!(coordinator.next_deadline().is_none_or(|deadline| deadline > at(now)), "seed {seed}");
        trace.extend(out);
    }
    check(&trace, seed);
    trace
}

fn check(trace: &Actions, seed: u64) {
    let (mut last, mut stored, mut completed) = (id(10), BTreeSet::new(), id(10));
    for action in trace {
        match action {
            CheckpointAction::Trigger { checkpoint, .. } => {
                assert!(*checkpoint > last, "seed {seed}");
                last = *checkpoint;
            }
            CheckpointAction::Store { checkpoint, parts, .. } => {
                assert_eq!(parts.len(), 2, "seed {seed}");
                assert!(stored.insert(*checkpoint), "seed {seed}");
            }
            CheckpointAction::Complete { checkpoint, .. } => {
                assert!(stored.contains(checkpoint) && *checkpoint > completed, "seed {seed}");
                completed = *checkpoint;
            }
            CheckpointAction::Discard { checkpoints } => {
                assert!(checkpoints.iter().all(|&old| old < completed), "seed {seed}");
            }
            _ => {}
        }
    }
}
