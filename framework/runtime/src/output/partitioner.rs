//! Which subtask a record goes to.

use std::marker::PhantomData;

use flott_core::{BATCH_RECORDS_MAX, Batch, Key, MaxParallelism, Record, SubtaskIndex};

/// Distributes the records of a batch over the channels of an output.
pub trait Partitioner<T>: Send {
    /// Moves all records of `batch` into `buffers`, of which there is one per channel.
    fn partition(&mut self, batch: &mut Batch<T>, buffers: &mut [Batch<T>]);
}

/// To the only channel.
#[derive(Debug, Default)]
pub struct ForwardPartitioner;

impl<T> Partitioner<T> for ForwardPartitioner {
    fn partition(&mut self, batch: &mut Batch<T>, buffers: &mut [Batch<T>]) {
        move_all(batch, &mut buffers[0]);
    }
}

/// To all channels in turn. After any number of records no channel has got more than one more than another, however
/// small the batches are; but the records of a batch that go to one channel are neighbours, so that they move together.
#[derive(Debug)]
pub struct RebalancePartitioner {
    /// The channel that gets the next record.
    next: usize,
}

impl RebalancePartitioner {
    /// Begins with the channel of the sender's own index, so that the senders of an edge do not all begin with the same.
    #[must_use]
    pub fn new(sender: SubtaskIndex) -> Self {
        Self { next: sender.0 as usize }
    }
}

impl<T> Partitioner<T> for RebalancePartitioner {
    fn partition(&mut self, batch: &mut Batch<T>, buffers: &mut [Batch<T>]) {
        let channels = buffers.len();
        let first = self.next % channels;
        let (each, more) = (batch.len() / channels, batch.len() % channels);
        self.next = (first + more) % channels;
        // From the end of the batch, where taking records out moves no others.
        for turn in (0..channels).rev() {
            let buffer = &mut buffers[(first + turn) % channels];
            let start = turn * each + turn.min(more);
            if start == 0 {
                move_all(batch, buffer);
            } else if start < batch.len() {
                buffer.append_from(batch, start);
            }
        }
    }
}

fn move_all<T>(batch: &mut Batch<T>, buffer: &mut Batch<T>) {
    if buffer.is_empty() {
        std::mem::swap(batch, buffer);
    } else {
        buffer.append(batch);
    }
}

/// By the key group of the record's key.
pub struct HashPartitioner<T, K, S> {
    key_of: S,
    max_parallelism: MaxParallelism,
    /// Channel by key group.
    owners: Vec<u16>,
    marker: PhantomData<fn(&T) -> K>,
}

impl<T, K: Key, S: Fn(&T) -> K> HashPartitioner<T, K, S> {
    /// Routes to `parallelism` subtasks.
    ///
    /// # Panics
    /// When `parallelism` is zero or above the number of key groups.
    #[must_use]
    pub fn new(key_of: S, max_parallelism: MaxParallelism, parallelism: u32) -> Self {
        assert!(parallelism > 0 && parallelism as usize <= max_parallelism.groups());
        let owner = |group| {
            let group = flott_core::KeyGroup(u16::try_from(group).expect("at most 32768 key groups"));
            let subtask = max_parallelism.subtask(group, parallelism);
            u16::try_from(subtask.0).expect("not more subtasks than key groups")
        };
        let owners = (0..max_parallelism.groups()).map(owner).collect();
        Self { key_of, max_parallelism, owners, marker: PhantomData }
    }

    #[inline]
    fn channel(&self, record: &T) -> usize {
        let group = self.max_parallelism.key_group((self.key_of)(record).key_hash());
        usize::from(self.owners[usize::from(group.0)])
    }
}

