//! Late zombies: producers of older attempts that wake up after the fence and open a transaction under an id that
//! was never used before. Nobody will commit it, but until its timeout it holds readers back.

use flott_core::{Generation, OperatorUid, Result};
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    TransactionalIds,
    driver::{ACTIONS_MAX, FENCE_TIMEOUT},
};
use crate::kafka::client::{KafkaClient, ListedTransaction, TransactionPhase};

/// Fences the ids of generations older than `current` that are open, and returns them. To be repeated for twice the
/// transaction timeout after a recovery.
///
/// # Errors
/// When the brokers cannot be reached within the client's patience, or a permission is missing.
pub async fn sweep(
    client: &KafkaClient,
    prefix: &str,
    sink_uid: &OperatorUid,
    current: Generation,
) -> Result<Vec<String>> {
    let listed = client.list_transactions(&["Ongoing"]).await?;
    let open = leftovers(&listed, prefix, sink_uid, current);
    let fenced = stream::iter(&open).map(|id| client.fence(id, FENCE_TIMEOUT)).buffer_unordered(ACTIONS_MAX);
    fenced.try_collect::<Vec<_>>().await?;
    Ok(open)
}

/// The ids of open transactions of generations older than `current`.
#[must_use]
pub fn leftovers(
    listed: &[ListedTransaction],
    prefix: &str,
    sink_uid: &OperatorUid,
    current: Generation,
) -> Vec<String> {
    let is_leftover = |listed: &&ListedTransaction| {
        let slot = TransactionalIds::parse(prefix, sink_uid, &listed.transactional_id);
        listed.phase == TransactionPhase::Ongoing && slot.is_some_and(|slot| slot.generation < current)
    };
    listed.iter().filter(is_leftover).map(|listed| listed.transactional_id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_open_ids_of_older_generations_are_swept() {
        let listed = [
            ("p.a.g1.0.0", TransactionPhase::Ongoing),
            ("p.a.g1.0.1", TransactionPhase::CompleteCommit),
            ("p.a.g2.0.0", TransactionPhase::Ongoing),
            ("p.b.g1.0.0", TransactionPhase::Ongoing),
            ("q.a.g1.0.0", TransactionPhase::Ongoing),
        ]
        .map(|(id, phase)| ListedTransaction { transactional_id: id.into(), producer_id: 1, phase });
        let uid = OperatorUid::new("a").unwrap();
        assert_eq!(leftovers(&listed, "p", &uid, Generation(2)), ["p.a.g1.0.0"]);
    }
}
