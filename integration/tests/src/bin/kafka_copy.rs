//! A small job that copies a Kafka topic, with settings that `card-alerts` has no flags for.
#![forbid(unsafe_code)]

use flott::{connectors::kafka::source::BoundedAt, prelude::*};

#[derive(clap::Args, Serialize, Deserialize)]
struct Params {
    /// Kafka brokers
    #[arg(long)]
    brokers: String,

    /// Topic to read
    #[arg(long)]
    from: String,

    /// Topic to write
    #[arg(long)]
    to: String,

    /// Name of the sink
    #[arg(long, default_value = "copies")]
    sink: String,

    /// Prefix of transactional ids; without one the sink is not exactly-once
    #[arg(long)]
    transactions: Option<String>,

    /// Properties of librdkafka, as key=value
    #[arg(long)]
    property: Vec<String>,

    /// Stop at the present end
    #[arg(long)]
    bounded: bool,
}

/// Copies a topic, exactly once if wanted, and looks for new partitions all the time.
#[flott::main]
fn main(job: &mut Job, params: Params) -> Result<()> {
    let properties: Vec<_> = params.property.iter().filter_map(|property| property.split_once('=')).collect();
    let mut source = KafkaSource::utf8(&params.brokers, &params.from)
        .properties(properties.iter().copied())
        .discovery_interval(Some(Duration::from_millis(300)));
    if params.bounded {
        source = source.bounded(BoundedAt::Latest);
    }
    let mut sink = KafkaSink::utf8(&params.brokers, &params.to).properties(properties.iter().copied());
    if let Some(prefix) = params.transactions {
        sink = sink.exactly_once(prefix);
    }
    job.source("lines", source).sink(&params.sink, sink);
    Ok(())
}
