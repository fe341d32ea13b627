//! A job for tests, of a source and a sink that nobody makes.

use flott_core::{LeaderEpoch, OperatorUid, Record, sink::DeliveryGuarantee};
use flott_plan::{
    ExecutionPlan, GraphEdge, JobGraph, OperatorNode, OperatorRole, Partitioning, WatermarkStrategy,
};
use flott_runtime::program::JobProgram;
use flott_state::storage::CheckpointStorage;
use tempfile::TempDir;

use super::Job;
use crate::settings::ClusterSettings;

/// The uid of the job's source.
pub(super) fn uid() -> OperatorUid {
    OperatorUid::new("sum").unwrap()
}

fn graph() -> JobGraph {
    let node = |uid, role| OperatorNode {
        uid,
        role,
        description: String::new(),
        parallelism: None,
        states: Vec::new(),
        side_outputs: Vec::new(),
        needs_event_time: false,
    };
    let mut graph = JobGraph::default();
    let from = graph.add_operator(node(uid(), OperatorRole::Source(WatermarkStrategy::Undeclared))).unwrap();
    let sink = OperatorUid::new("sink").unwrap();
    let to = graph.add_operator(node(sink, OperatorRole::Sink(DeliveryGuarantee::None))).unwrap();
    let (side_output, partitioning) = (None, Partitioning::Forward);
    graph.add_edge(GraphEdge { from, side_output, to, partitioning, schema: u64::schema() });
    graph
}

pub(super) async fn job(directory: &TempDir) -> Job {
    let graph = graph();
    Job {
        program: JobProgram { graph: graph.clone(), operators: Vec::new(), edges: Vec::new() },
        plan: ExecutionPlan::new(graph, 1).unwrap(),
        settings: ClusterSettings::default(),
        storage: CheckpointStorage::open(directory.path().to_str().unwrap()).await.unwrap(),
        cluster: 0,
        epoch: LeaderEpoch(1),
    }
}
