//! Refusals that a reader which has worked waits out.
//!
//! The client goes on trying by itself when a broker refuses the login, the certificate or a right, and such a refusal often
//! passes: a login service is away for a moment, a broker answers before it knows its topics. A reader that has never got
//! anything fails at once instead.

use std::{collections::BTreeMap, time::Duration};

use flott_core::{Error, MonotonicTime, Result};

/// After so long the task fails, and the JobManager decides for how long the job is still tried.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// While it lasts, the client repeats a refusal at least so often: it keeps the same one to itself for half a minute, and tries
/// again every ten seconds. After a longer silence a refusal is a new one, also for a reader to which nothing comes.
const SILENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Records have come, or the end of a partition.
    has_heard: bool,
    /// The first and the last of the refusals of the client as a whole that belong together, since something came.
    client: Option<(MonotonicTime, MonotonicTime)>,
    /// Partitions that have given nothing since they were refused.
    partitions: BTreeMap<i32, (MonotonicTime, Error)>,
}

impl Refusals {
    /// Something came from this partition.
    pub(super) fn on_heard(&mut self, partition: i32) {
        self.has_heard = true;
        self.client = None;
        if !self.partitions.is_empty() {
            self.partitions.remove(&partition);
        }
    }

    /// A broker refuses the client. The client repeats this while it lasts.
    ///
    /// # Errors
    /// The refusal, when it is not waited out (any more).
    pub(super) fn on_client_refused(&mut self, now: MonotonicTime, refusal: Error) -> Result<()> {
        let lasting = self.client.filter(|(_, last)| now.since(*last) < SILENCE);
        let since = lasting.map_or(now, |(first, _)| first);
        self.client = Some((since, now));
        if self.has_heard && now.since(since) < PATIENCE { Ok(()) } else { Err(refusal) }
    }

    /// A partition is refused. The client tells this once, however long it lasts.
    ///
    /// # Errors
    /// The refusal, when it is not waited out.
    pub(super) fn on_partition_refused(
        &mut self,
        now: MonotonicTime,
        partition: i32,
        refusal: Error,
    ) -> Result<()> {
        if !self.has_heard {
            return Err(refusal);
        }
        self.partitions.entry(partition).or_insert((now, refusal));
        Ok(())
    }

    /// Fails when a partition has been refused for too long.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn check(&mut self, now: MonotonicTime) -> Result<()> {
        let is_over = |(since, _): &(MonotonicTime, Error)| now.since(*since) >= PATIENCE;
        let over =
            self.partitions.iter().find(|(_, refused)| is_over(refused)).map(|(&partition, _)| partition);
        let refused = over.and_then(|partition| self.partitions.remove(&partition));
        refused.map_or(Ok(()), |(_, refusal)| Err(refusal))
    }
}

#[cfg(test)]
mod tests {
    use flott_core::ErrorKind;

    use super::*;

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime::from_start(Duration::from_secs(seconds))
    }

    fn refusal() -> Error {
        Error::new(ErrorKind::Refused, "no")
    }

    fn working() -> Refusals {
        let mut refusals = Refusals::default();
        refusals.on_heard(0);
        refusals
    }

    #[test]
    fn a_reader_that_has_got_nothing_fails_at_once() {
        assert!(Refusals::default().on_client_refused(at(0), refusal()).is_err());
        assert!(Refusals::default().on_partition_refused(at(0), 3, refusal()).is_err());
    }

    #[test]
    fn a_client_is_given_up_when_it_is_refused_again_and_nothing_came_in_between() {
        let mut refusals = working();
        assert!(refusals.on_client_refused(at(100), refusal()).is_ok());
        assert!(refusals.on_client_refused(at(129), refusal()).is_ok());
        assert!(refusals.on_client_refused(at(130), refusal()).is_err());
        refusals.on_heard(7);
        assert!(refusals.on_client_refused(at(131), refusal()).is_ok());
        assert!(refusals.check(at(1000)).is_ok(), "one refusal in an hour without input is nothing");
    }

    #[test]
    fn two_refusals_far_apart_are_two() {
        let mut refusals = working();
        for hour in 0..3 {
            assert!(refusals.on_client_refused(at(hour * 3600), refusal()).is_ok(), "no input all night");
        }
        assert!(refusals.on_client_refused(at(7200 + 119), refusal()).is_err(), "this one lasts");
    }

    #[test]
    fn a_partition_is_given_up_when_it_gives_nothing_for_too_long() {
        let mut refusals = working();
        refusals.on_partition_refused(at(100), 3, refusal()).unwrap();
        refusals.on_partition_refused(at(120), 3, refusal()).unwrap();
        refusals.on_heard(4);
        assert!(refusals.check(at(129)).is_ok());
        assert_eq!(refusals.check(at(130)).unwrap_err().kind(), ErrorKind::Refused);
        refusals.on_partition_refused(at(200), 3, refusal()).unwrap();
        refusals.on_heard(3);
        assert!(refusals.check(at(300)).is_ok());
    }
}
