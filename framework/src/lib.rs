//! Stateful stream processing in application mode: one binary per job, exactly once.
