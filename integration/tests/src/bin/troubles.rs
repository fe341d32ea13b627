//! A small job that gets into trouble when told to.
#![forbid(unsafe_code)]

use flott::prelude::*;

#[derive(clap::Args, Serialize, Deserialize)]
struct Params {
    /// How many numbers to add up
    #[arg(long, default_value_t = 1_000)]
    numbers: u64,

    /// So many numbers per second; 0 for no limit
    #[arg(long, default_value_t = 0)]
    rate: u32,

    /// Panic at this number
    #[arg(long)]
    panic_at: Option<u64>,

    /// Return an error at this number
    #[arg(long)]
    fail_at: Option<u64>,

    /// Block for ever at this number
    #[arg(long)]
    hang_at: Option<u64>,
}

/// Adds numbers up, and gets into trouble when told to.
#[flott::main]
fn main(job: &mut Job, params: Params) -> Result<()> {
    let numbers = GenerateSource::bounded(params.numbers, |n| n).splits(1).rate(f64::from(params.rate));
    job.source("numbers", numbers)
        .key_by(|n| n % 10)
        .process("trouble", Trouble::new(params.panic_at, params.fail_at, params.hang_at))
        .sink("sums", PrintSink::json());
    Ok(())
}

#[derive(Operator)]
struct Trouble {
    #[state]
    sum: ValueState<u64>,
    panic_at: Option<u64>,
    fail_at: Option<u64>,
    hang_at: Option<u64>,
}

#[operator]
impl Trouble {
    fn process(&mut self, number: u64, out: &mut Output<u64>) -> Result<()> {
        assert!(Some(number) != self.panic_at, "told to panic");
        if Some(number) == self.fail_at {
            return Err(Error::user("told to fail"));
        }
        if Some(number) == self.hang_at {
            loop {
                std::thread::park();
            }
        }
        let sum = self.sum.get().copied().unwrap_or(0) + number;
        self.sum.set(sum);
        out.emit(sum);
        Ok(())
    }
}
