//! What is known of a job's entry point.

use syn::Type;

/// A valid entry point.
pub(super) struct Main {
    /// Type of the job's parameters, if it has any.
    pub(super) params: Option<Type>,
    /// Its doc comment.
    pub(super) about: String,
}
