//! The job on three real brokers, of which one goes at the worst moment while TaskManagers are killed. Nothing may be lost
//! or repeated, and what can go on must go on within seconds.
//!
//! The moments are not hit by luck: the brokers are reached through proxies, and a request is held there until the broker
//! that it is for is dead. Tests share the cluster, one after the other, and each finds it whole.
//!
//! Without Kafka the reason is printed and nothing is tested.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flott::connectors::kafka::client::TransactionPhase;
use flott_cards::{
    Output,
    kafka::proxy::{KafkaProxy, ProxiedRequest, Verdict},
    process::{Cluster, JobProcess},
};
use flott_core::testkit::depth;
use flott_tests::{KafkaStage, PATIENCE, Trap, said, wait_until};
use kafka_protocol::messages::{EndTxnRequest, ProduceRequest};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use xtask::{
    clock::Stopwatch,
    kafka::{KafkaCluster, availability},
};

const BROKERS: usize = 3;
const TASK_MANAGERS: usize = 2;
const PAYMENTS: u64 = 300_000;
const SETTINGS: [&str; 3] = ["--bounded", "--parallelism", "2"];

/// The controller takes a dead broker's partitions from it after 6 s. The rest is for finding that out, on a machine that
/// may be busy with other tests.
const MOVE_PATIENCE: Duration = Duration::from_secs(30);

/// The new coordinator waits 30 s for a marker that it has sent to a leader which hangs (the broker's `request.timeout.ms`).
const HANG_PATIENCE: Duration = Duration::from_secs(60);

struct Brokers {
    proxies: Vec<KafkaProxy>,
    cluster: KafkaCluster,
}

