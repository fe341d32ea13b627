//! Looks for splits of a source, on threads that may block.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use flott_core::{
    Error, ErrorKind, OperatorId, OperatorUid, Result, VertexId,
    source::{Discovery, Split, SplitEnumerator},
    task::Failure,
};
use flott_runtime::program::JobProgram;
use tokio::{sync::mpsc, task::spawn_blocking, time::sleep};

use super::event::Event;
use crate::store::{CheckpointStore, StoreError};

/// Between two looks when one failed.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// A source whose splits are looked for.
pub(super) struct Search {
    pub(super) vertex: VertexId,
    pub(super) operator: OperatorId,
    pub(super) uid: OperatorUid,
    /// Splits that this search has found.
    pub(super) known: BTreeSet<String>,
}

impl Search {
    /// Looks until there is nothing more to find.
    pub(super) async fn run(
        self,
        program: Arc<JobProgram>,
        store: CheckpointStore,
        events: mpsc::Sender<Event>,
    ) {
        let vertex = self.vertex;
        let event = match self.search(program, store, &events).await {
            Ok(true) => Event::DiscoveryEnded { vertex },
            Ok(false) => return,
            Err(SearchError::Deposed) => Event::Deposed,
            Err(SearchError::Failed(error)) => {
                Event::DiscoveryFailed { vertex, failure: Failure::from(&error) }
            }
        };
        let _ = events.send(event).await;
    }

    /// Whether it is certain that there are no more.
    async fn search(
        mut self,
        program: Arc<JobProgram>,
        store: CheckpointStore,
        events: &mpsc::Sender<Event>,
    ) -> Result<bool, SearchError> {
        let first = store.first_splits(&self.uid).await;
        let mut is_first = first.is_none();
        self.report(first.unwrap_or_default(), events).await;
        let operator = self.operator;
        let made = spawn_blocking(move || program.operator(operator).enumerator()).await;
        let made = made.map_err(panicked)??;
        let mut enumerator = made.ok_or_else(|| Error::internal("a source has no enumerator"))?;
        loop {
            let known = self.known.clone();
            let looked = spawn_blocking(move || look(enumerator, &known, is_first)).await;
            let (back, found) = looked.map_err(panicked)?;
            enumerator = back;
            let found = match found {
                Err(error) if !is_first && error.kind().is_restartable() => {
                    // The job runs on with the splits it has.
                    tracing::warn!(source = %self.uid, %error, "cannot look for new splits");
                    sleep(enumerator.discovery_interval().unwrap_or(RETRY_DELAY)).await;
                    continue;
                }
                // Nothing was ever found: the settings are wrong, whatever the other parts of the job have achieved.
                Err(error) if error.kind() == ErrorKind::Refused => {
                    return Err(error.with_kind(ErrorKind::Settings).into());
                }
                found => found?,
            };
            if is_first {
                store.keep_first_splits(self.uid.clone(), found.splits.clone()).await?;
                is_first = false;
            }
            self.report(found.splits, events).await;
            if found.is_complete {
                return Ok(true);
            }
            match enumerator.discovery_interval() {
                Some(interval) => sleep(interval).await,
                None => return Ok(false),
            }
        }
    }

    async fn report(&mut self, splits: Vec<Split>, events: &mpsc::Sender<Event>) {
        self.known.extend(splits.iter().map(|split| split.id.clone()));
        if !splits.is_empty() {
            let _ = events.send(Event::SplitsFound { vertex: self.vertex, splits }).await;
        }
    }
}

enum SearchError {
    Failed(Error),
    Deposed,
}

impl From<Error> for SearchError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for SearchError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::Deposed,
            StoreError::Failed(error) => Self::Failed(error.with_kind(ErrorKind::Transient)),
        }
    }
}

fn panicked(error: tokio::task::JoinError) -> Error {
    Error::user(format!("the enumerator panicked: {error}"))
}

fn look(
    mut enumerator: Box<dyn SplitEnumerator>,
    known: &BTreeSet<String>,
    is_first: bool,
) -> (Box<dyn SplitEnumerator>, Result<Discovery>) {
    let found = enumerator.discover(known, is_first);
    (enumerator, found)
}
