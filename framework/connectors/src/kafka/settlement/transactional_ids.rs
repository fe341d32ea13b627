//! Names of transactional ids.

use flott_core::{Error, ErrorKind, Generation, OperatorUid, Result, SubtaskIndex};

/// Longest transactional id, in bytes: it is the group of its marker as well, and brokers take no longer ones.
const BYTES_MAX: usize = 249;

/// Number of generations after the newest known one that are looked up by name. Each start of a JobManager and each restart of a
/// job takes one generation.
const LATER_GENERATIONS_MAX: u64 = 500;

/// The transactional ids of one sink in one generation: `{prefix}.{uid}.g{generation}.{subtask}.{slot}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionalIds {
    prefix: String,
    sink_uid: OperatorUid,
    generation: Generation,
    parallelism: u32,
    slots_max: u32,
}

/// The parts of a transactional id that follow the sink's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionalSlot {
    /// Scope of the id.
    pub generation: Generation,
    /// Subtask that produces under it.
    pub subtask: SubtaskIndex,
    /// Which of the subtask's producers.
    pub slot: u32,
}

impl TransactionalIds {
    /// The ids of subtasks `0..parallelism`, each with up to `slots_max` producers.
    ///
    /// # Errors
    /// A settings error, when the prefix is empty, has characters other than ASCII letters, digits, `.`, `-`, `_`, or
    /// is so long that an id would have more than 249 bytes.
    pub fn new(
        prefix: impl Into<String>,
        sink_uid: OperatorUid,
        generation: Generation,
        parallelism: u32,
        slots_max: u32,
    ) -> Result<Self> {
        let ids = Self { prefix: prefix.into(), sink_uid, generation, parallelism, slots_max };
        let refuse = |reason: String| {
            let text = format!("sink {}: transactional id prefix {:?} {reason}", ids.sink_uid, ids.prefix);
            Err(Error::new(ErrorKind::Settings, text))
        };
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if ids.prefix.is_empty() {
            return refuse("is empty; give each job a prefix of its own".into());
        }
        if let Some(bad) = ids.prefix.chars().find(|&c| !is_allowed(c)) {
            return refuse(format!("contains {bad:?}; use ASCII letters, digits, '.', '-' and '_'"));
        }
        let longest = ids.name(SubtaskIndex(u32::MAX), u32::MAX).len();
        if longest > BYTES_MAX {
            return refuse(format!("makes ids of up to {longest} bytes, at most {BYTES_MAX} are allowed"));
        }
        Ok(ids)
    }

    /// The id of one producer of one subtask.
    #[must_use]
    pub fn name(&self, subtask: SubtaskIndex, slot: u32) -> String {
        let stem = Self::stem(&self.prefix, &self.sink_uid);
        format!("{stem}{}.{subtask}.{slot}", self.generation)
    }

    /// The common prefix of all ids of the sink `sink_uid` under `prefix`, of any generation.
    #[must_use]
    pub fn stem(prefix: &str, sink_uid: &OperatorUid) -> String {
        format!("{prefix}.{sink_uid}.g")
    }

    /// One id of each of the generations that follow `newest`: that of the first producer of the first subtask, which every
    /// attempt uses.
    pub fn first_of_later(
        prefix: &str,
        sink_uid: &OperatorUid,
        newest: Generation,
    ) -> impl Iterator<Item = String> {
        let stem = Self::stem(prefix, sink_uid);
        (1..=LATER_GENERATIONS_MAX).map(move |step| format!("{stem}{}.0.0", newest.0.saturating_add(step)))
    }

    /// The group in which a job writes down that the ids of the sink `sink_uid` under `prefix` are its own.
    #[must_use]
    pub fn claim_group(prefix: &str, sink_uid: &OperatorUid) -> String {
        format!("{prefix}.{sink_uid}.owner")
    }

    /// All ids of the generation.
    pub fn all(&self) -> impl Iterator<Item = String> + '_ {
        (0..self.parallelism).flat_map(move |subtask| {
            (0..self.slots_max).map(move |slot| self.name(SubtaskIndex(subtask), slot))
        })
    }

    /// The parts of `id`, when it belongs to the sink `sink_uid` under `prefix`, of whatever generation.
    #[must_use]
    pub fn parse(prefix: &str, sink_uid: &OperatorUid, id: &str) -> Option<TransactionalSlot> {
        let rest = id.strip_prefix(prefix)?.strip_prefix('.')?.strip_prefix(sink_uid.as_str())?;
        let mut parts = rest.strip_prefix(".g")?.split('.');
        let slot = TransactionalSlot {
            generation: Generation(parts.next()?.parse().ok()?),
            subtask: SubtaskIndex(parts.next()?.parse().ok()?),
            slot: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(name: &str) -> OperatorUid {
        OperatorUid::new(name).unwrap()
    }

    #[test]
    fn names_can_be_taken_apart_again() {
        let ids = TransactionalIds::new("p.q", uid("alerts"), Generation(3), 2, 2).unwrap();
        let all: Vec<_> = ids.all().collect();
        assert_eq!(all, ["p.q.alerts.g3.0.0", "p.q.alerts.g3.0.1", "p.q.alerts.g3.1.0", "p.q.alerts.g3.1.1"]);
        let slot = TransactionalIds::parse("p.q", &uid("alerts"), &all[2]).unwrap();
        assert_eq!(slot, TransactionalSlot { generation: Generation(3), subtask: SubtaskIndex(1), slot: 0 });
    }

    #[test]
    fn ids_of_others_are_not_taken_for_ours() {
        let parse = |id| TransactionalIds::parse("p", &uid("a"), id);
        assert!(parse("p.a.g1.0.0").is_some());
        for other in [
            "p.b.g1.0.0",
            "pp.a.g1.0.0",
            "p.ab.g1.0.0",
            "p.a.1.0.0",
            "p.a.g1.0",
            "p.a.g1.0.0.0",
            "p.a.gx.0.0",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn prefixes_are_checked() {
        for (prefix, says) in [("", "is empty"), ("a/b", "'/'"), (&*"x".repeat(240), "249")] {
            let error = TransactionalIds::new(prefix, uid("a"), Generation(0), 1, 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