/// The brokers that tests share, all of them well; nobody else uses them meanwhile.
struct Whole(MutexGuard<'static, Option<Brokers>>);

impl Whole {
    /// Nothing where Kafka cannot be had.
    fn brokers() -> Option<Self> {
        static SHARED: Mutex<Option<Brokers>> = Mutex::new(None);
        let libraries = availability().libraries();
        let libraries = libraries.inspect_err(|reason| eprintln!("not tested, no Kafka: {reason}")).ok()?;
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let brokers = shared.get_or_insert_with(|| {
            let (proxies, cluster) = KafkaProxy::start_cluster(libraries, BROKERS).unwrap();
            Brokers { proxies, cluster }
        });
        brokers.heal();
        Some(Self(shared))
    }

    fn cluster(&mut self) -> &mut KafkaCluster {
        &mut self.0.as_mut().unwrap().cluster
    }

    /// Direct addresses: where a broker is dead, connecting is refused.
    fn bootstrap(&mut self) -> String {
        self.cluster().bootstrap()
    }

    fn kill(&mut self, broker: i32) {
        self.cluster().broker(broker).unwrap().kill9();
    }

    fn trap(&self, is_wanted: impl Fn(i32, &ProxiedRequest) -> bool + Send + Sync + 'static) -> Trap {
        Trap::set(&self.0.as_ref().unwrap().proxies, is_wanted)
    }
}

impl Brokers {
    /// Brings all brokers back and waits until every replica is in sync again.
    fn heal(&mut self) {
        self.proxies.iter().for_each(KafkaProxy::pass);
        for broker in self.cluster.brokers() {
            let is_back = if broker.is_running() { broker.thaw() } else { broker.restart() };
            is_back.unwrap();
        }
        let mut config = ClientConfig::new();
        let consumer: BaseConsumer =
            config.set("bootstrap.servers", self.cluster.bootstrap()).create().unwrap();
        wait_until("all replicas are in sync", || {
            let Ok(metadata) = consumer.fetch_metadata(None, PATIENCE) else { return false };
            let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
            metadata.brokers().len() == BROKERS
                && partitions.all(|partition| partition.leader() >= 0 && partition.isr().len() == BROKERS)
        });
    }
}

/// A task commits its transaction, of which everything is flushed. This goes to the transaction's coordinator.
fn is_commit(request: &ProxiedRequest) -> bool {
    request.client_id() == "rdkafka" && request.decode::<EndTxnRequest>().is_some_and(|end| end.committed)
}

/// A task flushes output. This goes to the leaders of the partitions.
fn is_flush(request: &ProxiedRequest, topic: &str) -> bool {
    let produced = request.decode::<ProduceRequest>();
    produced.is_some_and(|produced| {
        produced.transactional_id.is_some()
            && produced.topic_data.iter().any(|data| data.name.as_str() == topic)
    })
}

fn transactional_id(request: &ProxiedRequest) -> String {
    request.decode::<EndTxnRequest>().unwrap().transactional_id.0.to_string()
}

fn kill_taskmanagers(job: &mut Cluster) {
    job.taskmanagers().iter_mut().for_each(JobProcess::kill9);
    job.taskmanagers().clear();
}

fn add_taskmanagers(job: &mut Cluster) {
    while job.taskmanagers().len() < TASK_MANAGERS {
        job.add_taskmanager().unwrap();
    }
}

fn finish(stage: &KafkaStage, job: &mut Cluster) {
    job.wait_until_finished(2 * PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    stage.assert_right();
}

/// The broker that FindCoordinator names for an id dies when all of its transaction is flushed and the commit is sent.
#[test]
fn coordinator_moves() {
    for _ in 0..depth() {
        let Some(mut brokers) = Whole::brokers() else { return };
        let stage = KafkaStage::new(&brokers.bootstrap(), "coordinator").feed(PAYMENTS);
        let mut job = stage.cluster(TASK_MANAGERS, &SETTINGS);
        stage.reach(0.1);
        let trap = brokers.trap(|_, request| is_commit(request));
        let coordinator = trap.wait().broker;
        kill_taskmanagers(&mut job);
        brokers.kill(coordinator);
        drop(trap);
        add_taskmanagers(&mut job);
        let watch = Stopwatch::start();
        said(job.jobmanager(), "deploying attempt 2");
        eprintln!("coordinator {coordinator} is dead; deployed again after {:?}", watch.elapsed());
        assert!(watch.elapsed() < MOVE_PATIENCE, "{:?}", watch.elapsed());
        finish(&stage, &mut job);
    }
}

/// As above, but the coordinator does not die: it answers nobody, and its connections stay open.
#[test]
fn coordinator_hangs_and_moves() {
    for _ in 0..depth() {
        let Some(mut brokers) = Whole::brokers() else { return };
        let stage = KafkaStage::new(&brokers.bootstrap(), "hangs").feed(PAYMENTS);
        let mut job = stage.cluster(TASK_MANAGERS, &SETTINGS);
        stage.reach(0.1);
        let trap = brokers.trap(|_, request| is_commit(request));
        let coordinator = trap.wait().broker;
        kill_taskmanagers(&mut job);
        brokers.cluster().broker(coordinator).unwrap().freeze().unwrap();
        drop(trap);
        add_taskmanagers(&mut job);
        let watch = Stopwatch::start();
        said(job.jobmanager(), "deploying attempt 2");
        eprintln!("coordinator {coordinator} hangs; deployed again after {:?}", watch.elapsed());
        assert!(watch.elapsed() < HANG_PATIENCE, "{:?}", watch.elapsed());
        finish(&stage, &mut job);
        // It wakes as one whose partitions others lead.
        brokers.cluster().broker(coordinator).unwrap().thaw().unwrap();
        stage.assert_right();
    }
}

/// The leader of an output partition dies during a flush, and with it a TaskManager.
#[test]
fn leader_moves() {
    for _ in 0..depth() {
        let Some(mut brokers) = Whole::brokers() else { return };
        let stage = KafkaStage::new(&brokers.bootstrap(), "leader").feed(PAYMENTS);
        let mut job = stage.cluster(TASK_MANAGERS, &SETTINGS);
        stage.reach(0.1);
        let topic = stage.topics.output(Output::Totals);
        let trap = brokers.trap(move |_, request| is_flush(request, &topic));
        let leader = trap.wait().broker;
        job.busiest_taskmanager().unwrap().kill9();
        brokers.kill(leader);
        drop(trap);
        job.add_taskmanager().unwrap();
        finish(&stage, &mut job);
    }
}

/// The job was told of one address only, and that broker dies together with all TaskManagers, in the commit window. The
/// JobManager has learnt of the others, and commits by them.
#[test]
fn bootstrap_address_is_gone() {
    for _ in 0..depth() {
        let Some(mut brokers) = Whole::brokers() else { return };
        let bootstrap = brokers.cluster().broker(1).unwrap().bootstrap().to_owned();
        let stage = KafkaStage::new(&brokers.bootstrap(), "bootstrap").feed(PAYMENTS).tell_of(&bootstrap);
        let mut job = stage.cluster(TASK_MANAGERS, &SETTINGS);
        stage.reach(0.1);
        let trap = brokers.trap(|broker, request| broker != 1 && is_commit(request));
        let id = transactional_id(&trap.wait().request);
        kill_taskmanagers(&mut job);
        brokers.kill(1);
        drop(trap);
        let is_open = || {
            let seen = stage.describe(std::slice::from_ref(&id)).remove(&id).flatten();
            seen.is_some_and(|seen| seen.phase == TransactionPhase::Ongoing)
        };
        let elapsed = wait_until(&format!("{id} is committed"), || !is_open());
        eprintln!("the bootstrap broker is dead; committed after {elapsed:?}");
        assert!(elapsed < MOVE_PATIENCE, "{elapsed:?}");
        brokers.cluster().broker(1).unwrap().restart().unwrap();
        add_taskmanagers(&mut job);
        finish(&stage, &mut job);
    }
}

/// A broker dies and never comes back: the whole job, killed in the commit window and started again, does without it.
#[test]
fn one_broker_is_gone_for_good() {
    for _ in 0..depth() {
        let Some(mut brokers) = Whole::brokers() else { return };
        let stage = KafkaStage::new(&brokers.bootstrap(), "gone").feed(PAYMENTS);
        let mut job = stage.cluster(TASK_MANAGERS, &SETTINGS);
        stage.reach(0.1);
        let trap = brokers.trap(|_, request| is_commit(request));
        let gone = trap.wait().broker;
        kill_taskmanagers(&mut job);
        job.jobmanager().kill9();
        brokers.kill(gone);
        trap.release(Verdict::Break);
        job.restart_jobmanager().unwrap();
        add_taskmanagers(&mut job);
        let watch = Stopwatch::start();
        said(job.jobmanager(), "deploying attempt 1");
        eprintln!("broker {gone} is gone; deployed again after {:?}", watch.elapsed());
        assert!(watch.elapsed() < MOVE_PATIENCE, "{:?}", watch.elapsed());
        finish(&stage, &mut job);
    }
}
