//! Logging in on a fresh connection.

use bytes::Bytes;
use flott_core::{Error, ErrorKind};
use kafka_protocol::{
    messages::{SaslAuthenticateRequest, SaslHandshakeRequest},
    protocol::StrBytes,
};
use ring::rand::{SecureRandom, SystemRandom};

use super::{
    connection::{Connection, Failure},
    scram::Scram,
    settings::{SaslMechanism, SaslSettings},
};

/// Logs in; nothing but version queries may go over the connection before.
pub(super) async fn authenticate(connection: &mut Connection, sasl: &SaslSettings) -> Result<(), Failure> {
    let mechanism = sasl.mechanism.name();
    let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
    let answer = connection.call(&request, 1).await?;
    if answer.error_code != 0 {
        let offered: Vec<_> = answer.mechanisms.iter().map(|name| name.as_str()).collect();
        let text = format!("the broker does not do {mechanism}, it offers {}", offered.join(", "));
        return Err(refused(connection, &text));
    }
    match sasl.mechanism {
        SaslMechanism::Plain => {
            let token = format!("\0{}\0{}", sasl.username, sasl.password.reveal());
            exchange(connection, token).await.map(drop)
        }
        _ => scram(connection, sasl).await,
    }
}

async fn scram(connection: &mut Connection, sasl: &SaslSettings) -> Result<(), Failure> {
    let nonce = nonce().map_err(Failure::Stop)?;
    let mut scram = Scram::new(sasl.mechanism, &sasl.username, sasl.password.clone(), &nonce);
    let server_first = exchange(connection, scram.first_message()).await?;
    let proof = scram.final_message(&server_first).map_err(|text| refused(connection, &text))?;
    let server_final = exchange(connection, proof).await?;
    scram.verify(&server_final).map_err(|text| refused(connection, &text))
}

async fn exchange(connection: &mut Connection, token: String) -> Result<String, Failure> {
    let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(token));
    let answer = connection.call(&request, 1).await?;
    if answer.error_code != 0 {
        let reason = answer.error_message.as_ref().map_or("login failed", |text| text.as_str());
        return Err(refused(connection, reason));
    }
    String::from_utf8(answer.auth_bytes.to_vec())
        .map_err(|_| refused(connection, "the broker's answer is no text"))
}

fn refused(connection: &Connection, reason: &str) -> Failure {
    let address = connection.address();
    Failure::Stop(Error::new(
        ErrorKind::Refused,
        format!("broker {address}: {reason}; check sasl.mechanism, sasl.username and sasl.password"),
    ))
}

fn nonce() -> flott_core::Result<String> {
    let mut bytes = [0; 18];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::internal("no random bytes from the system"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
