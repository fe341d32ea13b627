//! The execution plan: operators chained into vertices, each with its parallelism.

use flott_core::{EdgeId, OperatorId, Result, SubtaskIndex, VertexId};

use crate::graph::{GraphEdge, JobGraph, OperatorNode, OperatorRole, Partitioning};

/// Operators that run in one task, as a tree: records pass between them by a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Vertex {
    /// Its position in the plan.
    pub id: VertexId,
    /// Its operators, upstream first. The first one takes the vertex' input.
    pub operators: Vec<OperatorId>,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Edges from other vertices.
    pub inputs: Vec<EdgeId>,
}

/// What runs: a job graph, chained, with every parallelism settled.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutionPlan {
    /// The graph it was made from.
    pub graph: JobGraph,
    /// The vertices; a [`VertexId`] is a position here. Every edge goes forward.
    pub vertices: Vec<Vertex>,
    vertex_of: Vec<VertexId>,
}

impl ExecutionPlan {
    /// Chains a graph. `parallelism` is for operators that do not name their own.
    ///
    /// # Errors
    /// When the graph is incomplete or the parallelism out of range.
    pub fn new(graph: JobGraph, parallelism: u32) -> Result<Self> {
        graph.validate()?;
        graph.check_parallelism(parallelism, "the job")?;
        let parallelism_of = |id: OperatorId| graph.operator(id).parallelism.unwrap_or(parallelism);
        let mut vertices: Vec<Vertex> = Vec::new();
        let mut vertex_of = Vec::new();
        for (id, _) in graph.operators() {
            let inputs: Vec<_> = graph.inputs(id).collect();
            let chained_to = match inputs[..] {
                [(_, edge)] if is_chainable(edge, parallelism_of(edge.from), parallelism_of(id)) => {
                    Some(edge.from)
                }
                _ => None,
            };
            let vertex = if let Some(upstream) = chained_to {
                let vertex: VertexId = vertex_of[upstream.0 as usize];
                vertices[vertex.0 as usize].operators.push(id);
                vertex
            } else {
                let vertex = VertexId(u32::try_from(vertices.len()).expect("fewer than 2^32 vertices"));
                vertices.push(Vertex {
                    id: vertex,
                    operators: vec![id],
                    parallelism: parallelism_of(id),
                    inputs: inputs.iter().map(|(edge, _)| *edge).collect(),
                });
                vertex
            };
            vertex_of.push(vertex);
        }
        Ok(Self { graph, vertices, vertex_of })
    }

    /// Slots that the job needs: subtask i of every vertex shares slot i.
    #[must_use]
    pub fn slots_needed(&self) -> u32 {
        self.vertices.iter().map(|vertex| vertex.parallelism).max().unwrap_or(0)
    }

    /// A vertex.
    #[must_use]
    pub fn vertex(&self, id: VertexId) -> &Vertex {
        &self.vertices[id.0 as usize]
    }

    /// The vertex that an operator is in.
    #[must_use]
    pub fn vertex_of(&self, operator: OperatorId) -> &Vertex {
        self.vertex(self.vertex_of[operator.0 as usize])
    }

    /// Whether records pass along an edge by a call.
    #[must_use]
    pub fn is_chained(&self, edge: EdgeId) -> bool {
        let edge_between = self.graph.edge(edge);
        let to = self.vertex_of(edge_between.to);
        to.id == self.vertex_of(edge_between.from).id && !to.inputs.contains(&edge)
    }

    /// The vertices that read a source.
    pub fn source_vertices(&self) -> impl Iterator<Item = &Vertex> {
        self.vertices.iter().filter(|vertex| self.source_of(vertex).is_some())
    }

    /// The source operator of a vertex, if it has one.
    #[must_use]
    pub fn source_of(&self, vertex: &Vertex) -> Option<OperatorId> {
        let head = vertex.operators[0];
        matches!(self.graph.operator(head).role, OperatorRole::Source(_)).then_some(head)
    }

    /// The sinks of a vertex that commit.
    pub fn committers(&self, vertex: &Vertex) -> impl Iterator<Item = &OperatorNode> {
        let nodes = vertex.operators.iter().map(|&id| self.graph.operator(id));
        nodes.filter(|node| node.role.commits())
    }

    /// All subtasks of the job.
    pub fn subtasks(&self) -> impl Iterator<Item = (VertexId, SubtaskIndex)> {
        let of = |vertex: &Vertex| {
            let id = vertex.id;
            (0..vertex.parallelism).map(move |index| (id, SubtaskIndex(index)))
        };
        self.vertices.iter().flat_map(of)
    }

    /// The subtasks that a sending subtask of an edge between vertices has channels to, in ascending order.
    #[must_use]
    pub fn receivers(
        &self,
        edge: EdgeId,
        from: SubtaskIndex,
    ) -> impl ExactSizeIterator<Item = SubtaskIndex> + use<> {
        let between = self.graph.edge(edge);
        let (here, there) = (self.vertex_of(between.from), self.vertex_of(between.to));
        connected(between.partitioning, from, here.parallelism, there.parallelism)
    }

    /// The subtasks that a receiving subtask of an edge between vertices has channels from, in ascending order.
    #[must_use]
    pub fn senders(
        &self,
        edge: EdgeId,
        to: SubtaskIndex,
    ) -> impl ExactSizeIterator<Item = SubtaskIndex> + use<> {
        let between = self.graph.edge(edge);
        let (here, there) = (self.vertex_of(between.to), self.vertex_of(between.from));
        connected(between.partitioning, to, here.parallelism, there.parallelism)
    }
}

/// The subtasks at the other end of an edge that a subtask has channels with. `here` and `there` are the parallelism of its
/// own end and of the other one. The result is a range, so that a subtask does not pay for the channels of all others.
fn connected(
    partitioning: Partitioning,
    subtask: SubtaskIndex,
    here: u32,
    there: u32,
) -> impl ExactSizeIterator<Item = SubtaskIndex> {
    let is_pointwise = partitioning == Partitioning::Forward && here == there;
    let range = if is_pointwise { subtask.0..subtask.0 + 1 } else { 0..there };
    range.map(SubtaskIndex)
}

/// Records need not leave the task when they go to the subtask of the same index and nowhere else. With one subtask on
/// either side that is so for every partitioning.
fn is_chainable(edge: &GraphEdge, from_parallelism: u32, to_parallelism: u32) -> bool {
    let stays = match edge.partitioning {
        Partitioning::Forward => from_parallelism == to_parallelism,
        Partitioning::Hash => from_parallelism == 1 && to_parallelism == 1,
        Partitioning::Rebalance => false,
    };
    stays && edge.side_output.is_none()
}
