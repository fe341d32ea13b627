//! The job's topics in a real Kafka: made, fed, watched and read back; and a [`proxy`] in front of a broker.

mod feeder;
pub mod proxy;
mod read;
mod topics;

pub use feeder::Feeder;
pub use read::{read_answers, read_reference, read_topic};
pub use topics::{Topics, Watch};
