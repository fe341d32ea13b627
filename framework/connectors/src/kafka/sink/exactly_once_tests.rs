use flott_core::testkit::{WriterHarness, verify_drop, writer_context};
use xtask::clock::pause;

use super::*;
use crate::format::Utf8;

/// A writer that never reaches a broker: none of its producers becomes ready.
fn writer() -> ExactlyOnceWriter<String> {
    let mut settings = SinkSettings::new("127.0.0.1:1", "t");
    settings.transaction_timeout = Some(Duration::from_secs(60));
    ExactlyOnceWriter::new(&settings, "p", Serializer::of_value(Utf8), &writer_context()).unwrap()
}

fn at(seconds: u64) -> StepTime {
    StepTime { now: MonotonicTime::from_start(Duration::from_secs(seconds)), ..StepTime::default() }
}

fn write(writer: &mut ExactlyOnceWriter<String>) {
    writer.write(&mut Batch { records: vec!["record".into()], times: Vec::new() }).unwrap();
}

#[test]
fn a_barrier_passes_a_writer_in_which_nothing_waits() {
    let mut harness = WriterHarness::new(Box::new(writer()), pause);
    let list = harness.precommit(1).unwrap();
    assert_eq!(list().unwrap(), Vec::<Vec<u8>>::new());
}

#[test]
fn records_without_a_producer_hold_the_barrier_up_and_fail_the_task_in_the_end() {
    let mut writer = writer();
    writer.advance(at(100)).unwrap();
    write(&mut writer);
    for second in [100, 101, 279] {
        writer.advance(at(second)).unwrap();
        assert_eq!(writer.readiness().unwrap(), Readiness::Full);
    }
    let error = writer.advance(at(280)).unwrap_err();
    assert!(error.kind().is_restartable());
    assert!(error.to_string().contains("no Kafka producer of the sink has become ready for 180s"), "{error}");
}

#[test]
fn a_checkpoint_whose_barrier_overtakes_records_is_declined() {
    let mut writer = writer();
    writer.advance(at(100)).unwrap();
    write(&mut writer);
    let declined = writer.precommit(CheckpointId(1)).unwrap()().unwrap_err();
    assert!(declined.to_string().contains("the next checkpoint has them"), "{declined}");
    assert_eq!(writer.outbox.len(), 1);
}

#[test]
fn a_writer_that_waits_for_brokers_is_dropped_at_once() {
    verify_drop(|_| {
        let mut writer = writer();
        write(&mut writer);
        Box::new(writer)
    });
}
