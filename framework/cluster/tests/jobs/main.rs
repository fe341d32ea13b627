//! Random whole jobs, in one process and over TCP: records fail, the job is stopped and goes on with another parallelism,
//! and in the end its files hold each result exactly once. See `FLOTT_TEST_DEPTH` in ARCHITECTURE.md.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

mod job;
mod run;

use std::ops::AddAssign;

use flott_core::testkit::{Random, depth};
use job::RandomJob;
use run::{in_one_process, over_tcp};

/// The runs so far.
#[derive(Clone, Copy, Default)]
struct Tally {
    runs: u64,
    restarts: u64,
    records: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.restarts += other.restarts;
        self.records += other.records;
    }
}

fn jobs(cases: u64, first_seed: u64, run: fn(&mut Random, &RandomJob) -> Tally) {
    let cases = cases * depth();
    let mut tally = Tally::default();
    for seed in first_seed..first_seed + cases {
        let mut random = Random::new(seed);
        let job = RandomJob::new(&mut random);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let tally = run(&mut random, &job);
            job.assert_exact();
            tally
        }));
        match result {
            Ok(one) => tally += one,
            Err(panic) => {
                eprintln!("failed with seed {seed}: {job:?}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    let Tally { runs, restarts, records } = tally;
    println!("{cases} jobs, {runs} runs, {restarts} restarts, {records} records");
}

#[test]
fn random_jobs_in_one_process_are_exact() {
    jobs(3, 0, in_one_process);
}

#[test]
fn random_jobs_over_tcp_are_exact() {
    jobs(2, 1_000_000, over_tcp);
}
