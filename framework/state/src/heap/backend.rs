use flott_core::{
    Result,
    hash::HashSeed,
    key_group::KeySpace,
    record::{Key, Record},
    snapshot::RestoredOperator,
    state::{MapTable, StateBackend, StateDeclaration, TimerTable, ValueTable, WindowTable},
};

use super::{map::HeapMapTable, timer::HeapTimerTable, value::HeapValueTable, window::HeapWindowTable};

/// Keeps state in memory; a checkpoint copies what is written while it reads.
#[derive(Clone, Copy, Debug)]
pub struct HeapBackend {
    seed: HashSeed,
}

impl HeapBackend {
    /// `seed` keeps keys apart that somebody chose to collide. The tables of one operator have the same one.
    #[must_use]
    pub fn new(seed: HashSeed) -> Self {
        Self { seed }
    }
}

impl StateBackend for HeapBackend {
    fn value<K: Key, V: Record>(
        &mut self,
        declaration: &StateDeclaration,
        keys: KeySpace,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn ValueTable<V>>> {
        Ok(Box::new(HeapValueTable::<K, V>::restore(declaration, keys, self.seed, restored)?))
    }

    fn map<K: Key, M: Record + Ord, V: Record>(
        &mut self,
        declaration: &StateDeclaration,
        keys: KeySpace,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn MapTable<M, V>>> {
        Ok(Box::new(HeapMapTable::<K, M, V>::restore(declaration, keys, self.seed, restored)?))
    }

    fn timers<K: Key>(
        &mut self,
        declaration: &StateDeclaration,
        keys: KeySpace,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn TimerTable>> {
        Ok(Box::new(HeapTimerTable::<K>::restore(declaration, keys, self.seed, restored)?))
    }

    fn windows<K: Key, A: Record>(
        &mut self,
        declaration: &StateDeclaration,
        keys: KeySpace,
        restored: &mut RestoredOperator,
    ) -> Result<Box<dyn WindowTable<K, A>>> {
        Ok(Box::new(HeapWindowTable::<K, A>::restore(declaration, keys, self.seed, restored)?))
    }
}
