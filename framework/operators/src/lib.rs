//! Built-in operators, written against the core contracts.
//!
//! [`fused`] runs stateless closures, [`keyed`] user-written operators ([`function`]), [`reduce`] and [`window`] the
//! built-in aggregations. [`source`] and [`sink`] stand at the ends of a task, [`watermark`] says how far event time has
//! come, [`fanout`] feeds several readers. No clocks, no threads: time comes in as an argument.
#![forbid(unsafe_code)]

pub mod fanout;
pub mod function;
pub mod fused;
pub mod keyed;
pub mod reduce;
pub mod sink;
pub mod source;
pub mod watermark;
pub mod window;

use flott_core::{Batch, Record, Result, operator::Output};

/// The batch that `out` is filling, sent on first if there is anything in it.
fn emptied<T: Record>(out: &mut Output<T>) -> Result<&mut Batch<T>> {
    out.flush()?;
    Ok(out.batch_mut())
}
