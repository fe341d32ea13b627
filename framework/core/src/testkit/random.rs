//! Seeded choices for tests that run many cases, and how many cases they run.

/// A seeded generator: SplitMix64. The same seed gives the same numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Seeds are counted up from zero; their sequences must not be the same one, shifted.
        Self(crate::hash::word(seed))
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        crate::hash::word(self.0)
    }

    /// A number from zero to `limit - 1`.
    ///
    /// # Panics
    /// When `limit` is zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.bits() % limit
    }

    /// A number from `low` to `high`, both included.
    ///
    /// # Panics
    /// When `high` is less than `low`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        assert!(low <= high);
        let span = high.abs_diff(low);
        let offset = if span == u64::MAX { self.bits() } else { self.below(span + 1) };
        low.wrapping_add_unsigned(offset)
    }

    /// `true` in one case out of `cases`.
    pub fn one_in(&mut self, cases: u64) -> bool {
        self.below(cases) == 0
    }

    /// One of `choices`.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.index(choices.len())]
    }
}

impl Random {
    /// Damages bytes: flips, overwrites, removes, inserts or repeats some, one to four times.
    pub fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.index(bytes.len() + 1);
            let end = (at + 1 + self.index(8)).min(bytes.len());
            match self.below(7) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = *self.pick(&[0, 1, 0x7f, 0x80, 0xff]),
                // Lengths and numbers are often at their bounds.
                2 => bytes[at.min(end)..end].fill(0xff),
                3 => bytes.truncate(at),
                4 => drop(bytes.splice(at..at, [self.bits().to_le_bytes()[0]])),
                5 => drop(bytes.drain(at.min(end)..end)),
                _ => {
                    let repeated = bytes[at.min(end)..end].to_vec();
                    bytes.splice(at..at, repeated);
                }
            }
        }
    }

    fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).expect("an index fits into usize")
    }
}

/// The multiplier of the number of cases that seeded tests run: the environment variable `FLOTT_TEST_DEPTH`, 1 by
/// default.
///
/// # Panics
/// When the variable is not a number above zero.
#[must_use]
pub fn depth() -> u64 {
    let Ok(text) = std::env::var("FLOTT_TEST_DEPTH") else { return 1 };
    let depth = text.parse().ok().filter(|depth| *depth > 0);
    depth.unwrap_or_else(|| panic!("FLOTT_TEST_DEPTH is {text:?}; it must be a number above zero"))
}

/// The seeds of a test that runs `cases` of them at depth 1.
pub fn seeds(cases: u64) -> impl Iterator<Item = u64> {
    0..cases * depth()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_range_and_repeat() {
        let mut random = Random::new(1);
        let mut again = Random::new(1);
        for _ in 0..1000 {
            let number = random.between(-3, 3);
            assert!((-3..=3).contains(&number));
            assert_eq!(number, again.between(-3, 3));
        }
        random.between(i64::MIN, i64::MAX);
        assert_eq!(random.between(5, 5), 5);
        assert!([1, 2].contains(random.pick(&[1, 2])));
        assert_ne!(Random::new(2).bits(), Random::new(3).bits());
        let mut bytes = Vec::new();
        (0..1000).for_each(|_| random.damage(&mut bytes));
    }
}
