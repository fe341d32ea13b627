//! Clusters in one process and in several: what they do when all goes well, when something dies, and when somebody sends
//! garbage.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

mod bad_input;
mod kit;
mod local;
mod processes;
mod resuming;
mod strangers;
mod tls;
