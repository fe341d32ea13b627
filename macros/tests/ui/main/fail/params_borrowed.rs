use flott::Result;

struct Job;

#[flott::main]
unsafe fn main(_job: &mut Job, _limit: &u64) -> Result<()> {
    Ok(())
}
