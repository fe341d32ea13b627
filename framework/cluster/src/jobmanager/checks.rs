//! The checks of a JobManager before it leads. Nothing is changed, so that a JobManager that cannot run the job ends without
//! having deposed one that can.

use std::{sync::Arc, time::Duration};

use flott_core::{
    Clock, Error, ErrorKind, OperatorUid, Result,
    sink::{ACCEPT_LOST_OUTPUT, COMMITTABLES_STATE},
};
use flott_plan::ExecutionPlan;
use flott_runtime::program::{JobProgram, OperatorFactory};
use flott_state::storage::Manifest;
use tokio::{task::spawn_blocking, time::sleep};

use super::{checkpoints, settling::gather, sinks::for_each_sink, waits::Waits};
use crate::{
    candidate::Candidate,
    progress::{JobEvent, ProgressListener},
    settings::ClusterSettings,
};

/// Pause before the checks are repeated.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// A job that is to be led.
pub(super) struct Checks<'a> {
    pub(super) program: &'a Arc<JobProgram>,
    pub(super) plan: &'a ExecutionPlan,
    pub(super) settings: &'a Arc<ClusterSettings>,
    pub(super) progress: &'a dyn ProgressListener,
    pub(super) waits: &'a Waits,
}

impl Checks<'_> {
    /// Checks until nothing is wrong.
    ///
    /// # Errors
    /// The first mistake that does not pass by itself, or has not passed in time.
    pub(super) async fn pass(&self, candidate: &Candidate, clock: &dyn Clock) -> Result<()> {
        let (since, mut refused_since) = (clock.now(), None);
        let (mut told, mut has_checkpoint) = (String::new(), false);
        loop {
            let Err(error) = self.pass_once(candidate, &mut has_checkpoint).await else { return Ok(()) };
            let now = clock.now();
            let failing_since = if error.kind() == ErrorKind::Refused {
                *refused_since.get_or_insert(now)
            } else {
                refused_since = None;
                since
            };
            if !may_pass(&error, has_checkpoint, now.since(failing_since), self.settings) {
                return Err(error);
            }
            let text = format!("not leading yet: {error}; the checks are repeated until they pass");
            if text != told {
                self.progress.on_event(&JobEvent { is_warning: true, is_routine: false, text: text.clone() });
                told = text;
            }
            sleep(RETRY_DELAY).await;
        }
    }

    async fn pass_once(&self, candidate: &Candidate, has_checkpoint: &mut bool) -> Result<()> {
        let manifest = {
            let place = &self.settings.checkpoint_dir;
            let _wait =
                self.waits.begin(format!("the checkpoint directory {place} (reading the newest checkpoint)"));
            candidate.newest_checkpoint().await?
        };
        *has_checkpoint |= manifest.is_some();
        if let Some(manifest) = &manifest {
            checkpoints::restored(self.plan, manifest)?;
        }
        let (program, settings, waits) =
            (Arc::clone(self.program), Arc::clone(self.settings), self.waits.clone());
        let checking = move || {
            gather(for_each_sink(&program, |uid, factory| {
                let _wait = waits
                    .begin(format!("sink {:?} (checking it before this JobManager leads)", uid.as_str()));
                check_sink(uid, factory, manifest.as_ref(), &settings).map(|()| None)
            }))
        };
        let checked = spawn_blocking(checking).await;
        checked.map_err(|error| Error::internal(format!("checking the sinks panicked: {error}")))?.map(drop)
    }
}

fn check_sink(
    uid: &OperatorUid,
    factory: &dyn OperatorFactory,
    manifest: Option<&Manifest>,
    settings: &ClusterSettings,
) -> Result<()> {
    let between = settings.checkpoint_interval + settings.checkpoint_min_pause;
    factory.check(between.as_millis().try_into().unwrap_or(u64::MAX))?;
    let lists_output =
        manifest.is_some_and(|manifest| !manifest.list_items(uid, COMMITTABLES_STATE).is_empty());
    if lists_output && !settings.accept_lost_output && factory.settler()?.is_none() {
        return Err(nobody_settles(uid));
    }
    Ok(())
}

