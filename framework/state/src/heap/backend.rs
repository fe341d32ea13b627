use flott_core::{
    Result,
    record::{Key, Record},
    snapshot::RestoredOperator,
    state::{MapTable, StateBackend, StateDescriptor, TimerTable, ValueTable, WindowTable},
};

use super::{map::HeapMapTable, timer::HeapTimerTable, value::HeapValueTable, window::HeapWindowTable};

/// Keeps state in memory; a checkpoint copies what is written while it reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeapBackend;

impl StateBackend for HeapBackend {
    fn value<K: Key, V: Record>(
        &mut self,
        descriptor: &StateDescriptor,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn ValueTable<V>>> {
        Ok(Box::new(HeapValueTable::<K, V>::restore(descriptor, restored)?))
    }

    fn map<K: Key, M: Record + Ord, V: Record>(
        &mut self,
        descriptor: &StateDescriptor,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn MapTable<M, V>>> {
        Ok(Box::new(HeapMapTable::<K, M, V>::restore(descriptor, restored)?))
    }

    fn timers<K: Key>(
        &mut self,
        descriptor: &StateDescriptor,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn TimerTable>> {
        Ok(Box::new(HeapTimerTable::<K>::restore(descriptor, restored)?))
    }

    fn windows<K: Key, A: Record>(
        &mut self,
        descriptor: &StateDescriptor,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn WindowTable<K, A>>> {
        Ok(Box::new(HeapWindowTable::<K, A>::restore(descriptor, restored)?))
    }
}
