//! JobManagers of real processes that are started at the same instant on one checkpoint directory. No TaskManagers are
//! needed: leadership is decided before any.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::{collections::BTreeSet, fs, path::PathBuf};

use flott_cards::process::JobProcess;
use flott_tests::{PATIENCE, Scene, card_alerts, said, wait_for_code, wait_until};
use xtask::process::{Signal, signal};

const PAIRS: usize = 50;

/// Starts two processes at the same instant, and writes down who they are and how each has ended.
const START_TWO: &str = r#"
one() { "$binary" "$@" 2>$name.err & echo $! >$name.pid; wait $!; echo $? >$name.new; mv $name.new $name.code; }
binary=$0
(name=a; one "$@") & (name=b; one "$@") & wait
"#;

/// One of two JobManagers.
struct One {
    path: PathBuf,
}

impl One {
    fn file(&self, extension: &str) -> String {
        fs::read_to_string(self.path.with_extension(extension)).unwrap_or_default()
    }

    fn process(&self) -> u32 {
        self.file("pid").trim().parse().unwrap()
    }

    /// Its exit code, if it has ended.
    fn code(&self) -> Option<i32> {
        self.file("code").trim().parse().ok()
    }

    /// The epoch in which it leads, or has led.
    fn epoch(&self) -> Option<u64> {
        let said = self.file("err");
        let (_, rest) = said.split_once("leading in epoch ")?;
        rest.split(';').next()?.parse().ok()
    }

    fn address(&self) -> String {
        let said = self.file("err");
        said.lines().find_map(|line| line.split_once("listens on ")).unwrap().1.trim().to_owned()
    }
}

#[test]
fn two_jobmanagers_start_at_once_and_one_leads() {
    let scene = Scene::new(3_000_000);
    let mut local = scene.local("before");
    said(&mut local, "checkpoint 1 complete");
    local.terminate().unwrap();
    wait_for_code(&mut local, 143);

    let (mut epochs, mut lost_at_once) = (BTreeSet::new(), 0);
    for pair in 0..PAIRS {
        let directory = scene.directory().join(format!("cluster-{pair}"));
        fs::create_dir(&directory).unwrap();
        let url = scene.checkpoint_url();
        let flags = ["--role", "jobmanager", "--listen", "127.0.0.1:0", "--checkpoint-dir", &url];
        let soon = ["--set", "heartbeat_interval=100ms", "--set", "heartbeat_timeout=1s"];
        let arguments = scene.arguments();
        let all = ["-c", START_TWO, card_alerts().to_str().unwrap()].into_iter().chain(flags).chain(soon);
        let all = all.chain(arguments.iter().map(String::as_str));
        let mut shell = JobProcess::start("/bin/sh".as_ref(), &directory, "shell", all).unwrap();

        let ones = ["a", "b"].map(|name| One { path: directory.join(name) });
        wait_until("the end of one JobManager", || ones.iter().any(|one| one.code().is_some()));
        let [first, second] = &ones;
        let (loser, winner) = if first.code().is_some() { (first, second) } else { (second, first) };
        wait_until("the other one to lead", || winner.epoch().is_some());
        assert_eq!(winner.code(), None);
        signal(winner.process(), Signal::TERM).unwrap();
        shell.wait(PATIENCE).unwrap();
        assert_eq!((loser.code(), winner.code()), (Some(5), Some(143)));

        let (epoch, text) = (winner.epoch().unwrap(), loser.file("err"));
        let leader = format!("the JobManager at {} (process {} on ", winner.address(), winner.process());
        for part in [&leader, &format!("leads in epoch {epoch}")] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        for epoch in ones.iter().filter_map(One::epoch) {
            assert!(epochs.insert(epoch), "two have led in epoch {epoch}");
        }
        lost_at_once += u32::from(loser.epoch().is_none());
    }
    println!("{lost_at_once} of {PAIRS} losers never led; the others were deposed and noticed it");
}
