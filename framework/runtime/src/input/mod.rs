//! The inputs of a task: [`gate`] drives channels, the other modules decide what to do with what comes out of them.

mod alignment;
mod gate;
mod watermark;

pub use alignment::{Alignment, BarrierAligner};
pub(crate) use gate::Receiver;
pub use gate::{InputGate, InputStatus, TaskInput};
pub use watermark::WatermarkMerger;
