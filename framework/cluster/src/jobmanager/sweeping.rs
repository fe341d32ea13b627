//! Removes what late zombies have opened.

use std::sync::Arc;

use flott_core::{Error, Generation, JobIdentity, Result, sink::SweepRequest};
use flott_runtime::program::JobProgram;
use tokio::task::spawn_blocking;

use super::{event::Swept, sinks::for_each_sink, waits::Waits};

/// One sweep of all sinks.
pub(super) struct Sweeping {
    pub(super) program: Arc<JobProgram>,
    pub(super) job: JobIdentity,
    pub(super) below: Generation,
    pub(super) waits: Waits,
}

impl Sweeping {
    pub(super) async fn run(self) -> Swept {
        let results = spawn_blocking(move || self.sweep_sinks()).await;
        let results =
            results.unwrap_or_else(|error| vec![Err(Error::internal(format!("a sweep panicked: {error}")))]);
        let mut swept = Swept::default();
        for result in results {
            match result {
                Ok(names) => swept.names.extend(names),
                Err(error) => swept.failures.push(error.to_string()),
            }
        }
        swept
    }

    fn sweep_sinks(&self) -> Vec<Result<Vec<String>>> {
        for_each_sink(&self.program, |uid, factory| {
            let Some(mut settler) = factory.settler()? else {
                return Ok(Vec::new());
            };
            let _wait = self.waits.begin(format!("sink {:?} (looking for leftovers)", uid.as_str()));
            let request = SweepRequest { uid: uid.clone(), job: self.job.clone(), below: self.below };
            settler.sweep(&request)
        })
    }
}
