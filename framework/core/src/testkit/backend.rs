//! A state backend of plain ordered maps: slow, and easy to see through.

use super::tables::{Maps, Timers, Values, Windows};
use crate::{
    error::Result,
    key_group::KeySpace,
    record::{Key, Record},
    snapshot::RestoredOperator,
    state::{MapTable, StateBackend, StateDeclaration, TimerTable, ValueTable, WindowTable},
};

/// Keeps every state in one `BTreeMap`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MapBackend;

impl StateBackend for MapBackend {
    fn value<K: Key, V: Record>(
        &mut self,
        declaration: &StateDeclaration,
        keys: KeySpace,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn ValueTable<V>>> {
        Ok(Box::new(Values::<K, V>::restore(declaration, keys, restored)?))
    }

    fn map<K: Key, M: Record + Ord, V: Record>(
        &mut self,
        declaration: &StateDeclaration,
        keys: KeySpace,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn MapTable<M, V>>> {
        Ok(Box::new(Maps::<K, M, V>::restore(declaration, keys, restored)?))
    }

    fn timers<K: Key>(
        &mut self,
        declaration: &StateDeclaration,
        keys: KeySpace,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn TimerTable>> {
        Ok(Box::new(Timers::<K>::restore(declaration, keys, restored)?))
    }

    fn windows<K: Key, A: Record>(
        &mut self,
        declaration: &StateDeclaration,
        keys: KeySpace,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn WindowTable<K, A>>> {
        Ok(Box::new(Windows::<K, A>::restore(declaration, keys, restored)?))
    }
}
