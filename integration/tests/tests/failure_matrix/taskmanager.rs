//! Rows in which a TaskManager dies or freezes.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::sync_channel,
    },
};

use flott::connectors::kafka::client::TransactionPhase;
use flott_cards::kafka::proxy::Verdict;
use flott_tests::{Trap, said, wait_until};
use kafka_protocol::{messages::WriteTxnMarkersRequest, protocol::Request};
use xtask::clock::pause;

use crate::act::{
    Act, ECHO, asked_about, commit_of_a_recovery, commit_of_a_task, freeze_at_commits, generation_of,
    judge_commits, output_of_a_task, seals, start_of_a_task, subtask_of, trap_later,
};

#[test]
fn dies_before_the_barrier() {
    let trap = |proxy: &_| trap_later(proxy, output_of_a_task);
    // The barrier of the checkpoint after the first is far away.
    let Some((mut act, trap)) = Act::begin("before-barrier", &["--checkpoint-interval", "1s"], trap) else {
        return;
    };
    let id = output_of_a_task(&trap.wait().request).unwrap();
    act.kill_taskmanagers();
    trap.release(Verdict::Pass);
    pause(ECHO);
    assert!(act.is_open_and_unlisted(&id));
    act.recover();
    act.finish();
}

/// Barriers have passed, and all output but one request is with the broker.
#[test]
fn dies_during_the_flush() {
    let trap = |proxy: &_| trap_later(proxy, output_of_a_task);
    let Some((mut act, trap)) = Act::begin("flush", &[], trap) else { return };
    let id = output_of_a_task(&trap.wait().request).unwrap();
    let (before, _) = act.stored();
    // Longer than the interval: a checkpoint is triggered meanwhile, and waits for this request.
    pause(2 * ECHO);
    act.kill_taskmanagers();
    let (after, _) = act.stored();
    assert!(after <= before + 1, "checkpoints complete without the flush: {before} to {after}");
    trap.release(Verdict::Pass);
    pause(ECHO);
    assert!(act.is_open_and_unlisted(&id));
    act.recover();
    act.finish();
}

#[test]
fn dies_after_the_flush_before_its_acknowledgement() {
    let trap = |proxy: &_| trap_later(proxy, seals());
    let Some((mut act, trap)) = Act::begin("sealed", &[], trap) else { return };
    let id = asked_about(&trap.wait().request).unwrap();
    act.kill_taskmanagers();
    drop(trap);
    assert!(act.is_open_and_unlisted(&id));
    act.recover();
    act.finish();
}

/// The second of two subtasks has acknowledged, and the first cannot.
#[test]
fn dies_after_its_acknowledgement_before_the_checkpoint_is_stored() {
    let acknowledging = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&acknowledging);
    let trap = |proxy: &_| {
        let seal = seals();
        trap_later(proxy, move |request| {
            let id = seal(request)?;
            if subtask_of(&id) == 0 {
                return Some(id);
            }
            seen.lock().unwrap().insert(id);
            None
        })
    };
    let Some((mut act, trap)) = Act::begin("acknowledged", &[], trap) else { return };
    trap.wait();
    // Some may have been sealed for the checkpoint before.
    let is_sealed = || {
        let ids = acknowledging.lock().unwrap().clone();
        ids.iter().any(|id| act.is_open_and_unlisted(id))
    };
    wait_until("the other subtask seals", is_sealed);
    // Its acknowledgement is under way to the JobManager, which has nothing to store yet.
    pause(ECHO);
    assert!(is_sealed());
    act.kill_taskmanagers();
    drop(trap);
    act.recover();
    act.finish();
}

