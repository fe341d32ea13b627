use std::collections::BTreeSet;

use flott_core::{SubtaskIndex, source::Split, task::TaskAction};

use super::*;
use crate::testing::Xorshift;

fn split(id: &str) -> Split {
    Split { id: id.into(), state: b"start".to_vec() }
}

fn progressed(id: &str) -> Split {
    Split { id: id.into(), state: b"17".to_vec() }
}

fn splits(ids: &[&str]) -> Vec<Split> {
    ids.iter().map(|id| split(id)).collect()
}

fn assign(subtask: u32, ids: &[&str]) -> (SubtaskIndex, TaskAction) {
    add(subtask, splits(ids))
}

fn add(subtask: u32, splits: Vec<Split>) -> (SubtaskIndex, TaskAction) {
    (SubtaskIndex(subtask), TaskAction::AddSplits(splits))
}

fn no_more(subtask: u32) -> (SubtaskIndex, TaskAction) {
    (SubtaskIndex(subtask), TaskAction::NoMoreSplits)
}

fn acts(run: impl FnOnce(&mut Vec<(SubtaskIndex, TaskAction)>)) -> Vec<(SubtaskIndex, TaskAction)> {
    let mut out = Vec::new();
    run(&mut out);
    out
}

fn restored(known: &[&str], in_progress: &[&str], is_complete: bool) -> Option<RestoredSource> {
    let known = known.iter().map(|id| (*id).to_owned()).collect();
    let splits = in_progress.iter().map(|id| progressed(id)).collect();
    Some(RestoredSource { enumerator: EnumeratorSnapshot { known, is_complete }, splits })
}

#[test]
fn splits_go_round_the_readers_in_order() {
    let mut source = SplitAssignment::new();
    assert_eq!(acts(|out| source.on_discovered(splits(&["a", "b", "c"]), out)), []);
    assert_eq!(acts(|out| source.on_attempt(2, out)), [assign(0, &["a", "c"]), assign(1, &["b"])]);
    assert_eq!(
        acts(|out| source.on_discovered(splits(&["d", "e"]), out)),
        [assign(0, &["e"]), assign(1, &["d"])]
    );
}

#[test]
fn known_splits_are_ignored() {
    let mut source = SplitAssignment::new();
    acts(|out| source.on_attempt(1, out));
    acts(|out| source.on_discovered(splits(&["a"]), out));
    assert_eq!(acts(|out| source.on_discovered(splits(&["a", "b", "b"]), out)), [assign(0, &["b"])]);
}

#[test]
fn the_end_of_discovery_is_told_once_to_everybody() {
    let mut source = SplitAssignment::new();
    acts(|out| source.on_attempt(2, out));
    assert_eq!(acts(|out| source.on_discovery_ended(out)), [no_more(0), no_more(1)]);
    assert_eq!(acts(|out| source.on_discovery_ended(out)), []);
    assert!(source.snapshot().is_complete);
}

#[test]
fn an_ended_discovery_is_told_to_each_new_attempt() {
    let mut source = SplitAssignment::new();
    acts(|out| source.on_discovered(splits(&["a"]), out));
    acts(|out| source.on_discovery_ended(out));
    assert_eq!(
        acts(|out| source.on_attempt(2, out)),
        [assign(0, &["a"]), assign(1, &[]), no_more(0), no_more(1)]
    );
}

#[test]
fn a_reader_without_splits_is_told_so_once_per_attempt() {
    let mut source = SplitAssignment::new();
    acts(|out| source.on_attempt(2, out));
    assert_eq!(acts(|out| source.on_discovered(splits(&["a"]), out)), [assign(0, &["a"]), assign(1, &[])]);
    assert_eq!(acts(|out| source.on_discovered(splits(&["b"]), out)), [assign(1, &["b"])]);
    assert_eq!(acts(|out| source.on_discovered(splits(&["b"]), out)), []);
}

