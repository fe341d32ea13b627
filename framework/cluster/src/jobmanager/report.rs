//! Gathers what people are told.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use flott_control::job::JobStatus;
use flott_core::{
    AttemptId, CheckpointId, EventTime, MonotonicTime, OperatorUid, TaskManagerId, sink::SettleReport,
};

use super::{event::Swept, settling::lost_lines};
use crate::{
    progress::{
        CheckpointProgress, Counters, JobEvent, JobProgress, JobSummary, OperatorProgress, ProgressListener,
    },
    rpc::message::OperatorCounters,
};

/// Rates are those of about so long.
const RATE_WINDOW: Duration = Duration::from_millis(900);

/// What is counted and told.
pub(super) struct Report {
    listener: Arc<dyn ProgressListener>,
    job_name: String,
    started: MonotonicTime,
    uids: Vec<OperatorUid>,
    /// What attempts that are over have counted.
    past: BTreeMap<OperatorUid, Counters>,
    attempt: Option<AttemptId>,
    present: BTreeMap<TaskManagerId, Vec<OperatorCounters>>,
    rates: BTreeMap<OperatorUid, (f64, f64)>,
    rated: (MonotonicTime, BTreeMap<OperatorUid, Counters>),
    triggered: BTreeMap<CheckpointId, (MonotonicTime, u64)>,
    checkpoint: Option<CheckpointProgress>,
    checkpoints: u64,
    failed_checkpoints: u64,
    deployments: u64,
    lost: Vec<String>,
    lost_records: u64,
}

impl Report {
    pub(super) fn new(
        listener: Arc<dyn ProgressListener>,
        job_name: String,
        uids: Vec<OperatorUid>,
        now: MonotonicTime,
    ) -> Self {
        Self {
            listener,
            job_name,
            started: now,
            uids,
            past: BTreeMap::new(),
            attempt: None,
            present: BTreeMap::new(),
            rates: BTreeMap::new(),
            rated: (now, BTreeMap::new()),
            triggered: BTreeMap::new(),
            checkpoint: None,
            checkpoints: 0,
            failed_checkpoints: 0,
            deployments: 0,
            lost: Vec::new(),
            lost_records: 0,
        }
    }

    pub(super) fn note(&self, text: impl Into<String>) {
        self.tell(false, text.into());
    }

    fn tell(&self, is_routine: bool, text: String) {
        tracing::info!(job = self.job_name, "{text}");
        self.listener.on_event(&JobEvent { is_warning: false, is_routine, text });
    }

