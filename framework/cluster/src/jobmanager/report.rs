//! Gathers what people are told.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use flott_control::job::JobStatus;
use flott_core::{
    AttemptId, CheckpointId, EventTime, MonotonicTime, OperatorUid, TaskManagerId, operator::Counters,
    sink::SettleReport,
};

use super::{auditing::Audited, event::Swept, settling::lost_lines};
use crate::{
    progress::{
        Bytes, CheckpointProgress, JobEvent, JobProgress, JobSummary, OperatorProgress, ProgressListener,
    },
    rpc::message::OperatorCounters,
};

/// Records by operator.
pub(super) type Totals = BTreeMap<OperatorUid, Counters>;

/// Interval of the warnings about output that holds up readers.
const HANGING_REPEAT: Duration = Duration::from_secs(300);

/// Rates are those of about so long.
const RATE_WINDOW: Duration = Duration::from_millis(900);

/// What is counted and told.
pub(super) struct Report {
    listener: Arc<dyn ProgressListener>,
    job_name: String,
    started: MonotonicTime,
    uids: Vec<OperatorUid>,
    /// The counts up to the checkpoint that the present attempt has restored.
    restored: Totals,
    /// The same up to each completed checkpoint of this JobManager that can be restored, and up to those under way.
    checkpointed: BTreeMap<CheckpointId, Totals>,
    attempt: Option<AttemptId>,
    present: BTreeMap<TaskManagerId, Vec<OperatorCounters>>,
    rates: BTreeMap<OperatorUid, (f64, f64)>,
    rated: (MonotonicTime, Totals),
    triggered: BTreeMap<CheckpointId, (MonotonicTime, u64)>,
    checkpoint: Option<CheckpointProgress>,
    /// The newest one that this JobManager has completed.
    newest: Option<CheckpointId>,
    checkpoints: u64,
    failed_checkpoints: u64,
    deployments: u64,
    restarts_told: u64,
    lost: Vec<String>,
    lost_records: u64,
    /// Output that holds up readers, and when people were last told.
    hanging: BTreeMap<String, MonotonicTime>,
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
            restored: Totals::new(),
            checkpointed: BTreeMap::new(),
            attempt: None,
            present: BTreeMap::new(),
            rates: BTreeMap::new(),
            rated: (now, BTreeMap::new()),
            triggered: BTreeMap::new(),
            checkpoint: None,
            newest: None,
            checkpoints: 0,
            failed_checkpoints: 0,
            deployments: 0,
            restarts_told: 0,
            lost: Vec::new(),
            lost_records: 0,
            hanging: BTreeMap::new(),
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

    /// An attempt starts from a checkpoint. One of an earlier JobManager has no counters.
    pub(super) fn on_deployed(&mut self, attempt: AttemptId, restore: Option<CheckpointId>) {
        let restored = restore.and_then(|checkpoint| self.checkpointed.get(&checkpoint));
        self.restored = restored.cloned().unwrap_or_default();
        self.present.clear();
        self.attempt = Some(attempt);
        self.deployments += 1;
    }

    /// The job is about to be restarted.
    pub(super) fn on_restart(&mut self, text: String) {
        self.restarts_told += 1;
        self.warn(text);
    }