/// The sink wrote the checkpoint in another way than it would now.
pub(super) fn nobody_settles(uid: &OperatorUid) -> Error {
    let text = format!(
        "sink {uid}: the checkpoint lists output of it that may not be committed yet, and as the sink is declared now it \
         cannot commit it. Start the job once more as it was and stop it with SIGTERM, so that everything is committed; \
         then go on with --set {ACCEPT_LOST_OUTPUT}=true"
    );
    Error::new(ErrorKind::State, text)
}

/// Returns `true` if the check is to be repeated after this error. A job that has never run is given up after `start_timeout`, and at once when an
/// external system refuses it; one that has run waits for the external system for as long as it takes, and a refusal may
/// last for `refusal_timeout`. `failing_for`: time since the first refusal in a row, or of another error since the first
/// check.
fn may_pass(error: &Error, has_checkpoint: bool, failing_for: Duration, settings: &ClusterSettings) -> bool {
    let is_within = |limit: Duration| limit.is_zero() || failing_for < limit;
    match error.kind() {
        ErrorKind::Refused => has_checkpoint && is_within(settings.refusal_timeout),
        kind => kind.is_restartable() && (has_checkpoint || is_within(settings.start_timeout)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use flott_core::{
        operator::{Head, OperatorContext},
        sink::Settler,
        source::SplitEnumerator,
    };
    use flott_runtime::program::ErasedDownstream;

    use super::*;

    /// A sink that notes how far apart checkpoints are, as it is told.
    #[derive(Default)]
    struct Noting(AtomicU64);

    impl OperatorFactory for Noting {
        fn link(
            &self,
            _context: OperatorContext,
            _target: ErasedDownstream,
            _side_outputs: Vec<(String, ErasedDownstream)>,
        ) -> Result<ErasedDownstream> {
            unreachable!("nothing is deployed")
        }
        fn source(&self, _context: OperatorContext, _target: ErasedDownstream) -> Result<Box<dyn Head>> {
            unreachable!("nothing is deployed")
        }
        fn fan_out(&self, _targets: Vec<ErasedDownstream>) -> ErasedDownstream {
            unreachable!("nothing is deployed")
        }
        fn enumerator(&self) -> Result<Option<Box<dyn SplitEnumerator>>> {
            Ok(None)
        }
        fn settler(&self) -> Result<Option<Box<dyn Settler>>> {
            Ok(None)
        }
        fn check(&self, between_ms: u64) -> Result<()> {
            self.0.store(between_ms, Ordering::Relaxed);
            Ok(())
        }
    }

    #[test]
    fn a_sink_is_told_of_the_interval_and_of_the_pause() {
        let seconds = Duration::from_secs;
        let settings = ClusterSettings {
            checkpoint_interval: seconds(2),
            checkpoint_min_pause: seconds(3),
            ..Default::default()
        };
        let sink = Noting::default();
        check_sink(&OperatorUid::new("out").unwrap(), &sink, None, &settings).unwrap();
        assert_eq!(sink.0.load(Ordering::Relaxed), 5000);
    }

    #[test]
    fn what_passes_by_itself_is_waited_for_and_a_new_job_not_for_ever() {
        let (away, wrong) = (Error::transient("away"), Error::new(ErrorKind::Settings, "wrong"));
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        let limited = ClusterSettings { start_timeout: minute, ..ClusterSettings::default() };
        let unlimited = ClusterSettings { start_timeout: Duration::ZERO, ..ClusterSettings::default() };
        for has_checkpoint in [false, true] {
            assert!(!may_pass(&wrong, has_checkpoint, Duration::ZERO, &limited));
            assert!(may_pass(&away, has_checkpoint, Duration::ZERO, &limited));
            assert!(may_pass(&away, has_checkpoint, hour, &unlimited), "no limit");
        }
        assert!(may_pass(&away, true, hour, &limited));
        assert!(!may_pass(&away, false, minute, &limited));
    }

    #[test]
    fn a_refusal_is_waited_for_by_a_job_that_has_worked_and_for_a_limited_time() {
        let refused = Error::new(ErrorKind::Refused, "wrong password");
        let settings = ClusterSettings { refusal_timeout: Duration::from_secs(60), ..Default::default() };
        assert!(!may_pass(&refused, false, Duration::ZERO, &settings));
        assert!(may_pass(&refused, true, Duration::from_secs(59), &settings));
        assert!(!may_pass(&refused, true, Duration::from_secs(60), &settings));
    }
}
