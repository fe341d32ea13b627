//! The watermark of a task: the lowest of its active channels.

use flott_core::{Signal, Watermark};

#[derive(Clone, Copy, Debug)]
struct ChannelStatus {
    watermark: Watermark,
    is_idle: bool,
    has_ended: bool,
}

/// Merges the watermarks of channels. Pure. Never goes back.
#[derive(Debug)]
pub struct WatermarkMerger {
    channels: Vec<ChannelStatus>,
    emitted: Watermark,
    is_idle: bool,
}

impl WatermarkMerger {
    /// For a task with this many input channels.
    #[must_use]
    pub fn new(channels: usize) -> Self {
        let fresh = ChannelStatus { watermark: Watermark::MIN, is_idle: false, has_ended: false };
        Self { channels: vec![fresh; channels], emitted: Watermark::MIN, is_idle: false }
    }

    /// Records came: the channel is active.
    #[inline]
    pub fn on_batch(&mut self, channel: usize) {
        self.channels[channel].is_idle = false;
        self.is_idle = false;
    }

    /// A channel's signal; returns the task's, if that changes anything.
    pub fn on_signal(&mut self, channel: usize, signal: Signal) -> Option<Signal> {
        let status = &mut self.channels[channel];
        match signal {
            Signal::Watermark(watermark) => {
                status.watermark = status.watermark.max(watermark);
                status.is_idle = false;
            }
            Signal::Idle => status.is_idle = true,
            Signal::End => {
                status.has_ended = true;
                status.watermark = Watermark::MAX;
            }
        }
        if self.channels.iter().all(|status| status.has_ended) {
            return (signal == Signal::End).then_some(Signal::End);
        }
        self.advance()
    }

    fn advance(&mut self) -> Option<Signal> {
        let active = self.channels.iter().filter(|status| !status.is_idle && !status.has_ended);
        match active.map(|status| status.watermark).min() {
            Some(lowest) if lowest > self.emitted => {
                self.emitted = lowest;
                self.is_idle = false;
                Some(Signal::Watermark(lowest))
            }
            Some(_) => {
                self.is_idle = false;
                None
            }
            // Only idle and ended channels are left: whoever comes after must not wait for this task.
            None if !self.is_idle => {
                self.is_idle = true;
                Some(Signal::Idle)
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use flott_core::EventTime;

    use super::*;

    fn watermark(time: i64) -> Signal {
        Signal::Watermark(Watermark(EventTime(time)))
    }

    #[test]
    fn the_lowest_channel_counts() {
        let mut merger = WatermarkMerger::new(2);
        assert_eq!(merger.on_signal(0, watermark(10)), None);
        assert_eq!(merger.on_signal(1, watermark(5)), Some(watermark(5)));
        assert_eq!(merger.on_signal(1, watermark(20)), Some(watermark(10)));
        assert_eq!(merger.on_signal(1, watermark(15)), None);
    }

    #[test]
    fn idle_channels_do_not_hold_back() {
        let mut merger = WatermarkMerger::new(2);
        merger.on_signal(0, watermark(10));
        assert_eq!(merger.on_signal(1, Signal::Idle), Some(watermark(10)));
        assert_eq!(merger.on_signal(0, Signal::Idle), Some(Signal::Idle));
        assert_eq!(merger.on_signal(1, watermark(12)), Some(watermark(12)));
        merger.on_batch(0);
        assert_eq!(merger.on_signal(1, watermark(20)), None, "channel 0 is active again, at 10");
    }

    #[test]
    fn the_end_comes_when_all_channels_have_ended() {
        let mut merger = WatermarkMerger::new(2);
        merger.on_signal(0, watermark(10));
        merger.on_signal(1, watermark(30));
        assert_eq!(merger.on_signal(0, Signal::End), Some(watermark(30)));
        assert_eq!(
            merger.on_signal(1, Signal::Watermark(Watermark::MAX)),
            Some(Signal::Watermark(Watermark::MAX))
        );
        assert_eq!(merger.on_signal(1, Signal::End), Some(Signal::End));
    }
}
