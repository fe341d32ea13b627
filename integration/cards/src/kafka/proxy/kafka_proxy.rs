use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use xtask::kafka::{BrokerSettings, KafkaBroker, KafkaCluster, KafkaLibraries};

use super::{
    relay::Relay,
    request::{ProxiedRequest, Verdict},
};
use crate::error::{Result, Trying};

const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

type Judge = dyn Fn(&ProxiedRequest) -> Verdict + Send + Sync;

/// A proxy in front of one broker. When it is dropped, all connections through it end.
pub struct KafkaProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    broker: SocketAddr,
    judge: Mutex<Arc<Judge>>,
    relays: Mutex<BTreeMap<u64, Arc<Relay>>>,
    is_over: AtomicBool,
}

impl KafkaProxy {
    /// Starts an empty broker that is reached through a proxy, which passes everything at first.
    ///
    /// # Errors
    /// When either cannot be started.
    pub fn start_broker(libraries: &KafkaLibraries) -> Result<(Self, KafkaBroker)> {
        Self::start_broker_with(libraries, BrokerSettings::temporary())
    }

    /// As [`Self::start_broker`], with settings of the caller's. Their directory must not be there yet.
    ///
    /// # Errors
    /// When either cannot be started.
    pub fn start_broker_with(
        libraries: &KafkaLibraries,
        settings: BrokerSettings,
    ) -> Result<(Self, KafkaBroker)> {
        let (listener, address) = listen()?;
        let settings = settings.advertise([address.port()]);
        let broker = KafkaBroker::start_temporary_with(libraries, settings)?;
        Ok((Self::start(listener, address, broker.port()), broker))
    }

    /// Starts an empty cluster of which every broker is reached through a proxy of its own, in the order of the brokers.
    /// The brokers reach each other through them as well.
    ///
    /// # Errors
    /// When one of them cannot be started.
    pub fn start_cluster(libraries: &KafkaLibraries, brokers: usize) -> Result<(Vec<Self>, KafkaCluster)> {
        let listeners = (0..brokers).map(|_| listen()).collect::<Result<Vec<_>>>()?;
        let ports = listeners.iter().map(|(_, address)| address.port());
        let settings = BrokerSettings::temporary().advertise(ports);
        // The brokers serve while their proxies do not: what is sent to those waits.
        let mut cluster = KafkaCluster::start_temporary_with(libraries, settings, brokers)?;
        let ports = cluster.brokers().iter().map(KafkaBroker::port);
        let proxies = listeners.into_iter().zip(ports);
        Ok((
            proxies.map(|((listener, address), port)| Self::start(listener, address, port)).collect(),
            cluster,
        ))
    }

    fn start(listener: TcpListener, address: SocketAddr, broker_port: u16) -> Self {
        let shared = Arc::new(Shared {
            broker: SocketAddr::from((Ipv4Addr::LOCALHOST, broker_port)),
            judge: Mutex::new(Arc::new(|_: &ProxiedRequest| Verdict::Pass)),
            relays: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(&listener)
        });
        Self { shared, address, accepting: Some(accepting) }
    }

    /// `host:port` for clients.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    /// From now on, `judge` decides about every request of every connection. It is called by the connection's own thread,
    /// also by several at a time, and holds its connection up while it waits.
    pub fn judge(&self, judge: impl Fn(&ProxiedRequest) -> Verdict + Send + Sync + 'static) {
        *self.shared.judge.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(judge);
    }

    /// From now on, everything passes. Requests that are held are not let go by this.
    pub fn pass(&self) {
        self.judge(|_| Verdict::Pass);
    }

    /// Ends all connections. New ones are accepted.
    pub fn cut(&self) {
        self.shared.relays().values().for_each(|relay| relay.cut());
    }
}

fn listen() -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).trying(|| "no free port".to_owned())?;
    let address = listener.local_addr().trying(|| "a listener has no address".to_owned())?;
    Ok((listener, address))
}

