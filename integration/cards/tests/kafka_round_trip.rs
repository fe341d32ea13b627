//! Feeding and reading back, on real brokers. Where Kafka cannot be had the reason is printed and nothing is tested.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::time::Duration;

use flott_cards::{
    Comparison, Output, PaymentGenerator, Reference, Rule, Total,
    kafka::{Feeder, Topics, read_answers, read_reference},
};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use xtask::kafka::{KafkaBroker, KafkaCluster, availability};

const RECORDS: u64 = 50_000;
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn payments_and_answers_survive_the_round_trip() {
    let Ok(libraries) = availability().libraries().inspect_err(|reason| eprintln!("no Kafka: {reason}"))
    else {
        return;
    };
    let broker = KafkaBroker::start_temporary(libraries).unwrap();
    let topics = Topics::unique(broker.bootstrap(), "round-trip");
    topics.create(3).unwrap();
    assert!(topics.create(3).unwrap_err().to_string().contains("cannot create topic"));

    let generator = PaymentGenerator::new(5);
    let mut feeder = Feeder::new(broker.bootstrap(), topics.payments()).unwrap();
    (0..RECORDS).for_each(|n| feeder.send(&generator.payment(n)).unwrap());
    feeder.flush().unwrap();
    assert_eq!(feeder.sent(), RECORDS);

    // One card is in one partition, so that the answers are those to the payments in one row.
    let expected =
        Reference::answers_to(Rule::default(), (0..RECORDS).map(|n| generator.payment(n))).unwrap();
    let read = read_reference(&topics, Rule::default()).unwrap();
    let comparison = Comparison::new(&expected, &read);
    assert!(comparison.is_equal(), "{comparison}");

    // Answers in transactions, of which some are aborted: also the last, so that the topic ends in a control record.
    let watch = topics.watch(Output::Totals).unwrap();
    assert_eq!(watch.offsets().unwrap(), 0);
    let totals = &expected.totals;
    write(broker.bootstrap(), &topics, &totals[..1_000], true);
    write(broker.bootstrap(), &topics, &totals[..100], true);
    write(broker.bootstrap(), &topics, &totals[..1_000], false);
    let given = read_answers(&topics).unwrap();
    let comparison = Comparison::new(&expected, &given);
    assert_eq!(
        (comparison.totals.given, comparison.totals.duplicated, comparison.totals.wrong),
        (1_100, 100, 0)
    );
    assert_eq!(comparison.alerts.missing, expected.alerts.len() as u64);
    assert!(watch.offsets().unwrap() > 2_100);
    topics.delete().unwrap();
}

#[test]
fn of_three_brokers_one_may_be_away() {
    let Ok(libraries) = availability().libraries().inspect_err(|reason| eprintln!("no Kafka: {reason}"))
    else {
        return;
    };
    let mut cluster = KafkaCluster::start_temporary(libraries, 3).unwrap();
    let bootstrap = cluster.bootstrap();
    let topics = Topics::unique(&bootstrap, "three");
    topics.create(3).unwrap();
    let generator = PaymentGenerator::new(6);
    let mut feeder = Feeder::new(&bootstrap, topics.payments()).unwrap();
    (0..RECORDS).for_each(|n| feeder.send(&generator.payment(n)).unwrap());
    cluster.broker(2).unwrap().kill9();
    feeder.flush().unwrap();
    (RECORDS..2 * RECORDS).for_each(|n| feeder.send(&generator.payment(n)).unwrap());
    feeder.flush().unwrap();
    let expected =
        Reference::answers_to(Rule::default(), (0..2 * RECORDS).map(|n| generator.payment(n))).unwrap();
    let comparison = Comparison::new(&expected, &read_reference(&topics, Rule::default()).unwrap());
    assert!(comparison.is_equal(), "{comparison}");
}

fn write(bootstrap: &str, topics: &Topics, totals: &[Total], is_committed: bool) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("transactional.id", topics.prefix())
        .create()
        .unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    for total in totals {
        let Total { card, n, cents } = total;
        let (key, json) = (card.to_string(), format!("{{\"card\":{card},\"n\":{n},\"cents\":{cents}}}"));
        let topic = topics.output(Output::Totals);
        assert!(producer.send(BaseRecord::to(&topic).key(&key).payload(&json)).is_ok());
    }
    if is_committed {
        producer.commit_transaction(PATIENCE).unwrap();
    } else {
        producer.flush(PATIENCE).unwrap();
        producer.abort_transaction(PATIENCE).unwrap();
    }
}
