use flott_core::{
    EdgeId, OperatorId, OperatorUid, Record, SubtaskIndex,
    sink::DeliveryGuarantee,
    testkit::{Random, seeds},
};

use super::*;

fn node(uid: &str, role: OperatorRole) -> OperatorNode {
    OperatorNode {
        uid: OperatorUid::new(uid).unwrap(),
        role,
        description: format!("the {uid}"),
        parallelism: None,
        states: vec![],
        side_outputs: vec!["late".into()],
        needs_event_time: false,
    }
}

fn edge(from: OperatorId, to: OperatorId, partitioning: Partitioning) -> GraphEdge {
    GraphEdge { from, side_output: None, to, partitioning, schema: u64::schema() }
}

/// source → map → (hash) sum → sink
fn sample() -> JobGraph {
    let mut graph = JobGraph::default();
    let source =
        graph.add_operator(node("source", OperatorRole::Source(WatermarkStrategy::Undeclared))).unwrap();
    let map = graph.add_operator(node("map", OperatorRole::Transform)).unwrap();
    let sum = graph.add_operator(node("sum", OperatorRole::Transform)).unwrap();
    let sink = graph.add_operator(node("sink", OperatorRole::Sink(DeliveryGuarantee::ExactlyOnce))).unwrap();
    graph.add_edge(edge(source, map, Partitioning::Forward));
    graph.add_edge(edge(map, sum, Partitioning::Hash));
    graph.add_edge(edge(sum, sink, Partitioning::Forward));
    graph
}

fn chains(plan: &ExecutionPlan) -> Vec<Vec<u32>> {
    plan.vertices.iter().map(|vertex| vertex.operators.iter().map(|id| id.0).collect()).collect()
}

#[test]
fn forward_edges_chain_and_hash_edges_do_not() {
    let plan = ExecutionPlan::new(sample(), 2).unwrap();
    assert_eq!(chains(&plan), [vec![0, 1], vec![2, 3]]);
    assert_eq!(plan.slots_needed(), 2);
    assert_eq!(plan.vertex(flott_core::VertexId(1)).inputs, [EdgeId(1)]);
    assert!(plan.is_chained(EdgeId(0)) && !plan.is_chained(EdgeId(1)) && plan.is_chained(EdgeId(2)));
    assert!(plan.receivers(EdgeId(1), SubtaskIndex(1)).eq([0, 1].map(SubtaskIndex)));
    assert!(plan.senders(EdgeId(1), SubtaskIndex(0)).eq([0, 1].map(SubtaskIndex)));
}

#[test]
fn only_exactly_once_sinks_commit() {
    let mut graph = sample();
    for (uid, guarantee) in [
        ("prints", DeliveryGuarantee::None),
        ("repeats", DeliveryGuarantee::AtLeastOnce),
        ("commits", DeliveryGuarantee::ExactlyOnce),
    ] {
        let sink = graph.add_operator(node(uid, OperatorRole::Sink(guarantee))).unwrap();
        graph.add_edge(edge(OperatorId(2), sink, Partitioning::Forward));
    }
    let plan = ExecutionPlan::new(graph, 2).unwrap();
    let committers = |vertex: &Vertex| {
        let uids = plan.committers(vertex).map(|node| node.uid.as_str());
        uids.collect::<Vec<_>>()
    };
    assert_eq!(committers(&plan.vertices[0]), [""; 0]);
    assert_eq!(committers(&plan.vertices[1]), ["sink", "commits"]);
}

#[test]
fn with_one_subtask_everything_chains() {
    assert_eq!(chains(&ExecutionPlan::new(sample(), 1).unwrap()), [vec![0, 1, 2, 3]]);
}

#[test]
fn an_operator_with_another_parallelism_starts_a_vertex() {
    let mut graph = sample();
    graph.operators[3].parallelism = Some(1);
    let plan = ExecutionPlan::new(graph, 2).unwrap();
    assert_eq!(chains(&plan), [vec![0, 1], vec![2], vec![3]]);
    assert!(plan.receivers(EdgeId(2), SubtaskIndex(1)).eq([SubtaskIndex(0)]));
    assert!(plan.senders(EdgeId(2), SubtaskIndex(0)).eq([0, 1].map(SubtaskIndex)));
}

