//! The job on a real Kafka. Where Kafka cannot be had the reason is printed and nothing is tested.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::{path::Path, sync::OnceLock, time::Duration};

use flott_cards::{
    Comparison, Output, Rule,
    kafka::{Topics, read_answers, read_reference, read_topic},
    process::{Cluster, JobProcess},
};
use flott_tests::{
    KafkaStage as Stage, KeepsWhatWasSaid, PATIENCE, assert_quiet, card_alerts, free_port, said,
    wait_for_code, wait_until,
};
use futures::executor::block_on;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
    producer::{BaseProducer, BaseRecord, Producer},
};
use xtask::{
    clock::Stopwatch,
    kafka::{BrokerSettings, Certificate, KafkaBroker, KafkaLibraries, availability},
};

const PAYMENTS: u64 = 400_000;
const PARTITIONS: i32 = 4;

/// Kafka's jars, if they can be had.
fn libraries() -> Option<&'static KafkaLibraries> {
    availability().libraries().inspect_err(|reason| eprintln!("not tested, no Kafka: {reason}")).ok()
}

/// The address of the broker that tests share, if it can be had.
fn shared_broker() -> Option<&'static str> {
    static BROKER: OnceLock<Option<KafkaBroker>> = OnceLock::new();
    let start = || Some(KafkaBroker::start_temporary(libraries()?).unwrap());
    BROKER.get_or_init(start).as_ref().map(KafkaBroker::bootstrap)
}

