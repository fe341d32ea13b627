//! State backends, snapshot format and checkpoint storage.

pub mod heap;
#[cfg(test)]
mod testing;
