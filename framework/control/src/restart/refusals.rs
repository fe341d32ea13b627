use std::time::Duration;

use flott_core::MonotonicTime;

/// Refusals in a row after which a job is given up that has never completed a checkpoint. More than one: a broker that is
/// killed while it checks a login looks like one that refuses it.
const UNPROVEN_MAX: u32 = 3;

/// Measures how long an external system has refused a job that has worked before: a login service that is away, a right that
/// was taken and given back. Such a refusal may pass, so the job restarts, but not for ever.
#[derive(Debug)]
pub struct Refusals {
    timeout: Option<Duration>,
    since: Option<MonotonicTime>,
    count: u32,
}

/// One of the refusals in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The job is not restarted any more.
    pub is_final: bool,
    /// The state of the row and its limit, for people.
    pub text: String,
}

impl Refusals {
    /// Refusals are final when they last for `timeout`; with `None` they never are.
    #[must_use]
    pub fn new(timeout: Option<Duration>) -> Self {
        Self { timeout, since: None, count: 0 }
    }

    /// The job has run for a while, or has failed otherwise: a later refusal is the first of a new row.
    pub fn end_row(&mut self) {
        (self.since, self.count) = (None, 0);
    }

    /// The job was refused. `has_worked`: it has completed a checkpoint.
    pub fn on_refusal(&mut self, now: MonotonicTime, has_worked: bool) -> Refusal {
        let lasting = now.since(*self.since.get_or_insert(now));
        self.count = self.count.saturating_add(1);
        let is_final = match self.timeout {
            _ if !has_worked => self.count >= UNPROVEN_MAX,
            timeout => timeout.is_some_and(|timeout| lasting >= timeout),
        };
        let limit = match self.timeout {
            _ if !has_worked => format!("{UNPROVEN_MAX} times, without a completed checkpoint"),
            Some(timeout) => format!("{} s: `refusal_timeout`", timeout.as_secs()),
            None => "no time limit".into(),
        };
        let (count, seconds) = (self.count, lasting.as_secs());
        Refusal { is_final, text: format!("refused {count} times within {seconds} s; the limit is {limit}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    fn is_final(refusals: &mut Refusals, millis: u64, has_worked: bool) -> bool {
        refusals.on_refusal(at(millis), has_worked).is_final
    }

    #[test]
    fn refusals_in_a_row_are_final_after_the_timeout() {
        let mut refusals = Refusals::new(Some(Duration::from_secs(10)));
        assert!(!is_final(&mut refusals, 5_000, true));
        let second = refusals.on_refusal(at(14_000), true);
        assert_eq!(second.text, "refused 2 times within 9 s; the limit is 10 s: `refusal_timeout`");
        assert!(!second.is_final);
        assert!(is_final(&mut refusals, 15_000, true));
    }

    #[test]
    fn a_job_that_has_never_worked_is_given_up_after_a_few() {
        let mut refusals = Refusals::new(None);
        let all: Vec<_> = (0..3).map(|second| is_final(&mut refusals, second * 1_000, false)).collect();
        assert_eq!(all, [false, false, true]);
        let text = refusals.on_refusal(at(4_000), false).text;
        assert_eq!(text, "refused 4 times within 4 s; the limit is 3 times, without a completed checkpoint");
    }

    #[test]
    fn a_refusal_after_the_end_of_a_row_is_the_first_of_another() {
        let mut refusals = Refusals::new(Some(Duration::from_secs(10)));
        is_final(&mut refusals, 0, true);
        refusals.end_row();
        assert!(!is_final(&mut refusals, 100_000, true));
    }

    #[test]
    fn without_a_timeout_no_refusal_is_final() {
        let mut refusals = Refusals::new(None);
        is_final(&mut refusals, 0, true);
        assert!(!is_final(&mut refusals, 3_600_000, true));
    }
}
