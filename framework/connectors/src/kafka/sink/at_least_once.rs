//! The writer without transactions: everything before a barrier is delivered before the checkpoint is complete.

use std::sync::Arc;

use flott_core::{
    Batch, CheckpointId, Record, Result,
    operator::{Readiness, StepTime},
    sink::SinkWriter,
    snapshot::WriteList,
};

use super::{
    flush::{Flush, FlushGuard},
    lane::Lane,
    outbox::Outbox,
    serializer::Serializer,
    settings::SinkSettings,
};
use crate::kafka::background;

pub(super) struct AtLeastOnceWriter<T> {
    serializer: Serializer<T>,
    outbox: Outbox,
    lane: Option<Arc<Lane>>,
    /// The last barrier's flush: what follows waits for it.
    flush: Option<Arc<Flush>>,
}

impl<T: Record> AtLeastOnceWriter<T> {
    pub(super) fn new(settings: &SinkSettings, serializer: Serializer<T>) -> Result<Self> {
        let lane = Lane::new(settings, &settings.idempotent_config()?)?;
        Ok(Self { serializer, outbox: Outbox::default(), lane: Some(Arc::new(lane)), flush: None })
    }

    fn lane(&self) -> &Arc<Lane> {
        self.lane.as_ref().expect("is taken by drop alone")
    }

    /// Gives waiting records to the producer.
    fn pump(&mut self) -> Result<()> {
        if let Some(flush) = &self.flush {
            flush.check()?;
            if !flush.is_done() {
                return Ok(());
            }
            self.flush = None;
        }
        self.lane.as_ref().expect("is taken by drop alone").send(&mut self.outbox, false)?;
        self.lane().poll()
    }
}

impl<T: Record> SinkWriter for AtLeastOnceWriter<T> {
    type In = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<()> {
        self.serializer.serialize(batch, &mut self.outbox)?;
        self.pump()
    }

    fn readiness(&self) -> Result<Readiness> {
        Ok(if self.outbox.has_room() { Readiness::Ready } else { Readiness::Full })
    }

    fn advance(&mut self, _time: StepTime) -> Result<()> {
        self.pump()
    }

    fn precommit(&mut self, _checkpoint: CheckpointId) -> Result<WriteList> {
        let earlier = self.flush.take();
        let outbox = std::mem::take(&mut self.outbox);
        let flush = Arc::new(Flush::new(Arc::clone(self.lane()), outbox, false, earlier));
        self.flush = Some(Arc::clone(&flush));
        let guard = FlushGuard(flush);
        Ok(Box::new(move || {
            guard.0.run()?;
            Ok(Vec::new())
        }))
    }

    fn commit(&mut self, _checkpoint: CheckpointId) -> Result<()> {
        Ok(())
    }
}

impl<T> Drop for AtLeastOnceWriter<T> {
    fn drop(&mut self) {
        let lane = self.lane.take();
        if let Some(lane) = &lane {
            lane.abandon();
        }
        // The last one who holds the lane waits for its producer: the flush may be that.
        let flush = self.flush.take();
        background::run("kafka-close", move || drop((flush, lane)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flott_core::testkit::{verify_drop, verify_writer};
    use rdkafka::mocking::MockCluster;
    use xtask::clock::pause;

    use super::*;
    use crate::format::Utf8;

    #[test]
    fn it_keeps_the_contract_of_writers_and_waits_for_no_broker_when_it_is_dropped() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let settings = SinkSettings::new(cluster.bootstrap_servers(), "t");
        let writer = || AtLeastOnceWriter::<String>::new(&settings, Serializer::of_value(Utf8)).unwrap();
        verify_writer(Box::new(writer()), |batch| vec![batch.to_string()], pause);
        cluster.broker_round_trip_time(1, Duration::from_secs(60)).unwrap();
        verify_drop(|_| {
            let mut writer = writer();
            writer.write(&mut Batch { records: vec!["record".into()], times: Vec::new() }).unwrap();
            drop(writer.precommit(CheckpointId(1)).unwrap());
            Box::new(writer)
        });
    }
}
