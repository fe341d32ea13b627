//! The one place that draws random numbers. Deciders get them, or a seed, as an argument.

use std::hash::BuildHasher;

use crate::hash::HashSeed;

/// A number that nobody can guess from others, also not those of other processes and machines.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the one place that draws random numbers"
)]
pub fn number() -> u64 {
    // The standard library seeds it from the operating system; the process id is for those that were cloned since.
    std::hash::RandomState::new().hash_one(std::process::id())
}

/// A secret for the tables of this process.
#[must_use]
pub fn hash_seed() -> HashSeed {
    HashSeed::new(number(), number())
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_differ() {
        assert_ne!(super::number(), super::number());
    }
}
