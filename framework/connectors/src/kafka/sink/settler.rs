use flott_core::{
    Result,
    sink::{SettleReport, SettleRequest, Settler},
};

use super::{
    settings::{SinkSettings, owner},
    slots::SLOTS_MAX,
    transaction::decode,
};
#[cfg(feature = "ablation")]
use crate::kafka::ablation;
use crate::kafka::{
    blocking::BlockingClient,
    settlement::{IdScope, LostTransaction, SettlementPolicy, SettlementReport, SettlementRequest, settle},
};

/// Settles the transactions of one exactly-once sink.
pub(super) struct KafkaSettler {
    settings: SinkSettings,
    prefix: String,
    client: BlockingClient,
}

impl KafkaSettler {
    pub(super) fn new(settings: SinkSettings, prefix: String) -> Result<Self> {
        let client = BlockingClient::new(settings.properties.given())?;
        Ok(Self { settings, prefix, client })
    }
}

impl Settler for KafkaSettler {
    fn settle(&mut self, request: &SettleRequest) -> Result<SettleReport> {
        let slots_max = u32::try_from(SLOTS_MAX).expect("slots are few");
        let policy = SettlementPolicy {
            allow_repeated_output: request.allow_repeated_output,
            accept_lost_output: request.accept_lost_output,
        };
        let scope = |&(generation, parallelism)| IdScope { generation, parallelism, slots_max };
        let mut settlement = SettlementRequest::new(
            self.prefix.clone(),
            request.uid.clone(),
            &*self.settings.topic,
            owner(&request.job),
        );
        settlement.restored = request.checkpoint;
        settlement.committables =
            request.committables.iter().map(|bytes| decode(bytes)).collect::<Result<_>>()?;
        settlement.scopes = request.generations.iter().map(scope).collect();
        settlement.policy = policy;
        #[cfg(feature = "ablation")]
        {
            settlement.skip_settle = ablation::is_without(ablation::Step::Settle);
            settlement.skip_start_times = ablation::is_without(ablation::Step::Quarantine);
        }
        let report = self.client.ask(async |client| settle(client, settlement).await)?;
        report.verdict(policy)?;
        Ok(summary(&report))
    }
}

fn summary(report: &SettlementReport) -> SettleReport {
    let lost = || report.lost.iter().chain(&report.unknown);
    let line = |lost: &LostTransaction| {
        let committable = &lost.committable;
        let (id, checkpoint) = (&committable.transactional_id, committable.checkpoint_id);
        format!("checkpoint {checkpoint}: transaction {id}: {} records", committable.record_count())
    };
    SettleReport {
        committed: (report.committed.len() + report.already_committed.len()) as u64,
        lost_records: lost().map(|lost| lost.committable.record_count()).sum(),
        lost: lost().map(line).collect(),
    }
}
