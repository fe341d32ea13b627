use flott::Result;

struct Job;

#[flott::main]
fn main(_job: &mut Job, _limit: u64, _name: String) -> Result<()> {
    Ok(())
}
