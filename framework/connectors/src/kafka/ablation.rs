//! Safety steps that a test takes out, to show that it sees what they are for. Exists only with the feature `ablation`.

/// Environment variable that names the step. It is no `FLOTT_…` variable: those are settings, and this is none.
const VARIABLE: &str = "ABLATE";

/// A safety step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A producer's id and epoch are not used for another transaction while a checkpoint lists one of them: the
    /// quarantine of slots, and the look at start times by which recovery tells two transactions of a producer apart.
    Quarantine,
    /// Recovery commits what the checkpoint lists before it shuts older producers out.
    Settle,
}

/// Whether this process is to do without the step.
pub(super) fn is_without(step: Step) -> bool {
    let name = match step {
        Step::Quarantine => "quarantine",
        Step::Settle => "settle",
    };
    std::env::var(VARIABLE).is_ok_and(|given| given == name)
}
