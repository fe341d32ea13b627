//! The progress of event time at the sources, and the operators that would wait for it in vain.

use std::{collections::BTreeSet, fmt, time::Duration};

use flott_core::OperatorId;
use serde::{Deserialize, Serialize};

use crate::graph::{JobGraph, OperatorRole};

/// The progress of event time at a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WatermarkStrategy {
    /// The job does not say. There are no watermarks before the input ends.
    #[default]
    Undeclared,
    /// The job says that there are no watermarks before the input ends.
    AtEnd,
    /// Watermarks follow the latest record of each split.
    Bounded {
        /// The disorder within a split that is waited for, in milliseconds.
        out_of_orderness_ms: u64,
        /// After so many milliseconds without a record a split is idle.
        idleness_ms: Option<u64>,
    },
}

impl fmt::Display for WatermarkStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undeclared => f.write_str("none declared"),
            Self::AtEnd => f.write_str("at the end of the input"),
            Self::Bounded { out_of_orderness_ms: 0, idleness_ms } => {
                f.write_str("monotonous")?;
                write_idleness(f, *idleness_ms)
            }
            Self::Bounded { out_of_orderness_ms, idleness_ms } => {
                write!(f, "{:?} out of order", Duration::from_millis(*out_of_orderness_ms))?;
                write_idleness(f, *idleness_ms)
            }
        }
    }
}

fn write_idleness(f: &mut fmt::Formatter<'_>, idleness_ms: Option<u64>) -> fmt::Result {
    idleness_ms.map_or(Ok(()), |ms| write!(f, ", idle after {:?}", Duration::from_millis(ms)))
}

impl JobGraph {
    /// Operators that need event time, each with a source that feeds it, over any path, and declares no watermarks. A union
    /// with one such source has no event time, whatever the other sources declare.
    #[must_use]
    pub fn without_event_time(&self) -> Vec<(OperatorId, OperatorId)> {
        let mut sources: Vec<BTreeSet<OperatorId>> = vec![BTreeSet::new(); self.operators.len()];
        for (id, node) in self.operators() {
            if node.role == OperatorRole::Source(WatermarkStrategy::Undeclared) {
                sources[id.0 as usize].insert(id);
            }
        }
        // Every edge goes forward, so that an operator's sources are complete before they are handed on.
        let mut edges: Vec<_> = self.edges.iter().map(|edge| (edge.from, edge.to)).collect();
        edges.sort_unstable();
        for (from, to) in edges {
            let feeding = sources[from.0 as usize].clone();
            sources[to.0 as usize].extend(feeding);
        }
        let waiting = self.operators().filter(|(_, node)| node.needs_event_time);
        waiting.flat_map(|(id, _)| sources[id.0 as usize].iter().map(move |source| (id, *source))).collect()
    }
}
