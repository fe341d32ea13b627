//! The watermark of a task: the lowest of its active channels, by the rules of Flink.

use flott_core::{Signal, Watermark};

#[derive(Clone, Copy, Debug)]
struct ChannelStatus {
    watermark: Watermark,
    is_idle: bool,
    has_ended: bool,
}

/// Merges the watermarks of channels. Pure. Never goes back.
///
/// A channel that becomes active again behind the merged watermark is not waited for until it has caught up. Only signals
/// count: records on an idle channel leave it idle.
///
/// After each signal [`Self::next_signal`] is to be called until it returns `None`.
#[derive(Debug)]
pub struct WatermarkMerger {
    channels: Vec<ChannelStatus>,
    emitted: Watermark,
    is_idle: bool,
    has_ended: bool,
    has_changed: bool,
}

impl WatermarkMerger {
    /// For a task with this many input channels.
    #[must_use]
    pub fn new(channels: usize) -> Self {
        let fresh = ChannelStatus { watermark: Watermark::MIN, is_idle: false, has_ended: false };
        Self {
            channels: vec![fresh; channels],
            emitted: Watermark::MIN,
            is_idle: false,
            has_ended: false,
            has_changed: false,
        }
    }

    /// A channel's signal.
    pub fn on_signal(&mut self, channel: usize, signal: Signal) {
        let status = &mut self.channels[channel];
        match signal {
            // The end follows. Until it is there, a channel that is done must not drive event time past those that are idle.
            Signal::Watermark(Watermark::MAX) => {}
            Signal::Watermark(watermark) => {
                status.watermark = status.watermark.max(watermark);
                status.is_idle = false;
            }
            Signal::Idle => status.is_idle = true,
            Signal::End => status.has_ended = true,
        }
        self.has_changed = true;
    }

    /// The task's next signal, if anything has changed.
    #[inline]
    pub fn next_signal(&mut self) -> Option<Signal> {
        if !self.has_changed {
            return None;
        }
        let signal = self.advance();
        self.has_changed = signal.is_some();
        signal
    }

    fn advance(&mut self) -> Option<Signal> {
        if self.has_ended {
            return None;
        }
        let mut open = self.channels.iter().filter(|status| !status.has_ended).peekable();
        if open.peek().is_none() {
            self.has_ended = self.emitted == Watermark::MAX;
            return Some(if self.has_ended { Signal::End } else { self.emit(Watermark::MAX) });
        }
        let mut active = open.filter(|status| !status.is_idle).map(|status| status.watermark).peekable();
        if active.peek().is_none() {
            return self.become_idle();
        }
        match active.filter(|watermark| *watermark >= self.emitted).min() {
            Some(lowest) if lowest > self.emitted => Some(self.emit(lowest)),
            // Active again, though event time stays: the tasks behind this one wait for its watermark from now on.
            _ if self.is_idle => Some(self.emit(self.emitted)),
            _ => None,
        }
    }

    fn become_idle(&mut self) -> Option<Signal> {
        if self.is_idle {
            return None;
        }
        let highest = self.channels.iter().map(|status| status.watermark).max();
        if let Some(highest) = highest.filter(|highest| *highest > self.emitted) {
            // No channel holds back any more what the others have reached.
            return Some(self.emit(highest));
        }
        self.is_idle = true;
        Some(Signal::Idle)
    }

    fn emit(&mut self, watermark: Watermark) -> Signal {
        self.emitted = watermark;
        self.is_idle = false;
        Signal::Watermark(watermark)
    }
}

#[cfg(test)]
#[path = "watermark_properties.rs"]
mod properties;

#[cfg(test)]
mod tests {
    use flott_core::EventTime;

    use super::*;

    const MAX: Signal = Signal::Watermark(Watermark::MAX);

    fn watermark(time: i64) -> Signal {
        Signal::Watermark(Watermark(EventTime(time)))
    }

    fn all(merger: &mut WatermarkMerger) -> Vec<Signal> {
        std::iter::from_fn(|| merger.next_signal()).collect()
    }

    fn on_signal(merger: &mut WatermarkMerger, channel: usize, signal: Signal) -> Vec<Signal> {
        merger.on_signal(channel, signal);
        all(merger)
    }

