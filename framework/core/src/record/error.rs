/// The reason why bytes are not a valid encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The input ended inside a value.
    UnexpectedEnd,
    /// A value that its type does not have.
    Invalid(&'static str),
    /// The `Deserialize` of a foreign type refused.
    Foreign {
        /// The type.
        name: String,
        /// Its message.
        why: String,
    },
    /// A value that breaks a rule of its type, and which rule.
    Malformed(String),
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnexpectedEnd => f.write_str("the encoding ends inside a value"),
            Self::Invalid(what) => write!(f, "invalid encoding: {what}"),
            Self::Foreign { name, why } => write!(f, "type `{name}` cannot read what was written: {why}"),
            Self::Malformed(why) => write!(f, "invalid encoding: {why}"),
        }
    }
}

impl std::error::Error for DecodeError {}
