//! Where payments come from and answers go: Kafka, or a generator and files.

use card_alerts::{Payment, PaymentGenerator};
use flott::{SourceStream, connectors::kafka::source::BoundedAt, prelude::*};

use crate::params::Params;

/// The payments, in order of arrival for each card.
pub(crate) fn payments(job: &mut Job, params: &Params) -> SourceStream<Payment> {
    if params.embedded {
        let generator = PaymentGenerator::new(params.seed);
        // Of several splits, one could overtake the other and change the order of a card's payments.
        let mut source = GenerateSource::bounded(params.generate, move |n| generator.payment(n)).splits(1);
        if let Some(rate) = params.rate {
            source = source.rate(rate.into());
        }
        return job.source("payments", source);
    }
    let mut source = KafkaSource::json(&params.brokers, format!("{}payments", params.prefix))
        .group(format!("{}card-alerts", params.prefix))
        .properties(login(params));
    if params.bounded {
        source = source.bounded(BoundedAt::Latest);
    }
    job.source("payments", source)
}

/// Ends a stream in the output `name`. Its records are keyed by a number: in Kafka, those of a key stay in order.
pub(crate) fn deliver<T: Record + Serialize>(
    answers: Stream<T>,
    name: &str,
    key: fn(&T) -> u64,
    params: &Params,
) {
    match (&params.output, params.embedded) {
        (Some(directory), true) => answers.sink(name, FileSink::json_lines(directory)),
        (None, true) => answers.sink(name, PrintSink::json()),
        (_, false) => {
            let topic = format!("{}{name}", params.prefix);
            let sink = KafkaSink::json(&params.brokers, &topic)
                .key(move |answer: &T| key(answer).to_string())
                .transaction_timeout(params.transaction_timeout)
                .properties(login(params))
                .exactly_once(format!("{}card-alerts-{name}", params.prefix));
            answers.sink(name, sink);
        }
    }
}

/// The properties by which the job logs in; none without a user.
fn login(params: &Params) -> impl Iterator<Item = (&str, &str)> {
    let user = params.user.as_deref().zip(params.password.as_ref().map(Secret::reveal));
    user.into_iter().flat_map(|(user, password)| {
        [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "SCRAM-SHA-256"),
            ("sasl.username", user),
            ("sasl.password", password),
        ]
    })
}
