//! Connections between TaskManagers: one per pair and attempt, carrying all channels between the two.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flott_core::{Error, ErrorKind, Result, ResultExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::exchange::{
    ByteStream, ExchangeSession, PeerLink, SecureTransport, Strangers, arrivals::Arrivals,
    transport::PeerStream,
};

/// `HOST:PORT` of a TaskManager's exchange.
pub type ExchangeAddress = String;

/// A TaskManager's number within one attempt.
pub type PeerIndex = u32;

const MAGIC: [u8; 4] = *b"FLTX";
const VERSION: u16 = 1;
const HELLO_BYTES: usize = 4 + 2 + 3 * 8 + 4;

/// Time for a peer to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Time to reach a peer, which listens whatever else it does.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// How patient a TaskManager is with its peers.
#[derive(Clone, Copy, Debug)]
pub struct PeerPatience {
    /// Those that have more state to restore connect later, and are awaited for so long.
    pub arrival_timeout: Duration,
    /// How often a TaskManager shows its peers that it lives.
    pub heartbeat_interval: Duration,
    /// A peer that was silent for so long is lost: packets between the two may be dropped while both reach the JobManager.
    pub heartbeat_timeout: Duration,
}

/// What connections must agree on: the cluster, the JobManager's reign, the attempt. An old attempt's TaskManager cannot
/// reach a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey {
    /// The leader epoch.
    pub epoch: u64,
    /// The attempt.
    pub attempt: u64,
    /// A number that differs between clusters.
    pub cluster: u64,
}

/// Connections of peers that have not said who they are.
pub(super) const STRANGERS_MAX: usize = 256;

/// A connection waits so long for its attempt to be deployed here: as long as the JobManager waits for a deployment.
const EARLY_AGE_MAX: Duration = Duration::from_secs(600);

/// State that the tasks that accept connections share.
pub(super) struct Entrance {
    transport: Option<Arc<dyn SecureTransport>>,
    arrivals: Mutex<Arrivals<PeerStream>>,
    strangers: Strangers,
    pub(super) hello_timeout: Duration,
    pub(super) early_age_max: Duration,
}

impl Entrance {
    pub(super) fn new(transport: Option<Arc<dyn SecureTransport>>) -> Self {
        Self {
            transport,
            arrivals: Mutex::default(),
            strangers: Strangers::new("exchange", STRANGERS_MAX),
            hello_timeout: HELLO_TIMEOUT,
            early_age_max: EARLY_AGE_MAX,
        }
    }

    fn arrivals(&self) -> MutexGuard<'_, Arrivals<PeerStream>> {
        // A panic elsewhere leaves the table consistent: every change is a single insertion or removal.
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes connections from other TaskManagers.
pub struct ExchangeListener {
    port: u16,
    entrance: Arc<Entrance>,
    accepting: Option<JoinHandle<()>>,
}

impl ExchangeListener {
    /// Takes connections at `listener`: over `transport`, or over plain TCP.
    ///
    /// # Errors
    /// When the socket cannot tell its address.
    pub fn start(listener: TcpListener, transport: Option<Arc<dyn SecureTransport>>) -> Result<Self> {
        Self::start_at(listener, Entrance::new(transport))
    }

    pub(super) fn start_at(listener: TcpListener, entrance: Entrance) -> Result<Self> {
        let port = listener.local_addr()?.port();
        let entrance = Arc::new(entrance);
        let accepting = Some(tokio::spawn(accept(listener, Arc::clone(&entrance))));
        Ok(Self { port, entrance, accepting })
    }

    /// One for a process without peers: it has no socket.
    #[must_use]
    pub fn alone() -> Self {
        Self { port: 0, entrance: Arc::new(Entrance::new(None)), accepting: None }
    }

    /// The port it listens on; 0 without a socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on only connections of this cluster in this leader epoch are taken. To be called before other
    /// TaskManagers hear of this one.
    pub fn expect(&self, cluster: u64, epoch: u64) {
        self.entrance.arrivals().expect(cluster, epoch);
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.entrance.arrivals().len()
    }

