//! The workloads as Flott jobs: this binary is the job's binary too, in every role.

mod timed;

use std::process::ExitCode;

use card_alerts::Payment;
use flott::{connectors::kafka::source::BoundedAt, prelude::*};

use self::timed::{TimedSink, TimedSource};
use crate::{
    kafka::Route,
    records::{self, Bid, WINDOW_MS},
    workload::{Engine, Workload},
};

/// What a job is told, besides the engine's flags.
#[derive(clap::Args, Serialize, Deserialize)]
struct Params {
    /// Which workload
    #[arg(long)]
    workload: String,
    /// How many records
    #[arg(long)]
    records: u64,
    /// Who does the work
    #[arg(long, default_value = "flott")]
    engine: String,
    /// Between which topics
    #[command(flatten)]
    route: Route,
}

/// Plays the role that the command line names.
pub(crate) fn run() -> ExitCode {
    main()
}

/// A workload of the benchmarks.
#[flott::main]
fn main(job: &mut Job, params: Params) -> Result<()> {
    let is = |workload: Workload| workload.name() == params.workload;
    if is(Workload::Stateless) {
        stateless(job, params.records);
    } else if is(Workload::KeyedSum) || is(Workload::TwoProcesses) {
        keyed_sum(job, params.records, params.engine == Engine::FlottProcess.name());
    } else if is(Workload::WindowedCount) {
        windowed_count(job, params.records);
    } else if is(Workload::Kafka) {
        kafka(job, &params.route);
    } else {
        return Err(Error::new(ErrorKind::Settings, format!("there is no workload {:?}", params.workload)));
    }
    Ok(())
}

fn stateless(job: &mut Job, records: u64) {
    job.source("numbers", TimedSource::new(GenerateSource::bounded(records, |n| n)))
        .map(records::scramble)
        .filter(|n| records::passes(*n))
        .sink("count", TimedSink::new(|n: &u64| *n));
}

fn keyed_sum(job: &mut Job, records: u64, is_process: bool) {
    let source = GenerateSource::bounded(records, records::addend).splits(2);
    let keyed = job.source("addends", TimedSource::new(source)).key_by(|(key, _)| *key);
    let sums = if is_process {
        keyed.process("sums", Sums::default())
    } else {
        keyed.reduce("sums", |sum, (_, n)| sum.1 += n)
    };
    sums.sink("count", TimedSink::new(|(_, sum): &(u64, u64)| *sum));
}

/// The running sum, as a user writes it.
#[derive(Operator, Default)]
struct Sums {
    #[state]
    sum: ValueState<u64>,
}

#[operator]
impl Sums {
    fn process(&mut self, record: (u64, u64), out: &mut Output<(u64, u64)>) {
        let (key, n) = record;
        let sum = self.sum.get_or_insert_with(|| 0);
        *sum += n;
        out.emit((key, *sum));
    }
}

fn windowed_count(job: &mut Job, records: u64) {
    let source = GenerateSource::bounded(records, records::bid).splits(2);
    job.source("bids", TimedSource::new(source))
        .watermarks(Watermarks::monotonous())
        .key_by(|bid: &Bid| bid.auction)
        .window(TumblingWindows::of(Duration::from_millis(WINDOW_MS)))
        .count("bids-per-auction")
        .sink(
            "count",
            TimedSink::new(|(auction, window, count): &(u64, Window, u64)| {
                records::window_checksum(*auction, window.start.0.unsigned_abs(), *count)
            }),
        );
}

fn kafka(job: &mut Job, route: &Route) {
    let source = KafkaSource::json::<Payment>(&route.brokers, &route.input).bounded(BoundedAt::Latest);
    let sink = KafkaSink::json(&route.brokers, &route.output).exactly_once(format!("{}-bench", route.output));
    job.source("payments", source).map(records::changed).sink("changed", sink);
}
