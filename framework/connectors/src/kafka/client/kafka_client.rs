//! The client itself: who is asked, how often, and for how long.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flott_core::{Clock, Error, ErrorKind, MonotonicTime, Result, SystemClock};
use kafka_protocol::{
    messages::{FindCoordinatorRequest, FindCoordinatorResponse},
    protocol::{Request, StrBytes},
};
use tokio_rustls::TlsConnector;

use super::{
    brokers::{Brokers, RefusedBy},
    code::KafkaCode,
    connection::Failure,
    pool::{Lease, Pool},
    settings::{BrokerAddress, ClientSettings},
    tls,
};

/// Pauses between the attempts of one call grow from the first to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// A broker that has not answered for so long when a call is given up counts as lost.
const SLOW: Duration = Duration::from_millis(500);
/// Keys asked for in one request, and coordinators remembered.
const KEYS_PER_REQUEST_MAX: usize = 500;
const COORDINATORS_MAX: usize = 100_000;

/// What a coordinator coordinates; the number is Kafka's key type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum CoordinatorKind {
    Group = 0,
    Transaction = 1,
}

/// A handle to a Kafka cluster; clones share connections.
#[derive(Clone)]
pub struct KafkaClient {
    shared: Arc<Shared>,
    patience: Duration,
}

struct Shared {
    brokers: Mutex<Brokers>,
    pool: Pool,
    coordinators: Mutex<Coordinators>,
}

/// The coordinator of each key, and the broker that named it.
type Coordinators = HashMap<(CoordinatorKind, String), (BrokerAddress, BrokerAddress)>;

