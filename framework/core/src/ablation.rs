//! Safety steps that a test takes out, to show that the test sees the fault that each step prevents. Exists only with the
//! feature `ablation`, which no product build turns on.

/// Environment variable that names the step. It is no `FLOTT_…` variable: those are settings, and this is none.
const VARIABLE: &str = "ABLATE";

/// A safety step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A producer's id and epoch are not used for another transaction while a checkpoint lists one of them: the
    /// quarantine of slots, and the look at start times by which recovery tells two transactions of a producer apart.
    Quarantine,
    /// Recovery commits what the checkpoint lists before it shuts older producers out.
    Settle,
    /// Each entry of the journal says which JobManager wrote it, so that no two write the same bytes.
    Writer,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Quarantine => "quarantine",
            Self::Settle => "settle",
            Self::Writer => "writer",
        }
    }

    /// Returns `true` if this process is to do without the step.
    #[must_use]
    pub fn is_left_out(self) -> bool {
        std::env::var(VARIABLE).is_ok_and(|given| given == self.name())
    }
}
