use flott::Result;

struct Job;
struct Params;

#[flott::main(parallelism = 4)]
async fn main<T>(job: &Job, params: &Params) -> u8 {
    0
}

fn main_helper(_: &mut Job) -> Result<()> {
    Ok(())
}
