//! TLS and logins against a real broker.

use std::{collections::BTreeMap, time::Duration};

use flott_connectors::kafka::client::{ClientSettings, KafkaClient};
use flott_core::{ErrorKind, Result};
use xtask::kafka::Certificate;

use crate::bench_brokers::{add_scram_user, free_port, libraries, own_broker};

const PASSWORD: &str = "geheim-geheim";

async fn ask(pairs: &[(&str, &str)]) -> Result<Option<String>> {
    let properties: BTreeMap<_, _> =
        pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    let settings = ClientSettings::from_properties(&properties)?.with_patience(Duration::from_secs(5));
    KafkaClient::new(settings)?.cluster_id().await
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_every_login_work_and_wrong_ones_are_settings_errors() {
    if libraries().is_none() {
        return;
    }
    let keys = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(keys.path()).unwrap();
    let authority = certificate.authority.to_str().unwrap();
    let (plain, secure, controller) = (free_port(), free_port(), free_port());
    let jaas = |module: &str, users: &str| {
        format!(
            "org.apache.kafka.common.security.{module} required username=\"flott\" password=\"{PASSWORD}\"{users};"
        )
    };
    let started = own_broker(|settings| {
        settings
            .port(plain)
            .property("controller.quorum.voters", format!("1@127.0.0.1:{controller}"))
            .property(
                "listeners",
                format!("PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}"),
            )
            .property("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{plain},SASL_SSL://localhost:{secure}"))
            .property(
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
            )
            .property("ssl.keystore.location", certificate.keystore.display().to_string())
            .property("ssl.keystore.password", Certificate::PASSWORD)
            .property("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512")
            .property(
                "listener.name.sasl_ssl.plain.sasl.jaas.config",
                jaas("plain.PlainLoginModule", &format!(" user_flott=\"{PASSWORD}\"")),
            )
            .property("listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config", jaas("scram.ScramLoginModule", ""))
            .property("listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config", jaas("scram.ScramLoginModule", ""))
    });
    let Some((broker, _directory)) = started else { return };
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        add_scram_user(broker.bootstrap(), mechanism, "flott", PASSWORD);
    }
    let bootstrap = format!("localhost:{secure}");

    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let with = |change: &[(&'static str, &'static str)]| {
            let mut pairs = vec![
                ("bootstrap.servers", bootstrap.as_str()),
                ("security.protocol", "SASL_SSL"),
                ("ssl.ca.location", authority),
                ("sasl.mechanism", mechanism),
                ("sasl.username", "flott"),
                ("sasl.password", PASSWORD),
            ];
            pairs.retain(|(key, _)| change.iter().all(|(changed, _)| changed != key));
            pairs.extend(change);
            pairs
        };
        assert!(ask(&with(&[])).await.unwrap().is_some(), "{mechanism}");
        let error = ask(&with(&[("sasl.password", "wrong")])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains("check sasl.mechanism"), "{error}");

        let unknown_authority = ask(&with(&[("ssl.ca.location", "probe")])).await.unwrap_err();
        assert_eq!(unknown_authority.kind(), ErrorKind::Refused, "{unknown_authority}");
        let unverified = [("ssl.ca.location", "probe"), ("enable.ssl.certificate.verification", "false")];
        assert!(ask(&with(&unverified)).await.unwrap().is_some());

        let by_address = format!("127.0.0.1:{secure}");
        let mut pairs = with(&[]);
        pairs[0].1 = &by_address;
        let other_name = ask(&pairs).await.unwrap_err();
        assert_eq!(other_name.kind(), ErrorKind::Refused, "{other_name}");
        pairs.push(("ssl.endpoint.identification.algorithm", "none"));
        assert!(ask(&pairs).await.unwrap().is_some());
    }
}
