use bytes::Bytes;
use flott_core::ErrorKind;
use kafka_protocol::{
    messages::{
        ApiKey, BrokerId, EndTxnResponse, FetchResponse, FindCoordinatorRequest, FindCoordinatorResponse,
        MetadataResponse, ProducerId, SaslAuthenticateResponse, SaslHandshakeResponse, TopicName,
        fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData},
        find_coordinator_response::Coordinator,
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
    },
    protocol::{Decodable, StrBytes},
};

use super::{
    super::{
        EndedProducers, ProducerIdentity, RecordFate,
        fake_broker::{Asked, FakeBroker, client, fields},
    },
    *,
};

const PRODUCER: ProducerIdentity = ProducerIdentity { id: 7, epoch: 3 };

/// The answer of a broker that takes the one at `place` for the coordinator of everything.
fn coordinator(asked: &Asked, place: &BrokerAddress) -> Option<Bytes> {
    let request = FindCoordinatorRequest::decode(&mut asked.body.clone(), asked.version).unwrap();
    let found = request.coordinator_keys.iter().map(|key| {
        let host = StrBytes::from_string(place.host.clone());
        Coordinator::default().with_key(key.clone()).with_host(host).with_port(place.port.into())
    });
    fields(&FindCoordinatorResponse::default().with_coordinators(found.collect()), asked)
}

#[tokio::test]
async fn a_broker_that_names_a_coordinator_which_is_gone_does_not_hold_a_call_up() {
    let (stale, live, dead) = (FakeBroker::bind().await, FakeBroker::bind().await, FakeBroker::bind().await);
    let client = client(&[&stale.address, &live.address], &[]);
    let dead = dead.address;
    stale.serve(move |asked| match asked.key {
        ApiKey::FindCoordinator => coordinator(asked, &dead),
        _ => None,
    });
    let address = live.address.clone();
    live.serve(move |asked| match asked.key {
        ApiKey::FindCoordinator => coordinator(asked, &address),
        ApiKey::EndTxn => fields(&EndTxnResponse::default(), asked),
        _ => None,
    });
    assert_eq!(client.end_transaction("t", PRODUCER, true).await.unwrap(), KafkaCode::NONE);
}

#[tokio::test]
async fn a_broker_that_hangs_costs_a_call_of_little_patience_once() {
    let (hangs, live) = (FakeBroker::bind().await, FakeBroker::bind().await);
    // Its port takes connections, and nobody answers.
    let client = client(&[&hangs.address, &live.address], &[]).with_patience(Duration::from_millis(700));
    let address = live.address.clone();
    live.serve(move |asked| match asked.key {
        ApiKey::FindCoordinator => coordinator(asked, &address),
        ApiKey::EndTxn => fields(&EndTxnResponse::default(), asked),
        _ => None,
    });
    assert!(client.end_transaction("t", PRODUCER, true).await.is_err());
    assert_eq!(client.end_transaction("t", PRODUCER, true).await.unwrap(), KafkaCode::NONE);
    // A coordinator that hangs is looked for again as well.
    let kind = CoordinatorKind::Transaction;
    client.remember(kind, "u".into(), (hangs.address.clone(), hangs.address.clone()));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(client.end_transaction("u", PRODUCER, true).await.is_err());
    assert_eq!(client.end_transaction("u", PRODUCER, true).await.unwrap(), KafkaCode::NONE);
}

#[tokio::test]
async fn a_broker_that_knows_no_coordinator_is_not_lost() {
    let (early, live) = (FakeBroker::bind().await, FakeBroker::bind().await);
    let client = client(&[&early.address, &live.address], &[]);
    early.serve(|asked| match asked.key {
        ApiKey::FindCoordinator => {
            let code = KafkaCode::COORDINATOR_NOT_AVAILABLE.0;
            let none = Coordinator::default().with_key(StrBytes::from_static_str("t")).with_error_code(code);
            fields(&FindCoordinatorResponse::default().with_coordinators(vec![none]), asked)
        }
        _ => fields(&EndTxnResponse::default(), asked),
    });
    let address = client.brokers().any(SystemClock.now());
    live.serve(move |asked| coordinator(asked, &address));
    // The other one names it, and it is asked at once.
    assert_eq!(client.end_transaction("t", PRODUCER, true).await.unwrap(), KafkaCode::NONE);
}

#[tokio::test]
async fn when_a_broker_fails_all_its_keys_are_looked_for_again() {
    let (bootstrap, dead) = (FakeBroker::bind().await, FakeBroker::bind().await);
    let client = client(&[&bootstrap.address], &[]);
    let (kind, dead) = (CoordinatorKind::Transaction, dead.address);
    for (key, place) in [("a", &dead), ("b", &dead), ("c", &bootstrap.address)] {
        client.remember(kind, key.into(), (place.clone(), bootstrap.address.clone()));
    }
    assert!(client.lease(&dead).await.is_err());
    assert_eq!(["a", "b", "c"].map(|key| client.located(kind, key).is_some()), [false, false, true]);
    // Named again by a broker that is behind: it is left alone, and not waited for.
    client.remember(kind, "a".into(), (dead.clone(), bootstrap.address.clone()));
    assert!(client.lease(&dead).await.is_err());
    assert_eq!(client.located(kind, "a"), None);
}

