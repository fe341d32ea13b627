//! The payments that the `card-alerts` job watches, and a generator of them.
//!
//! A library, so that the programs that feed the job and check its answers make the same payments.
#![forbid(unsafe_code)]

mod generator;
mod payment;

pub use generator::PaymentGenerator;
pub use payment::Payment;
