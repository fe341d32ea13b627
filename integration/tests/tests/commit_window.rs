//! Death between the completion of a checkpoint and its commits, and an absence longer than the broker keeps transactions
//! open: the window that Flink loses in. Real Kafka, real processes, SIGKILL.
//!
//! The window is some milliseconds wide. All processes are frozen as soon as the JobManager says that a checkpoint is
//! complete, and killed; then the broker is asked whether a transaction that the checkpoint lists is still open. If none
//! is, the commits were faster, and the next checkpoint is tried.
//!
//! Where Kafka cannot be had the reason is printed and nothing is tested.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use flott::connectors::kafka::{
    client::{ClientSettings, KafkaClient, TransactionPhase},
    settlement::Committable,
};
use flott_cards::{
    Comparison, PaymentGenerator, Rule,
    kafka::{Feeder, Topics, read_answers, read_reference},
    process::{Cluster, ClusterSpec, JobProcess},
};
use flott_tests::{KeepsWhatWasSaid, PATIENCE, card_alerts, committables, newest_checkpoint, wait_for_code};
use xtask::{
    clock::{Stopwatch, pause},
    kafka::{KafkaBroker, availability},
};

const PAYMENTS: u64 = 800_000;
const PARTITIONS: i32 = 4;
const TASK_MANAGERS: usize = 2;

/// The short one, and how long everybody is away. A broker looks for transactions that have timed out every 10 s.
const TRANSACTION_TIMEOUT: [&str; 2] = ["--transaction-timeout", "15s"];
const AWAY: Duration = Duration::from_secs(40);

/// Some two thirds of all tries hit the window.
const TRIES_MAX: u32 = 12;
/// Requests that a killed process has sent are answered within this time.
const ECHO: Duration = Duration::from_millis(500);

