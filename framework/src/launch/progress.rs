//! What a person sees on stderr while a job runs: a block that is redrawn on a terminal, plain lines elsewhere.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::lines::stderr;
use flott_cluster::{
    Bytes, JobEvent, JobOutcome, JobProgress, JobStatus, JobSummary, OutcomeStatus, ProgressListener,
};

/// Where there is no terminal, the state is printed this often, and when the job's status changes.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;

/// Prints progress and events.
pub(super) struct ProgressPrinter {
    stderr_is_terminal: bool,
    stdout_is_terminal: bool,
    /// Whether the job prints results to stdout: known once it has been built.
    prints_results: Arc<AtomicBool>,
    display: Mutex<Display>,
}

impl ProgressPrinter {
    pub(super) fn new(prints_results: Arc<AtomicBool>) -> Self {
        Self {
            stderr_is_terminal: io::stderr().is_terminal(),
            stdout_is_terminal: io::stdout().is_terminal(),
            prints_results,
            display: Mutex::default(),
        }
    }

    /// Columns for a block that is redrawn; none where there is none.
    fn columns(&self) -> Option<usize> {
        let shares_terminal = self.stdout_is_terminal && self.prints_results.load(Ordering::Relaxed);
        (self.stderr_is_terminal && !shares_terminal).then(|| {
            terminal_size::terminal_size_of(io::stderr()).map_or(COLUMNS, |(columns, _)| columns.0.into())
        })
    }
}

impl ProgressListener for ProgressPrinter {
    fn on_progress(&self, progress: &JobProgress) {
        let mut display = self.display.lock().unwrap_or_else(PoisonError::into_inner);
        let mut after = display.clone();
        let text = after.on_progress(progress, self.columns());
        if !text.is_empty() && stderr().push_unless_held(text) {
            *display = after;
        }
    }

    fn on_event(&self, event: &JobEvent) {
        let mut display = self.display.lock().unwrap_or_else(PoisonError::into_inner);
        stderr().push(display.on_event(event));
    }
}

/// What is on the screen. Says what to write, and writes nothing.
#[derive(Clone, Debug, Default)]
struct Display {
    /// Lines of the block on the terminal, to be overwritten.
    lines: usize,
    /// When the last plain line was printed, as time since the job's start, and what the job's status was.
    at: Option<(Duration, JobStatus)>,
}

impl Display {
    /// With `columns`, a block in place of the one before; else a line now and then.
    fn on_progress(&mut self, progress: &JobProgress, columns: Option<usize>) -> String {
        if let Some(columns) = columns {
            let block = cut(&block(progress), columns);
            let out = format!("{}{block}", self.erase());
            self.lines = block.lines().count();
            return out;
        }
        let is_due = self.at.is_none_or(|(at, status)| {
            status != progress.status || progress.elapsed.saturating_sub(at) >= PLAIN_INTERVAL
        });
        if !is_due || progress.operators.is_empty() {
            return String::new();
        }
        self.at = Some((progress.elapsed, progress.status));
        line(progress)
    }

    fn on_event(&mut self, event: &JobEvent) -> String {
        let level = if event.is_warning { "warning: " } else { "" };
        format!("{}{level}{}\n", self.erase(), event.text)
    }

    /// Moves the cursor up over the block and clears it.
    fn erase(&mut self) -> String {
        match std::mem::take(&mut self.lines) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }
}

