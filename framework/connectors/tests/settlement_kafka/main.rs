//! The raw client and settlement against real Apache Kafka brokers. Where Kafka cannot be had the reason is printed
//! and nothing is tested.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

mod answers;
mod bench_brokers;
mod left_out_markers;
mod secured;
mod settle;
mod transactions;
