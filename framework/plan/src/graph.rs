//! The job graph: what the user declared, as data.

use std::collections::BTreeMap;

use flott_core::{
    EdgeId, Error, ErrorKind, MaxParallelism, OperatorId, OperatorUid, Result, Schema, hash,
    sink::DeliveryGuarantee, state::StateDeclaration,
};
use serde::{Deserialize, Serialize};

use crate::event_time::WatermarkStrategy;

/// What an operator does, as far as the plan cares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorRole {
    /// Reads an external system; event time advances by this strategy.
    Source(WatermarkStrategy),
    /// Works between an input and an output.
    Transform,
    /// Writes an external system, with this guarantee.
    Sink(DeliveryGuarantee),
}

impl OperatorRole {
    /// Returns `true` for a sink that commits in two phases. Its tasks report their commits, and the job ends only when all of
    /// them have reported the last checkpoint.
    #[must_use]
    pub fn commits(&self) -> bool {
        *self == Self::Sink(DeliveryGuarantee::ExactlyOnce)
    }
}

/// One operator of the job graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatorNode {
    /// Its stable name.
    pub uid: OperatorUid,
    /// What it does.
    pub role: OperatorRole,
    /// What it does, for people: `Kafka topic payments`.
    pub description: String,
    /// Its own parallelism, where it differs from the job's.
    pub parallelism: Option<u32>,
    /// The keyed state that it declares.
    pub states: Vec<StateDeclaration>,
    /// Names of its side outputs.
    pub side_outputs: Vec<String>,
    /// `true` if it does part of its work when event time advances: windows, event-time timers.
    pub needs_event_time: bool,
}

/// How an edge routes records to the subtasks behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Partitioning {
    /// To the subtask of the same index.
    Forward,
    /// By the key group of the record's key.
    Hash,
    /// To all subtasks in turn.
    Rebalance,
}

impl std::fmt::Display for Partitioning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::Hash => "hash",
            Self::Rebalance => "rebalance",
        })
    }
}

/// A stream from one operator to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphEdge {
    /// Where it comes from.
    pub from: OperatorId,
    /// The side output it comes from; `None` for the main output.
    pub side_output: Option<String>,
    /// Where it goes.
    pub to: OperatorId,
    /// How it routes.
    pub partitioning: Partitioning,
    /// What flows.
    pub schema: Schema,
}

/// The declared job. Operators are listed in the order of declaration, so that every edge goes forward.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobGraph {
    /// Number of key groups.
    pub max_parallelism: MaxParallelism,
    /// The operators; an [`OperatorId`] is a position here.
    pub operators: Vec<OperatorNode>,
    /// The edges; an [`EdgeId`] is a position here.
    pub edges: Vec<GraphEdge>,
}

impl JobGraph {
    /// Adds an operator.
    ///
    /// # Errors
    /// When its uid is taken or its parallelism is zero or above the maximum.
    pub fn add_operator(&mut self, node: OperatorNode) -> Result<OperatorId> {
        if self.operators.iter().any(|other| other.uid == node.uid) {
            return Err(settings(format!(
                "the uid {:?} is given to two operators; a uid names one operator for ever, \
                 because its state and metrics go by it: rename one of them",
                node.uid.as_str()
            )));
        }
        if let Some(parallelism) = node.parallelism {
            self.check_parallelism(parallelism, &format!("operator {:?}", node.uid.as_str()))?;
        }
        let id = OperatorId(u32::try_from(self.operators.len()).expect("fewer than 2^32 operators"));
        self.operators.push(node);
        Ok(id)
    }

    /// Adds an edge.
    ///
    /// # Panics
    /// When it goes backwards or its side output was not declared: a bug in the façade.
    pub fn add_edge(&mut self, edge: GraphEdge) -> EdgeId {
        assert!(edge.from < edge.to, "edges go forward");
        if let Some(name) = &edge.side_output {
            assert!(self.operator(edge.from).side_outputs.contains(name), "side outputs are declared");
        }
        let id = EdgeId(u32::try_from(self.edges.len()).expect("fewer than 2^32 edges"));
        self.edges.push(edge);
        id
    }

