use flott::prelude::*;

struct Params {
    _limit: u64,
}

#[flott::main]
fn main(_job: &mut Job, _params: Params) -> Result<()> {
    Ok(())
}
