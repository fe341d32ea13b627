//! Keys that somebody has chosen to collide cost a table no more than others.

use std::{cell::Cell, cmp::Ordering, sync::Arc};

use flott_core::{
    KeyGroupRange, MaxParallelism, Result,
    hash::HashSeed,
    key_group::KeySpace,
    record::{DecodeError, Record, Schema},
    snapshot::RestoredOperator,
    state::{KeyBatch, SharedKeys, StateBackend, StateDeclaration},
    testkit::colliding_texts,
};

use super::HeapBackend;

thread_local! {
    static COMPARISONS: Cell<u64> = const { Cell::new(0) };
}

/// A text that counts how often it is compared.
#[derive(Debug, Eq, PartialOrd, Ord)]
struct Counted(String);

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        COMPARISONS.set(COMPARISONS.get() + 1);
        self.0.cmp(&other.0) == Ordering::Equal
    }
}

impl Record for Counted {
    const FIXED_SIZE: Option<usize> = None;
    fn schema() -> Schema {
        String::schema()
    }
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        String::decode(input).map(Self)
    }
    fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }
    fn key_hash(&self) -> u64 {
        self.0.key_hash()
    }
    fn table_hash(&self, seed: HashSeed, scratch: &mut Vec<u8>) -> u64 {
        self.0.table_hash(seed, scratch)
    }
}

/// Comparisons that it takes to set and get the values of these keys.
fn comparisons(keys: &[String]) -> u64 {
    let groups = KeyGroupRange { start: 0, end: 1024 };
    let space = KeySpace { groups, max_parallelism: MaxParallelism::default() };
    let sums = StateDeclaration::value::<Counted, u64>("sums");
    let backend = &mut HeapBackend::new(HashSeed::new(0x5EED, 0xFAC7));
    let mut table = backend.value::<Counted, u64>(&sums, space, &mut RestoredOperator::default()).unwrap();
    COMPARISONS.set(0);
    for part in keys.chunks(1000) {
        let mut batch = KeyBatch::default();
        part.iter().for_each(|key| batch.push(Counted(key.clone())));
        table.begin_batch(Arc::new(batch) as SharedKeys);
        for at in 0..part.len() {
            assert_eq!(table.get(at), None);
            *table.set(at, 1) += 1;
            assert_eq!(table.get(at), Some(&2));
        }
        table.end_batch();
    }
    COMPARISONS.get()
}

#[test]
fn chosen_keys_are_compared_as_often_as_others() {
    let chosen = comparisons(&colliding_texts(10_000));
    let others: Vec<_> = (0..10_000).map(|number| format!("key-{number:012}")).collect();
    let others = comparisons(&others);
    assert!(chosen < others + others / 4, "{chosen} comparisons of chosen keys, {others} of others");
}
