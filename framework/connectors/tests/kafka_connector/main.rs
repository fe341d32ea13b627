//! The Kafka source and sink against a real broker. Where none can be had the reason is printed and nothing is tested.

#[macro_use]
mod support;

mod sink;
mod source;
