//! State backends, snapshot format and checkpoint storage.

pub mod heap;
pub mod snapshot;
pub mod storage;
#[cfg(test)]
mod testing;
