//! Carries out what [`Settlement`] decides.

use std::{collections::BTreeSet, time::Duration};

use flott_core::Result;
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    Action, Evidence, Fact, MarkerReading, Settlement, SettlementReport, SettlementRequest, evidence::gather,
};
use crate::kafka::client::{CommittedOffset, KafkaClient, StableOffset};

/// Actions under way at a time.
pub(super) const ACTIONS_MAX: usize = 64;
/// Timeout that a fenced id gets. Nobody opens a transaction with it, so it only has to be below `transaction.max.timeout.ms`:
/// a broker refuses a longer one, and no broker that anybody writes transactions to allows less than a second.
pub(super) const FENCE_TIMEOUT: Duration = Duration::from_secs(1);

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
        open = report.open.len(),
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
        Action::FindLater(ids) => {
            let found = client.describe_transactions(&ids).await?;
            Fact::FoundLater(
                found.into_iter().filter(|(_, found)| found.is_some()).map(|(id, _)| id).collect(),
            )
        }
        Action::ListTransactions { stem } => {
            let listed = client.list_transactions(&stem, &[]).await?;
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
        Action::LookUpRecords { index, records, producer_id, ended } => {
            // As a list: a closure that lends would keep the whole settlement from being spawned.
            let looks: Vec<_> = records
                .iter()
                .map(|Evidence { topic, partition, offset }| {
                    client.record_fate((topic, *partition), *offset, producer_id, &ended)
                })
                .collect();
            let fates = gather(stream::iter(looks).buffer_unordered(ACTIONS_MAX)).await?;
            Fact::Records { index, fates }
        }
    })
}

pub(super) async fn read_marker(
    client: &KafkaClient,
    transactional_id: &str,
    topic: String,
    is_stable: bool,
) -> Result<MarkerReading> {
    let key = (topic, 0);
    let found = if is_stable {
        client.stable_offset(transactional_id, &key).await?
    } else {
        let committed = client.committed_offsets(transactional_id, &BTreeSet::from([key]), false).await?;
        committed.into_values().next().map_or(StableOffset::Absent, StableOffset::Committed)
    };
    Ok(match found {
        StableOffset::Absent => MarkerReading::Absent,
        StableOffset::Committed(found) => MarkerReading::of(found.offset, &found.metadata),
        StableOffset::Unstable { place } => MarkerReading::Unstable(place),
    })
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
