use flott_control::job::{JobOutline, VertexOutline};
use flott_core::sink::DeliveryGuarantee;
use flott_plan::{ExecutionPlan, OperatorRole, Vertex};

/// What the JobMaster has to know of a plan.
pub(super) fn outline(plan: &ExecutionPlan) -> JobOutline {
    let exactly_once = OperatorRole::Sink(DeliveryGuarantee::ExactlyOnce);
    let of = |vertex: &Vertex| VertexOutline {
        parallelism: vertex.parallelism,
        is_source: plan.source_of(vertex).is_some(),
        is_committer: vertex.operators.iter().any(|&id| plan.graph.operator(id).role == exactly_once),
    };
    JobOutline { vertices: plan.vertices.iter().map(of).collect() }
}
