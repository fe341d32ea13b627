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

/// Triggered at second `number - 10`, unless that is told otherwise.
fn store(number: u64, kind: CheckpointKind) -> CheckpointAction<&'static str> {
    store_before(number, kind, (number - 10) * 1000 + 600_000)
}

fn store_before(number: u64, kind: CheckpointKind, append_before: u64) -> CheckpointAction<&'static str> {
    let part = |vertex, snapshot| Part { task: task(vertex, 0), snapshot };
    let parts = vec![part(0, "source"), part(1, "sink")];
    let append_before = at(append_before);
    CheckpointAction::Store { attempt: ATTEMPT, checkpoint: id(number), kind, parts, append_before }
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
        coordinator.on_ack(at(0), ATTEMPT, id(number), task(1, 0), "sink", out).unwrap();
        coordinator.on_ack(at(0), ATTEMPT, id(number), task(0, 0), "source", out).unwrap();
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
    let mut ack =
        |attempt, number, task| coordinator.on_ack(at(1000), attempt, id(number), task, "x", &mut out);
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
                   checkpoint 12: it was not stored: disk full";
    let expected = [
        abort(12, "it was not stored: disk full"),
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
    let why = "it did not complete within 600000 ms; 2 of 2 tasks have not acknowledged it: 0/0, 1/0";
    let expected = [abort(11, why), trigger(12, CheckpointKind::Periodic)];
    assert_eq!(actions, expected);
}

#[test]
fn a_checkpoint_ends_before_the_transactions_it_lists() {
    let mut coordinator = running();
    coordinator.limit_timeout(Some(Duration::from_secs(16)));
    acts(|out| coordinator.on_deadline(at(1000), out));
    coordinator.on_ack(at(1000), ATTEMPT, id(11), task(1, 0), "sink", &mut Vec::new()).unwrap();
    assert_eq!(acts(|out| coordinator.on_deadline(at(4499), out)), []);
    let actions = acts(|out| coordinator.on_deadline(at(4500), out));
    let why = "it did not complete within 3500 ms, the time that the transactions of a sink leave it; 1 of 2 tasks have \
               not acknowledged it: 0/0";
    assert_eq!(actions, [abort(11, why), trigger(12, CheckpointKind::Periodic)]);
}

#[test]
fn a_pause_between_checkpoints_takes_from_their_time() {
    let settings = CheckpointSettings { min_pause: Duration::from_secs(2), ..settings() };
    let mut coordinator = running_with(settings);
    coordinator.limit_timeout(Some(Duration::from_secs(16)));
    acts(|out| coordinator.on_deadline(at(1000), out));
    assert_eq!(coordinator.next_deadline(), Some(at(3500)));
}

#[test]
fn storing_belongs_to_the_time_of_a_checkpoint() {
    use CheckpointKind::Periodic;
    let mut coordinator = running();
    coordinator.limit_timeout(Some(Duration::from_secs(16)));
    acts(|out| coordinator.on_deadline(at(1000), out));
    assert_eq!(ack_all(&mut coordinator, 11), [store_before(11, Periodic, 4500)]);
    // The driver has not begun to append in time.
    let late = StoreFailure::Io("too late".into());
    let actions = acts(|out| coordinator.on_store_failed(at(4501), id(11), late, out));
    assert_eq!(actions, [abort(11, "it was not stored: too late")]);
    assert_eq!(coordinator.latest(), Some(id(10)));
}

#[test]
fn time_that_the_clock_has_missed_is_missing_to_the_checkpoint() {
    use CheckpointKind::Periodic;
    for (missed, is_in_time) in [(2_400, true), (2_500, false)] {
        let mut coordinator = running();
        coordinator.limit_timeout(Some(Duration::from_secs(16)));
        acts(|out| coordinator.on_deadline(at(1000), out));
        coordinator.on_time_missed(Duration::from_millis(missed));
        coordinator.on_ack(at(2000), ATTEMPT, id(11), task(0, 0), "source", &mut Vec::new()).ok();
        let actions = acts(|out| {
            let _ = coordinator.on_ack(at(2000), ATTEMPT, id(11), task(1, 0), "sink", out);
        });
        let is_stored = actions.iter().any(|action| matches!(action, CheckpointAction::Store { .. }));
        assert_eq!(is_stored, is_in_time, "missed {missed} ms: {actions:?}");
    }
    // While it is stored: what it lists may be aborted by then.
    let mut coordinator = running();
    coordinator.limit_timeout(Some(Duration::from_secs(16)));
    acts(|out| coordinator.on_deadline(at(1000), out));
    assert_eq!(ack_all(&mut coordinator, 11), [store_before(11, Periodic, 4500)]);
    coordinator.on_time_missed(Duration::from_secs(60));
    let actions = acts(|out| coordinator.on_stored(at(2000), id(11), out));
    assert_eq!(actions, [CheckpointAction::Withdraw { checkpoint: id(11) }]);
}

