//! What is no rate: memory of idle processes, time to the first record, the pause of a checkpoint.

use std::{sync::Arc, time::Duration};

use flott_core::{
    KeyGroupRange, MaxParallelism,
    key_group::KeySpace,
    random,
    snapshot::RestoredOperator,
    state::{KeyBatch, SharedKeys, StateBackend, StateDeclaration, ValueTable},
};
use flott_state::heap::HeapBackend;
use xtask::clock::{Stopwatch, pause};

use crate::{
    error::{Error, Result},
    measure::now_ns,
    process::{Child, rss_kib},
    run::{Processes, Spec, free_port},
    workload::{Engine, Workload},
};

const IDLE_MB_MAX: f64 = 60.0;
const FIRST_RECORD_MS_MAX: f64 = 1_000.0;
const PAUSE_MS_MAX: f64 = 5.0;

/// Time for a process to settle.
const SETTLING: Duration = Duration::from_millis(1_500);

/// Measures and prints it.
pub(crate) fn measure(is_smoke: bool) -> Result<()> {
    println!("\nfootprint");
    let (jobmanager, taskmanager) = idle_mb()?;
    print("idle JobManager, RSS", jobmanager, "MB", IDLE_MB_MAX);
    print("idle TaskManager, RSS", taskmanager, "MB", IDLE_MB_MAX);
    print("process start to first record", first_record_ms()?, "ms", FIRST_RECORD_MS_MAX);
    let keys = if is_smoke { 100_000 } else { 10_000_000 };
    let what = format!("synchronous part of a checkpoint, {keys} entries");
    print(&what, checkpoint_pause_ms(keys)?, "ms", PAUSE_MS_MAX);
    Ok(())
}

fn print(what: &str, value: f64, unit: &str, goal: f64) {
    let verdict = if value <= goal { "reached" } else { "MISSED" };
    println!("  {what:<52} {value:>9.2} {unit}  (goal: {goal:.0}, {verdict})");
}

fn keyed_sum(cores: u32) -> Spec {
    Spec { workload: Workload::KeyedSum, engine: Engine::Flott, cores, records: 100_000 }
}

/// A JobManager and a TaskManager that wait for a second slot.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn idle_mb() -> Result<(f64, f64)> {
    let mut processes = Processes::new(2)?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut arguments = keyed_sum(2).job_arguments(&processes);
    arguments.extend(["--role", "jobmanager", "--listen", &address].map(String::from));
    let jobmanager = processes.start(Child::Job, &arguments)?;
    let role = ["--role", "taskmanager", "--slots", "1", "--jobmanager", &address];
    let taskmanager = processes.start(Child::Job, &role.map(String::from))?;
    pause(SETTLING);
    let mb = |process: u32| {
        let gone = || Error::Missing("a process that should be idle is gone".into());
        rss_kib(&process.to_string()).map(|kib| kib as f64 * 1024.0 / 1e6).ok_or_else(gone)
    };
    Ok((mb(jobmanager)?, mb(taskmanager)?))
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn first_record_ms() -> Result<f64> {
    let mut processes = Processes::new(2)?;
    let mut arguments = keyed_sum(2).job_arguments(&processes);
    arguments.extend(["--role", "local"].map(String::from));
    let started_ns = now_ns();
    processes.start(Child::Job, &arguments)?;
    let reports = processes.finish()?;
    let first = reports.iter().filter_map(|report| report.first_ns).min();
    let first = first.ok_or_else(|| Error::Different("no record was made".into()))?;
    Ok(first.saturating_sub(started_ns) as f64 / 1e6)
}

/// The longest of some: with a checkpoint before that is still read, and with one that is done.
fn checkpoint_pause_ms(keys: u64) -> Result<f64> {
    let max_parallelism = MaxParallelism::default();
    let groups = u32::try_from(max_parallelism.groups()).unwrap_or(u32::MAX);
    let key_groups = KeyGroupRange { start: 0, end: groups };
    let keys_of_subtask = KeySpace { groups: key_groups, max_parallelism };
    let sum = StateDeclaration::value::<u64, u64>("sum");
    let mut table = HeapBackend::new(random::hash_seed())
        .value::<u64, u64>(&sum, keys_of_subtask, &mut RestoredOperator::default())
        .map_err(|error| Error::Missing(error.to_string()))?;
    let mut pause_ms = 0.0f64;
    let mut earlier = None;
    for round in 0..4 {
        add_to_all(&mut *table, keys);
        let watch = Stopwatch::start();
        let snapshot = table.snapshot();
        pause_ms = pause_ms.max(watch.elapsed().as_secs_f64() * 1e3);
        earlier = (round % 2 == 0).then_some(snapshot);
    }
    drop(earlier);
    Ok(pause_ms)
}

fn add_to_all(table: &mut dyn ValueTable<u64>, keys: u64) {
    const BATCH: u64 = 1024;
    for start in (0..keys).step_by(1024) {
        let mut batch = KeyBatch::default();
        (start..keys.min(start + BATCH)).for_each(|key| batch.push(key));
        let len = batch.keys.len();
        table.begin_batch(Arc::new(batch) as SharedKeys);
        table.prefetch(0..len);
        for at in 0..len {
            let sum = table.get(at).map_or(0, |sum| *sum);
            table.set(at, sum + 1);
        }
        table.end_batch();
    }
}
