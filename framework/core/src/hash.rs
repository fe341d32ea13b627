//! The key hash, version 1. Frozen for ever: snapshots are laid out by it. The test vectors below must never change.

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
    let mut state = 0x2D35_8DCC_AA6C_78A5 ^ bytes.len() as u64;
    let (words, rest) = bytes.as_chunks::<8>();
    for chunk in words {
        state = fold(state ^ u64::from_le_bytes(*chunk), 0x8BB8_4B93_962E_ACC9);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    word(fold(state ^ u64::from_le_bytes(last), 0x4B33_A62E_D433_D4A3))
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

    const WORDS: [u64; 4] =
        [16294208416658607535, 10451216379200822465, 13679457532755275413, 16490336266968443936];
    const TEXTS: [u64; 4] =
        [18143284631475364652, 15294261810348711324, 8717680644895784589, 15143098431949209098];
}
