//! What is no rate: memory of idle processes, time to the first record, the pause of a checkpoint.

use crate::error::Result;

/// Measures and prints it.
pub(crate) fn measure(_is_smoke: bool) -> Result<()> {
    Ok(())
}
