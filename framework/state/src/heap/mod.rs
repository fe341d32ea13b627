//! Keyed state in memory.
//!
//! A table is a number of *segments*, each the entries of consecutive key groups in one hash table ([`table`]). It
//! begins as one small segment; a full segment is split by key group until each holds one
//! ([`keyed`]). A checkpoint freezes a segment by putting it behind an `Arc`; the first write afterwards takes it back,
//! or copies it while the checkpoint still reads ([`freezable`]); large maps are shared one by one ([`shared_map`]). Windows are a table each, timers an ordered set per
//! key group.
//!
//! Key groups are chosen by the frozen public hash, places within a table by a second one with a secret ([`hash`]): whoever
//! chooses keys can fill one key group, but not make a table slow.
//!
//! Per batch the engine has the tables look ahead ([`batch`]): for 64 keys at a time the hash table's tags, which fit
//! the cache, tell where the entries probably are, and these are prefetched; where the entry of a key was seen last is
//! remembered and looked at first.

mod backend;
mod batch;
mod encoding;
mod freezable;
mod frozen;
mod hash;
mod keyed;
mod map;
mod processor;
mod shared_map;
mod table;
mod timer;
mod value;
mod window;

#[cfg(test)]
mod chosen_keys_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;

pub use backend::HeapBackend;
