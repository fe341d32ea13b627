//! The plan for people and tools: text, Mermaid, JSON.

use std::fmt::Write;

use flott_core::OperatorId;
use serde_json::{Value, json};

use crate::{execution::ExecutionPlan, graph::OperatorRole};

impl ExecutionPlan {
    /// The plan as indented text: a block per vertex, its operators, and where their records go.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for vertex in &self.vertices {
            let uids: Vec<_> = vertex.operators.iter().map(|&id| self.uid(id)).collect();
            let chain = uids.join(" → ");
            let _ = writeln!(out, "vertex {}: {chain}  (parallelism {})", vertex.id, vertex.parallelism);
            for &id in &vertex.operators {
                self.write_operator(&mut out, id);
            }
        }
        let groups = self.graph.max_parallelism.groups();
        let _ = writeln!(out, "slots needed: {} · max parallelism: {groups}", self.slots_needed());
        out
    }

    fn write_operator(&self, out: &mut String, id: OperatorId) {
        let node = self.graph.operator(id);
        let _ = write!(out, "  {}: {}", node.uid, node.description);
        if let OperatorRole::Sink(guarantee) = &node.role {
            let _ = write!(out, " [{guarantee}]");
        }
        let _ = writeln!(out);
        if let OperatorRole::Source(watermarks) = &node.role {
            let _ = writeln!(out, "    watermarks: {watermarks}");
        }
        if node.needs_event_time {
            let _ = writeln!(out, "    needs event time");
        }
        for state in &node.states {
            let _ = writeln!(out, "    state {}", state.name);
        }
        for (edge_id, edge) in self.graph.outputs(id) {
            let how = self.exchange_kind(edge_id);
            let side =
                edge.side_output.as_ref().map(|name| format!(" side output {name}")).unwrap_or_default();
            let _ = writeln!(out, "    →{side} {} ({how})", self.uid(edge.to));
        }
    }

    /// The plan as a Mermaid flow chart.
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        let mut out = String::from("flowchart LR\n");
        for vertex in &self.vertices {
            let _ = writeln!(out, "  subgraph v{}[\"parallelism {}\"]", vertex.id, vertex.parallelism);
            for &id in &vertex.operators {
                let node = self.graph.operator(id);
                let promise = match &node.role {
                    OperatorRole::Source(watermarks) => format!("<br/>watermarks: {watermarks}"),
                    OperatorRole::Sink(guarantee) => format!("<br/>{guarantee}"),
                    OperatorRole::Transform if node.needs_event_time => "<br/>needs event time".into(),
                    OperatorRole::Transform => String::new(),
                };
                let description = node.description.replace('"', "'");
                let _ = writeln!(out, "    o{id}[\"{}<br/>{description}{promise}\"]", node.uid);
            }
            let _ = writeln!(out, "  end");
        }
        for (id, edge) in self.graph.edges() {
            let how = self.exchange_kind(id);
            let _ = writeln!(out, "  o{} -->|{how}| o{}", edge.from, edge.to);
        }
        out
    }

    /// The plan as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let operator = |id: OperatorId| {
            let node = self.graph.operator(id);
            let (watermarks, guarantee) = match &node.role {
                OperatorRole::Source(watermarks) => (json!(watermarks), Value::Null),
                OperatorRole::Sink(guarantee) => (Value::Null, json!(guarantee)),
                OperatorRole::Transform => (Value::Null, Value::Null),
            };
            json!({
                "uid": node.uid,
                "description": node.description,
                "watermarks": watermarks,
                "needs_event_time": node.needs_event_time,
                "guarantee": guarantee,
                "states": node.states.iter().map(|state| &state.name).collect::<Vec<_>>(),
                "side_outputs": node.side_outputs,
            })
        };
        let vertices: Vec<_> = self
            .vertices
            .iter()
            .map(|vertex| {
                json!({
                    "id": vertex.id,
                    "parallelism": vertex.parallelism,
                    "operators": vertex.operators.iter().map(|&id| operator(id)).collect::<Vec<_>>(),
                })
            })
            .collect();
        let edges: Vec<_> = self
            .graph
            .edges()
            .map(|(id, edge)| {
                json!({
                    "from": self.uid(edge.from),
                    "to": self.uid(edge.to),
                    "side_output": edge.side_output,
                    "exchange": self.exchange_kind(id),
                })
            })
            .collect();
        json!({
            "slots_needed": self.slots_needed(),
            "max_parallelism": self.graph.max_parallelism,
            "fingerprint": format!("{:016x}", self.graph.fingerprint()),
            "vertices": vertices,
            "edges": edges,
        })
    }

    fn uid(&self, id: OperatorId) -> &str {
        self.graph.operator(id).uid.as_str()
    }

    fn exchange_kind(&self, id: flott_core::EdgeId) -> String {
        if self.is_chained(id) { "chained".into() } else { self.graph.edge(id).partitioning.to_string() }
    }
}
