//! How far event time has come at a source: settings, one generator per split, and the minimum over splits.
//!
//! All of it is plain values: records and times in, watermarks out.

mod generator;
mod settings;
mod splits;

pub use generator::WatermarkGenerator;
pub use settings::Watermarks;
pub use splits::SplitWatermarks;