impl<T: Record, K: Key, S: Fn(&T) -> K + Send> Partitioner<T> for HashPartitioner<T, K, S> {
    fn partition(&mut self, batch: &mut Batch<T>, buffers: &mut [Batch<T>]) {
        let room = batch.len().max(BATCH_RECORDS_MAX);
        buffers.iter_mut().for_each(|buffer| buffer.records.reserve(room));
        if batch.times.is_empty() && buffers.iter().all(|buffer| buffer.times.is_empty()) {
            for record in batch.records.drain(..) {
                let channel = self.channel(&record);
                buffers[channel].records.push(record);
            }
        } else {
            for (record, time) in batch.drain() {
                let channel = self.channel(&record);
                buffers[channel].push(record, time);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flott_core::EventTime;

    use super::*;

    fn rebalanced(sender: u32, batches: &[usize], channels: usize) -> Vec<Vec<u64>> {
        let mut partitioner = RebalancePartitioner::new(SubtaskIndex(sender));
        let mut buffers: Vec<_> = (0..channels).map(|_| Batch::new()).collect();
        let mut number = 0;
        for len in batches {
            let records: Vec<u64> = (number..).take(*len).collect();
            number += *len as u64;
            // Records without an event time among some with one: the times must go along.
            let times = records.iter().map(|record| EventTime(*record as i64)).collect();
            let mut batch = Batch { records, times: if len % 2 == 0 { times } else { vec![] } };
            partitioner.partition(&mut batch, &mut buffers);
            assert!(batch.is_empty());
        }
        for buffer in &mut buffers {
            buffer.times.resize(buffer.len(), EventTime::MIN);
            for (record, time) in buffer.records.iter().zip(&buffer.times) {
                assert!(*time == EventTime::MIN || time.0 == *record as i64);
            }
        }
        buffers.into_iter().map(|buffer| buffer.records).collect()
    }

    #[test]
    fn rebalancing_spreads_small_batches_evenly() {
        let counts = |batches: &[usize], channels| {
            rebalanced(0, batches, channels).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(counts(&[1000], 4), [250; 4]);
        assert_eq!(counts(&[1, 1, 1, 1, 1, 1], 4), [2, 2, 1, 1]);
        assert_eq!(counts(&[3, 3, 0, 3, 1024], 4), [259, 258, 258, 258]);
        assert_eq!(counts(&[7], 1), [7]);
        let mut all = rebalanced(0, &[5, 1024, 2, 77], 3).concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..1108));
    }

    #[test]
    fn rebalancing_begins_elsewhere_at_each_sender() {
        let first = |sender| {
            let buffers = rebalanced(sender, &[1], 3);
            buffers.iter().position(|buffer| !buffer.is_empty()).unwrap()
        };
        assert_eq!([0, 1, 2, 3, 4].map(first), [0, 1, 2, 0, 1]);
    }

    #[test]
    fn hash_partitioning_sends_a_key_to_the_owner_of_its_group() {
        let max = MaxParallelism::default();
        let mut partitioner = HashPartitioner::new(|value: &u64| *value, max, 3);
        let mut batch = Batch { records: (0..3000).collect(), times: vec![] };
        let mut buffers = [Batch::new(), Batch::new(), Batch::new()];
        partitioner.partition(&mut batch, &mut buffers);
        assert!(batch.is_empty());
        assert_eq!(buffers.iter().map(Batch::len).sum::<usize>(), 3000);
        for (channel, buffer) in (0..).zip(&buffers) {
            assert!(buffer.len() > 900, "channel {channel} got {}", buffer.len());
            for value in &buffer.records {
                assert_eq!(max.subtask(max.key_group(value.key_hash()), 3).0, channel);
            }
        }
    }

    #[test]
    fn times_go_with_their_records() {
        let mut partitioner = HashPartitioner::new(|value: &u64| *value, MaxParallelism::default(), 2);
        let mut buffers = [Batch::new(), Batch::new()];
        let mut untimed = Batch { records: vec![7, 8, 9], times: vec![] };
        partitioner.partition(&mut untimed, &mut buffers);
        let mut timed = Batch { records: vec![1, 2], times: vec![EventTime(1), EventTime(2)] };
        partitioner.partition(&mut timed, &mut buffers);
        for buffer in &mut buffers {
            for (value, time) in buffer.drain() {
                assert_eq!(time, if value < 3 { EventTime(value as i64) } else { EventTime::MIN });
            }
        }
    }
}
