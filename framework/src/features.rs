//! Stand-ins for the types of features that are off. Without them a job gets the error that there is no such type, and no
//! word of the feature.

/// Holds for no type, so that its message is shown wherever `KafkaSource` or `KafkaSink` is named.
#[cfg(not(feature = "kafka"))]
#[diagnostic::on_unimplemented(
    message = "`KafkaSource` and `KafkaSink` need the feature `kafka` of the crate `flott`",
    label = "the feature `kafka` is off",
    note = "turn it on in Cargo.toml: `flott = {{ path = \"…\", features = [\"kafka\"] }}`"
)]
pub trait FeatureKafka {
    /// The connector.
    type Connector;
}

/// Stands for the types of the feature `kafka`.
#[cfg(not(feature = "kafka"))]
pub type Kafka<T = ()> = <Off<T> as FeatureKafka>::Connector;

/// Holds for no type, so that its message is shown wherever `FileSink` is named.
#[cfg(not(feature = "file"))]
#[diagnostic::on_unimplemented(
    message = "`FileSink` needs the feature `file` of the crate `flott`",
    label = "the feature `file` is off",
    note = "turn it on in Cargo.toml: `flott = {{ path = \"…\", features = [\"file\"] }}`"
)]
pub trait FeatureFile {
    /// The connector.
    type Connector;
}

/// Stands for the types of the feature `file`.
#[cfg(not(feature = "file"))]
pub type File<T = ()> = <Off<T> as FeatureFile>::Connector;

/// A type of a feature that is off.
#[cfg(not(all(feature = "file", feature = "kafka")))]
#[derive(Debug)]
pub struct Off<T>(std::marker::PhantomData<T>);
