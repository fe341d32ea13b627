//! Texts that must not be seen.

use std::{cell::Cell, convert::Infallible, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor, ser};

thread_local! {
    static IS_TRAVELLING: Cell<bool> = const { Cell::new(false) };
}

/// A text that must not be seen, such as a password.
///
/// As a job parameter it is given like any text, and appears in no log, plan, error or checkpoint: it has no `Display`, its
/// `Debug` is redacted, and it can be serialised only while the engine sends parameters to a TaskManager.
///
/// ```
/// # use flott_core::Secret;
/// let password = Secret::new("swordfish");
/// assert_eq!(format!("{password:?}"), "***");
/// assert_eq!(password.reveal(), "swordfish");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Lets secrets be serialised by `serialize`, on this thread and until it returns. For the engine, which sends job
    /// parameters to TaskManagers.
    pub fn travelling<R>(serialize: impl FnOnce() -> R) -> R {
        /// Ends the permission also when `serialize` panics.
        struct Until(bool);
        impl Drop for Until {
            fn drop(&mut self) {
                IS_TRAVELLING.set(self.0);
            }
        }
        let _until = Until(IS_TRAVELLING.replace(true));
        serialize()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// As from a flag.
impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::new(text))
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if IS_TRAVELLING.get() {
            return serializer.serialize_str(&self.0);
        }
        Err(ser::Error::custom("a Secret is not written anywhere; where its text is needed, call `reveal()`"))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }

            fn visit_string<E>(self, text: String) -> Result<Secret, E> {
                Ok(Secret(text))
            }
        }
        deserializer.deserialize_string(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Params {
        user: String,
        password: Option<Secret>,
    }

    #[test]
    fn a_secret_is_serialised_only_where_parameters_travel() {
        let params = Params { user: "u".into(), password: Some(Secret::new("swordfish")) };
        assert!(!format!("{params:?}").contains("swordfish"));
        let error = postcard::to_allocvec(&params).unwrap_err().to_string();
        assert!(!error.contains("swordfish"), "{error}");
        let bytes = Secret::travelling(|| postcard::to_allocvec(&params)).unwrap();
        assert_eq!(postcard::from_bytes::<Params>(&bytes).unwrap(), params);
        assert!(postcard::to_allocvec(&params).is_err(), "not afterwards");
        assert!(std::panic::catch_unwind(|| Secret::travelling(|| panic!("in between"))).is_err());
        assert!(postcard::to_allocvec(&params).is_err(), "not after a panic either");
    }
}