#[test]
fn a_union_starts_a_vertex_with_pointwise_channels() {
    let mut graph = sample();
    let other =
        graph.add_operator(node("other", OperatorRole::Source(WatermarkStrategy::Undeclared))).unwrap();
    let sink = graph.add_operator(node("sink2", OperatorRole::Sink(DeliveryGuarantee::None))).unwrap();
    let first = graph.add_edge(edge(OperatorId(2), sink, Partitioning::Forward));
    graph.add_edge(edge(other, sink, Partitioning::Forward));
    let plan = ExecutionPlan::new(graph, 2).unwrap();
    assert_eq!(chains(&plan), [vec![0, 1], vec![2, 3], vec![4], vec![5]]);
    for subtask in [0, 1].map(SubtaskIndex) {
        assert!(plan.receivers(first, subtask).eq([subtask]));
        assert!(plan.senders(first, subtask).eq([subtask]));
    }
}

/// A source and operators that read any operators before them, by main or side outputs, each with any parallelism.
fn random_plan(random: &mut Random) -> ExecutionPlan {
    let mut graph = JobGraph::default();
    let source = OperatorRole::Source(WatermarkStrategy::Undeclared);
    graph.add_operator(node("source", source)).unwrap();
    for number in 1..2 + random.below(7) {
        let mut reader = node(&format!("o{number}"), OperatorRole::Sink(DeliveryGuarantee::None));
        // Few values, so that the two ends of an edge often agree.
        reader.parallelism = (!random.one_in(3)).then(|| *random.pick(&[1, 2, 3, 9]));
        let to = graph.add_operator(reader).unwrap();
        for _ in 0..=random.below(3) {
            let from = if number == 1 { 0 } else { u32::try_from(random.below(number)).unwrap() };
            let partitioning =
                *random.pick(&[Partitioning::Forward, Partitioning::Hash, Partitioning::Rebalance]);
            let side_output = (number > 1 && random.one_in(4)).then(|| "late".to_owned());
            graph.add_edge(GraphEdge { side_output, ..edge(OperatorId(from), to, partitioning) });
        }
    }
    let parallelism = *random.pick(&[1, 2, 3, 9]);
    ExecutionPlan::new(graph, parallelism).unwrap()
}

/// All channels of an edge by enumeration: pairs of sending and receiving subtask.
fn channels(plan: &ExecutionPlan, edge: EdgeId) -> Vec<(SubtaskIndex, SubtaskIndex)> {
    let between = plan.graph.edge(edge);
    let (from, to) = (plan.vertex_of(between.from).parallelism, plan.vertex_of(between.to).parallelism);
    let is_pointwise = between.partitioning == Partitioning::Forward && from == to;
    let pairs = (0..from).flat_map(|from| (0..to).map(move |to| (SubtaskIndex(from), SubtaskIndex(to))));
    pairs.filter(|(from, to)| !is_pointwise || from == to).collect()
}

#[test]
fn receivers_and_senders_are_the_two_ends_of_the_same_channels() {
    for seed in seeds(2_000) {
        let plan = random_plan(&mut Random::new(seed));
        for (edge, between) in plan.graph.edges() {
            let channels = channels(&plan, edge);
            for from in (0..plan.vertex_of(between.from).parallelism).map(SubtaskIndex) {
                let expected = channels.iter().filter(|channel| channel.0 == from).map(|channel| channel.1);
                assert!(plan.receivers(edge, from).eq(expected), "seed {seed}, edge {edge:?} from {from:?}");
            }
            for to in (0..plan.vertex_of(between.to).parallelism).map(SubtaskIndex) {
                let expected = channels.iter().filter(|channel| channel.1 == to).map(|channel| channel.0);
                assert!(plan.senders(edge, to).eq(expected), "seed {seed}, edge {edge:?} to {to:?}");
            }
        }
    }
}

#[test]
fn mistakes_are_named() {
    let mut graph = sample();
    let error = graph.add_operator(node("map", OperatorRole::Transform)).unwrap_err();
    assert!(error.to_string().contains("\"map\" is given to two operators"));
    assert!(ExecutionPlan::new(graph.clone(), 0).is_err());
    assert!(ExecutionPlan::new(graph.clone(), 1025).is_err());
    graph.edges.pop();
    assert!(graph.validate().unwrap_err().to_string().contains("output of \"sum\""));
    assert!(JobGraph::default().validate().unwrap_err().to_string().contains("no source"));
}

