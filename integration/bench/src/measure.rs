//! What a timed process knows about itself: when work began and ended, how much it was, and what it took.

use std::{
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Result, Trying},
    process,
};

/// Work of this process. Times are those of the machine's monotonic clock, which all processes share.
static STARTED_NS: AtomicU64 = AtomicU64::new(u64::MAX);
static FIRST_NS: AtomicU64 = AtomicU64::new(u64::MAX);
static ENDED_NS: AtomicU64 = AtomicU64::new(0);
static RECORDS: AtomicU64 = AtomicU64::new(0);
static CHECKSUM: AtomicU64 = AtomicU64::new(0);

/// Work has begun, unless it had.
pub(crate) fn started() {
    STARTED_NS.fetch_min(now_ns(), Ordering::Relaxed);
}

/// The first record was made.
#[cold]
pub(crate) fn first_record() {
    FIRST_NS.fetch_min(now_ns(), Ordering::Relaxed);
}

/// More output: so many records whose checksums add up to this. It may be the last.
pub(crate) fn done(records: u64, checksum: u64) {
    RECORDS.fetch_add(records, Ordering::Relaxed);
    CHECKSUM.fetch_add(checksum, Ordering::Relaxed);
    ENDED_NS.fetch_max(now_ns(), Ordering::Relaxed);
}

/// What a process reports when it ends.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct ProcessReport {
    /// When work began; none if it did none.
    pub(crate) started_ns: Option<u64>,
    /// When the first record was made, where that was noted.
    pub(crate) first_ns: Option<u64>,
    /// When the last record was out.
    pub(crate) ended_ns: u64,
    /// Records that came out.
    pub(crate) records: u64,
    /// Sum of their checksums.
    pub(crate) checksum: u64,
    /// The most memory that was resident.
    pub(crate) rss_kib: u64,
    /// Processor time of all threads.
    pub(crate) cpu_s: f64,
}

/// Runs the body of a timed process and reports about it.
pub(crate) fn reported(body: impl FnOnce() -> Result<ExitCode>) -> ExitCode {
    process::isolate();
    let result = body().and_then(|code| {
        if let Some(path) = process::report_path() {
            write_report(Path::new(&path))?;
        }
        Ok(code)
    });
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

fn write_report(path: &Path) -> Result<()> {
    let noted = |time: &AtomicU64| Some(time.load(Ordering::Relaxed)).filter(|time| *time != u64::MAX);
    let report = ProcessReport {
        started_ns: noted(&STARTED_NS),
        first_ns: noted(&FIRST_NS),
        ended_ns: ENDED_NS.load(Ordering::Relaxed),
        records: RECORDS.load(Ordering::Relaxed),
        checksum: CHECKSUM.load(Ordering::Relaxed),
        rss_kib: process::peak_rss_kib("self").unwrap_or_default(),
        cpu_s: seconds(ClockId::ProcessCPUTime),
    };
    let text = serde_json::to_vec(&report).map_err(std::io::Error::other);
    text.and_then(|text| std::fs::write(path, text)).trying(|| format!("cannot write {}", path.display()))
}

/// Nanoseconds of the machine's monotonic clock.
pub(crate) fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a benchmark")]
fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