#[test]
fn a_checkpoint_is_redistributed_whatever_its_parallelism() {
    let mut source = SplitAssignment::new();
    source.on_restored(restored(&["a", "b", "done"], &["b", "a"], true));
    let expected = [
        add(0, vec![progressed("a")]),
        add(1, vec![progressed("b")]),
        assign(2, &[]),
        no_more(0),
        no_more(1),
        no_more(2),
    ];
    assert_eq!(acts(|out| source.on_attempt(3, out)), expected);
    assert_eq!(acts(|out| source.on_discovered(splits(&["done", "a"]), out)), []);
}

#[test]
fn splits_younger_than_the_checkpoint_start_afresh() {
    let mut source = SplitAssignment::new();
    acts(|out| source.on_attempt(1, out));
    acts(|out| source.on_discovered(splits(&["a", "new"]), out));
    source.on_attempt_over();
    source.on_restored(restored(&["a"], &["a"], false));
    let expected = [add(0, vec![progressed("a"), split("new")])];
    assert_eq!(acts(|out| source.on_attempt(1, out)), expected);
}

#[test]
fn what_only_a_checkpoint_knew_that_is_given_up_starts_afresh() {
    let mut source = SplitAssignment::new();
    source.on_restored(restored(&["a", "new"], &["a", "new"], false));
    acts(|out| source.on_attempt(1, out));
    assert_eq!(acts(|out| source.on_discovered(splits(&["a", "new"]), out)), []);
    source.on_attempt_over();
    source.on_restored(restored(&["a"], &["a"], false));
    let expected = [add(0, vec![progressed("a"), split("new")])];
    assert_eq!(acts(|out| source.on_attempt(1, out)), expected);
}

#[test]
fn that_all_splits_are_known_is_forgotten_with_the_checkpoint_that_says_so() {
    let mut source = SplitAssignment::new();
    source.on_restored(restored(&["a"], &["a"], true));
    source.on_restored(restored(&["a"], &["a"], false));
    assert!(!source.is_complete());
    acts(|out| source.on_discovery_ended(out));
    source.on_restored(restored(&["a"], &["a"], false));
    assert!(source.is_complete());
}

#[test]
fn without_a_checkpoint_everything_starts_afresh() {
    let mut source = SplitAssignment::new();
    acts(|out| source.on_attempt(1, out));
    acts(|out| source.on_discovered(splits(&["b", "a"]), out));
    source.on_attempt_over();
    assert_eq!(acts(|out| source.on_discovered(splits(&["late"]), out)), []);
    source.on_restored(None);
    assert_eq!(acts(|out| source.on_attempt(1, out)), [assign(0, &["b", "a", "late"])]);
}

#[test]
fn every_split_in_progress_is_assigned_exactly_once_and_evenly() {
    for seed in 0..200 {
        let mut random = Xorshift::new(seed);
        let mut source = SplitAssignment::new();
        let mut out = Vec::new();
        let readers = 1 + random.below(5);
        let mut found = BTreeSet::new();
        let mut is_running = false;
        for _ in 0..30 {
            match random.below(4) {
                0 => {
                    out.clear();
                    source.on_restored(None);
                    source.on_attempt(readers as u32, &mut out);
                    is_running = true;
                }
                1 => {
                    source.on_attempt_over();
                    is_running = false;
                }
                _ => {
                    let id = random.below(40).to_string();
                    found.insert(id.clone());
                    source.on_discovered(splits(&[&id]), &mut out);
                }
            }
        }
        if is_running {
            check_balance(readers, &found, &out, seed);
        }
        assert_eq!(source.snapshot().known, found, "seed {seed}");
    }
}

fn check_balance(readers: usize, found: &BTreeSet<String>, out: &[(SubtaskIndex, TaskAction)], seed: u64) {
    let mut loads = vec![0; readers];
    let mut assigned = Vec::new();
    for (subtask, action) in out {
        if let TaskAction::AddSplits(splits) = action {
            loads[subtask.0 as usize] += splits.len();
            assigned.extend(splits.iter().map(|split| split.id.clone()));
        }
    }
    assigned.sort();
    assert!(assigned.iter().eq(found), "seed {seed}: {assigned:?}");
    assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "seed {seed}: {loads:?}");
}
