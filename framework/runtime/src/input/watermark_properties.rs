//! Properties of every sequence of signals.

use flott_core::{
    EventTime,
    testkit::{Random, seeds},
};

use super::*;

/// The signals of a channel so far.
#[derive(Clone, Copy)]
struct Said {
    /// Its last watermark before [`Watermark::MAX`], which announces the end and drives nothing by itself.
    watermark: Watermark,
    is_done: bool,
    is_idle: bool,
    has_ended: bool,
}

impl Said {
    fn is_active(&self) -> bool {
        !self.is_idle && !self.has_ended
    }

    /// A signal that can come next. The end comes behind [`Watermark::MAX`]; only barriers come behind the end.
    fn next(&mut self, random: &mut Random) -> Option<Signal> {
        if self.has_ended {
            return None;
        }
        if self.is_done {
            self.has_ended = true;
            return Some(Signal::End);
        }
        Some(match random.below(20) {
            0 => {
                self.is_done = true;
                Signal::Watermark(Watermark::MAX)
            }
            1..=4 => {
                self.is_idle = true;
                Signal::Idle
            }
            // A task that ends its idleness may repeat its watermark. No watermark goes back.
            _ => {
                let Watermark(EventTime(now)) = self.watermark;
                let least = now.max(-100);
                self.watermark = Watermark(EventTime(random.between(least, least + 30)));
                self.is_idle = false;
                Signal::Watermark(self.watermark)
            }
        })
    }
}

/// The signals of the merger so far.
#[derive(Debug, PartialEq)]
struct Heard {
    watermark: Watermark,
    is_idle: bool,
    has_ended: bool,
}

impl Heard {
    fn on_signal(&mut self, signal: Signal) {
        assert!(!self.has_ended, "{signal:?} behind the end");
        match signal {
            Signal::Watermark(watermark) => {
                let is_news = watermark > self.watermark || self.is_idle && watermark == self.watermark;
                assert!(is_news, "{watermark:?} behind {self:?}");
                (self.watermark, self.is_idle) = (watermark, false);
            }
            Signal::Idle => assert!(!std::mem::replace(&mut self.is_idle, true), "idle twice"),
            Signal::End => self.has_ended = true,
        }
    }
}

/// The signals that the merger has to give for channels in this state, after event time was at `before`.
fn expected(channels: &[Said], before: Watermark) -> Heard {
    let has_ended = channels.iter().all(|channel| channel.has_ended);
    let is_idle = !has_ended && !channels.iter().any(Said::is_active);
    let watermark = if has_ended {
        Watermark::MAX
    } else if is_idle {
        channels.iter().map(|channel| channel.watermark).max().expect("there is a channel").max(before)
    } else {
        let active = channels.iter().filter(|channel| channel.is_active()).map(|channel| channel.watermark);
        active.filter(|watermark| *watermark >= before).min().unwrap_or(before)
    };
    Heard { watermark, is_idle, has_ended }
}

#[test]
fn event_time_is_monotone_follows_the_active_channels_and_ends_once() {
    for seed in seeds(2000) {
        let mut random = Random::new(seed);
        let fresh = Said { watermark: Watermark::MIN, is_done: false, is_idle: false, has_ended: false };
        let mut channels = vec![fresh; 1 + random.below(5) as usize];
        let mut merger = WatermarkMerger::new(channels.len());
        let mut heard = Heard { watermark: Watermark::MIN, is_idle: false, has_ended: false };
        for _ in 0..200 {
            let channel = random.below(channels.len() as u64) as usize;
            let Some(signal) = channels[channel].next(&mut random) else { continue };
            let before = heard.watermark;
            merger.on_signal(channel, signal);
            std::iter::from_fn(|| merger.next_signal()).for_each(|signal| heard.on_signal(signal));
            assert_eq!(heard, expected(&channels, before), "seed {seed}, {signal:?} of channel {channel}");
        }
    }
}
