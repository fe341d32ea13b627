//! With and without parameters, documented and not. Only compiled: a job that runs has tests of its own.

#![deny(warnings)]
#![allow(dead_code)]

mod with_params {
    use flott::{Job, Result};

    #[derive(clap::Args, serde::Serialize, serde::Deserialize)]
    struct Params {
        #[arg(long, default_value_t = 50_000)]
        large_cents: i64,
    }

    /// Finds stolen cards.
    ///
    /// Reads payments, writes alerts.
    #[flott::main]
    fn main(job: &mut Job, Params { large_cents }: Params) -> Result<()> {
        let _ = (job, large_cents);
        Ok(())
    }
}

mod without_params {
    #[flott::main]
    pub(crate) fn main(_: &mut flott::Job) -> flott::Result<()> {
        Ok(())
    }
}

fn main() {}