impl KafkaClient {
    /// A client; nothing is connected yet.
    ///
    /// # Errors
    /// A settings error, when certificates or keys cannot be read.
    pub fn new(settings: ClientSettings) -> Result<Self> {
        let tls: Option<TlsConnector> = settings.tls.as_ref().map(tls::connector).transpose()?;
        let (bootstrap, patience) = (settings.bootstrap.clone(), settings.patience);
        if bootstrap.is_empty() {
            return Err(Error::new(ErrorKind::Settings, "bootstrap.servers names no broker"));
        }
        let shared = Shared {
            brokers: Mutex::new(Brokers::new(bootstrap, settings.known.clone())),
            pool: Pool::new(settings, tls),
            coordinators: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared), patience })
    }

    /// The same client with another limit for one whole call, retries included.
    #[must_use]
    pub fn with_patience(&self, patience: Duration) -> Self {
        Self { shared: Arc::clone(&self.shared), patience }
    }

    /// The limit for one whole call.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Repeats `attempt` until it succeeds, cannot succeed, or the patience is over.
    pub(super) async fn persist<T, Attempt>(&self, what: &str, attempt: impl Fn() -> Attempt) -> Result<T>
    where
        Attempt: Future<Output = Result<T, Failure>>,
    {
        let mut last = Error::new(ErrorKind::Unreachable, "no answer yet");
        let work = async {
            let mut pause = PAUSE_FIRST;
            loop {
                match attempt().await {
                    Ok(value) => return Ok(value),
                    Err(Failure::Stop(error)) => return Err(error.context(what)),
                    Err(Failure::Retry(error)) => {
                        tracing::debug!(what, %error, "retrying a Kafka request");
                        last = error;
                    }
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        };
        match tokio::time::timeout(self.patience, work).await {
            Ok(result) => result,
            Err(_) => {
                let limit = humantime::format_duration(self.patience);
                Err(last.context(format!("{what}: given up after {limit}")))
            }
        }
    }

    /// One exchange with any broker: which one it was, and its answer.
    pub(super) async fn ask_any<R: Request>(
        &self,
        request: &R,
        version_max: i16,
    ) -> Result<(BrokerAddress, R::Response), Failure> {
        let mut lease = self.lease_any().await?;
        let address = lease.connection.address().clone();
        let answer = self.watch(&address, lease.connection.call(request, version_max)).await;
        Ok((address, self.finish(lease, answer)?))
    }

    /// A connection to any broker. That one does not let this user in is final only when none does.
    async fn lease_any(&self) -> Result<Lease, Failure> {
        loop {
            let address = self.any_broker();
            let error = match self.lease(&address).await {
                Err(Failure::Stop(error)) if error.kind() == ErrorKind::Refused => error,
                Ok(lease) => {
                    self.brokers().on_let_in();
                    return Ok(lease);
                }
                Err(failure) => return Err(failure),
            };
            match self.brokers().on_refused(&address) {
                RefusedBy::All => return Err(Failure::Stop(error)),
                // Each is left alone for a moment now, so that the round ends.
                RefusedBy::Some => tracing::debug!(%address, %error, "another broker is asked"),
            }
        }
    }

    /// One exchange with the broker at `address`.
    pub(super) async fn ask<R: Request>(
        &self,
        address: &BrokerAddress,
        request: &R,
        version_max: i16,
    ) -> Result<R::Response, Failure> {
        let mut lease = self.lease(address).await?;
        let answer = self.watch(address, lease.connection.call(request, version_max)).await;
        self.finish(lease, answer)
    }

    /// One exchange with the coordinator of `key`.
    pub(super) async fn ask_coordinator<R: Request>(
        &self,
        kind: CoordinatorKind,
        key: &str,
        request: &R,
        version_max: i16,
    ) -> Result<R::Response, Failure> {
        self.locate(kind, &[key.to_owned()]).await?;
        let address = self.located(kind, key).ok_or_else(|| not_located(key))?;
        self.ask(&address, request, version_max).await
    }

    /// Finds the coordinators of those `keys` whose coordinator is not known yet.
    pub(super) async fn locate(&self, kind: CoordinatorKind, keys: &[String]) -> Result<(), Failure> {
        let missing: Vec<_> = keys.iter().filter(|key| self.located(kind, key).is_none()).cloned().collect();
        for chunk in missing.chunks(KEYS_PER_REQUEST_MAX) {
            let mut lease = self.lease_any().await?;
            let teller = lease.connection.address().clone();
            let answer = self.watch(&teller, find(&mut lease, kind, chunk)).await;
            let mut result = Ok(());
            for place in self.finish(lease, answer)? {
                match place {
                    Ok((key, address)) => self.remember(kind, key, (address, teller.clone())),
                    Err(failure @ Failure::Stop(_)) => return Err(failure),
                    Err(failure) => result = Err(failure),
                }
            }
            // It answers, but another broker may know more.
            result.inspect_err(|_| self.doubt(&teller))?;
        }
        Ok(())
    }

    /// The coordinator of `key`, when it is known.
    pub(super) fn located(&self, kind: CoordinatorKind, key: &str) -> Option<BrokerAddress> {
        self.coordinators().get(&(kind, key.to_owned())).map(|(address, _)| address.clone())
    }

    /// Makes the next call look for the coordinator of `key` again, at another broker than the one that has named it.
    pub(super) fn forget_coordinator(&self, kind: CoordinatorKind, key: &str) {
        let forgotten = self.coordinators().remove(&(kind, key.to_owned()));
        if let Some((_, teller)) = forgotten {
            self.doubt(&teller);
        }
    }

    /// All keys are looked for again whose coordinator has failed: the next one of them would wait for it as long as the first.
    fn forget_coordinators_at(&self, address: &BrokerAddress) {
        let mut tellers = HashSet::new();
        self.coordinators().retain(|_, (coordinator, teller)| {
            let is_kept = coordinator != address;
            if !is_kept {
                tellers.insert(teller.clone());
            }
            is_kept
        });
        tellers.iter().for_each(|teller| self.doubt(teller));
    }

    /// Something that this broker has told of the cluster turned out wrong.
    pub(super) fn doubt(&self, teller: &BrokerAddress) {
        self.brokers().doubt(teller);
    }

    /// Turns a "later" or "elsewhere" from the coordinator of `key` into a retry, and a missing permission into an
    /// error.
    pub(super) fn check_coordinator(
        &self,
        kind: CoordinatorKind,
        key: &str,
        code: KafkaCode,
        what: &str,
    ) -> Result<(), Failure> {
        if code.is_coordinator_move() {
            self.forget_coordinator(kind, key);
            return Err(Failure::Retry(code.into_error(what)));
        }
        check_repeatable(code, what)
    }

    fn remember(&self, kind: CoordinatorKind, key: String, place: (BrokerAddress, BrokerAddress)) {
        let mut coordinators = self.coordinators();
        if coordinators.len() >= COORDINATORS_MAX {
            coordinators.clear();
        }
        coordinators.insert((kind, key), place);
    }

    /// Makes the brokers in metadata known to all clients of the same source or sink.
    pub(super) fn learn<'a>(&self, brokers: impl Iterator<Item = &'a BrokerAddress>) {
        self.brokers().learn(brokers);
    }

    fn any_broker(&self) -> BrokerAddress {
        self.brokers().any(SystemClock.now())
    }

    pub(super) async fn lease(&self, address: &BrokerAddress) -> Result<Lease, Failure> {
        let permit = self.shared.pool.permit(address).await?;
        // While this one waited, another may have found that the broker is away.
        let cause = self.brokers().down_cause(address, SystemClock.now()).map(str::to_owned);
        if let Some(cause) = cause {
            self.forget_coordinators_at(address);
            return Err(Failure::Retry(Error::new(ErrorKind::Unreachable, cause)));
        }
        let lease = self.watch(address, self.shared.pool.lease(address, permit)).await;
        lease.inspect_err(|failure| self.shun(address, failure))
    }

    /// Waits for `answer` of a broker. If the caller's patience ends first, the broker counts as lost: the next call asks another
    /// one, also where the patience is shorter than the request timeout.
    pub(super) async fn watch<T>(&self, address: &BrokerAddress, answer: impl Future<Output = T>) -> T {
        let mut watched = Watched { client: self, address, since: Some(SystemClock.now()) };
        let answer = answer.await;
        watched.since = None;
        answer
    }

    pub(super) fn finish<T>(&self, lease: Lease, answer: Result<T, Failure>) -> Result<T, Failure> {
        match &answer {
            Ok(_) => {
                self.brokers().on_answer(lease.connection.address());
                self.shared.pool.hand_back(lease);
            }
            Err(failure) => self.shun(lease.connection.address(), failure),
        }
        answer
    }

    fn shun(&self, address: &BrokerAddress, (Failure::Retry(cause) | Failure::Stop(cause)): &Failure) {
        self.on_lost(address, cause.to_string());
    }

    fn on_lost(&self, address: &BrokerAddress, cause: String) {
        self.shared.pool.forget(address);
        self.forget_coordinators_at(address);
        self.brokers().on_lost(address, SystemClock.now(), cause);
    }

    fn brokers(&self) -> MutexGuard<'_, Brokers> {
        self.shared.brokers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn coordinators(&self) -> MutexGuard<'_, Coordinators> {
        self.shared.coordinators.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A broker that somebody waits for.
struct Watched<'a> {
    client: &'a KafkaClient,
    address: &'a BrokerAddress,
    /// `None` when the wait is over.
    since: Option<MonotonicTime>,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let waited = self.since.map(|since| SystemClock.now().since(since));
        // The patience of a call can end while its last request has hardly begun.
        if let Some(waited) = waited.filter(|&waited| waited >= SLOW) {
            self.client
                .on_lost(self.address, format!("broker {}: no answer within {waited:?}", self.address));
        }
    }
}