    /// Connects this process, `me`, with all peers of an attempt: dials those with a higher number, awaits the others.
    /// `on_lost` is called, at most once per peer, when a connection breaks.
    ///
    /// # Errors
    /// [`ErrorKind::Transient`] when a peer cannot be reached in time.
    pub async fn connect(
        &self,
        key: SessionKey,
        me: PeerIndex,
        peers: Vec<(PeerIndex, ExchangeAddress, PeerLink)>,
        patience: PeerPatience,
        on_lost: Arc<dyn Fn(PeerIndex, Error) + Send + Sync>,
    ) -> Result<ExchangeSession> {
        self.entrance.arrivals().forget_before(key);
        let mut connecting = JoinSet::new();
        for (peer, address, link) in peers {
            let awaited = (peer < me).then(|| self.entrance.arrivals().await_peer(key, peer));
            let wait = if awaited.is_some() { patience.arrival_timeout } else { DIAL_TIMEOUT };
            let transport = self.entrance.transport.clone();
            connecting.spawn(async move {
                let stream = timeout(wait, async {
                    match awaited {
                        Some(awaited) => {
                            awaited.await.map_err(|_| Error::transient("a newer attempt took over"))
                        }
                        None => dial(&address, transport, key, me).await,
                    }
                });
                let stream = stream.await.unwrap_or_else(|_| Err(Error::transient("no connection in time")));
                let stream = stream.map_err(|error| {
                    error
                        .with_kind(ErrorKind::Transient)
                        .context(format!("exchange with TaskManager at {address}"))
                });
                (peer, link, stream)
            });
        }
        let mut session = ExchangeSession::default();
        while let Some(connected) = connecting.join_next().await {
            let (peer, link, stream) = connected.or_error(ErrorKind::Internal, "connecting to a peer")?;
            session.attach(peer, link, stream?, patience, &on_lost);
        }
        Ok(session)
    }
}

impl Drop for ExchangeListener {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

async fn accept(listener: TcpListener, entrance: Arc<Entrance>) {
    loop {
        let permit = entrance.strangers.admit().await;
        let Ok((stream, address)) = listener.accept().await else {
            // Out of file descriptors, most likely: wait for some to become free.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let entrance = Arc::clone(&entrance);
        tokio::spawn(async move {
            let met = timeout(entrance.hello_timeout, meet(stream, entrance.transport.as_deref())).await;
            let met = met.unwrap_or_else(|_| Err(Error::transient("it did not say in time who it is")));
            let arrived = met.and_then(|(key, peer, stream)| entrance.arrivals().arrive(key, peer, stream));
            drop(permit);
            match arrived {
                Ok(None) => {}
                Ok(Some(waiting)) => {
                    tokio::time::sleep(entrance.early_age_max).await;
                    if entrance.arrivals().give_up(waiting) {
                        tracing::warn!(%address, "closed a connection of an attempt that never came");
                    }
                }
                Err(error) => entrance.strangers.refused(address, &error),
            }
        });
    }
}

pub(super) async fn dial(
    address: &str,
    transport: Option<Arc<dyn SecureTransport>>,
    key: SessionKey,
    me: PeerIndex,
) -> Result<PeerStream> {
    let mut hello = Vec::with_capacity(HELLO_BYTES);
    hello.extend_from_slice(&MAGIC);
    hello.extend_from_slice(&VERSION.to_le_bytes());
    for number in [key.cluster, key.epoch, key.attempt] {
        hello.extend_from_slice(&number.to_le_bytes());
    }
    hello.extend_from_slice(&me.to_le_bytes());
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let Some(transport) = transport else {
        stream.write_all(&hello).await?;
        return Ok(PeerStream::Plain(stream));
    };
    let mut stream = transport.dial(stream).await?;
    stream.write_all(&hello).await?;
    stream.flush().await?;
    Ok(PeerStream::Secure(stream))
}

/// Lets a peer say who it is.
async fn meet(
    mut stream: TcpStream,
    transport: Option<&dyn SecureTransport>,
) -> Result<(SessionKey, PeerIndex, PeerStream)> {
    stream.set_nodelay(true)?;
    let Some(transport) = transport else {
        let (key, peer) = read_hello(&mut stream).await?;
        return Ok((key, peer, PeerStream::Plain(stream)));
    };
    let mut stream = transport.accept(stream).await?;
    let (key, peer) = read_hello(&mut stream).await?;
    Ok((key, peer, PeerStream::Secure(stream)))
}

async fn read_hello(stream: &mut (impl ByteStream + ?Sized)) -> Result<(SessionKey, PeerIndex)> {
    let mut hello = [0; HELLO_BYTES];
    stream.read_exact(&mut hello).await?;
    let (magic, rest) = hello.split_at(4);
    let (version, rest) = rest.split_at(2);
    if magic != MAGIC || version != VERSION.to_le_bytes() {
        return Err(Error::transient("the connection is not from a TaskManager of this version"));
    }
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&rest[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let key = SessionKey { cluster: number(0), epoch: number(8), attempt: number(16) };
    let mut peer = [0; 4];
    peer.copy_from_slice(&rest[24..28]);
    Ok((key, PeerIndex::from_le_bytes(peer)))
}
