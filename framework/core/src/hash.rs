//! Two hashes of keys.
//!
//! [`word`] and [`bytes`] are the key hash, version 1, which assigns keys to key groups. Frozen for ever: snapshots are
//! laid out by it. The test vectors below must never change. It is public, so that keys can be chosen which collide: all
//! of them lie in one key group.
//!
//! [`HashSeed`] is a hash with a secret, for tables. It is another one in each process and never leaves it.

/// Hashes eight bytes: the finaliser of SplitMix64 (Stafford's variant 13).
#[must_use]
#[inline]
pub const fn word(value: u64) -> u64 {
    let mut x = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Hashes a byte string: folded 128-bit multiplication per eight bytes, the length mixed in, finished by [`word`].
#[must_use]
pub fn bytes(bytes: &[u8]) -> u64 {
    let mut state = begin(bytes.len());
    let (words, rest) = bytes.as_chunks::<8>();
    for chunk in words {
        state = step(state, *chunk);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    word(fold(state ^ u64::from_le_bytes(last), 0x4B33_A62E_D433_D4A3))
}

/// The state of [`bytes`] before the first of so many bytes.
pub(crate) const fn begin(length: usize) -> u64 {
    0x2D35_8DCC_AA6C_78A5 ^ length as u64
}

/// The state of [`bytes`] after eight more.
#[inline]
pub(crate) const fn step(state: u64, word: [u8; 8]) -> u64 {
    fold(state ^ u64::from_le_bytes(word), 0x8BB8_4B93_962E_ACC9)
}

/// A hash that nobody can choose keys against who does not know its secret.
#[derive(Clone, Copy)]
pub struct HashSeed {
    state: u64,
    factor: u64,
}

impl HashSeed {
    /// The secret, as two numbers that nobody can guess. Draw them with [`crate::random::hash_seed`].
    #[must_use]
    pub const fn new(first: u64, second: u64) -> Self {
        // An even factor would lose bits of what it is multiplied with.
        Self { state: first, factor: second | 1 }
    }

    /// Hashes eight bytes.
    #[must_use]
    #[inline]
    pub const fn word(self, value: u64) -> u64 {
        fold(value ^ self.state, self.factor)
    }

    /// Hashes a byte string.
    #[must_use]
    #[inline]
    pub fn bytes(self, bytes: &[u8]) -> u64 {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut state = self.state;
        for chunk in words {
            state = fold(state ^ u64::from_le_bytes(*chunk), self.factor);
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        state = fold(state ^ u64::from_le_bytes(last), self.factor);
        fold(state ^ bytes.len() as u64, 0x8BB8_4B93_962E_ACC9)
    }
}

/// Not the secret.
impl std::fmt::Debug for HashSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashSeed").finish_non_exhaustive()
    }
}

#[inline]
const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128).wrapping_mul(b as u128);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves are wanted")]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_vectors_are_frozen() {
        let words = [0, 1, 42, u64::MAX].map(word);
        let texts = ["", "a", "card-42", "0123456789abcdef!"].map(|text| bytes(text.as_bytes()));
        assert_eq!(words, WORDS);
        assert_eq!(texts, TEXTS);
    }

    #[test]
    fn keys_that_differ_in_their_length_only_are_told_apart_with_a_seed() {
        let seed = HashSeed::new(0x5EED, 0xFAC7);
        let mut hashes: Vec<_> = (0..=40).map(|length| seed.bytes(&vec![0; length])).collect();
        hashes.extend((1..=8).map(|byte| seed.bytes(&[byte])));
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 49);
    }

    #[test]
    fn hashes_with_a_seed_fill_a_table_evenly() {
        for seed in 0..20 {
            let seed = HashSeed::new(word(seed), word(seed + 1000));
            for hash in [
                |seed: HashSeed, n: u64| seed.word(word(n)),
                |seed: HashSeed, n: u64| seed.bytes(&n.to_le_bytes()),
            ] {
                let (mut positions, mut tags) = (vec![0; 1024], vec![0; 128]);
                for n in 0..100_000 {
                    let hash = usize::try_from(hash(seed, n)).unwrap();
                    positions[hash % 1024] += 1;
                    tags[hash >> 57] += 1;
                }
                assert!(positions.iter().all(|&keys| (40..170).contains(&keys)), "{positions:?}");
                assert!(tags.iter().all(|&keys| (600..970).contains(&keys)), "{tags:?}");
            }
        }
    }

    const WORDS: [u64; 4] =
        [16294208416658607535, 10451216379200822465, 13679457532755275413, 16490336266968443936];
    const TEXTS: [u64; 4] =
        [18143284631475364652, 15294261810348711324, 8717680644895784589, 15143098431949209098];
}