    #[test]
    fn the_lowest_channel_counts() {
        let mut merger = WatermarkMerger::new(2);
        assert_eq!(on_signal(&mut merger, 0, watermark(10)), []);
        assert_eq!(on_signal(&mut merger, 1, watermark(5)), [watermark(5)]);
        assert_eq!(on_signal(&mut merger, 1, watermark(20)), [watermark(10)]);
        assert_eq!(on_signal(&mut merger, 1, watermark(15)), []);
    }

    #[test]
    fn idle_channels_do_not_hold_back() {
        let mut merger = WatermarkMerger::new(2);
        on_signal(&mut merger, 0, watermark(10));
        assert_eq!(on_signal(&mut merger, 1, Signal::Idle), [watermark(10)]);
        assert_eq!(on_signal(&mut merger, 0, Signal::Idle), [Signal::Idle]);
        assert_eq!(on_signal(&mut merger, 1, watermark(12)), [watermark(12)]);
        assert_eq!(on_signal(&mut merger, 0, watermark(15)), []);
        assert_eq!(on_signal(&mut merger, 1, watermark(20)), [watermark(15)], "channel 0 is active again");
    }

    #[test]
    fn a_channel_that_comes_back_behind_is_not_waited_for_until_it_has_caught_up() {
        let mut merger = WatermarkMerger::new(2);
        on_signal(&mut merger, 0, watermark(10));
        on_signal(&mut merger, 0, Signal::Idle);
        assert_eq!(on_signal(&mut merger, 1, watermark(100)), [watermark(100)]);
        assert_eq!(on_signal(&mut merger, 0, watermark(20)), []);
        assert_eq!(on_signal(&mut merger, 1, watermark(200)), [watermark(200)]);
        assert_eq!(on_signal(&mut merger, 0, watermark(200)), []);
        assert_eq!(on_signal(&mut merger, 1, watermark(300)), [], "channel 0 has caught up, at 200");
        assert_eq!(on_signal(&mut merger, 0, watermark(250)), [watermark(250)]);
    }

    #[test]
    fn before_all_are_idle_event_time_comes_to_where_the_first_was() {
        let mut merger = WatermarkMerger::new(3);
        on_signal(&mut merger, 0, watermark(100));
        on_signal(&mut merger, 1, watermark(50));
        assert_eq!(on_signal(&mut merger, 2, Signal::Idle), [watermark(50)]);
        assert_eq!(on_signal(&mut merger, 0, Signal::Idle), []);
        assert_eq!(on_signal(&mut merger, 1, Signal::Idle), [watermark(100), Signal::Idle]);
        assert_eq!(on_signal(&mut merger, 1, Signal::Idle), []);
    }

    #[test]
    fn activity_after_idleness_is_passed_on_though_event_time_stays() {
        let mut merger = WatermarkMerger::new(2);
        on_signal(&mut merger, 0, watermark(10));
        on_signal(&mut merger, 1, watermark(10));
        on_signal(&mut merger, 0, Signal::Idle);
        assert_eq!(on_signal(&mut merger, 1, Signal::Idle), [Signal::Idle]);
        assert_eq!(on_signal(&mut merger, 0, watermark(10)), [watermark(10)]);
        assert_eq!(on_signal(&mut merger, 0, Signal::Idle), [Signal::Idle]);
        assert_eq!(on_signal(&mut merger, 1, watermark(10)), [watermark(10)]);
    }

    #[test]
    fn the_end_comes_when_all_channels_have_ended() {
        let mut merger = WatermarkMerger::new(2);
        on_signal(&mut merger, 0, watermark(10));
        on_signal(&mut merger, 1, watermark(30));
        assert_eq!(on_signal(&mut merger, 0, Signal::End), [watermark(30)]);
        assert_eq!(on_signal(&mut merger, 1, MAX), []);
        assert_eq!(on_signal(&mut merger, 1, Signal::End), [MAX, Signal::End]);
        assert_eq!(on_signal(&mut merger, 1, Signal::End), []);
    }

    #[test]
    fn a_channel_that_is_done_does_not_end_event_time_for_one_that_is_idle() {
        let mut merger = WatermarkMerger::new(2);
        on_signal(&mut merger, 0, watermark(10));
        assert_eq!(on_signal(&mut merger, 1, Signal::Idle), [watermark(10)]);
        assert_eq!(on_signal(&mut merger, 0, MAX), []);
        assert_eq!(on_signal(&mut merger, 0, Signal::End), [Signal::Idle]);
        assert_eq!(on_signal(&mut merger, 1, watermark(20)), [watermark(20)]);
    }
}
