//! Exactly once although a process dies or is away: every row of the failure matrix, on a real broker.
//!
//! No row is hit by luck. The broker is reached through a proxy: a test stops time at one request, makes sure that the
//! broker and the checkpoint directory are in the state of the row, and does the damage. The output of the job afterwards is
//! compared with an independent computation.
//!
//! W is a TaskManager, J the JobManager, n the checkpoint under way, T_n its transactions.
//!
//! | row | test |
//! |---|---|
//! | W before barrier n | [`taskmanager::dies_before_the_barrier`] |
//! | W during flush | [`taskmanager::dies_during_the_flush`] |
//! | W after flush, before acknowledgement | [`taskmanager::dies_after_the_flush_before_its_acknowledgement`] |
//! | W after acknowledgement, J has not stored n | [`taskmanager::dies_after_its_acknowledgement_before_the_checkpoint_is_stored`] |
//! | J stored n, crashes before any `complete` | [`jobmanager::dies_after_storing_before_any_commit`]; by luck, and for longer than the broker waits: `commit_window.rs` |
//! | J between two `complete`s | [`jobmanager::dies_between_two_commits`] |
//! | W during `commit_transaction` | [`taskmanager::dies_while_the_broker_commits`] |
//! | W after commit, before `committed` | [`taskmanager::dies_after_its_commit_before_saying_so`] |
//! | J recovers, a commit is answered with an error that says nothing | [`jobmanager::gets_an_answer_that_says_nothing`] |
//! | second crash before the next checkpoint | [`jobmanager::dies_again_before_the_next_checkpoint`] |
//! | broker restarts | `kafka.rs`: `a_killed_broker_that_comes_back_costs_no_record_and_repeats_none` |
//! | coordinator moves | `three_brokers.rs`: `coordinator_moves`, `coordinator_hangs_and_moves` |
//! | leader moves, a broker is gone for good, the bootstrap address is gone | `three_brokers.rs` |
//! | no checkpoint within the timeout of the transaction | [`brokers::no_checkpoint_completes_within_the_transaction_timeout`] |
//! | the checkpoint storage stalls for longer than the timeout | `stalled_store.rs` |
//! | W frozen, wakes later and commits T_n | [`taskmanager::wakes_and_commits_late`] |
//! | zombie produces, or opens a new transaction | connectors' `kafka_connector`: `a_zombie_that_opens_a_transaction_after_the_settling_holds_up_nobody` |
//! | zombie calls `init_transactions` | [`taskmanager::wakes_and_initialises_its_producer_late`] |
//! | old leader J runs its own recovery | [`jobmanager::is_deposed_and_finishes_its_recovery_beside_its_successor`] |
//! | two JobManagers start at once | `leadership.rs` |
//! | restored checkpoint corrupt, older one used | [`jobmanager::finds_its_newest_checkpoint_corrupt`] |
//! | all J away > timeout, in the commit window | `commit_window.rs`: `output_that_is_lost_is_named_and_counted_exactly` |
//! | outage at any other time | `kafka.rs`: `a_killed_cluster_resumes_where_it_was` |
//! | transaction topic lost | [`brokers::the_transaction_topic_is_lost`] |
//!
//! Without Kafka the reason is printed and nothing is tested.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

mod act;
mod brokers;
mod jobmanager;
mod taskmanager;
