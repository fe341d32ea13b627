use super::{MapTable, StateDeclaration, TimerTable, ValueTable, WindowTable};
use crate::{
    error::Result,
    key_group::{KeyGroup, KeySpace},
    record::{Key, Record},
    snapshot::RestoredOperator,
};

/// Makes tables. The operator code does not know which backend it runs on.
pub trait StateBackend: Send + 'static {
    /// A table with one value per key, filled with what `restored` has under the declared name. The
    /// declaration is one of a value of these types.
    ///
    /// # Errors
    /// When the restored bytes are damaged or of another schema.
    fn value<K: Key, V: Record>(
        &mut self,
        declaration: &StateDeclaration,
        keys: KeySpace,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn ValueTable<V>>>;

    /// A table with one map per key. The declaration is one of a map of these types.
    ///
    /// # Errors
    /// As [`Self::value`].
    fn map<K: Key, M: Record + Ord, V: Record>(
        &mut self,
        declaration: &StateDeclaration,
        keys: KeySpace,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn MapTable<M, V>>>;

    /// A table of timers. The declaration is one of timers of this type of key.
    ///
    /// # Errors
    /// As [`Self::value`].
    fn timers<K: Key>(
        &mut self,
        declaration: &StateDeclaration,
        keys: KeySpace,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn TimerTable>>;

    /// A table of window accumulators. The declaration is one of windows of these types.
    ///
    /// # Errors
    /// As [`Self::value`].
    fn windows<K: Key, A: Record>(
        &mut self,
        declaration: &StateDeclaration,
        keys: KeySpace,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn WindowTable<K, A>>>;
}

/// Binds the declared states of one operator to tables of one backend.
pub struct StateBinder<'a, B> {
    /// Makes the tables.
    pub backend: &'a mut B,
    /// The entries that the checkpoint has for this operator.
    pub restored: &'a mut RestoredOperator,
    /// The subtask's keys.
    pub keys: KeySpace,
}

/// One group's worth of bytes that cannot be decoded, as an error.
#[must_use]
pub fn damaged(state: &str, group: KeyGroup, error: &crate::record::DecodeError) -> crate::Error {
    let what_to_do = match error {
        // Every byte is under a checksum, so it is not the bytes that have changed.
        crate::DecodeError::Foreign { .. } => {
            "run the binary that wrote the checkpoint, make the type read what it wrote, or start from an empty \
             checkpoint directory"
        }
        _ => "the snapshot is damaged",
    };
    crate::Error::new(
        crate::ErrorKind::State,
        format!("state {state:?}, key group {}: {error}; {what_to_do}", group.0),
    )
}
