//! Rows in which time or the broker itself does the damage.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use flott::connectors::kafka::client::TransactionPhase;
use flott_cards::{
    Output,
    kafka::proxy::{KafkaProxy, Verdict},
    process::JobProcess,
};
use flott_tests::{KafkaStage, committables, newest_checkpoint, said, wait_for_code, wait_until};
use futures::executor::block_on;
use kafka_protocol::messages::TxnOffsetCommitRequest;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use xtask::kafka::availability;

use crate::act::{Act, SETTINGS, TASK_MANAGERS, freeze_at_commits, judge_commits};

/// The last step of a flush gets no answer, until the broker or the job has given the transaction up. The job says why,
/// and goes back to the last checkpoint.
#[test]
fn no_checkpoint_completes_within_the_transaction_timeout() {
    let open = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&open);
    let set = |proxy: &KafkaProxy| {
        proxy.judge(move |request| {
            let Some(marked) = request.decode::<TxnOffsetCommitRequest>() else { return Verdict::Pass };
            seen.lock().unwrap().get_or_insert_with(|| marked.transactional_id.0.to_string());
            Verdict::Swallow
        });
    };
    let settings = ["--transaction-timeout", "6s", "--set", "tolerable_failed_checkpoints=10"];
    let Some((mut act, ())) = Act::begin("timeout", &settings, set) else { return };
    wait_until("a transaction is flushed", || open.lock().unwrap().is_some());
    let id = open.lock().unwrap().clone().unwrap();
    wait_until("the transaction is given up", || act.describe(&id).phase != TransactionPhase::Ongoing);
    act.proxy().pass();
    let text = said(act.job.jobmanager(), "deploying attempt 2");
    assert!(text.contains("did not complete within"), "{text}");
    act.finish();
}

/// The broker has committed, but nobody was told, and then it forgets everything about transactions and groups. Where the
/// output was deleted as well, nothing is left to tell by: the job says so and stops.
#[test]
fn the_transaction_topic_is_lost() {
    let libraries = availability().libraries();
    let Ok(libraries) = libraries.inspect_err(|reason| eprintln!("not tested, no Kafka: {reason}")) else {
        return;
    };
    let (proxy, mut broker) = KafkaProxy::start_broker(libraries).unwrap();
    let stage = KafkaStage::new(&proxy.bootstrap(), "forgotten").feed(100_000);
    let commits = judge_commits(&proxy, |number, _| match number {
        0 => Verdict::BreakAfter,
        _ => Verdict::Swallow,
    });
    let mut job = stage.cluster(TASK_MANAGERS, &SETTINGS);
    freeze_at_commits(&mut job, &commits);
    job.jobmanager().kill9();
    job.taskmanagers().iter_mut().for_each(JobProcess::kill9);
    let (checkpoint, manifest) = newest_checkpoint(&stage.checkpoints());
    let listed = committables(&manifest);
    assert!(!listed.is_empty());

    broker.stop().unwrap();
    forget(&broker.directory().join("data"));
    broker.restart().unwrap();
    proxy.pass();
    delete_records(&stage);

    let mut job = stage.cluster(TASK_MANAGERS, &SETTINGS);
    let text = wait_for_code(job.jobmanager(), 4);
    let verdict = format!("output of checkpoint {checkpoint} may be lost: nobody can tell");
    assert!(text.contains(&verdict) && text.contains("accept_lost_output"), "{verdict}: {text}");
    for listed in &listed {
        assert!(text.contains(&listed.transactional_id), "{}: {text}", listed.transactional_id);
    }

    let told = ["--set", "accept_lost_output=true"];
    let mut job = stage.cluster(TASK_MANAGERS, &[&SETTINGS[..], &told].concat());
    // It does all its work. The transactions that the broker has forgotten hold up readers for good.
    let text = wait_for_code(job.jobmanager(), 4);
    assert!(text.contains("card-alerts finished"), "{text}");
    let hangs = |output: &str| text.contains(&format!("output does not reach readers: {output}"));
    assert!(hangs(&stage.topics.output(Output::Totals)), "{text}");
}

/// Empties the topics in which a broker that does not run keeps transactions and offsets of groups.
fn forget(data: &Path) {
    for entry in fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("__transaction_state-") || name.starts_with("__consumer_offsets-") {
            fs::remove_dir_all(path).unwrap();
        }
    }
}

/// As the retention of the output topics would do it.
fn delete_records(stage: &KafkaStage) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", stage.topics.bootstrap()).create().unwrap();
    let mut all = TopicPartitionList::new();
    for output in Output::ALL {
        for partition in 0..4 {
            all.add_partition_offset(&stage.topics.output(output), partition, Offset::End).unwrap();
        }
    }
    block_on(admin.delete_records(&all, &AdminOptions::new())).unwrap();
}