/// Turns CONCURRENT_TRANSACTIONS into a retry and a missing permission into an error.
fn check_repeatable(code: KafkaCode, what: &str) -> Result<(), Failure> {
    if code == KafkaCode::CONCURRENT_TRANSACTIONS || code == KafkaCode::REQUEST_TIMED_OUT {
        return Err(Failure::Retry(code.into_error(what)));
    }
    if code.is_refusal() {
        return Err(Failure::Stop(code.into_error(what)));
    }
    Ok(())
}

pub(super) fn not_located(key: &str) -> Failure {
    Failure::Retry(Error::new(ErrorKind::Unreachable, format!("no coordinator known for {key}")))
}

/// The first version that takes many keys at once.
const MANY_KEYS: i16 = 4;

/// A key and its coordinator, or the reason why the broker names none.
type Place = Result<(String, BrokerAddress), Failure>;

async fn find(lease: &mut Lease, kind: CoordinatorKind, keys: &[String]) -> Result<Vec<Place>, Failure> {
    let request = FindCoordinatorRequest::default().with_key_type(kind as i8);
    if lease.connection.version::<FindCoordinatorRequest>(MANY_KEYS)? == MANY_KEYS {
        let names = keys.iter().cloned().map(StrBytes::from_string).collect();
        let answer = lease.connection.call(&request.with_coordinator_keys(names), MANY_KEYS).await?;
        let places = answer.coordinators.iter();
        return Ok(places
            .map(|found| place(found.key.as_str(), found.error_code, found.host.as_str(), found.port))
            .collect());
    }
    let mut places = Vec::new();
    for key in keys {
        let request = request.clone().with_key(StrBytes::from_string(key.clone()));
        let found: FindCoordinatorResponse = lease.connection.call(&request, MANY_KEYS).await?;
        places.push(place(key, found.error_code, found.host.as_str(), found.port));
    }
    Ok(places)
}

fn place(key: &str, code: i16, host: &str, port: i32) -> Place {
    let (code, what) = (KafkaCode(code), format!("find the coordinator of {key}"));
    if code != KafkaCode::NONE {
        let error = code.into_error(&what);
        return Err(if code.is_refusal() { Failure::Stop(error) } else { Failure::Retry(error) });
    }
    match u16::try_from(port) {
        Ok(port) => Ok((key.into(), BrokerAddress { host: host.into(), port })),
        Err(_) => Err(Failure::Retry(Error::transient(format!("{what}: port {port}")))),
    }
}

#[cfg(test)]
#[path = "kafka_client_tests.rs"]
mod tests;
