//! Brings to an end what earlier attempts have left behind.

use std::sync::Arc;

use flott_core::{
    Error, ErrorKind, Generation, JobIdentity, OperatorUid, Result,
    sink::{COMMITTABLES_STATE, SettleReport, SettleRequest},
    task::Failure,
};
use flott_runtime::program::{JobProgram, OperatorFactory};
use flott_state::storage::Manifest;
use tokio::task::spawn_blocking;

use super::{
    checks::nobody_settles,
    event::{Event, Settled},
    sinks::for_each_sink,
    waits::Waits,
};
use crate::{
    settings::ClusterSettings,
    store::{CheckpointStore, StoreError},
};

/// One settling.
pub(super) struct Settling {
    pub(super) program: Arc<JobProgram>,
    pub(super) job: JobIdentity,
    pub(super) store: CheckpointStore,
    pub(super) settings: Arc<ClusterSettings>,
    /// The checkpoint whose committables are settled.
    pub(super) manifest: Option<Arc<Manifest>>,
    /// A newer checkpoint could not be read.
    pub(super) is_fallback: bool,
    /// Generations in which output may be left open, with the parallelism of their sinks.
    pub(super) unswept: Vec<(Generation, u32)>,
    /// The run repeats one that had ended and has no checkpoint, so its output is repeated on purpose.
    pub(super) is_repeat: bool,
    pub(super) waits: Waits,
}

impl Settling {
    /// Whoever was frozen may find all its TaskManagers gone because another JobManager has taken them over. So the
    /// journal is asked first: what is fenced and deleted here cannot be called back.
    pub(super) async fn run(self) -> Event {
        let wait = self
            .waits
            .begin(format!("the checkpoint directory {} (asking the journal who leads)", self.store.place()));
        let confirmed = self.store.confirm_lead().await;
        drop(wait);
        let settled = match confirmed {
            Ok(()) => self.settle().await,
            Err(StoreError::Conflict) => return Event::Deposed,
            Err(StoreError::Failed(error)) => Err(error.with_kind(ErrorKind::Transient)),
        };
        Event::Settled(settled.map_err(|error| Failure::from(&error)))
    }

    async fn settle(self) -> Result<Settled> {
        let manifest = self.manifest.clone();
        let settling =
            move || gather(for_each_sink(&self.program, |uid, factory| self.settle_sink(uid, factory)));
        let reports = spawn_blocking(settling).await;
        let reports = reports.map_err(|error| Error::internal(format!("settling panicked: {error}")))??;
        Ok(Settled { manifest, reports })
    }

    fn settle_sink(&self, uid: &OperatorUid, factory: &dyn OperatorFactory) -> Result<Option<SettleReport>> {
        let _wait = self.waits.begin(format!("sink {:?} (settling its output)", uid.as_str()));
        let manifest = self.manifest.as_deref();
        let committables =
            manifest.map_or_else(Vec::new, |manifest| manifest.list_items(uid, COMMITTABLES_STATE));
        let Some(mut settler) = factory.settler()? else {
            let may_go_on = committables.is_empty() || self.settings.accept_lost_output;
            return if may_go_on { Ok(None) } else { Err(nobody_settles(uid)) };
        };
        let request = SettleRequest {
            uid: uid.clone(),
            job: self.job.clone(),
            checkpoint: manifest.map(|manifest| manifest.checkpoint),
            is_fallback: self.is_fallback,
            committables,
            generations: self.unswept.clone(),
            allow_repeated_output: self.settings.allow_repeated_output || self.is_repeat,
            accept_lost_output: self.settings.accept_lost_output,
        };
        settler.settle(&request).map(Some)
    }
}

/// All reports, or all failures as one. A failure that may heal comes first: when it has, all sinks are settled again, and
/// what a person has to look at is reported once and in full.
pub(super) fn gather(results: Vec<Result<Option<SettleReport>>>) -> Result<Vec<SettleReport>> {
    let (mut reports, mut failures) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(report) => reports.extend(report),
            Err(error) if error.kind().is_restartable() => return Err(error),
            Err(error) => failures.push(error),
        }
    }
    let Some(first) = failures.first() else { return Ok(reports) };
    let lost = failures.iter().find(|error| error.kind() == ErrorKind::OutputLost);
    let kind = lost.unwrap_or(first).kind();
    let messages: Vec<_> = failures.iter().map(ToString::to_string).collect();
    Err(Error::new(kind, messages.join("\n")))
}

/// Reports by sink, in words.
pub(super) fn lost_lines(reports: &[SettleReport]) -> (Vec<String>, u64) {
    let lines = reports.iter().flat_map(|report| report.lost.iter().cloned()).collect();
    (lines, reports.iter().map(|report| report.lost_records).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(sink: &str) -> Result<Option<SettleReport>> {
        Err(Error::new(ErrorKind::OutputLost, format!("{sink} has lost output")))
    }

    #[test]
    fn losses_of_several_sinks_are_reported_together() {
        let settings = Err(Error::new(ErrorKind::Settings, "d is used by another job"));
        let error = gather(vec![settings, lost("a"), Ok(None), lost("b")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutputLost);
        assert_eq!(error.to_string(), "d is used by another job\na has lost output\nb has lost output");
    }

    #[test]
    fn what_may_heal_is_tried_again_before_a_loss_is_reported() {
        let error = gather(vec![lost("a"), Err(Error::transient("c is away"))]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
        let report = SettleReport { committed: 1, ..SettleReport::default() };
        assert_eq!(gather(vec![Ok(Some(report.clone())), Ok(None)]).unwrap(), [report]);
    }
}