/// How the topics of a case are called, its parameters, and what happens in it.
type Case = (&'static str, &'static [&'static str], fn(&Stage));

const CASES: [Case; 4] = [
    ("window-taskmanagers", &TRANSACTION_TIMEOUT, a_jobmanager_that_lives_commits_before_the_broker_aborts),
    ("window-taskmanagers-default", &[], a_jobmanager_that_lives_commits_before_the_broker_aborts),
    ("window-all", &TRANSACTION_TIMEOUT, output_that_is_lost_is_named_and_counted_exactly),
    ("window-all-default", &[], nothing_is_lost_while_the_broker_keeps_transactions_open),
];

/// The cases are away most of the time: beside each other they take little longer than one of them.
#[test]
fn death_between_a_checkpoint_and_its_commits() {
    let Ok(libraries) =
        availability().libraries().inspect_err(|reason| eprintln!("not tested, no Kafka: {reason}"))
    else {
        return;
    };
    let broker = KafkaBroker::start_temporary(libraries).unwrap();
    thread::scope(|scope| {
        for (name, parameters, case) in CASES {
            let stage = Stage::new(broker.bootstrap(), name, parameters);
            thread::Builder::new().name(name.into()).spawn_scoped(scope, move || case(&stage)).unwrap();
        }
    });
}

fn a_jobmanager_that_lives_commits_before_the_broker_aborts(stage: &Stage) {
    let (mut cluster, _) = stage.hit(Killed::TaskManagers);
    cluster.jobmanager().thaw().unwrap();
    pause(AWAY);
    stage.finish(&mut cluster);
    let said = cluster.jobmanager().errors();
    assert!(!said.contains("lost output"), "{said}");
    let comparison = stage.comparison();
    assert!(comparison.is_equal(), "{comparison}");
}

fn output_that_is_lost_is_named_and_counted_exactly(stage: &Stage) {
    let (mut cluster, window) = stage.hit(Killed::All);
    pause(AWAY);

    // Twice: a report does not change what it reports.
    for _ in 0..2 {
        cluster.restart_jobmanager().unwrap();
        let said = wait_for_code(cluster.jobmanager(), 4);
        window.assert_reported(&said);
    }
    drop(cluster);

    let mut cluster = stage.cluster(&["--set", "accept_lost_output=true"]);
    stage.finish(&mut cluster);
    let said = cluster.jobmanager().errors();
    assert!(said.contains("lost output, accepted"), "{said}");
    let comparison = stage.comparison();
    let differences = (comparison.missing(), comparison.duplicated(), comparison.wrong());
    assert_eq!(differences, (window.open_records(), 0, 0), "{comparison}");
}

fn nothing_is_lost_while_the_broker_keeps_transactions_open(stage: &Stage) {
    let (mut cluster, _) = stage.hit(Killed::All);
    pause(AWAY);
    cluster.restart_jobmanager().unwrap();
    stage.finish(&mut cluster);
    let comparison = stage.comparison();
    assert!(comparison.is_equal(), "{comparison}");
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Killed {
    /// The JobManager stays frozen.
    TaskManagers,
    All,
}

/// What a completed checkpoint lists and nobody has committed.
struct Window {
    checkpoint: u64,
    open: Vec<Committable>,
}

impl Window {
    fn open_records(&self) -> u64 {
        self.open.iter().map(Committable::record_count).sum()
    }

    /// The report names checkpoint, transactions, partitions and numbers, and nothing that is not lost.
    fn assert_reported(&self, said: &str) {
        assert!(said.contains(&format!("output of checkpoint {} is lost", self.checkpoint)), "{said}");
        let mut by_sink: BTreeMap<&str, u64> = BTreeMap::new();
        for committable in &self.open {
            *by_sink.entry(&committable.marker_topic).or_default() += committable.record_count();
            let id = &committable.transactional_id;
            let line = said.lines().find(|line| line.contains(&format!("transaction {id} ")));
            let line = line.unwrap_or_else(|| panic!("{id} is not named:\n{said}"));
            for part in &committable.records {
                let part = format!("{}/{}: {} ", part.topic, part.partition, part.records);
                assert!(line.contains(&part), "{part}:\n{line}");
            }
        }
        for records in by_sink.values() {
            assert!(said.contains(&format!(" is lost: {records} records in ")), "{records}:\n{said}");
        }
        let named = said.lines().filter(|line| line.contains(", transaction ")).count();
        assert_eq!(named, self.open.len(), "{said}");
    }
}

/// Topics with payments, and a directory for the processes of the job.
struct Stage {
    topics: Topics,
    directory: KeepsWhatWasSaid,
    parameters: Vec<String>,
}

impl Stage {
    fn new(bootstrap: &str, name: &str, parameters: &[&str]) -> Self {
        let topics = Topics::unique(bootstrap, name);
        topics.create(PARTITIONS).unwrap();
        let (generator, mut feeder) =
            (PaymentGenerator::new(4), Feeder::new(bootstrap, topics.payments()).unwrap());
        (0..PAYMENTS).for_each(|n| feeder.send(&generator.payment(n)).unwrap());
        feeder.flush().unwrap();
        let fixed = ["--bounded", "--brokers", bootstrap, "--prefix", topics.prefix()];
        let parameters = fixed.iter().chain(parameters).map(|&flag| flag.to_owned()).collect();
        Self { topics, directory: KeepsWhatWasSaid::new(), parameters }
    }

    fn cluster(&self, settings: &[&str]) -> Cluster {
        let fixed = ["--checkpoint-interval", "200ms", "--parallelism", "2"];
        let arguments = fixed.iter().chain(settings).map(|&flag| flag.to_owned());
        let spec = ClusterSpec {
            binary: card_alerts().to_owned(),
            directory: self.directory.path().to_owned(),
            arguments: arguments.chain(self.parameters.iter().cloned()).collect(),
            secret_file: None,
        };
        Cluster::start(spec, TASK_MANAGERS).unwrap()
    }

    /// Starts a cluster and kills between the completion of a checkpoint and its last commit. One case after the other:
    /// the window is too narrow to be hit while others keep the cores busy.
    fn hit(&self, killed: Killed) -> (Cluster, Window) {
        static HITTING: Mutex<()> = Mutex::new(());
        let _alone = HITTING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cluster = self.cluster(&[]);
        for _ in 0..TRIES_MAX {
            wait_for_checkpoint(cluster.jobmanager());
            cluster.jobmanager().freeze().unwrap();
            cluster.taskmanagers().iter().for_each(|taskmanager| taskmanager.freeze().unwrap());
            cluster.taskmanagers().clear();
            if killed == Killed::All {
                cluster.jobmanager().kill9();
            }
            pause(ECHO);
            let window = self.window();
            eprintln!("checkpoint {}: {} transactions open", window.checkpoint, window.open.len());
            if !window.open.is_empty() {
                return (cluster, window);
            }
            match killed {
                Killed::TaskManagers => cluster.jobmanager().thaw().unwrap(),
                Killed::All => cluster.restart_jobmanager().unwrap(),
            }
            fill_up(&mut cluster);
        }
        panic!("the commits of {TRIES_MAX} checkpoints were faster than SIGSTOP");
    }

    /// The newest checkpoint, and which of the transactions that it lists are open.
    fn window(&self) -> Window {
        let checkpoints = self.directory.path().join("checkpoints");
        let (checkpoint, manifest) = newest_checkpoint(&checkpoints);
        let listed: Vec<_> = committables(&manifest);
        let ids: Vec<_> = listed.iter().map(|committable| committable.transactional_id.clone()).collect();
        let properties =
            BTreeMap::from([("bootstrap.servers".to_owned(), self.topics.bootstrap().to_owned())]);
        let client = KafkaClient::new(ClientSettings::from_properties(&properties).unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let seen = runtime.block_on(client.describe_transactions(&ids)).unwrap();
        let is_open = |committable: &Committable| {
            let seen = seen[&committable.transactional_id].as_ref().unwrap();
            seen.phase == TransactionPhase::Ongoing && !committable.is_superseded(seen)
        };
        Window { checkpoint, open: listed.into_iter().filter(is_open).collect() }
    }

    /// Lets the job run to its end, as one that finishes.
    fn finish(&self, cluster: &mut Cluster) {
        fill_up(cluster);
        cluster.wait_until_finished(PATIENCE * 3).unwrap();
    }

    fn comparison(&self) -> Comparison {
        let expected = read_reference(&self.topics, Rule::default()).unwrap();
        Comparison::new(&expected, &read_answers(&self.topics).unwrap())
    }
}

fn fill_up(cluster: &mut Cluster) {
    while cluster.taskmanagers().len() < TASK_MANAGERS {
        cluster.add_taskmanager().unwrap();
    }
}

/// Returns as soon as the JobManager says that a checkpoint is complete, which it does before it tells those who commit.
fn wait_for_checkpoint(jobmanager: &mut JobProcess) {
    let count = |jobmanager: &JobProcess| jobmanager.errors().matches(" complete in ").count();
    let (before, watch) = (count(jobmanager), Stopwatch::start());
    while count(jobmanager) == before {
        if watch.elapsed() > PATIENCE || jobmanager.ended().unwrap().is_some() {
            panic!("{}", jobmanager.failure("completes no checkpoint; is the job over already?"));
        }
        pause(Duration::from_micros(100));
    }
}
