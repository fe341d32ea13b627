use std::{io::Write, time::Duration};

use flott_cards::process::JobProcess;
use xtask::{
    clock::{Stopwatch, pause},
    process::{Signal, signal},
};

/// No process takes longer for anything, even while others use both cores.
pub const PATIENCE: Duration = Duration::from_secs(60);

const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Says that something could not be tested here. Not by `println!`, which nobody sees of a test that passes.
pub fn not_tested(what: &str) {
    std::io::stdout().write_all(format!("not tested: {what}\n").as_bytes()).unwrap();
}

/// Waits until something is so; `what` says what. Returns how long that took.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let watch = Stopwatch::start();
    while !is_so() {
        assert!(watch.elapsed() < PATIENCE, "not in {} s: {what}", PATIENCE.as_secs());
        pause(POLL_INTERVAL);
    }
    watch.elapsed()
}

/// Waits until a process has said a text on standard error; returns all that it has said.
pub fn said(process: &mut JobProcess, text: &str) -> String {
    let watch = Stopwatch::start();
    loop {
        let is_over = process.ended().unwrap().is_some();
        let errors = process.errors();
        if errors.contains(text) {
            return errors;
        }
        assert!(!is_over, "{}", process.failure(&format!("ended and has not said {text:?}")));
        assert!(watch.elapsed() < PATIENCE, "{}", process.failure(&format!("has not said {text:?}")));
        pause(POLL_INTERVAL);
    }
}

/// Waits until a process ends with this code; returns all that it has said on standard error.
pub fn wait_for_code(process: &mut JobProcess, code: i32) -> String {
    process.wait_for_code(code, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    process.errors()
}

/// SIGINT, as by Ctrl-C.
pub fn interrupt(process: &JobProcess) {
    signal(process.id(), Signal::INT).unwrap();
}
