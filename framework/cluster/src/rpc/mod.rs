//! What JobManager and TaskManagers say to each other: serde types, encoded with postcard, in length-prefixed frames.
//! Both ends are the same binary, which the handshake proves, so there is no schema to negotiate.
//!
//! A connection begins with [`frame::preamble`] from the TaskManager and a [`message::Hello`]. Whoever sends garbage, or
//! a frame above the limit, loses the connection; nothing is allocated on the word of a stranger.

pub(crate) mod connection;
pub(crate) mod frame;
pub(crate) mod message;
#[cfg(test)]
mod mutations;