#[test]
fn a_checkpoint_that_is_stored_too_late_is_withdrawn_before_anybody_commits() {
    use CheckpointKind::Periodic;
    // Begun to be appended just in time; it took effect up to 2 s later, an eighth of the timeout.
    for (stored_at, counts) in [(4499, true), (6500, true), (6501, false), (60_000, false)] {
        let mut coordinator = running();
        coordinator.limit_timeout(Some(Duration::from_secs(16)));
        acts(|out| coordinator.on_deadline(at(1000), out));
        ack_all(&mut coordinator, 11);
        let actions = acts(|out| coordinator.on_stored(at(stored_at), id(11), out));
        if counts {
            assert_eq!(actions[0], complete(11, Periodic));
            continue;
        }
        assert_eq!(actions, [CheckpointAction::Withdraw { checkpoint: id(11) }]);
        assert!(coordinator.is_storing(), "what to go on from is open until it is withdrawn");
        acts(|out| coordinator.on_attempt_over(out));
        assert_eq!(acts(|out| coordinator.on_stored(at(stored_at), id(11), out)), []);
        let actions = acts(|out| coordinator.on_withdrawn(at(stored_at), id(11), out));
        assert!(matches!(&actions[..], [CheckpointAction::Abort { .. }]), "{actions:?}");
        assert_eq!((coordinator.latest(), coordinator.is_storing()), (Some(id(10)), false));
    }
}

#[test]
fn a_checkpoint_that_cannot_be_withdrawn_is_withdrawn_again() {
    let mut coordinator = running();
    coordinator.limit_timeout(Some(Duration::from_secs(16)));
    acts(|out| coordinator.on_deadline(at(1000), out));
    ack_all(&mut coordinator, 11);
    coordinator.on_not_withdrawn(at(5000), id(11));
    let withdraw = CheckpointAction::Withdraw { checkpoint: id(11) };
    assert_eq!(acts(|out| coordinator.on_stored(at(7000), id(11), out)), std::slice::from_ref(&withdraw));
    acts(|out| coordinator.on_attempt_over(out));
    assert_eq!(coordinator.next_deadline(), None);
    for now in [7100, 7600] {
        coordinator.on_not_withdrawn(at(now), id(11));
        assert_eq!(coordinator.next_deadline(), Some(at(now + 500)));
        assert_eq!(acts(|out| coordinator.on_deadline(at(now + 499), out)), []);
        assert_eq!(acts(|out| coordinator.on_deadline(at(now + 500), out)), std::slice::from_ref(&withdraw));
        assert!(coordinator.is_storing(), "what to go on from is open until it is withdrawn");
    }
    acts(|out| coordinator.on_withdrawn(at(8200), id(11), out));
    assert!(!coordinator.is_storing());
}

#[test]
fn an_acknowledgement_that_comes_too_late_completes_nothing() {
    let mut coordinator = running();
    acts(|out| coordinator.on_deadline(at(1000), out));
    coordinator.on_ack(at(1000), ATTEMPT, id(11), task(1, 0), "sink", &mut Vec::new()).unwrap();
    let mut out = Vec::new();
    let late = coordinator.on_ack(at(601_000), ATTEMPT, id(11), task(0, 0), "source", &mut out);
    assert_eq!(late, Err(AckRefusal::NotCollecting));
    assert!(matches!(&out[..], [CheckpointAction::Abort { .. }]), "{out:?}");
}

#[test]
fn without_transactions_a_late_checkpoint_counts() {
    let mut coordinator = running();
    acts(|out| coordinator.on_deadline(at(1000), out));
    ack_all(&mut coordinator, 11);
    let actions = acts(|out| coordinator.on_stored(at(9_000_000), id(11), out));
    assert_eq!(actions[0], complete(11, CheckpointKind::Periodic));
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
    let late = coordinator.on_ack(at(3000), ATTEMPT, id(12), task(0, 0), "x", &mut Vec::new());
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
    assert_eq!(ack_all(&mut coordinator, 11), [store_before(11, Final, 600_150)]);
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
        match random.below(14) {
            0..=1 => coordinator.on_deadline(at(now), &mut out),
            2..=6 => drop(coordinator.on_ack(at(now), attempt, number, some_task, "x", &mut out)),
            7 => coordinator.on_stored(at(now), number, &mut out),
            8 => coordinator.on_store_failed(at(now), number, StoreFailure::Io("no".into()), &mut out),
            9 => drop(coordinator.on_decline(at(now), attempt, number, some_task, "no", &mut out)),
            12 => coordinator.on_withdrawn(at(now), number, &mut out),
            13 => coordinator.on_not_withdrawn(at(now), number),
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