/// Shortens lines that a terminal would break: each line must be one row, or the wrong ones are overwritten. The last
/// column stays free, because some terminals break there already.
fn cut(block: &str, columns: usize) -> String {
    let room = columns.saturating_sub(1);
    let mut out = String::new();
    for line in block.lines() {
        if line.chars().count() > room {
            out.extend(line.chars().take(room.saturating_sub(1)));
            out.push('…');
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

fn block(progress: &JobProgress) -> String {
    let mut out = head(progress);
    out.push('\n');
    for operator in &progress.operators {
        let _ = write!(
            out,
            "  {:<24} in {:>11} {:>7}/s  out {:>11} {:>7}/s",
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
        let _ = write!(out, ", checkpoint {id} ({millis} ms, {})", Bytes(checkpoint.bytes));
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
    } else if *summary != JobSummary::default() {
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
    for hanging in &summary.hanging_output {
        let _ = writeln!(out, "output does not reach readers: {hanging}");
    }
    if let Some(error) = &outcome.error {
        let _ = writeln!(out, "error: {error}");
    }
    out
}

#[cfg(test)]
mod tests {
    use flott_cluster::{Counters, OperatorProgress, StopSignal};
    use flott_core::{Error, OperatorUid};

    use super::*;

    fn progress(seconds: u64) -> JobProgress {
        let operator = |uid: &str| OperatorProgress {
            uid: OperatorUid::new(uid).unwrap(),
            counters: Counters { records_in: 1_000_000, records_out: 999_999, records_dropped: 1 },
            rate_in: 1e6,
            rate_out: 1e6,
            watermark: None,
        };
        JobProgress {
            job_name: "job".into(),
            status: JobStatus::Running,
            elapsed: Duration::from_secs(seconds),
            operators: vec![operator("numbers"), operator("sums")],
            checkpoint: None,
            checkpoints: 0,
            failed_checkpoints: 0,
            restarts: 0,
            task_managers: 1,
            free_slots: 0,
        }
    }

    fn event(text: &str) -> JobEvent {
        JobEvent { is_warning: false, is_routine: false, text: text.into() }
    }

    #[test]
    fn a_block_is_redrawn_in_its_place_and_fits_the_terminal() {
        for columns in [10, 80, 200] {
            let mut display = Display::default();
            let first = display.on_progress(&progress(1), Some(columns));
            assert_eq!(first.lines().count(), 3);
            assert!(first.lines().all(|line| line.chars().count() < columns), "{first}");
            let second = display.on_progress(&progress(2), Some(columns));
            assert!(second.starts_with("\x1b[3A\x1b[J"), "{second:?}");
        }
        let wide = Display::default().on_progress(&progress(1), Some(200));
        assert!(wide.contains("dropped 1\n"), "{wide}");
        let narrow = Display::default().on_progress(&progress(1), Some(80));
        assert!(narrow.contains("…\n"), "{narrow}");
    }

    #[test]
    fn an_event_takes_the_place_of_the_block() {
        let mut display = Display::default();
        display.on_progress(&progress(1), Some(80));
        assert_eq!(display.on_event(&event("one")), "\x1b[3A\x1b[Jone\n");
        assert_eq!(display.on_event(&event("two")), "two\n", "nothing of ours is above it");
    }

    #[test]
    fn plain_lines_erase_nothing_and_are_rare() {
        let mut display = Display::default();
        let first = display.on_progress(&progress(1), None);
        assert!(first.starts_with("job RUNNING 1s | numbers 1000000") && !first.contains('\x1b'), "{first}");
        assert_eq!(display.on_progress(&progress(5), None), "");
        assert_ne!(display.on_progress(&progress(11), None), "");
        assert_eq!(display.on_event(&event("one")), "one\n");
    }

    #[test]
    fn there_is_no_block_among_printed_results() {
        let columns = |stderr_is_terminal, stdout_is_terminal, prints_results| {
            let prints_results = Arc::new(AtomicBool::new(prints_results));
            let display = Mutex::default();
            ProgressPrinter { stderr_is_terminal, stdout_is_terminal, prints_results, display }.columns()
        };
        assert!(columns(true, true, false).is_some());
        assert!(columns(true, false, true).is_some(), "results go elsewhere");
        assert!(columns(true, true, true).is_none());
        assert!(columns(false, true, false).is_none());
    }

    #[test]
    fn a_stopped_job_says_whether_it_can_go_on() {
        let outcome = JobOutcome {
            status: OutcomeStatus::Suspended,
            error: None,
            signal: Some(StopSignal::Interrupt),
            summary: JobSummary { duration: Duration::from_secs(3), ..JobSummary::default() },
            already_finished: false,
        };
        let first_line =
            |keeps_state| summary(&outcome, "job", keeps_state).lines().next().unwrap().to_owned();
        assert!(first_line(true).starts_with("job stopped by a signal; its state is kept after"));
        assert!(first_line(false).contains("is gone (--checkpoint-dir keeps it)"));
    }

    #[test]
    fn a_job_that_did_not_begin_says_only_why() {
        let outcome = JobOutcome {
            status: OutcomeStatus::Failed,
            error: Some(Error::user("`slots` must be at least 1")),
            signal: None,
            summary: JobSummary::default(),
            already_finished: false,
        };
        assert_eq!(summary(&outcome, "job", true), "error: `slots` must be at least 1\n");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(rate(12.4), "12");
        assert_eq!(rate(12_400.0), "12.4k");
        assert_eq!(rate(1_240_000.0), "1.2M");
    }
}
