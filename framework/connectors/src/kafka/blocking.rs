//! The raw client for threads that may block.

use std::{sync::OnceLock, time::Duration};

use flott_core::{ErrorKind, Result, ResultExt};
use tokio::runtime::{Builder, Runtime};

use super::{
    client::{ClientSettings, KafkaClient},
    properties::Properties,
};

/// A raw client with a runtime of its own, which its connections belong to.
pub(super) struct BlockingClient {
    runtime: Option<Runtime>,
    client: KafkaClient,
    cluster_id: OnceLock<Option<String>>,
}

impl BlockingClient {
    pub(super) fn new(properties: &Properties) -> Result<Self> {
        let settings = ClientSettings::from_properties(properties.given())?;
        let client = KafkaClient::new(settings.with_known_brokers(properties.known_brokers().clone()))?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.or_error(ErrorKind::Transient, "cannot start a Kafka client")?;
        Ok(Self { runtime: Some(runtime), client, cluster_id: OnceLock::new() })
    }

    /// The same client with another limit for one whole call, retries included.
    pub(super) fn with_patience(mut self, patience: Duration) -> Self {
        self.client = self.client.with_patience(patience);
        self
    }

    /// Waits for what `ask` asks.
    pub(super) fn ask<T>(&self, ask: impl AsyncFnOnce(&KafkaClient) -> Result<T>) -> Result<T> {
        self.block_on(ask(&self.client))
    }

    /// Waits before the next question.
    pub(super) fn pause(&self, pause: Duration) {
        self.block_on(async { tokio::time::sleep(pause).await });
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("is taken by drop alone").block_on(work)
    }

    /// The cluster's name, asked for once.
    pub(super) fn cluster_id(&self) -> Result<Option<String>> {
        if let Some(id) = self.cluster_id.get() {
            return Ok(id.clone());
        }
        let id = self.ask(async |client| client.cluster_id().await)?;
        Ok(self.cluster_id.get_or_init(|| id).clone())
    }
}

impl Drop for BlockingClient {
    fn drop(&mut self) {
        // A plain drop would wait, which a thread of another runtime must not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
