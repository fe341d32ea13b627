//! Rows in which the JobManager dies, is deposed, or finds its checkpoints damaged.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

use flott::connectors::kafka::client::TransactionPhase;
use flott_cards::{kafka::proxy::Verdict, process::JobProcess};
use flott_tests::{PATIENCE, Trap, said, wait_for_code};
use kafka_protocol::messages::{EndTxnRequest, EndTxnResponse};

use crate::act::{
    Act, SETTINGS, TASK_MANAGERS, commit_of_a_recovery, fence_of_a_recovery, freeze_at_commits,
    generation_of, judge_commits, trap_later,
};

/// Kafka's code for an error that has no code of its own.
const UNKNOWN_SERVER_ERROR: i16 = -1;

#[test]
fn dies_after_storing_before_any_commit() {
    let set = |proxy: &_| judge_commits(proxy, |_, _| Verdict::Swallow);
    let Some((mut act, commits)) = Act::begin("stored", &[], set) else { return };
    freeze_at_commits(&mut act.job, &commits);
    act.kill_all();
    let phases = act.listed_phases();
    assert!(phases.iter().all(|phase| *phase == TransactionPhase::Ongoing), "{phases:?}");
    act.proxy().pass();
    act.job.restart_jobmanager().unwrap();
    act.add_taskmanagers();
    act.finish();
}

#[test]
fn dies_between_two_commits() {
    // Each of two subtasks commits one transaction per checkpoint.
    let set = |proxy: &_| {
        judge_commits(proxy, |number, _| if number == 0 { Verdict::Pass } else { Verdict::Swallow })
    };
    let Some((mut act, commits)) = Act::begin("between", &[], set) else { return };
    freeze_at_commits(&mut act.job, &commits);
    act.kill_all();
    let phases = act.listed_phases();
    assert!(phases.contains(&TransactionPhase::CompleteCommit), "{phases:?}");
    assert!(phases.contains(&TransactionPhase::Ongoing), "{phases:?}");
    act.proxy().pass();
    act.job.restart_jobmanager().unwrap();
    act.add_taskmanagers();
    act.finish();
}

/// One commit of the recovery is answered with an error that nobody can make sense of. That proves nothing about the
/// transaction, which is open: the recovery must not abort what it can still commit.
#[test]
fn gets_an_answer_that_says_nothing() {
    let set = |proxy: &_| judge_commits(proxy, |_, _| Verdict::Swallow);
    let Some((mut act, commits)) = Act::begin("unclear", &[], set) else { return };
    freeze_at_commits(&mut act.job, &commits);
    act.kill_taskmanagers();
    let phases = act.listed_phases();
    assert!(phases.contains(&TransactionPhase::Ongoing), "{phases:?}");
    let is_first = AtomicBool::new(true);
    act.proxy().judge(move |request| {
        let is_meant = commit_of_a_recovery(request).is_some() && is_first.swap(false, Ordering::AcqRel);
        let unclear = EndTxnResponse::default().with_error_code(UNKNOWN_SERVER_ERROR);
        if is_meant { Verdict::Answer(request.answer::<EndTxnRequest>(&unclear)) } else { Verdict::Pass }
    });
    act.recover();
    let text = said(act.job.jobmanager(), "the commit is repeated later");
    assert!(!text.contains("is lost"), "{text}");
    act.finish();
}

/// The first recovery commits what the checkpoint lists and takes its ids away. The second finds only the markers.
#[test]
fn dies_again_before_the_next_checkpoint() {
    let set = |proxy: &_| judge_commits(proxy, |_, _| Verdict::Swallow);
    let Some((mut act, commits)) = Act::begin("again", &[], set) else { return };
    freeze_at_commits(&mut act.job, &commits);
    act.kill_all();
    act.proxy().pass();
    let (checkpoint, listed) = act.stored();
    assert!(!listed.is_empty());

    act.job = act.stage.cluster(TASK_MANAGERS, &[&SETTINGS[..], &["--checkpoint-interval", "1m"]].concat());
    said(act.job.jobmanager(), "deploying attempt 1 from checkpoint");
    act.kill_all();
    assert_eq!(act.stored().0, checkpoint, "no other one was stored");
    for listed in &listed {
        let seen = act.describe(&listed.transactional_id);
        assert!(seen.producer_epoch > listed.producer_epoch, "{seen:?} is fenced");
    }

    act.job = act.stage.cluster(TASK_MANAGERS, &SETTINGS);
    act.finish();
}

