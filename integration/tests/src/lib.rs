//! What whole-system tests share: the job's binary, a scene to play in, waiting with limits.
//!
//! Tests in `tests/` start real processes of `card-alerts` (and of two small jobs in `bin/`), hurt them, and compare what
//! they wrote with an independent computation. Each has a [`Scene`] of its own, or a [`KafkaStage`] with real brokers: a
//! temporary directory in which its processes run, checkpoint and write. When a test fails, it shows what its processes
//! said.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking, also in its helpers"
)]

mod binary;
mod checkpoints;
mod expected;
mod kafka_stage;
mod loop_disk;
mod port;
mod processor;
mod said;
mod scene;
mod trap;
mod waiting;

pub use binary::{card_alerts, card_alerts_of_another_build};
pub use checkpoints::{committables, newest_checkpoint};
pub use kafka_stage::KafkaStage;
pub use loop_disk::{FrozenDisk, LoopDisk};
pub use port::free_port;
pub use processor::assert_quiet;
pub use said::KeepsWhatWasSaid;
pub use scene::Scene;
pub use trap::{Caught, Trap};
pub use waiting::{PATIENCE, interrupt, not_tested, said, wait_for_code, wait_until};
