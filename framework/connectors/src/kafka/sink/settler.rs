use std::time::Duration;

use flott_core::{
    Result,
    sink::{SettleReport, SettleRequest, Settler, SweepRequest},
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
    settlement::{
        IdScope, LostTransaction, SettlementPolicy, SettlementReport, SettlementRequest, Sweep, settle,
    },
};

/// The next settling waits for a sweep to end, so it must not try for long.
const SWEEP_PATIENCE: Duration = Duration::from_secs(10);

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

    fn transaction_timeout(&self) -> Result<Duration> {
        let allowed = match self.settings.transaction_timeout {
            Some(_) => None,
            None => self.client.ask(async |client| client.transaction_timeout_max().await)?,
        };
        Ok(self.settings.effective_transaction_timeout(allowed))
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
        settlement.is_fallback = request.is_fallback;
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
        let transaction_timeout = self.transaction_timeout()?;
        Ok(SettleReport {
            transaction_timeout: Some(transaction_timeout),
            sweep_for: transaction_timeout.saturating_mul(2),
            ..summary(&report)
        })
    }

    fn sweep(&mut self, request: &SweepRequest) -> Result<Vec<String>> {
        let sweep = Sweep {
            prefix: self.prefix.clone(),
            sink_uid: request.uid.clone(),
            marker_topic: self.settings.topic.to_string(),
            owner: owner(&request.job),
            below: request.below,
        };
        self.client.ask(async |client| sweep.run(&client.with_patience(SWEEP_PATIENCE)).await)
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
        ..SettleReport::default()
    }
}
