//! Moves batches between subtasks: by a queue within a process, by TCP between processes.
//!
//! Both have bounds that stall the sending task and nothing else: a queue holds [`QUEUE_ELEMENTS`] elements, a channel
//! between processes [`CREDIT_BYTES`] that the receiver has not worked off. A record larger than a frame passes in parts.
//! Within a process bytes are not counted: what is in a queue has not been encoded, and measuring every record would cost
//! more than moving it. Batches are bounded in records. Connected processes show each other that they live: a silent one is
//! lost, whatever it may still tell the JobManager.

mod arrivals;
mod edge;
mod frame;
mod local;
#[cfg(test)]
mod mutations;
mod network;
#[cfg(test)]
mod network_tests;
mod remote;
mod session;
mod silence;
mod strangers;
mod transport;

pub use edge::Edge;
pub use frame::{ChannelId, FRAME_BYTES_MAX, RECORD_BYTES_MAX};
#[cfg(test)]
pub(crate) use local::local_channel;
pub(crate) use local::{LocalReceiver, LocalSender};
pub use network::{ExchangeAddress, ExchangeListener, PeerIndex, PeerPatience, SessionKey};
pub use remote::{PeerLink, RemoteInput, RemoteOutput};
pub(crate) use remote::{RemoteReceiver, RemoteSender};
pub use session::ExchangeSession;
pub use strangers::{Strangers, quoted};
pub use transport::{ByteStream, Handshake, SecureTransport};

/// Elements (batches, mostly) in a queue between two subtasks of a process.
pub const QUEUE_ELEMENTS: usize = 8;

/// Bytes that a channel between processes may have under way: sent and not worked off.
pub const CREDIT_BYTES: usize = 512 * 1024;

/// Bytes after which a frame is sent without waiting for more.
pub const FRAME_BYTES_TARGET: usize = 64 * 1024;