    pub(super) fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        // The listener shows it already: the log repeats it only for those who ask for more.
        tracing::info!(job = self.job_name, "warning: {text}");
        self.listener.on_event(&JobEvent { is_warning: true, is_routine: false, text });
    }

    pub(super) fn on_deployed(&mut self, attempt: AttemptId) {
        for (_, operators) in std::mem::take(&mut self.present) {
            for operator in operators {
                *self.past.entry(operator.uid).or_default() += operator.counters;
            }
        }
        self.attempt = Some(attempt);
        self.deployments += 1;
    }

    fn restarts(&self) -> u64 {
        self.deployments.saturating_sub(1)
    }

    pub(super) fn on_counters(
        &mut self,
        id: TaskManagerId,
        attempt: Option<AttemptId>,
        counters: Vec<OperatorCounters>,
    ) {
        if attempt.is_some() && attempt == self.attempt && !counters.is_empty() {
            self.present.insert(id, counters);
        }
    }

    pub(super) fn on_triggered(&mut self, checkpoint: CheckpointId, now: MonotonicTime) {
        self.triggered.insert(checkpoint, (now, 0));
    }

    pub(super) fn on_storing(&mut self, checkpoint: CheckpointId, bytes: u64) {
        if let Some((_, size)) = self.triggered.get_mut(&checkpoint) {
            *size = bytes;
        }
    }

    pub(super) fn on_completed(&mut self, checkpoint: CheckpointId, now: MonotonicTime) {
        let Some((triggered, bytes)) = self.triggered.remove(&checkpoint) else { return };
        self.triggered = self.triggered.split_off(&checkpoint);
        let duration = now.since(triggered);
        self.checkpoint = Some(CheckpointProgress { id: checkpoint, duration, bytes });
        self.checkpoints += 1;
        let text =
            format!("checkpoint {checkpoint} complete in {} ms, {}", duration.as_millis(), size(bytes));
        self.tell(true, text);
    }

    pub(super) fn on_aborted(&mut self, checkpoint: CheckpointId, reason: &str) {
        if self.triggered.remove(&checkpoint).is_some() {
            self.failed_checkpoints += 1;
            self.warn(format!("checkpoint {checkpoint} failed: {reason}"));
        }
    }

    pub(super) fn on_settled(&mut self, reports: &[SettleReport]) {
        let (lost, records) = lost_lines(reports);
        for line in lost {
            if !self.lost.contains(&line) {
                self.warn(format!("lost output, accepted by settings: {line}"));
                self.lost.push(line);
            }
        }
        self.lost_records = self.lost_records.max(records);
    }

    pub(super) fn on_swept(&self, swept: &Swept) {
        if !swept.names.is_empty() {
            self.note(format!(
                "removed what tasks of older attempts had left open: {}",
                swept.names.join(", ")
            ));
        }
        for failure in &swept.failures {
            self.warn(format!("cannot look for what tasks of older attempts have left open: {failure}"));
        }
    }

    /// Tells how the job gets on.
    pub(super) fn show(
        &mut self,
        status: JobStatus,
        task_managers: usize,
        free_slots: usize,
        now: MonotonicTime,
    ) {
        let totals = self.totals();
        self.rate(&totals, now);
        let operators = self.uids.iter().map(|uid| OperatorProgress {
            uid: uid.clone(),
            counters: totals.get(uid).copied().unwrap_or_default(),
            rate_in: self.rates.get(uid).map_or(0.0, |rates| rates.0),
            rate_out: self.rates.get(uid).map_or(0.0, |rates| rates.1),
            watermark: self.watermark(uid),
        });
        let progress = JobProgress {
            job_name: self.job_name.clone(),
            status,
            elapsed: now.since(self.started),
            operators: operators.collect(),
            checkpoint: self.checkpoint,
            checkpoints: self.checkpoints,
            failed_checkpoints: self.failed_checkpoints,
            restarts: self.restarts(),
            task_managers,
            free_slots,
        };
        self.listener.on_progress(&progress);
    }

    pub(super) fn summary(&self, now: MonotonicTime) -> JobSummary {
        JobSummary {
            operators: self.totals(),
            checkpoints: self.checkpoints,
            restarts: self.restarts(),
            duration: now.since(self.started),
            lost_output: self.lost.clone(),
            lost_records: self.lost_records,
        }
    }

    fn totals(&self) -> BTreeMap<OperatorUid, Counters> {
        let mut totals = self.past.clone();
        for operator in self.present.values().flatten() {
            *totals.entry(operator.uid.clone()).or_default() += operator.counters;
        }
        totals
    }

    fn watermark(&self, uid: &OperatorUid) -> Option<EventTime> {
        let of = self.present.values().flatten().filter(|operator| operator.uid == *uid);
        of.map(|operator| operator.watermark).min().filter(|&lowest| lowest != i64::MIN).map(EventTime)
    }

    fn rate(&mut self, totals: &BTreeMap<OperatorUid, Counters>, now: MonotonicTime) {
        let (since, before) = &self.rated;
        let passed = now.since(*since);
        if passed < RATE_WINDOW {
            return;
        }
        let per_second = |new: u64, old: u64| new.saturating_sub(old) as f64 / passed.as_secs_f64();
        for (uid, counters) in totals {
            let old = before.get(uid).copied().unwrap_or_default();
            let rates = (
                per_second(counters.records_in, old.records_in),
                per_second(counters.records_out, old.records_out),
            );
            self.rates.insert(uid.clone(), rates);
        }
        self.rated = (now, totals.clone());
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} KB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
