//! What recovery does with the Kafka transactions of a sink, before anything is deployed.
//!
//! A checkpoint lists the transactions that its subtasks pre-committed. Whoever restores it must commit each of them
//! or know that it is lost, shut out every producer of older attempts, and notice output that the checkpoint does not
//! know. The order is the point:
//!
//! 1. *settle*: end every listed transaction with a commit; what does not answer with success is in doubt;
//!    one that is still open although its commit was not answered with success ends the settlement here: it is to be repeated;
//! 2. *fence*: take over every transactional id of older generations, which aborts what is open under them;
//! 3. *judge*: only now read the markers, each of which is atomic with its transaction, and so clear the doubts;
//! 4. *guard*: a marker newer than the checkpoint means that output would be repeated, one of another job that the
//!    prefix is shared.
//!
//! Afterwards the partitions of what was settled are audited: a broker may have left a marker out, see [`audit()`].
//!
//! Nothing may be deployed before [`SettlementReport::verdict`] is `Ok`. All steps can be repeated: a second JobManager, or
//! the same after a crash in the middle, arrives at the same report.
//!
//! [`Settlement`] decides (no I/O); [`settle()`] drives it. [`EndAnswer`] is the table of the broker's answers,
//! and `judge.rs` the table of verdicts on one transaction.

mod action;
mod audit;
mod committable;
mod decider;
mod driver;
mod end_answer;
mod evidence;
mod judge;
mod marker;
mod message;
mod report;
mod request;
mod sweep;
mod to_audit;
mod transactional_ids;

pub use action::{Action, Fact};
pub use audit::{AuditItem, AuditReport, HangingTransaction, Outcome, audit};
pub use committable::{Committable, Evidence, PartitionRecords};
pub use decider::Settlement;
pub use driver::settle;
pub use end_answer::EndAnswer;
pub use judge::LossCause;
pub use marker::{Marker, MarkerOwner, MarkerReading};
pub use report::{
    ForeignMarker, LostTransaction, OpenTransaction, OtherCluster, RepeatedOutput, SettledTransaction,
    SettlementReport,
};
pub use request::{IdScope, SettlementPolicy, SettlementRequest};
pub use sweep::Sweep;
pub use transactional_ids::{TransactionalIds, TransactionalSlot};
