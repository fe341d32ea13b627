use flott::Result;

struct Job;

#[flott::main]
fn start(_job: &mut Job) -> Result<()> {
    Ok(())
}
