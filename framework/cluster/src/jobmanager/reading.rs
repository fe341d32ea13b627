//! Reads the checkpoint that the job may go on from.

use std::sync::Arc;

use flott_core::{CheckpointId, ErrorKind, task::Failure};

use super::{event::Event, waits::Waits};
use crate::store::{CheckpointStore, StoreError};

/// One checkpoint that is read.
pub(super) struct Reading {
    pub(super) store: CheckpointStore,
    pub(super) checkpoint: CheckpointId,
    /// Look into the snapshot files, not only for them.
    pub(super) is_thorough: bool,
    pub(super) waits: Waits,
}

impl Reading {
    /// A checkpoint counts as unreadable only while this JobManager leads: another one may have deleted it.
    pub(super) async fn run(self) -> Event {
        let checkpoint = self.checkpoint;
        let place = self.store.place();
        let _wait =
            self.waits.begin(format!("the checkpoint directory {place} (reading checkpoint {checkpoint})"));
        let error = match self.store.load(checkpoint, self.is_thorough).await {
            Ok(manifest) => return Event::CheckpointRead(Arc::new(manifest)),
            Err(error) if error.kind() == ErrorKind::State => match self.store.confirm_lead().await {
                Ok(()) => return Event::CheckpointUnreadable { checkpoint, reason: error.to_string() },
                Err(StoreError::Conflict) => return Event::Deposed,
                Err(StoreError::Failed(unclear)) => unclear.with_kind(ErrorKind::Transient),
            },
            Err(error) => error,
        };
        Event::Settled(Err(Failure::from(&error)))
    }
}
