//! The `card-alerts` job from outside: what demo, storm, benchmark and tests share.
//!
//! - [`kafka`]: topics, feeding payments, reading answers back.
//! - [`files`]: reading the answers of an embedded run.
//! - [`Reference`]: the right answers, computed without the engine.
//! - [`Comparison`]: how given answers differ from the right ones.
//! - [`process`]: the job's processes, to be started, killed, frozen and waited for.
#![forbid(unsafe_code)]

mod answers;
mod compare;
mod error;
pub mod files;
pub mod kafka;
pub mod process;
mod reference;

pub use answers::{Alert, Answers, MerchantMinute, Output, Total};
pub use card_alerts::{Payment, PaymentGenerator};
pub use compare::{Comparison, Difference};
pub use error::{Error, Result};
pub use reference::{Reference, Rule};
