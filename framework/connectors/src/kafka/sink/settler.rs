use std::time::Duration;

use flott_core::{
    Result,
    sink::{AuditReport, AuditRequest, SettleReport, SettleRequest, Settler, SweepRequest},
};

use super::{
    settings::{SinkSettings, owner},
    slots::SLOTS_MAX,
};
use crate::kafka::{
    blocking::BlockingClient,
    settlement::{
        AuditItem, Committable, IdScope, LostTransaction, SettlementPolicy, SettlementReport,
        SettlementRequest, Sweep, TransactionalIds, audit, settle,
    },
};
#[cfg(feature = "ablation")]
use flott_core::ablation::Step;

/// The next settling waits for a sweep to end, so it must not try for long.
const SWEEP_PATIENCE: Duration = Duration::from_secs(10);

/// An audit is repeated, so it must not try for long; the job waits for the first one.
const AUDIT_PATIENCE: Duration = Duration::from_secs(5);

/// Settles the transactions of one exactly-once sink.
pub(super) struct KafkaSettler {
    settings: SinkSettings,
    prefix: String,
    client: BlockingClient,
}

impl KafkaSettler {
    pub(super) fn new(settings: SinkSettings, prefix: String) -> Result<Self> {
        let client = BlockingClient::new(&settings.properties)?;
        Ok(Self { settings, prefix, client })
    }

    /// Items whose leaders cannot be asked stay open.
    fn audit_items(&self, items: &[AuditItem]) -> AuditReport {
        let asked = self.client.ask(async |client| audit(&client.with_patience(AUDIT_PATIENCE), items).await);
        match asked {
            Ok(report) => {
                for unseen in report.unseen() {
                    tracing::warn!("the settlement's audit {unseen}");
                }
                AuditReport {
                    hanging: report.hanging.iter().map(ToString::to_string).collect(),
                    to_audit: report.open_items().iter().map(AuditItem::encode).collect(),
                    is_partial: !report.unknown.is_empty(),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot see whether readers get what was committed");
                let to_audit = items.iter().map(AuditItem::encode).collect();
                AuditReport { hanging: Vec::new(), to_audit, is_partial: true }
            }
        }
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
            request.committables.iter().map(|bytes| Committable::decode(bytes)).collect::<Result<_>>()?;
        settlement.scopes = request.generations.iter().map(scope).collect();
        settlement.policy = policy;
        #[cfg(feature = "ablation")]
        {
            settlement.skip_settle = Step::Settle.is_left_out();
            settlement.skip_start_times = Step::Quarantine.is_left_out();
        }
        let report = self.client.ask(async |client| settle(client, settlement).await)?;
        report.verdict(policy)?;
        let transaction_timeout = self.transaction_timeout()?;
        let audited = self.audit_items(&report.to_audit);
        Ok(SettleReport {
            hanging: audited.hanging,
            to_audit: audited.to_audit,
            transaction_timeout: Some(transaction_timeout),
            sweep_for: transaction_timeout.saturating_mul(2),
            ..summary(&report)
        })
    }

    fn audit(&mut self, request: &AuditRequest) -> Result<AuditReport> {
        let items = request.to_audit.iter().filter_map(|bytes| AuditItem::decode(bytes));
        let is_own = |item: &AuditItem| {
            TransactionalIds::parse(&self.prefix, &request.uid, &item.transactional_id).is_some()
        };
        let items: Vec<_> = items.filter(is_own).collect();
        Ok(self.audit_items(&items))
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