fn finish(stage: &Stage, cluster: &mut Cluster) {
    cluster.wait_until_finished(2 * PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    stage.assert_right();
}

fn send(bootstrap: &str, topic: &str, partition: i32, values: &[impl AsRef<str>]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("queue.buffering.max.messages", "0")
        .set("enable.idempotence", "true")
        .create()
        .unwrap();
    for value in values {
        let record = BaseRecord::<[u8], str>::to(topic).partition(partition).payload(value.as_ref());
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

#[test]
fn a_killed_taskmanager_costs_no_record_and_repeats_none() {
    let Some(bootstrap) = shared_broker() else { return };
    let stage = Stage::new(bootstrap, "kill").feed(PAYMENTS);
    let mut cluster = stage.cluster(3, &["--bounded", "--parallelism", "2"]);
    stage.reach(0.3);
    let killed = cluster.busiest_taskmanager().unwrap();
    killed.kill9();
    let watch = Stopwatch::start();
    said(cluster.jobmanager(), "deploying attempt 2");
    println!("kill to deployed again: {:?}", watch.elapsed());
    finish(&stage, &mut cluster);
    assert_eq!(cluster.restarts(), Some(1));
}

#[test]
fn a_killed_cluster_resumes_where_it_was() {
    let Some(bootstrap) = shared_broker() else { return };
    let stage = Stage::new(bootstrap, "all").feed(PAYMENTS);
    let mut cluster = stage.cluster(2, &["--bounded", "--parallelism", "2"]);
    stage.reach(0.3);
    cluster.jobmanager().kill9();
    cluster.taskmanagers().iter_mut().for_each(JobProcess::kill9);
    cluster.taskmanagers().clear();
    cluster.restart_jobmanager().unwrap();
    cluster.add_taskmanager().unwrap();
    cluster.add_taskmanager().unwrap();
    finish(&stage, &mut cluster);
}

#[test]
fn a_killed_broker_that_comes_back_costs_no_record_and_repeats_none() {
    let Some(libraries) = libraries() else { return };
    let mut broker = KafkaBroker::start_temporary(libraries).unwrap();
    let stage = Stage::new(broker.bootstrap(), "broker").feed(PAYMENTS);
    let mut cluster = stage.cluster(2, &["--bounded", "--parallelism", "2"]);
    stage.reach(0.3);
    broker.kill9();
    broker.restart().unwrap();
    finish(&stage, &mut cluster);
}

#[test]
fn an_unreachable_broker_is_named() {
    let directory = KeepsWhatWasSaid::new();
    let brokers = format!("127.0.0.1:{}", free_port());
    let flags = ["--brokers", &brokers, "--set", "start_timeout=3s"];
    let mut process = JobProcess::start(card_alerts(), directory.path(), "local", flags).unwrap();
    let text = wait_for_code(&mut process, 6);
    assert!(text.contains(&brokers) && text.contains("check"), "{text}");
}

#[test]
fn a_missing_topic_is_named() {
    let Some(bootstrap) = shared_broker() else { return };
    let stage = Stage::new(bootstrap, "missing");
    let flags = ["--brokers", bootstrap, "--prefix", "nowhere-"];
    let mut process = JobProcess::start(card_alerts(), stage.directory.path(), "local", flags).unwrap();
    let text = wait_for_code(&mut process, 3);
    assert!(text.contains("nowhere-") && text.contains("create"), "{text}");
    // The input alone is missing.
    let (from, to) = ("nowhere".to_owned(), stage.topics.output(Output::Totals));
    let mut process = copy(&stage, "copy", &from, &to, &[]);
    let text = wait_for_code(&mut process, 3);
    assert!(text.contains("nowhere") && text.contains("create the topic"), "{text}");
}

#[test]
fn a_transaction_timeout_beyond_the_brokers_limit_is_refused() {
    let Some(bootstrap) = shared_broker() else { return };
    let stage = Stage::new(bootstrap, "limit");
    let mut process = stage.local("local", &["--transaction-timeout", "16m"]);
    let text = wait_for_code(&mut process, 3);
    assert!(
        text.contains("16m") && text.contains("15m") && text.contains("transaction.max.timeout.ms"),
        "{text}"
    );
    // And one that no checkpoint could meet.
    let mut process = stage.local("short", &["--transaction-timeout", "500ms"]);
    let text = wait_for_code(&mut process, 3);
    assert!(text.contains("500ms") && text.contains("300ms"), "{text}");
    // A pause of the checkpoints takes from the same time.
    let mut process = stage.local("pause", &["--set", "checkpoint_min_pause=10m"]);
    let text = wait_for_code(&mut process, 3);
    assert!(text.contains("600.3s + 2 × 1s > 300s"), "{text}");
}

/// A second job of the same name, with a checkpoint directory of its own.
fn is_refused(stage: &Stage, name: &str, code: i32, why: &str) {
    let mut second = stage.local(name, &["--bounded"]);
    let text = wait_for_code(&mut second, code);
    assert!(text.contains(why) && text.contains("--set allow_repeated_output=true"), "{text}");
}

/// While a job has committed nothing, its transactions look like those of one that is gone.
#[test]
fn a_second_job_is_refused_also_before_the_first_has_committed_anything() {
    let Some(bootstrap) = shared_broker() else { return };
    let stage = Stage::new(bootstrap, "early").feed(PAYMENTS);
    let mut cluster = stage.cluster(2, &["--bounded", "--parallelism", "2", "--checkpoint-interval", "2m"]);
    stage.reach(0.05);
    is_refused(&stage, "first-try", 3, "belongs to another run of job");
    is_refused(&stage, "second-try", 3, "belongs to another run of job");
    finish(&stage, &mut cluster);
    assert_eq!(cluster.restarts(), Some(0));
}

#[test]
fn a_second_job_is_refused_beside_the_first_and_after_it() {
    let Some(bootstrap) = shared_broker() else { return };
    let stage = Stage::new(bootstrap, "second").feed(PAYMENTS);
    let mut cluster = stage.cluster(2, &["--bounded", "--parallelism", "2"]);
    said(cluster.jobmanager(), "checkpoint 2 complete");
    is_refused(&stage, "beside", 4, "is already committed and would be written again");
    finish(&stage, &mut cluster);
    assert_eq!(cluster.restarts(), Some(0));
    is_refused(&stage, "after", 4, "is already committed and would be written again");
    stage.assert_right();
}

#[test]
fn an_undecodable_record_fails_the_job_and_is_named() {
    let Some(bootstrap) = shared_broker() else { return };
    let stage = Stage::new(bootstrap, "poison").feed(1_000);
    let topic = stage.topics.payments();
    let watch = partition_end(&stage, 2);
    send(bootstrap, &topic, 2, &["{\"id\":1,\"card\":", "{}"]);
    let settings =
        ["--set", "restart_attempts=2", "--set", "restart_initial_delay=10ms", "--parallelism", "2"];
    let mut process = stage.local("local", &settings);
    let text = wait_for_code(&mut process, 1);
    let place = format!("topic {topic}, partition 2, offset {watch}");
    assert!(text.lines().any(|line| line.starts_with("error: ") && line.contains(&place)), "{place}: {text}");
    assert!(text.contains("2 restarts"), "{text}");
}

/// The next offset of a partition of the input.
fn partition_end(stage: &Stage, partition: i32) -> i64 {
    let mut next = 0;
    read_topic(stage.topics.bootstrap(), &stage.topics.payments(), |message| {
        use rdkafka::Message;
        if message.partition() == partition {
            next = message.offset() + 1;
        }
        Ok(())
    })
    .unwrap();
    next
}

/// A job that copies a topic.
fn copy(stage: &Stage, name: &str, from: &str, to: &str, flags: &[&str]) -> JobProcess {
    copy_under(stage, name, from, to, &format!("{}copies", stage.topics.prefix()), flags)
}

/// The same, with a prefix of transactional ids.
fn copy_under(
    stage: &Stage,
    name: &str,
    from: &str,
    to: &str,
    transactions: &str,
    flags: &[&str],
) -> JobProcess {
    let binary = Path::new(env!("CARGO_BIN_EXE_kafka_copy"));
    let fixed = ["--brokers", stage.topics.bootstrap(), "--from", from, "--to", to];
    let settings = ["--checkpoint-interval", "200ms", "--transactions", transactions];
    let flags: Vec<_> = settings.iter().chain(&fixed).chain(flags).copied().collect();
    JobProcess::start(binary, stage.directory.path(), name, flags).unwrap()
}

/// All values that a `read_committed` reader sees, sorted.
fn values(bootstrap: &str, topic: &str) -> Vec<String> {
    use rdkafka::Message;
    let mut values = Vec::new();
    read_topic(bootstrap, topic, |message| {
        values.push(String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned());
        Ok(())
    })
    .unwrap();
    values.sort();
    values
}

#[test]
fn partitions_added_while_it_runs_are_read_from_their_beginning() {
    let Some(bootstrap) = shared_broker() else { return };
    let stage = Stage::new(bootstrap, "grow");
    let (from, to) = (stage.topics.payments(), stage.topics.output(Output::Totals));
    send(bootstrap, &from, 0, &["a1", "a2"]);
    let mut process = copy(&stage, "copy", &from, &to, &["--parallelism", "2"]);
    wait_until("the first lines are copied", || values(bootstrap, &to) == ["a1", "a2"]);

    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let grown = NewPartitions::new(&from, PARTITIONS as usize + 2);
    block_on(admin.create_partitions([&grown], &AdminOptions::new())).unwrap()[0].as_ref().unwrap();
    wait_until("the new partitions take records", || {
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
        let metadata = producer.client().fetch_metadata(Some(&from), PATIENCE).unwrap();
        metadata.topics()[0].partitions().len() == PARTITIONS as usize + 2
    });
    send(bootstrap, &from, PARTITIONS, &["b1"]);
    send(bootstrap, &from, PARTITIONS + 1, &["c1", "c2"]);
    wait_until("the new lines are copied", || values(bootstrap, &to) == ["a1", "a2", "b1", "c1", "c2"]);

    // Also when it was away: what it knows of the new partitions is in the checkpoint.
    process.terminate().unwrap();
    wait_for_code(&mut process, 143);
    assert_eq!(values(bootstrap, &to).len(), 5);
}

#[test]
fn a_sink_that_is_no_longer_exactly_once_does_not_forget_what_it_has_not_committed() {
    let Some(bootstrap) = shared_broker() else { return };
    let stage = Stage::new(bootstrap, "changed");
    let (from, to) = (stage.topics.payments(), stage.topics.output(Output::Totals));
    let checkpoints = format!("file://{}", stage.directory.path().join("checkpoints").display());
    send(bootstrap, &from, 0, &["a"]);
    let start = |name: &str, more: &[&str]| {
        let fixed = ["--brokers", bootstrap, "--from", &from, "--to", &to, "--checkpoint-dir", &checkpoints];
        let binary = Path::new(env!("CARGO_BIN_EXE_kafka_copy"));
        let flags: Vec<_> = fixed.iter().chain(more).copied().collect();
        JobProcess::start(binary, stage.directory.path(), name, flags).unwrap()
    };
    let prefix = stage.topics.prefix();
    let mut job = start("exactly-once", &["--transactions", prefix, "--checkpoint-interval", "5s"]);
    wait_until("the line is copied", || values(bootstrap, &to) == ["a"]);
    // The newest checkpoint is the one that lists this line: nobody tells it that the line is committed.
    job.kill9();
    let text = wait_for_code(&mut start("changed", &[]), 4);
    assert!(text.contains("sink copies") && text.contains("accept_lost_output"), "{text}");
    let mut job = start("accepted", &["--set", "accept_lost_output=true"]);
    send(bootstrap, &from, 0, &["b"]);
    wait_until("the next line is copied", || values(bootstrap, &to) == ["a", "b"]);
    job.terminate().unwrap();
    wait_for_code(&mut job, 143);
}

#[test]
fn logins_over_tls_work_and_who_lacks_rights_is_told_which() {
    let Some(libraries) = libraries() else { return };
    let directory = KeepsWhatWasSaid::new();
    let certificate = Certificate::make(directory.path()).unwrap();
    let (plain, login, controller) = (free_port(), free_port(), free_port());
    let settings = BrokerSettings::new(directory.path().join("broker"))
        .port(plain)
        .property("controller.quorum.voters", format!("1@127.0.0.1:{controller}"))
        .property(
            "listeners",
            format!(
                "PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{login},CONTROLLER://127.0.0.1:{controller}"
            ),
        )
        .property(
            "advertised.listeners",
            format!("PLAINTEXT://127.0.0.1:{plain},SASL_SSL://localhost:{login}"),
        )
        .property(
            "listener.security.protocol.map",
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
        )
        .property("ssl.keystore.location", certificate.keystore.display().to_string())
        .property("ssl.keystore.password", Certificate::PASSWORD)
        .property("sasl.enabled.mechanisms", "PLAIN")
        .property(
            "listener.name.sasl_ssl.plain.sasl.jaas.config",
            "org.apache.kafka.common.security.plain.PlainLoginModule required \
             user_guest=\"geheim\" user_flott=\"geheim\";",
        )
        .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .property("super.users", "User:ANONYMOUS;User:flott");
    let broker = KafkaBroker::start_with(libraries, settings).unwrap();
    let topics = Topics::unique(broker.bootstrap(), "rights");
    topics.create(1).unwrap();
    let (from, to) = (topics.payments(), topics.output(Output::Totals));
    send(broker.bootstrap(), &from, 0, &["a", "b"]);
    let brokers = format!("localhost:{login}");
    let authority = format!("ssl.ca.location={}", certificate.authority.display());
    let attempt = |user: &str, password: &str, code: i32| {
        let (login, password) = (format!("sasl.username={user}"), format!("sasl.password={password}"));
        let flags = [
            "--bounded",
            "--brokers",
            &brokers,
            "--from",
            &from,
            "--to",
            &to,
            "--transactions",
            "copies",
            "--property",
            "security.protocol=SASL_SSL",
            "--property",
            &authority,
            "--property",
            "sasl.mechanism=PLAIN",
            "--property",
            &login,
            "--property",
            &password,
        ];
        let binary = Path::new(env!("CARGO_BIN_EXE_kafka_copy"));
        let mut process = JobProcess::start(binary, directory.path(), user, flags).unwrap();
        wait_for_code(&mut process, code)
    };
    let text = attempt("guest", "geheim", 3);
    assert!(text.contains("grant"), "{text}");
    let text = attempt("flott", "wrong", 3);
    assert!(text.contains("check") && text.contains("sasl."), "{text}");
    attempt("flott", "geheim", 0);
    assert_eq!(values(broker.bootstrap(), &to), ["a", "b"]);
}

/// Neither a job whose queues have filled up nor a JobManager that checks its sinks in vain keeps a core busy.
#[test]
fn while_the_broker_is_frozen_no_core_is_busy_and_then_nothing_is_lost() {
    const MANY: u64 = 2 * PAYMENTS;
    // Two slots that look for work every millisecond take half of that on a slow machine; a busy loop, most of a core.
    const SHARE: f64 = 0.2;
    let window = Duration::from_secs(3);
    let Some(libraries) = libraries() else { return };
    let broker = KafkaBroker::start_temporary(libraries).unwrap();
    let stage = Stage::new(broker.bootstrap(), "frozen").feed(MANY);
    let checkpoints = format!("file://{}", stage.directory.path().join("checkpoints").display());
    let flags = ["--bounded", "--parallelism", "2", "--checkpoint-dir", &checkpoints];
    let mut job = stage.local("frozen", &flags);
    stage.reach(0.1);
    broker.freeze().unwrap();
    assert_quiet(&mut job, SHARE, window, 3);
    broker.thaw().unwrap();
    stage.reach(0.4);
    broker.freeze().unwrap();
    assert_quiet(&mut job, SHARE, window, 1);
    job.kill9();

    let mut job = stage.local("checking", &flags);
    said(&mut job, "not leading yet");
    assert_quiet(&mut job, SHARE, window, 3);
    broker.thaw().unwrap();
    wait_for_code(&mut job, 0);
    stage.assert_right();
}

#[test]
fn an_endless_job_is_stopped_and_resumed_without_gap() {
    let Some(bootstrap) = shared_broker() else { return };
    let stage = Stage::new(bootstrap, "stop").feed(50_000);
    let checkpoints = format!("file://{}", stage.directory.path().join("checkpoints").display());
    let settings = ["--checkpoint-dir", &checkpoints, "--parallelism", "2"];
    let mut first = stage.local("first", &settings);
    stage.reach(0.2);
    first.terminate().unwrap();
    let text = wait_for_code(&mut first, 143);
    assert!(text.contains("stopped by a signal; its state is kept"), "{text}");
    stage.feed_range(50_000, 60_000);
    let mut second = stage.local("second", &settings);
    stage.reach(1.0);
    wait_until("every total is visible", || {
        values(bootstrap, &stage.topics.output(Output::Totals)).len() >= 60_000
    });
    second.terminate().unwrap();
    wait_for_code(&mut second, 143);
    let expected = read_reference(&stage.topics, Rule::default()).unwrap();
    let comparison = Comparison::new(&expected, &read_answers(&stage.topics).unwrap());
    // Windows that are still open are no answer yet.
    assert!(comparison.totals.is_none() && comparison.alerts.is_none(), "{comparison}");
    let minutes = comparison.merchant_minutes;
    assert_eq!((minutes.wrong, minutes.duplicated), (0, 0), "{minutes}");
}
