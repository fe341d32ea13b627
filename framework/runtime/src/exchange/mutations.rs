//! Damaged frames, as a peer of another version or a stranger could send them: an error or other elements, never a panic.

use std::collections::BTreeMap;

use flott_core::{
    Barrier, Batch, CheckpointId, EventTime, Record, Signal, StreamElement, Watermark,
    testkit::{Random, depth},
};

use super::{ChannelId, PeerLink, RemoteReceiver, RemoteSender};
use crate::slot::SlotWaker;

const CHANNEL: ChannelId = ChannelId { edge: 1, from: 0, to: 2 };

/// The frames of a few batches and signals, without their lengths.
fn frames<T: Record>(random: &mut Random, record: fn(&mut Random) -> T) -> Vec<Vec<u8>> {
    let mut link = PeerLink::default();
    let mut sender = RemoteSender::new(link.output(CHANNEL, SlotWaker::default()));
    for _ in 0..1 + random.below(4) {
        match random.below(6) {
            0 => sender.send_control::<T>(&StreamElement::Signal(Signal::Watermark(Watermark(EventTime(
                random.between(i64::MIN, i64::MAX),
            ))))),
            1 => sender.send_control::<T>(&StreamElement::Signal(*random.pick(&[Signal::Idle, Signal::End]))),
            2 => sender.send_control::<T>(&StreamElement::Barrier(Barrier {
                checkpoint: CheckpointId(random.bits()),
            })),
            _ => {
                let len = random.below(20) as usize;
                let records: Vec<T> = (0..len).map(|_| record(random)).collect();
                let times =
                    if random.one_in(2) { vec![] } else { vec![EventTime(random.between(0, 9)); len] };
                sender.send_batch(&mut Batch { records, times });
            }
        }
        if random.one_in(3) {
            sender.flush();
        }
    }
    sender.flush();
    sender.is_ready();
    link.outbox.take().into_iter().map(|frame| frame[4..].to_vec()).collect()
}

/// Sends frames, some of them damaged. Returns `true` if they were taken for elements all the same.
fn survives<T: Record>(random: &mut Random, record: fn(&mut Random) -> T) -> bool {
    let mut link = PeerLink::default();
    let mut receiver = RemoteReceiver::<T>::new(link.input(CHANNEL, SlotWaker::default()));
    let _credit = link.output(CHANNEL, SlotWaker::default());
    for mut frame in frames(random, record) {
        if random.one_in(2) {
            random.damage(&mut frame);
        }
        if link.receive(frame).is_err() {
            return false;
        }
        loop {
            match receiver.next() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return false,
            }
        }
    }
    true
}

#[test]
fn damaged_frames_are_errors_or_other_elements() {
    let text = |random: &mut Random| "x".repeat(random.below(40) as usize);
    let mut random = Random::new(7);
    let (mut taken, cases) = (0, 10_000 * depth());
    for case in 0..cases {
        taken += u64::from(match case % 5 {
            0 => survives(&mut random, Random::bits),
            1 => survives(&mut random, |_| ()),
            2 => survives(&mut random, text),
            3 => survives(&mut random, |random| {
                (random.one_in(2), Some(random.bits()), vec![random.bits(); 3])
            }),
            _ => survives(&mut random, |random| {
                BTreeMap::from([(random.bits(), Some(String::from("a"))), (random.bits(), None)])
            }),
        });
    }
    println!("{cases} cases, {taken} of them taken for elements");
    assert!(taken > cases / 10 && taken < cases * 9 / 10);
}
