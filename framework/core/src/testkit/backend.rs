//! A state backend of plain ordered maps: slow, and easy to see through.

use super::tables::{Maps, Timers, Values, Windows};
use crate::{
    error::Result,
    record::{Key, Record},
    snapshot::RestoredOperator,
    state::{MapTable, StateBackend, StateDescriptor, TimerTable, ValueTable, WindowTable},
};

/// Keeps every state in one `BTreeMap`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MapBackend;

impl StateBackend for MapBackend {
    fn value<K: Key, V: Record>(
        &mut self,
        descriptor: &StateDescriptor,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn ValueTable<V>>> {
        Ok(Box::new(Values::<K, V>::restore(descriptor, restored)?))
    }

    fn map<K: Key, M: Record + Ord, V: Record>(
        &mut self,
        descriptor: &StateDescriptor,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn MapTable<M, V>>> {
        Ok(Box::new(Maps::<K, M, V>::restore(descriptor, restored)?))
    }

    fn timers<K: Key>(
        &mut self,
        descriptor: &StateDescriptor,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn TimerTable>> {
        Ok(Box::new(Timers::<K>::restore(descriptor, restored)?))
    }

    fn windows<K: Key, A: Record>(
        &mut self,
        descriptor: &StateDescriptor,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn WindowTable<K, A>>> {
        Ok(Box::new(Windows::<K, A>::restore(descriptor, restored)?))
    }
}
