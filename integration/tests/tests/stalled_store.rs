//! A checkpoint directory that stalls for longer than Kafka keeps transactions open: a file system that freezes and thaws.
//!
//! Without Kafka, or without the right to mount file systems, the reason is printed and nothing is tested.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::{fs, time::Duration};

use flott_tests::{KafkaStage, LoopDisk, PATIENCE, not_tested, said};
use xtask::{
    clock::pause,
    kafka::{KafkaBroker, availability},
};

const PAYMENTS: u64 = 400_000;

/// Checkpoints have 2.85 s; Kafka looks for transactions that have timed out every 10 s.
const SETTINGS: [&str; 5] = ["--bounded", "--parallelism", "2", "--transaction-timeout", "12s"];
/// Time for which the file system is frozen after the job has given up the attempt: Kafka has aborted everything by then.
const FROZEN: Duration = Duration::from_secs(18);

#[test]
fn a_stalled_checkpoint_directory_costs_no_output() {
    let libraries = match availability().libraries() {
        Ok(libraries) => libraries,
        Err(reason) => return not_tested(&format!("a stalled checkpoint directory: no Kafka: {reason}")),
    };
    let broker = KafkaBroker::start_temporary(libraries).unwrap();
    let stage = KafkaStage::new(broker.bootstrap(), "stalled").feed(PAYMENTS);
    fs::create_dir_all(stage.checkpoints()).unwrap();
    let disk = match LoopDisk::mount(&stage.checkpoints()) {
        Ok(disk) => disk,
        Err(reason) => return not_tested(&format!("a stalled checkpoint directory: {reason}")),
    };
    let mut job = stage.cluster(2, &SETTINGS);
    said(job.jobmanager(), "checkpoint 2 complete in");
    // Thaws before the job is dropped, also when an assertion fails.
    let frozen = disk.freeze();
    said(job.jobmanager(), "; restarting from checkpoint");
    pause(FROZEN);
    let text = job.jobmanager().errors();
    assert!(text.contains("still waiting for the checkpoint directory"), "{text}");
    drop(frozen);
    job.wait_until_finished(2 * PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let text = job.jobmanager().errors();
    assert!(!text.contains("is lost"), "{text}");
    stage.assert_right();
}