/// The commit is decided, but its markers do not get through: a recovery that commits is told to wait, and then that it is
/// done.
#[test]
fn dies_while_the_broker_commits() {
    let (is_held, recoveries) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let commit = Arc::new(Mutex::new(String::new()));
    let (release, held) = sync_channel::<()>(0);
    let set = |proxy: &flott_cards::kafka::proxy::KafkaProxy| {
        let (is_held, recoveries, commit) =
            (Arc::clone(&is_held), Arc::clone(&recoveries), Arc::clone(&commit));
        let (commits, held) = (AtomicUsize::new(0), Mutex::new(held));
        proxy.judge(move |request| {
            if request.api_key() == WriteTxnMarkersRequest::KEY && is_held.load(Ordering::Acquire) {
                // The error comes with the end of the test.
                let _ = held.lock().unwrap().recv();
                is_held.store(false, Ordering::Release);
            } else if let Some(id) = commit_of_a_task(request) {
                let number = commits.fetch_add(1, Ordering::AcqRel);
                if number == 2 {
                    *commit.lock().unwrap() = id;
                    is_held.store(true, Ordering::Release);
                    return Verdict::BreakAfter;
                }
                return if number > 2 { Verdict::Swallow } else { Verdict::Pass };
            } else if let Some(id) = commit_of_a_recovery(request) {
                recoveries.fetch_add(usize::from(id == *commit.lock().unwrap()), Ordering::AcqRel);
            }
            Verdict::Pass
        });
    };
    let Some((mut act, ())) = Act::begin("committing", &[], set) else { return };
    wait_until("a commit is sent", || is_held.load(Ordering::Acquire));
    let id = commit.lock().unwrap().clone();
    pause(ECHO);
    act.kill_taskmanagers();
    assert_eq!(act.describe(&id).phase, TransactionPhase::PrepareCommit);
    act.recover();
    // The first answer was not the last.
    wait_until("the recovery commits again and again", || recoveries.load(Ordering::Acquire) >= 3);
    assert_eq!(act.describe(&id).phase, TransactionPhase::PrepareCommit);
    drop(release);
    act.finish();
}

#[test]
fn dies_after_its_commit_before_saying_so() {
    let ids = Arc::new(Mutex::new(BTreeSet::new()));
    let committed = Arc::clone(&ids);
    let set = |proxy: &_| {
        judge_commits(proxy, move |_, id| {
            let is_first = committed.lock().unwrap().insert(id.to_owned());
            if is_first { Verdict::BreakAfter } else { Verdict::Swallow }
        })
    };
    let Some((mut act, commits)) = Act::begin("committed", &[], set) else { return };
    freeze_at_commits(&mut act.job, &commits);
    act.kill_taskmanagers();
    let ids = ids.lock().unwrap().clone();
    let phases: Vec<_> = ids.iter().map(|id| act.describe(id).phase).collect();
    assert!(phases.iter().all(|phase| *phase == TransactionPhase::CompleteCommit), "{phases:?}");
    act.recover();
    act.finish();
}

/// The commit is on its way when the TaskManagers freeze. It arrives after the recovery, and then they wake.
#[test]
fn wakes_and_commits_late() {
    let trap = |proxy: &_| trap_later(proxy, commit_of_a_task);
    let Some((mut act, trap)) = Act::begin("late-commit", &[], trap) else { return };
    let id = commit_of_a_task(&trap.wait().request).unwrap();
    let zombies = act.freeze_taskmanagers();
    act.add_taskmanagers();
    said(act.job.jobmanager(), "deploying attempt 2");
    assert_ne!(act.describe(&id).phase, TransactionPhase::Ongoing, "the recovery has committed it");
    trap.release(Verdict::Pass);
    zombies.iter().for_each(|zombie| zombie.thaw().unwrap());
    act.finish();
}

/// A producer of an attempt that is over takes its id over when the next attempt works. It has ids of its own, and harms
/// nobody.
#[test]
fn wakes_and_initialises_its_producer_late() {
    let trap =
        |proxy: &_| Trap::set(std::slice::from_ref(proxy), |_, request| start_of_a_task(request).is_some());
    let Some((mut act, trap)) = Act::begin("late-init", &[], trap) else { return };
    let id = start_of_a_task(&trap.wait().request).unwrap();
    let zombies = act.freeze_taskmanagers();
    act.add_taskmanagers();
    said(act.job.jobmanager(), "deploying attempt 2");
    said(act.job.jobmanager(), " complete in ");
    let (_, listed) = act.stored();
    for live in &listed {
        assert!(generation_of(&live.transactional_id) > generation_of(&id), "{id} is in use again");
    }
    trap.release(Verdict::Pass);
    zombies.iter().for_each(|zombie| zombie.thaw().unwrap());
    pause(ECHO);
    let jobmanager = act.job.jobmanager().errors();
    assert!(!jobmanager.contains("deploying attempt 3"), "{jobmanager}");
    act.finish();
}