impl Drop for KafkaProxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        self.cut();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect_timeout(&self.address, CONNECT_PATIENCE);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for (number, client) in (0..).zip(listener.incoming()) {
            if self.is_over.load(Ordering::Acquire) {
                return;
            }
            let shared = Arc::clone(self);
            thread::spawn(move || client.map(|client| shared.serve(number, client)));
        }
    }

    /// Serves one client until a connection ends. A client whose broker is away is sent away.
    fn serve(&self, number: u64, client: TcpStream) {
        let Ok(broker) = TcpStream::connect_timeout(&self.broker, CONNECT_PATIENCE) else { return };
        let Ok(relay) = Relay::new(client, broker).map(Arc::new) else { return };
        self.relays().insert(number, Arc::clone(&relay));
        if self.is_over.load(Ordering::Acquire) {
            relay.cut();
        }
        thread::scope(|scope| {
            scope.spawn(|| relay.run_answers());
            relay.run_requests(|request| self.judge_now()(request));
        });
        self.relays().remove(&number);
    }

    fn judge_now(&self) -> Arc<Judge> {
        Arc::clone(&self.judge.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn relays(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Relay>>> {
        self.relays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        sync::mpsc,
    };

    use super::*;

    /// Request 18 with this correlation id and no client id.
    fn request(id: u8) -> [u8; 14] {
        [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, id, 255, 255]
    }

    /// Answers every request with its correlation id and says which one it was.
    fn broker(seen: mpsc::Sender<u8>) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let seen = seen.clone();
                thread::spawn(move || {
                    let mut request = [0; 14];
                    while stream.read_exact(&mut request).is_ok() {
                        seen.send(request[11]).unwrap();
                        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, request[11]]).unwrap();
                    }
                });
            }
        });
        port
    }

    fn ask(client: &mut TcpStream, id: u8) -> Option<u8> {
        let mut answer = [0; 8];
        client.write_all(&request(id)).ok()?;
        client.read_exact(&mut answer).ok().map(|()| answer[7])
    }

    #[test]
    fn every_verdict_is_carried_out() {
        let (sender, seen) = mpsc::channel();
        let (listener, address) = listen().unwrap();
        let proxy = KafkaProxy::start(listener, address, broker(sender));
        proxy.judge(|request| match request.correlation_id() {
            1 => Verdict::Answer(vec![0, 0, 0, 101]),
            2 => Verdict::AnswerAfter(vec![0, 0, 0, 102]),
            3 => Verdict::Break,
            4 => Verdict::BreakAfter,
            5 => Verdict::Swallow,
            _ => Verdict::Pass,
        });
        let connect = || TcpStream::connect(proxy.bootstrap()).unwrap();
        let mut client = connect();
        assert_eq!([0, 1, 2, 9].map(|id| ask(&mut client, id)), [0, 101, 102, 9].map(Some));
        assert_eq!([3, 4].map(|id| ask(&mut connect(), id)), [None, None]);
        client.write_all(&request(5)).unwrap();
        assert_eq!(ask(&mut client, 6), Some(6), "what was swallowed is not waited for");
        proxy.cut();
        assert_eq!(ask(&mut client, 7), None);
        proxy.pass();
        assert_eq!(ask(&mut connect(), 3), Some(3));
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), [0, 2, 9, 4, 6, 3]);
        drop(proxy);
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn a_request_is_held_while_its_judge_waits_and_others_are_not() {
        let (sender, seen) = mpsc::channel();
        let (listener, address) = listen().unwrap();
        let proxy = KafkaProxy::start(listener, address, broker(sender));
        let (release, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        proxy.judge(move |request| {
            if request.correlation_id() == 1 {
                held.lock().unwrap().recv().unwrap();
            }
            Verdict::Pass
        });
        let (mut first, mut second) =
            (TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap());
        first.write_all(&request(1)).unwrap();
        assert_eq!(ask(&mut second, 2), Some(2));
        // The client gives up; what it has asked for arrives all the same.
        drop(first);
        release.send(()).unwrap();
        assert_eq!([seen.recv().unwrap(), seen.recv().unwrap()], [2, 1]);
    }
}
