//! What a person sees on stderr while a job runs: a block that is redrawn on a terminal, plain lines elsewhere.

use std::{
    fmt::Write as _,
    io::IsTerminal,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::lines::stderr;
use flott_cluster::{JobEvent, JobOutcome, JobProgress, JobStatus, OutcomeStatus, ProgressListener};

/// Where there is no terminal, the state is printed this often, and when the job's status changes.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Prints progress and events.
pub(super) struct ProgressPrinter {
    is_terminal: bool,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    /// Lines of the block on the terminal, to be overwritten.
    lines: usize,
    /// When the last plain line was printed, as time since the job's start, and what the job's status was.
    at: Option<(Duration, JobStatus)>,
}

impl ProgressPrinter {
    pub(super) fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), shown: Mutex::default() }
    }
}

impl ProgressListener for ProgressPrinter {
    fn on_progress(&self, progress: &JobProgress) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_terminal {
            let block = block(progress);
            if stderr().push_unless_held(format!("{}{block}", erase(shown.lines))) {
                shown.lines = block.lines().count();
            }
            return;
        }
        let is_due = shown.at.is_none_or(|(at, status)| {
            status != progress.status || progress.elapsed.saturating_sub(at) >= PLAIN_INTERVAL
        });
        if is_due && !progress.operators.is_empty() && stderr().push_unless_held(line(progress)) {
            shown.at = Some((progress.elapsed, progress.status));
        }
    }

    fn on_event(&self, event: &JobEvent) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let level = if event.is_warning { "warning: " } else { "" };
        stderr().push(format!("{}{level}{}\n", erase(shown.lines), event.text));
        shown.lines = 0;
    }
}

/// Moves the cursor up over a block and clears it.
fn erase(lines: usize) -> String {
    if lines == 0 { String::new() } else { format!("\x1b[{lines}A\x1b[J") }
}

fn block(progress: &JobProgress) -> String {
    let mut out = head(progress);
    out.push('\n');
    for operator in &progress.operators {
        let _ = write!(
            out,
            "  {:<32} in {:>12} {:>10}/s  out {:>12} {:>10}/s",
            operator.uid.as_str(),
            operator.counters.records_in,
            rate(operator.rate_in),
            operator.counters.records_out,
            rate(operator.rate_out),
        );
        if operator.counters.records_dropped > 0 {
            let _ = write!(out, "  dropped {}", operator.counters.records_dropped);
        }
        out.push('\n');
    }
    out
}

fn line(progress: &JobProgress) -> String {
    let mut out = head(progress);
    for operator in &progress.operators {
        let counters = operator.counters;
        let (uid, records) = (operator.uid.as_str(), counters.records_in.max(counters.records_out));
        let per_second = rate(operator.rate_in.max(operator.rate_out));
        let _ = write!(out, " | {uid} {records} ({per_second}/s)");
    }
    out.push('\n');
    out
}

fn head(progress: &JobProgress) -> String {
    let mut out = format!("{} {} {}s", progress.job_name, progress.status, progress.elapsed.as_secs(),);
    if let Some(checkpoint) = progress.checkpoint {
        let (id, millis) = (checkpoint.id, checkpoint.duration.as_millis());
        let _ = write!(out, ", checkpoint {id} ({millis} ms, {})", bytes(checkpoint.bytes));
    }
    if progress.restarts > 0 {
        let _ = write!(out, ", {} restarts", progress.restarts);
    }
    out
}

fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate >= 1e6 => format!("{:.1}M", rate / 1e6),
        rate if rate >= 1e3 => format!("{:.1}k", rate / 1e3),
        rate => format!("{rate:.0}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// Prints how a job ended.
pub(super) fn print_summary(outcome: &JobOutcome, job_name: &str, keeps_state: bool) {
    stderr().push(summary(outcome, job_name, keeps_state));
    stderr().flush();
}

fn summary(outcome: &JobOutcome, job_name: &str, keeps_state: bool) -> String {
    let summary = &outcome.summary;
    let verdict = match outcome.status {
        OutcomeStatus::Finished => "finished",
        OutcomeStatus::Cancelled => "cancelled",
        OutcomeStatus::Suspended if keeps_state => "stopped by a signal; its state is kept",
        OutcomeStatus::Suspended => {
            "stopped by a signal; its state was in a temporary directory and is gone (--checkpoint-dir keeps it)"
        }
        OutcomeStatus::Failed => "failed",
    };
    let mut out = String::new();
    if outcome.already_finished {
        let _ = writeln!(out, "{job_name} had already {verdict}; nothing was run. --again runs it again");
    } else {
        let (seconds, checkpoints) = (summary.duration.as_secs_f64(), summary.checkpoints);
        let _ = writeln!(
            out,
            "{job_name} {verdict} after {seconds:.1} s, {checkpoints} checkpoints, {} restarts",
            summary.restarts
        );
        for (uid, counters) in &summary.operators {
            let (records_in, records_out) = (counters.records_in, counters.records_out);
            let _ = write!(out, "  {:<32} in {records_in:>12}  out {records_out:>12}", uid.as_str());
            if counters.records_dropped > 0 {
                let _ = write!(out, "  dropped {}", counters.records_dropped);
            }
            out.push('\n');
        }
    }
    for lost in &summary.lost_output {
        let _ = writeln!(out, "lost output, accepted: {lost}");
    }
    if let Some(error) = &outcome.error {
        let _ = writeln!(out, "error: {error}");
    }
    out
}

#[cfg(test)]
mod tests {
    use flott_cluster::{JobSummary, StopSignal};

    use super::*;

    #[test]
    fn a_stopped_job_says_whether_it_can_go_on() {
        let outcome = JobOutcome {
            status: OutcomeStatus::Suspended,
            error: None,
            signal: Some(StopSignal::Interrupt),
            summary: JobSummary::default(),
            already_finished: false,
        };
        let first_line =
            |keeps_state| summary(&outcome, "job", keeps_state).lines().next().unwrap().to_owned();
        assert!(first_line(true).starts_with("job stopped by a signal; its state is kept after"));
        assert!(first_line(false).contains("is gone (--checkpoint-dir keeps it)"));
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(rate(12.4), "12");
        assert_eq!(rate(12_400.0), "12.4k");
        assert_eq!(rate(1_240_000.0), "1.2M");
        assert_eq!(bytes(12), "12 B");
        assert_eq!(bytes(2048), "2.0 KiB");
    }
}
