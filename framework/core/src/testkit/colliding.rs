//! Keys that somebody has chosen to make tables slow.

use crate::hash;

/// Texts of 16 bytes that all have one key hash: a word that is equal to the state of the hash makes the state zero,
/// whatever came before.
#[must_use]
pub fn colliding_texts(count: usize) -> Vec<String> {
    let chosen = (0u64..).filter_map(|number| {
        let first = hash::word(number).to_le_bytes().map(|byte| byte & 0x7F);
        let second = hash::step(hash::begin(16), first).to_le_bytes();
        String::from_utf8([first, second].concat()).ok()
    });
    chosen.take(count).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{hash::HashSeed, record::Record};

    #[test]
    fn a_seed_tells_apart_what_was_chosen_to_collide() {
        let texts = colliding_texts(1000);
        assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), 1000);
        let keys: BTreeSet<_> = texts.iter().map(String::key_hash).collect();
        assert_eq!(keys.len(), 1);
        for seed in 0..100 {
            let seed = HashSeed::new(hash::word(seed), hash::word(seed + 1000));
            let tables: BTreeSet<_> =
                texts.iter().map(|text| text.table_hash(seed, &mut Vec::new())).collect();
            assert_eq!(tables.len(), 1000);
        }
    }
}
