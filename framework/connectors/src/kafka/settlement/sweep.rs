//! Late zombies: producers of older attempts that wake up after the fence and open a transaction under an id that
//! was never used before. Nobody will commit it, but until its timeout it holds readers back.

use flott_core::{Generation, OperatorUid, Result};
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    MarkerOwner, MarkerReading, TransactionalIds,
    driver::{ACTIONS_MAX, FENCE_TIMEOUT, read_marker},
};
use crate::kafka::client::{KafkaClient, ListedTransaction, TransactionPhase};

/// One look for late zombies of a sink. To be repeated for twice the transaction timeout after a recovery.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The user's prefix of transactional ids.
    pub prefix: String,
    /// The sink.
    pub sink_uid: OperatorUid,
    /// Topic of its markers.
    pub marker_topic: String,
    /// Who looks. When the ids belong to another run by now, they are left alone.
    pub owner: MarkerOwner,
    /// Only what is open of generations before this one is swept.
    pub below: Generation,
}

impl Sweep {
    /// Fences the ids of older generations that are open, and returns them.
    ///
    /// # Errors
    /// When the brokers cannot be reached within the client's patience, or a permission is missing.
    pub async fn run(&self, client: &KafkaClient) -> Result<Vec<String>> {
        let stem = TransactionalIds::stem(&self.prefix, &self.sink_uid);
        let listed = client.list_transactions(&stem, &["Ongoing"]).await?;
        let open = leftovers(&listed, &self.prefix, &self.sink_uid, self.below);
        if open.is_empty() || self.is_taken_over(client).await? {
            return Ok(Vec::new());
        }
        let fenced =
            stream::iter(&open).map(|id| client.fence(id, FENCE_TIMEOUT)).buffer_unordered(ACTIONS_MAX);
        fenced.try_collect::<Vec<_>>().await?;
        Ok(open)
    }

    /// A run that has taken the ids over counts its generations anew: what looks old may be its newest.
    async fn is_taken_over(&self, client: &KafkaClient) -> Result<bool> {
        let group = TransactionalIds::claim_group(&self.prefix, &self.sink_uid);
        Ok(match read_marker(client, &group, self.marker_topic.clone(), false).await? {
            MarkerReading::Absent => false,
            MarkerReading::Found(marker) => marker.owner != self.owner,
            MarkerReading::Unreadable(_) | MarkerReading::Unstable(_) => true,
        })
    }
}

/// The ids of open transactions of generations older than `below`.
fn leftovers(
    listed: &[ListedTransaction],
    prefix: &str,
    sink_uid: &OperatorUid,
    below: Generation,
) -> Vec<String> {
    let is_leftover = |listed: &&ListedTransaction| {
        let slot = TransactionalIds::parse(prefix, sink_uid, &listed.transactional_id);
        listed.phase == TransactionPhase::Ongoing && slot.is_some_and(|slot| slot.generation < below)
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
