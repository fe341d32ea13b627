//! The client side of SCRAM (RFC 5802, RFC 7677) as a pure exchange of texts.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use flott_core::Secret;
use ring::{digest, hmac, pbkdf2};

use super::settings::SaslMechanism;

/// More rounds than this are a broken or hostile server: they would keep us busy for minutes.
const ITERATIONS_MAX: u32 = 1_000_000;

/// One SCRAM login. Errors are texts for the user.
pub(super) struct Scram {
    mechanism: SaslMechanism,
    password: Secret,
    nonce: String,
    first_bare: String,
    server_signature: Vec<u8>,
}

impl Scram {
    /// A login with a fresh random `nonce` of printable characters other than a comma.
    pub(super) fn new(mechanism: SaslMechanism, username: &str, password: Secret, nonce: &str) -> Self {
        let username = username.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={username},r={nonce}");
        Self { mechanism, password, nonce: nonce.into(), first_bare, server_signature: Vec::new() }
    }

    /// What the client says first.
    pub(super) fn first_message(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// The client's proof, in answer to the server's first message.
    pub(super) fn final_message(&mut self, server_first: &str) -> Result<String, String> {
        let nonce = attribute(server_first, 'r')?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the server's nonce does not extend ours".into());
        }
        let salt = decode64(attribute(server_first, 's')?)?;
        let iterations = attribute(server_first, 'i')?.parse::<u32>().map_err(|error| error.to_string())?;
        if iterations > ITERATIONS_MAX {
            return Err(format!(
                "the server asks for {iterations} rounds, at most {ITERATIONS_MAX} are done"
            ));
        }
        let rounds = std::num::NonZeroU32::new(iterations).ok_or("the server asks for 0 rounds")?;
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("{},{server_first},{without_proof}", self.first_bare);
        let proof = self.prove(rounds, &salt, signed.as_bytes());
        Ok(format!("{without_proof},p={}", BASE64_STANDARD.encode(proof)))
    }

    /// Checks that the server knows the password as well.
    pub(super) fn verify(&self, server_final: &str) -> Result<(), String> {
        if let Ok(error) = attribute(server_final, 'e') {
            return Err(format!("the server says {error}"));
        }
        let signature = decode64(attribute(server_final, 'v')?)?;
        if self.server_signature.is_empty() || signature != self.server_signature {
            return Err("the server's signature is wrong: it does not know the password".into());
        }
        Ok(())
    }

    fn prove(&mut self, rounds: std::num::NonZeroU32, salt: &[u8], signed: &[u8]) -> Vec<u8> {
        let (derive, mac, hash) = match self.mechanism {
            SaslMechanism::ScramSha512 => (pbkdf2::PBKDF2_HMAC_SHA512, hmac::HMAC_SHA512, &digest::SHA512),
            _ => (pbkdf2::PBKDF2_HMAC_SHA256, hmac::HMAC_SHA256, &digest::SHA256),
        };
        let mut salted = vec![0; hash.output_len()];
        pbkdf2::derive(derive, rounds, salt, self.password.reveal().as_bytes(), &mut salted);
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(mac, key), text).as_ref().to_vec();
        let client_key = sign(&salted, b"Client Key");
        let client_signature = sign(digest::digest(hash, &client_key).as_ref(), signed);
        self.server_signature = sign(&sign(&salted, b"Server Key"), signed);
        client_key.iter().zip(client_signature).map(|(key, signature)| key ^ signature).collect()
    }
}

fn attribute(message: &str, name: char) -> Result<&str, String> {
    let prefix = [name, '='].iter().collect::<String>();
    let found = message.split(',').find_map(|part| part.strip_prefix(&prefix));
    found.ok_or_else(|| format!("the server's message lacks the attribute {name:?}"))
}

fn decode64(text: &str) -> Result<Vec<u8>, String> {
    BASE64_STANDARD.decode(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn login() -> Scram {
        Scram::new(SaslMechanism::ScramSha256, "user", Secret::new("pencil"), "rOprNGfwEbeRWgbNEkqO")
    }

    #[test]
    fn the_exchange_of_rfc_7677() {
        let mut scram = login();
        assert_eq!(scram.first_message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        assert_eq!(
            scram.final_message(SERVER_FIRST).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        scram.verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        assert!(scram.verify("v=AAAA").is_err());
        assert!(scram.verify("e=invalid-proof").unwrap_err().contains("invalid-proof"));
    }

    #[test]
    fn names_are_escaped() {
        let scram = Scram::new(SaslMechanism::ScramSha512, "a=b,c", Secret::new("x"), "n");
        assert_eq!(scram.first_message(), "n,,n=a=3Db=2Cc,r=n");
    }

    #[test]
    fn a_server_that_cheats_is_refused() {
        for bad in ["", "r=other,s=AA==,i=1", "r=rOprNGfwEbeRWgbNEkqO,s=AA==,i=1"] {
            assert!(login().final_message(bad).is_err(), "{bad}");
        }
        for bad in ["s=AA==,i=0", "s=AA==,i=999999999", "s=%,i=1", "i=1", "s=AA=="] {
            assert!(login().final_message(&format!("r=rOprNGfwEbeRWgbNEkqOx,{bad}")).is_err(), "{bad}");
        }
        assert!(login().verify("v=").is_err(), "before the proof was made");
    }
}
