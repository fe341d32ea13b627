//! Connections that wait to be used again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use flott_core::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsConnector;

use super::{
    connection::{Connection, Failure},
    settings::{BrokerAddress, ClientSettings},
};

/// Connections to one broker at a time. Each carries one request, so this is also the number of requests in flight.
const CONNECTIONS_PER_BROKER_MAX: usize = 8;

/// All connections of one client.
pub(super) struct Pool {
    settings: ClientSettings,
    tls: Option<TlsConnector>,
    brokers: Mutex<HashMap<BrokerAddress, Broker>>,
}

struct Broker {
    permits: Arc<Semaphore>,
    idle: Vec<Connection>,
}

/// A connection on loan. Dropped, it is closed; after a clean exchange it should be handed back.
pub(super) struct Lease {
    pub(super) connection: Connection,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(settings: ClientSettings, tls: Option<TlsConnector>) -> Self {
        Self { settings, tls, brokers: Mutex::default() }
    }

    /// The right to one of the connections to `address`; waits while too many are in use.
    pub(super) async fn permit(&self, address: &BrokerAddress) -> Result<OwnedSemaphorePermit, Failure> {
        let permits = Arc::clone(&self.brokers().entry(address.clone()).or_insert_with(Broker::new).permits);
        let permit = permits.acquire_owned().await;
        permit.map_err(|_| Failure::Stop(Error::internal("connection limit is closed")))
    }

    /// An idle or a new connection to `address`.
    pub(super) async fn lease(
        &self,
        address: &BrokerAddress,
        permit: OwnedSemaphorePermit,
    ) -> Result<Lease, Failure> {
        let idle = self.brokers().get_mut(address).and_then(|broker| broker.idle.pop());
        let connection = match idle {
            Some(connection) => connection,
            None => Connection::open(address, &self.settings, self.tls.as_ref()).await?,
        };
        Ok(Lease { connection, _permit: permit })
    }

    /// Keeps a connection for the next call.
    pub(super) fn hand_back(&self, lease: Lease) {
        if let Some(broker) = self.brokers().get_mut(lease.connection.address()) {
            broker.idle.push(lease.connection);
        }
    }

    /// Closes the idle connections to a broker: one just failed, so the others are doubtful.
    pub(super) fn forget(&self, address: &BrokerAddress) {
        if let Some(broker) = self.brokers().get_mut(address) {
            broker.idle.clear();
        }
    }

    fn brokers(&self) -> MutexGuard<'_, HashMap<BrokerAddress, Broker>> {
        self.brokers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(CONNECTIONS_PER_BROKER_MAX)), idle: Vec::new() }
    }
}
