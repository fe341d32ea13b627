//! The Kafka source and sink against a real broker. Where none can be had the reason is printed and nothing is tested.

#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[macro_use]
mod support;

mod sink;
mod source;
