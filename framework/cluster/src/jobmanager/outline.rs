use flott_control::job::{JobOutline, VertexOutline};
use flott_plan::{ExecutionPlan, Vertex};

/// What the JobMaster has to know of a plan.
pub(super) fn outline(plan: &ExecutionPlan) -> JobOutline {
    let of = |vertex: &Vertex| VertexOutline {
        parallelism: vertex.parallelism,
        is_source: plan.source_of(vertex).is_some(),
        is_committer: plan.committers(vertex).next().is_some(),
    };
    JobOutline { vertices: plan.vertices.iter().map(of).collect() }
}
