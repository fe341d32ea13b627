//! The inputs of a task: [`gate`] drives channels, the other modules decide what to do with what comes out of them.

mod alignment;
mod gate;
mod watermark;

pub use alignment::{Alignment, BarrierAligner};
pub use gate::InputGate;
pub(crate) use gate::Receiver;
pub use watermark::WatermarkMerger;