#[tokio::test]
async fn a_broker_that_names_a_former_coordinator_does_not_hold_a_call_up() {
    let (stale, live) = (FakeBroker::bind().await, FakeBroker::bind().await);
    let client = client(&[&stale.address, &live.address], &[]);
    let address = stale.address.clone();
    stale.serve(move |asked| match asked.key {
        ApiKey::FindCoordinator => coordinator(asked, &address),
        _ => fields(&EndTxnResponse::default().with_error_code(KafkaCode::NOT_COORDINATOR.0), asked),
    });
    let address = live.address.clone();
    live.serve(move |asked| match asked.key {
        ApiKey::FindCoordinator => coordinator(asked, &address),
        _ => fields(&EndTxnResponse::default(), asked),
    });
    assert_eq!(client.end_transaction("t", PRODUCER, true).await.unwrap(), KafkaCode::NONE);
}

const LOGIN: [(&str, &str); 4] = [
    ("security.protocol", "sasl_plaintext"),
    ("sasl.mechanism", "PLAIN"),
    ("sasl.username", "u"),
    ("sasl.password", "p"),
];

/// A broker that lets this user in, or does not, and knows itself only.
fn serve_login(broker: FakeBroker, lets_in: bool) {
    let address = broker.address.clone();
    broker.serve(move |asked| match asked.key {
        ApiKey::SaslHandshake => fields(&SaslHandshakeResponse::default(), asked),
        ApiKey::SaslAuthenticate => {
            let code = if lets_in { 0 } else { 58 };
            fields(&SaslAuthenticateResponse::default().with_error_code(code), asked)
        }
        ApiKey::Metadata => {
            let itself = MetadataResponseBroker::default()
                .with_node_id(BrokerId(1))
                .with_host(StrBytes::from_string(address.host.clone()))
                .with_port(address.port.into());
            let cluster = Some(StrBytes::from_static_str("c"));
            fields(&MetadataResponse::default().with_brokers(vec![itself]).with_cluster_id(cluster), asked)
        }
        ApiKey::FindCoordinator => coordinator(asked, &address),
        ApiKey::EndTxn => fields(&EndTxnResponse::default(), asked),
        _ => None,
    });
}

#[tokio::test]
async fn one_broker_that_refuses_does_not_speak_for_the_others() {
    let (refusing, other) = (FakeBroker::bind().await, FakeBroker::bind().await);
    let both = [&refusing.address, &other.address];
    let (metadata, coordinators) = (client(&both, &LOGIN), client(&both, &LOGIN));
    serve_login(refusing, false);
    serve_login(other, true);
    assert_eq!(metadata.cluster_id().await.unwrap().as_deref(), Some("c"));
    assert_eq!(coordinators.end_transaction("t", PRODUCER, true).await.unwrap(), KafkaCode::NONE);
}

#[tokio::test]
async fn a_refusal_of_all_brokers_is_final() {
    let (first, second) = (FakeBroker::bind().await, FakeBroker::bind().await);
    let client = client(&[&first.address, &second.address], &LOGIN).with_patience(Duration::from_secs(60));
    serve_login(first, false);
    serve_login(second, false);
    let asked = tokio::time::timeout(Duration::from_secs(30), client.cluster_id()).await;
    assert_eq!(asked.expect("it does not wait").unwrap_err().kind(), ErrorKind::Refused);
}

/// A broker that leads partition 0 of topic `t`, or does not know it.
fn serve_topic(broker: FakeBroker, others: &[&BrokerAddress], is_known: bool) {
    let address = broker.address.clone();
    let all: Vec<_> = std::iter::once(&address).chain(others.iter().copied()).cloned().collect();
    broker.serve(move |asked| match asked.key {
        ApiKey::Metadata => {
            let code = if is_known { KafkaCode::NONE } else { KafkaCode::UNKNOWN_TOPIC_OR_PARTITION };
            let partition = MetadataResponsePartition::default().with_leader_id(BrokerId(0));
            let topic = MetadataResponseTopic::default()
                .with_name(Some(TopicName(StrBytes::from_static_str("t"))))
                .with_error_code(code.0)
                .with_partitions(vec![partition]);
            let brokers = (0..).zip(&all).map(|(node, address)| {
                MetadataResponseBroker::default()
                    .with_node_id(BrokerId(node))
                    .with_host(StrBytes::from_string(address.host.clone()))
                    .with_port(address.port.into())
            });
            let metadata = MetadataResponse::default().with_brokers(brokers.collect());
            fields(&metadata.with_topics(vec![topic]), asked)
        }
        ApiKey::Fetch => {
            let aborted = AbortedTransaction::default().with_producer_id(ProducerId(7)).with_first_offset(1);
            let partition = PartitionData::default()
                .with_last_stable_offset(9)
                .with_aborted_transactions(Some(vec![aborted]));
            let topic = FetchableTopicResponse::default().with_partitions(vec![partition]);
            fields(&FetchResponse::default().with_responses(vec![topic]), asked)
        }
        _ => None,
    });
}

#[tokio::test]
async fn a_broker_that_does_not_know_a_topic_yet_condemns_nothing() {
    let (behind, leader) = (FakeBroker::bind().await, FakeBroker::bind().await);
    let client = client(&[&behind.address, &leader.address], &[]);
    let (first, second) = (behind.address.clone(), leader.address.clone());
    serve_topic(behind, &[&second], false);
    serve_topic(leader, &[&first], true);
    let fate = client.record_fate(("t", 0), 5, 7, &EndedProducers::default()).await;
    assert_eq!(fate.unwrap(), RecordFate::Aborted);
}