#[test]
fn fingerprints_and_differences_see_every_change() {
    let graph = sample();
    let mut other = sample();
    assert_eq!(graph.fingerprint(), other.fingerprint());
    assert_eq!(graph.difference(&other), None);
    other.operators[2].description = "something else".into();
    assert_ne!(graph.fingerprint(), other.fingerprint());
    assert!(graph.difference(&other).unwrap().contains("\"sum\" differs"));
    other.operators[2].uid = OperatorUid::new("count").unwrap();
    assert!(graph.difference(&other).unwrap().contains("one side only"));
}

#[test]
fn the_plan_explains_itself() {
    let plan = ExecutionPlan::new(sample(), 2).unwrap();
    let text = plan.to_text();
    assert!(text.contains("vertex 0: source → map  (parallelism 2)"), "{text}");
    assert!(text.contains("→ sum (hash)") && text.contains("[exactly-once]"), "{text}");
    assert!(plan.to_mermaid().contains("o1 -->|hash| o2"));
    assert_eq!(plan.to_json()["edges"][0]["exchange"], "chained");
}

fn bounded(out_of_orderness_ms: u64, idleness_ms: Option<u64>) -> OperatorRole {
    OperatorRole::Source(WatermarkStrategy::Bounded { out_of_orderness_ms, idleness_ms })
}

#[test]
fn the_plan_shows_how_event_time_advances_and_who_needs_it() {
    let mut graph = sample();
    graph.operators[2].needs_event_time = true;
    let text = |graph: &JobGraph| ExecutionPlan::new(graph.clone(), 2).unwrap().to_text();
    assert!(text(&graph).contains("    watermarks: none declared\n"));
    graph.operators[0].role = OperatorRole::Source(WatermarkStrategy::AtEnd);
    assert!(text(&graph).contains("    watermarks: at the end of the input\n"));
    graph.operators[0].role = bounded(0, None);
    assert!(text(&graph).contains("    watermarks: monotonous\n"));
    graph.operators[0].role = bounded(1500, Some(60_000));
    assert!(text(&graph).contains("    watermarks: 1.5s out of order, idle after 60s\n"));
    assert!(text(&graph).contains("  sum: the sum\n    needs event time\n"));
    let plan = ExecutionPlan::new(graph, 2).unwrap();
    let mermaid = plan.to_mermaid();
    assert!(mermaid.contains("<br/>watermarks: 1.5s out of order, idle after 60s\""), "{mermaid}");
    assert!(mermaid.contains("the sum<br/>needs event time\""), "{mermaid}");
    let operators = |vertex: usize| plan.to_json()["vertices"][vertex]["operators"].clone();
    assert_eq!(operators(0)[0]["watermarks"]["bounded"]["out_of_orderness_ms"], 1500);
    assert_eq!(operators(1)[0]["needs_event_time"], true);
}

#[test]
fn operators_that_wait_for_watermarks_in_vain_are_found_over_any_path() {
    let mut graph = sample();
    let [source, _, sum, sink] = [0, 1, 2, 3].map(OperatorId);
    assert_eq!(graph.without_event_time(), [], "no operator needs event time");
    graph.operators[2].needs_event_time = true;
    assert_eq!(graph.without_event_time(), [(sum, source)]);
    for declared in [bounded(0, None), OperatorRole::Source(WatermarkStrategy::AtEnd)] {
        graph.operators[0].role = declared;
        assert_eq!(graph.without_event_time(), []);
    }
    // A union: one source without watermarks is enough.
    let other =
        graph.add_operator(node("other", OperatorRole::Source(WatermarkStrategy::Undeclared))).unwrap();
    let mut late = node("late", OperatorRole::Transform);
    late.needs_event_time = true;
    let late = graph.add_operator(late).unwrap();
    graph.add_edge(edge(other, late, Partitioning::Hash));
    graph.add_edge(GraphEdge { side_output: Some("late".into()), ..edge(sum, late, Partitioning::Hash) });
    assert_eq!(graph.without_event_time(), [(late, other)]);
    graph.operators[0].role = OperatorRole::Source(WatermarkStrategy::Undeclared);
    assert_eq!(graph.without_event_time(), [(sum, source), (late, source), (late, other)]);
    assert!(!graph.operator(sink).needs_event_time);
}
