//! Decisions of the JobManager as plain state machines: facts in, actions out. No I/O, no clock.