    /// Number of calls of [`Self::on_restart`].
    pub(super) fn restarts_told(&self) -> u64 {
        self.restarts_told
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

    /// All parts of a checkpoint are there: `counted` in this attempt.
    pub(super) fn on_storing(&mut self, checkpoint: CheckpointId, bytes: u64, counted: Totals) {
        let mut totals = self.restored.clone();
        add(&mut totals, counted);
        self.checkpointed.insert(checkpoint, totals);
        if let Some((_, size)) = self.triggered.get_mut(&checkpoint) {
            *size = bytes;
        }
    }

    pub(super) fn on_completed(&mut self, checkpoint: CheckpointId, now: MonotonicTime) {
        let Some((triggered, bytes)) = self.triggered.remove(&checkpoint) else { return };
        self.triggered = self.triggered.split_off(&checkpoint);
        self.newest = Some(checkpoint);
        let duration = now.since(triggered);
        self.checkpoint = Some(CheckpointProgress { id: checkpoint, duration, bytes });
        self.checkpoints += 1;
        let text =
            format!("checkpoint {checkpoint} complete in {} ms, {}", duration.as_millis(), Bytes(bytes));
        self.tell(true, text);
    }

    /// These checkpoints will not be restored any more.
    pub(super) fn on_discarded(&mut self, checkpoints: &[CheckpointId]) {
        self.checkpointed.retain(|checkpoint, _| !checkpoints.contains(checkpoint));
    }

    pub(super) fn on_aborted(&mut self, checkpoint: CheckpointId, reason: &str) {
        self.checkpointed.remove(&checkpoint);
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

    /// A settlement found that this holds up readers. It is said when it is new, and again every few minutes.
    pub(super) fn on_hanging(&mut self, hanging: impl IntoIterator<Item = String>, now: MonotonicTime) {
        for line in hanging {
            let is_told = self.hanging.get(&line).is_some_and(|&told| now.since(told) < HANGING_REPEAT);
            if !is_told {
                self.warn(format!("output that is settled holds up readers: {line}"));
                self.hanging.insert(line, now);
            }
        }
    }

    /// An audit has looked at what is open. What it could not see hangs for as long as nobody knows better.
    pub(super) fn on_audited(&mut self, audited: &Audited, now: MonotonicTime) {
        if !audited.is_partial {
            self.hanging.retain(|line, &mut told| audited.hanging.contains(line) || told > audited.begun);
        }
        self.on_hanging(audited.hanging.iter().cloned(), now);
        for failure in &audited.failures {
            self.warn(format!("cannot see whether readers get what was committed: {failure}"));
        }
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
            operators: self
                .newest
                .and_then(|newest| self.checkpointed.get(&newest).cloned())
                .unwrap_or_else(|| self.totals()),
            checkpoints: self.checkpoints,
            restarts: self.restarts(),
            duration: now.since(self.started),
            lost_output: self.lost.clone(),
            lost_records: self.lost_records,
            hanging_output: self.hanging.keys().cloned().collect(),
        }
    }

    fn totals(&self) -> Totals {
        let mut totals = self.restored.clone();
        let present = self.present.values().flatten();
        add(&mut totals, present.map(|operator| (operator.uid.clone(), operator.counters)));
        totals
    }

    fn watermark(&self, uid: &OperatorUid) -> Option<EventTime> {
        let of = self.present.values().flatten().filter(|operator| operator.uid == *uid);
        of.map(|operator| operator.watermark).min().filter(|&lowest| lowest != i64::MIN).map(EventTime)
    }

    fn rate(&mut self, totals: &Totals, now: MonotonicTime) {
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

fn add(totals: &mut Totals, more: impl IntoIterator<Item = (OperatorUid, Counters)>) {
    for (uid, counters) in more {
        *totals.entry(uid).or_default() += counters;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn output_hangs_until_an_audit_that_has_seen_all_of_it_says_otherwise() {
        let at = MonotonicTime::from_millis;
        let mut report = Report::new(Arc::new(Silent), "job".into(), Vec::new(), at(0));
        report.on_hanging(["a".to_owned()], at(10));
        let hanging = |report: &Report| report.summary(at(0)).hanging_output;

        let blind = Audited { begun: at(20), is_partial: true, ..Audited::default() };
        report.on_audited(&blind, at(30));
        assert_eq!(hanging(&report), ["a"], "its partition could not be asked");

        report.on_hanging(["b".to_owned()], at(50));
        report.on_audited(&Audited { begun: at(40), ..Audited::default() }, at(60));
        assert_eq!(hanging(&report), ["b"], "found after the audit had begun");
        report.on_audited(&Audited { begun: at(70), ..Audited::default() }, at(80));
        assert_eq!(hanging(&report), [""; 0]);
    }

    /// A heartbeat may be a second old when the last checkpoint is complete.
    #[test]
    fn the_summary_counts_up_to_the_newest_checkpoint_whatever_heartbeats_have_told() {
        let (uid, at) = (OperatorUid::new("out").unwrap(), MonotonicTime::from_millis);
        let counted = |records_in| Counters { records_in, ..Counters::default() };
        let mut report = Report::new(Arc::new(Silent), "job".into(), vec![uid.clone()], at(0));
        report.on_deployed(AttemptId(1), None);
        let told = OperatorCounters { uid: uid.clone(), counters: counted(7), watermark: 0 };
        report.on_counters(TaskManagerId(1), Some(AttemptId(1)), vec![told]);
        report.on_triggered(CheckpointId(1), at(1));
        report.on_storing(CheckpointId(1), 0, Totals::from([(uid.clone(), counted(10))]));
        report.on_completed(CheckpointId(1), at(2));
        assert_eq!(report.summary(at(3)).operators, Totals::from([(uid, counted(10))]));
    }
}
