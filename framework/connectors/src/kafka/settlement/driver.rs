//! Carries out what [`Settlement`] decides.

use std::{collections::BTreeSet, time::Duration};

use flott_core::Result;
use futures::{StreamExt, TryStreamExt, stream};

use super::{Action, Fact, MarkerReading, Settlement, SettlementReport, SettlementRequest};
use crate::kafka::client::{CommittedOffset, KafkaClient};

/// Actions under way at a time.
pub(super) const ACTIONS_MAX: usize = 64;
/// Timeout that a fenced id gets. Nobody opens a transaction with it; it only has to be below any broker's limit.
pub(super) const FENCE_TIMEOUT: Duration = Duration::from_secs(10);

/// Settles one sink's transactions. Nothing may be deployed before the report's verdict is `Ok`.
///
/// # Errors
/// When the brokers cannot be reached within the client's patience, or a permission is missing. Then nothing is
/// decided: settle again.
pub async fn settle(client: &KafkaClient, request: SettlementRequest) -> Result<SettlementReport> {
    let place = format!("settling the transactions of sink {}", request.sink_uid);
    let report = drive(client, request).await.map_err(|error| error.context(place))?;
    tracing::info!(
        sink = %report.sink_uid,
        committed = report.committed.len(),
        already_committed = report.already_committed.len(),
        fenced = report.fenced.len(),
        lost = report.lost.len(),
        unknown = report.unknown.len(),
        repeated = report.repeated.len(),
        "transactions settled"
    );
    Ok(report)
}

async fn drive(client: &KafkaClient, request: SettlementRequest) -> Result<SettlementReport> {
    let mut settlement = Settlement::new(request)?;
    loop {
        let actions = settlement.next_actions();
        if actions.is_empty() {
            return Ok(settlement.into_report());
        }
        let mut facts =
            stream::iter(actions).map(|action| perform(client, action)).buffer_unordered(ACTIONS_MAX);
        while let Some(fact) = facts.try_next().await? {
            settlement.on_fact(fact);
        }
    }
}

async fn perform(client: &KafkaClient, action: Action) -> Result<Fact> {
    Ok(match action {
        Action::ReadClusterId => Fact::ClusterId(client.cluster_id().await?),
        Action::ListTransactions => {
            let listed = client.list_transactions(&[]).await?;
            Fact::Listed(listed.into_iter().map(|listed| listed.transactional_id).collect())
        }
        Action::Describe(ids) => Fact::Described(client.describe_transactions(&ids).await?),
        Action::Commit { index, transactional_id, producer } => {
            let code = client.end_transaction(&transactional_id, producer, true).await?;
            Fact::Answered { index, code }
        }
        Action::Fence(id) => {
            client.fence(&id, FENCE_TIMEOUT).await?;
            Fact::Fenced(id)
        }
        Action::ReadMarker { transactional_id, topic, is_stable } => {
            let reading = read_marker(client, &transactional_id, topic, is_stable).await?;
            Fact::Marker { transactional_id, reading }
        }
        Action::WriteMarker { group, topic, marker } => {
            let offset = marker.checkpoint.0.cast_signed();
            let committed = CommittedOffset { offset, metadata: marker.encode() };
            client.commit_offset(&group, &topic, 0, &committed).await?;
            Fact::MarkerWritten(group)
        }
        Action::LookUpRecord { index, record, producer_id } => {
            let fate =
                client.record_fate(&record.topic, record.partition, record.offset, producer_id).await?;
            Fact::Record { index, fate }
        }
    })
}

pub(super) async fn read_marker(
    client: &KafkaClient,
    transactional_id: &str,
    topic: String,
    is_stable: bool,
) -> Result<MarkerReading> {
    let committed =
        client.committed_offsets(transactional_id, &BTreeSet::from([(topic, 0)]), is_stable).await?;
    let first = committed.into_values().next();
    Ok(first.map_or(MarkerReading::Absent, |found| MarkerReading::of(found.offset, &found.metadata)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settlement_can_be_spawned() {
        fn is_send<T: Send>(_: impl FnOnce(&'static KafkaClient, SettlementRequest) -> T) {}
        is_send(settle);
    }
}