/// While the old leader recovers, another one takes over, recovers and works; then the old one's requests arrive.
#[test]
fn is_deposed_and_finishes_its_recovery_beside_its_successor() {
    let Some((mut act, trap)) =
        Act::begin("deposed", &["--set", "slot_timeout=15s"], |proxy| trap_later(proxy, |_| None))
    else {
        return;
    };
    drop(trap);
    said(act.job.jobmanager(), "checkpoint 2 complete");
    let is_first = AtomicBool::new(true);
    let trap = Trap::set(std::slice::from_ref(act.proxy()), move |_, request| {
        fence_of_a_recovery(request).is_some() && is_first.swap(false, Ordering::AcqRel)
    });
    act.job.taskmanagers().iter_mut().for_each(JobProcess::kill9);
    let late = fence_of_a_recovery(&trap.wait().request).unwrap();
    act.job.jobmanager().freeze().unwrap();

    let successor = act.stage.cluster(TASK_MANAGERS, &SETTINGS);
    let mut old = std::mem::replace(&mut act.job, successor);
    said(act.job.jobmanager(), "deploying attempt 1 from checkpoint");
    said(act.job.jobmanager(), " complete in ");
    let (_, listed) = act.stored();
    for live in &listed {
        assert!(generation_of(&live.transactional_id) > generation_of(&late), "{late} is in use again");
    }
    trap.release(Verdict::Pass);
    old.jobmanager().thaw().unwrap();
    // It is given what it needs for the next step, and cannot take it.
    for _ in 0..TASK_MANAGERS {
        old.add_taskmanager().unwrap();
    }
    let status = old.jobmanager().wait(PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let text = old.jobmanager().errors();
    assert!(matches!(status.code(), Some(5 | 6)), "{status}: {text}");
    // It may have deployed an attempt of an older generation, which can commit nothing.
    let successor = act.job.jobmanager().errors();
    assert!(!successor.contains("deploying attempt 2"), "{successor}");
    act.finish();
}

#[test]
fn finds_its_newest_checkpoint_corrupt() {
    let Some((mut act, ())) = Act::begin("corrupt", &[], |_| ()) else { return };
    act.stage.reach(0.3);
    act.job.jobmanager().terminate().unwrap();
    wait_for_code(act.job.jobmanager(), 143);
    let before = act.stage.comparison().totals.given;
    let mut checkpoints: Vec<_> = fs::read_dir(act.stage.checkpoints().join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    checkpoints.sort();
    let manifest = checkpoints.last().unwrap().join("manifest.json");
    fs::write(&manifest, fs::read_to_string(&manifest).unwrap().replacen('0', "1", 1)).unwrap();

    act.job = act.stage.cluster(TASK_MANAGERS, &SETTINGS);
    let text = wait_for_code(act.job.jobmanager(), 4);
    assert!(text.contains("written again") && text.contains("allow_repeated_output"), "{text}");
    assert_eq!(act.stage.comparison().totals.given, before, "nothing was lost or added");

    let told = ["--set", "allow_repeated_output=true"];
    act.job = act.stage.cluster(TASK_MANAGERS, &[&SETTINGS[..], &told].concat());
    act.job.wait_until_finished(2 * PATIENCE).unwrap();
    let comparison = act.stage.comparison();
    assert_eq!((comparison.missing(), comparison.wrong()), (0, 0), "{comparison}");
    assert!(comparison.duplicated() > 0, "{comparison}");
}
