use flott_core::{CheckpointId, ErrorKind, task::Failure};

/// Different failures that are told apart. When there are more, the oldest is forgotten.
const FAILURES_MAX: usize = 16;

/// Notices that a job fails in the same way again and again without getting any further: a record that its code cannot
/// process fails it after every restart.
///
/// Failures count as the same when kind and message are, and no checkpoint was completed between them. Their positions
/// may differ: after a restart, records can come in other batches. Two such records, in two subtasks, fail the job in
/// turn: so each failure is counted, whatever others come in between. Failures that may pass by themselves are not counted.
#[derive(Debug)]
pub struct Repetition {
    /// Same failures without progress that end the job. None: no limit.
    max: Option<u32>,
    /// The newest checkpoint at the last failure.
    checkpoint: Option<CheckpointId>,
    /// Failures since then, the oldest first.
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Seen {
    kind: ErrorKind,
    message: String,
    count: u32,
}

impl Repetition {
    /// No failure yet.
    #[must_use]
    pub fn new(max: Option<u32>) -> Self {
        Self { max, checkpoint: None, seen: Vec::new() }
    }

    /// An attempt failed; `checkpoint` is the newest completed one. Returns how often it has failed in this way without
    /// progress when that is too often.
    pub fn on_failure(&mut self, failure: &Failure, checkpoint: Option<CheckpointId>) -> Option<u32> {
        if self.checkpoint != checkpoint {
            self.checkpoint = checkpoint;
            self.seen.clear();
        }
        if !matches!(failure.kind, ErrorKind::User | ErrorKind::Internal) {
            return None;
        }
        let is_same = |seen: &Seen| seen.kind == failure.kind && seen.message == failure.message;
        let at = self.seen.iter().position(is_same).unwrap_or_else(|| {
            if self.seen.len() == FAILURES_MAX {
                self.seen.remove(0);
            }
            self.seen.push(Seen { kind: failure.kind, message: failure.message.clone(), count: 0 });
            self.seen.len() - 1
        });
        let count = &mut self.seen[at].count;
        *count = count.saturating_add(1);
        self.max.is_some_and(|max| *count >= max).then_some(*count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: ErrorKind, message: &str, position: &str) -> Failure {
        Failure { position: Some(position.into()), ..Failure::new(kind, message) }
    }

    #[test]
    fn the_third_same_failure_without_a_checkpoint_in_between_is_one_too_many() {
        let mut repetition = Repetition::new(Some(3));
        let one = Some(CheckpointId(1));
        let mut fail = |message: &str, position: &str, checkpoint| {
            repetition.on_failure(&failure(ErrorKind::User, message, position), checkpoint)
        };
        assert_eq!(fail("a", "0 to 9", None), None);
        assert_eq!(fail("a", "0 to 9", None), None);
        assert_eq!(fail("a", "4 to 9", one), None, "the job got further");
        assert_eq!(fail("a", "5 to 9", one), None);
        assert_eq!(fail("a", "6 to 9", one), Some(3));
    }

    #[test]
    fn records_that_fail_in_turn_are_counted_each() {
        let mut repetition = Repetition::new(Some(3));
        let mut fail = |message| repetition.on_failure(&failure(ErrorKind::User, message, ""), None);
        assert_eq!(["a", "b", "b", "a", "a"].map(&mut fail), [None, None, None, None, Some(3)]);
        assert_eq!(fail("b"), Some(3));
    }

    #[test]
    fn only_so_many_failures_are_told_apart() {
        let mut repetition = Repetition::new(Some(2));
        for number in 0..100 {
            let other = failure(ErrorKind::User, &number.to_string(), "");
            assert_eq!(repetition.on_failure(&other, None), None);
        }
        assert_eq!(repetition.seen.len(), FAILURES_MAX);
        assert_eq!(repetition.on_failure(&failure(ErrorKind::User, "99", ""), None), Some(2));
    }

    #[test]
    fn what_may_pass_by_itself_is_not_counted() {
        let mut repetition = Repetition::new(Some(1));
        assert_eq!(repetition.on_failure(&failure(ErrorKind::Transient, "a", ""), None), None);
        assert_eq!(repetition.on_failure(&failure(ErrorKind::Unreachable, "a", ""), None), None);
        assert_eq!(repetition.on_failure(&failure(ErrorKind::Internal, "a", ""), None), Some(1));
        let mut repetition = Repetition::new(Some(2));
        let user = failure(ErrorKind::User, "a", "");
        assert_eq!(repetition.on_failure(&user, None), None);
        assert_eq!(repetition.on_failure(&failure(ErrorKind::Transient, "b", ""), None), None);
        assert_eq!(repetition.on_failure(&user, None), Some(2), "a lost TaskManager is no progress");
        assert_eq!(Repetition::new(None).on_failure(&user, None), None);
    }
}