    /// An operator.
    #[must_use]
    pub fn operator(&self, id: OperatorId) -> &OperatorNode {
        &self.operators[id.0 as usize]
    }

    /// An edge.
    #[must_use]
    pub fn edge(&self, id: EdgeId) -> &GraphEdge {
        &self.edges[id.0 as usize]
    }

    /// All operators with their ids.
    pub fn operators(&self) -> impl Iterator<Item = (OperatorId, &OperatorNode)> {
        (0..).map(OperatorId).zip(&self.operators)
    }

    /// All edges with their ids.
    pub fn edges(&self) -> impl Iterator<Item = (EdgeId, &GraphEdge)> {
        (0..).map(EdgeId).zip(&self.edges)
    }

    /// Edges that leave an operator.
    pub fn outputs(&self, id: OperatorId) -> impl Iterator<Item = (EdgeId, &GraphEdge)> {
        self.edges().filter(move |(_, edge)| edge.from == id)
    }

    /// Edges that enter an operator.
    pub fn inputs(&self, id: OperatorId) -> impl Iterator<Item = (EdgeId, &GraphEdge)> {
        self.edges().filter(move |(_, edge)| edge.to == id)
    }

    /// Checks what can only be seen of the whole.
    ///
    /// # Errors
    /// When there is no source, or records of an operator go nowhere.
    pub fn validate(&self) -> Result<()> {
        if !self.operators.iter().any(|node| matches!(node.role, OperatorRole::Source(_))) {
            return Err(settings("the job has no source; declare one with `job.source(uid, source)`".into()));
        }
        for (id, node) in self.operators() {
            let is_sink = matches!(node.role, OperatorRole::Sink(_));
            let is_read = self.outputs(id).any(|(_, edge)| edge.side_output.is_none());
            if !is_sink && !is_read {
                return Err(settings(format!(
                    "nobody reads the output of {:?}; end the stream with `.sink(uid, sink)`",
                    node.uid.as_str()
                )));
            }
        }
        Ok(())
    }

    /// Checks a parallelism against the number of key groups.
    ///
    /// # Errors
    /// When it is zero or larger.
    pub fn check_parallelism(&self, parallelism: u32, whose: &str) -> Result<()> {
        let groups = self.max_parallelism.groups();
        if parallelism == 0 || parallelism as usize > groups {
            return Err(settings(format!(
                "the parallelism of {whose} is {parallelism}; it must be between 1 and the max parallelism, {groups}"
            )));
        }
        Ok(())
    }

    /// A number that differs, with overwhelming probability, where two graphs differ in anything that matters for
    /// running them together.
    ///
    /// # Panics
    /// Never: a graph is always valid JSON.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        hash::bytes(&serde_json::to_vec(self).expect("a graph is plain data"))
    }

    /// The first difference from another graph, in words; `None` when they are equal.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        if self == other {
            return None;
        }
        if self.max_parallelism != other.max_parallelism {
            let (ours, theirs) = (self.max_parallelism.groups(), other.max_parallelism.groups());
            return Some(format!("max parallelism {ours} against {theirs}"));
        }
        let ours: BTreeMap<_, _> = self.operators.iter().map(|node| (&node.uid, node)).collect();
        let theirs: BTreeMap<_, _> = other.operators.iter().map(|node| (&node.uid, node)).collect();
        for (uid, node) in &ours {
            match theirs.get(uid) {
                None => return Some(format!("operator {:?} exists on one side only", uid.as_str())),
                Some(their) if their != node => {
                    return Some(format!("operator {:?} differs: {node:?} against {their:?}", uid.as_str()));
                }
                Some(_) => {}
            }
        }
        let extra = theirs.keys().find(|uid| !ours.contains_key(*uid));
        Some(match extra {
            Some(uid) => format!("operator {:?} exists on one side only", uid.as_str()),
            None => "the streams between the operators differ".into(),
        })
    }
}

fn settings(message: String) -> Error {
    Error::new(ErrorKind::Settings, message)
}
