use std::collections::BTreeSet;

use flott_core::{
    BATCH_RECORDS_MAX, Result,
    source::{Discovery, SplitEnumerator},
};

use super::block::BlockSplit;

/// Makes all splits at once.
pub(crate) struct GenerateEnumerator {
    count: u64,
    splits: u32,
}

impl GenerateEnumerator {
    pub(crate) fn new(count: u64, splits: u32) -> Self {
        Self { count, splits }
    }
}

impl SplitEnumerator for GenerateEnumerator {
    fn discover(&mut self, known: &BTreeSet<String>, is_first: bool) -> Result<Discovery> {
        let blocks = self.count.div_ceil(BATCH_RECORDS_MAX as u64);
        let used = u32::try_from(blocks).unwrap_or(u32::MAX).min(self.splits).max(1);
        let is_new = |index: &u32| is_first && !known.contains(&BlockSplit::id(*index));
        let splits = (0..used).filter(is_new).map(|index| BlockSplit::new(index, used, self.count).encode());
        Ok(Discovery { splits: splits.collect(), is_complete: true })
    }
}
