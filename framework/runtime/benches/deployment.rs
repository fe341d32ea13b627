//! The time to build the tasks of one process: `cargo bench -p flott-runtime --bench deployment`.
//!
//! The job partitions a source by key: each of its subtasks has a channel to each subtask behind it. Tasks are built for
//! a process that runs all subtasks, and for one of four. Rounds are interleaved; medians are reported.

use std::{collections::BTreeMap, sync::Arc};

use flott_core::{
    AttemptId, CheckpointId, Clock, Error, Generation, MaxParallelism, OperatorUid, ProcessingTime, Record,
    Result, SystemClock,
    element::{Barrier, Signal},
    operator::{Downstream, Head, Next, OperatorContext, StepTime, TaskEvent},
    sink::{DeliveryGuarantee, Settler},
    snapshot::{FrozenSnapshot, OperatorSnapshot},
    source::SplitEnumerator,
    task::{TaskFact, TaskId},
    testkit::Collector,
};
use flott_plan::{
    ExecutionPlan, GraphEdge, JobGraph, OperatorNode, OperatorRole, Partitioning, WatermarkStrategy,
};
use flott_runtime::{
    deployment::{self, Deployment},
    exchange::{Edge, PeerIndex},
    output::HashPartitioner,
    program::{ErasedDownstream, JobProgram, OperatorFactory},
    task::TaskListener,
};

const ROUNDS: usize = 9;

/// Parallelism of the job, and processes that share its subtasks.
const CASES: [(u32, PeerIndex); 6] = [(32, 1), (128, 1), (250, 1), (32, 4), (128, 4), (250, 4)];

/// Makes a source without input, and a sink that keeps what it is given.
struct Operators;

impl OperatorFactory for Operators {
    fn link(
        &self,
        _context: OperatorContext,
        _target: ErasedDownstream,
        _side_outputs: Vec<(String, ErasedDownstream)>,
    ) -> Result<ErasedDownstream> {
        Ok(Box::new(Box::new(Collector::<u64>::default()) as Box<dyn Downstream<u64>>))
    }

    fn source(&self, _context: OperatorContext, target: ErasedDownstream) -> Result<Box<dyn Head>> {
        let target = target.downcast().map_err(|_| Error::internal("all records are numbers"))?;
        Ok(Box::new(Source { target: *target }))
    }

    fn fan_out(&self, _targets: Vec<ErasedDownstream>) -> ErasedDownstream {
        Box::new(())
    }

    fn enumerator(&self) -> Result<Option<Box<dyn SplitEnumerator>>> {
        Ok(None)
    }

    fn settler(&self) -> Result<Option<Box<dyn Settler>>> {
        Ok(None)
    }

    fn check(&self, _checkpoint_interval_ms: u64) -> Result<()> {
        Ok(())
    }
}

struct Source {
    target: Box<dyn Downstream<u64>>,
}

impl Head for Source {
    fn open(&mut self) -> Result<()> {
        self.target.open()
    }

    fn is_source(&self) -> bool {
        true
    }

    fn resume(&mut self) -> Result<bool> {
        self.target.resume()
    }

    fn read(&mut self, _time: StepTime) -> Result<Next> {
        Ok(Next::Nothing)
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.target.signal(signal)
    }

    fn barrier(
        &mut self,
        barrier: Barrier,
        snapshots: &mut Vec<(OperatorUid, OperatorSnapshot)>,
    ) -> Result<()> {
        self.target.barrier(barrier, snapshots)
    }

    fn event(&mut self, event: TaskEvent, committed: &mut Vec<(OperatorUid, CheckpointId)>) -> Result<()> {
        self.target.event(event, committed)
    }

    fn flush(&mut self) -> Result<()> {
        self.target.flush()
    }

    fn is_ready(&mut self) -> bool {
        self.target.is_ready()
    }

    fn next_timer(&self) -> Option<ProcessingTime> {
        self.target.next_timer()
    }
}

struct Silent;

impl TaskListener for Silent {
    fn report(&self, _task: TaskId, _fact: TaskFact<FrozenSnapshot>) {}
}

fn program() -> JobProgram {
    let node = |uid, role| OperatorNode {
        uid: OperatorUid::new(uid).expect("the name is allowed"),
        role,
        description: String::new(),
        parallelism: None,
        states: Vec::new(),
        side_outputs: Vec::new(),
        needs_event_time: false,
    };
    let mut graph = JobGraph::default();
    let nodes = [
        node("source", OperatorRole::Source(WatermarkStrategy::Undeclared)),
        node("sink", OperatorRole::Sink(DeliveryGuarantee::None)),
    ];
    let [from, to] = nodes.map(|node| graph.add_operator(node).expect("the names differ"));
    graph.add_edge(GraphEdge {
        from,
        side_output: None,
        to,
        partitioning: Partitioning::Hash,
        schema: u64::schema(),
    });
    let edge = Edge::new(|_sender, channels| {
        Box::new(HashPartitioner::new(|n: &u64| *n, MaxParallelism::default(), channels))
    });
    JobProgram {
        graph,
        operators: vec![Arc::new(Operators), Arc::new(Operators)],
        edges: vec![Arc::new(edge)],
    }
}

fn deployment(parallelism: u32, processes: PeerIndex) -> Deployment {
    Deployment {
        job: Arc::default(),
        attempt: AttemptId(1),
        generation: Generation(1),
        restored_checkpoint: None,
        me: 0,
        locations: (0..parallelism).map(|subtask| subtask % processes).collect(),
        restored: BTreeMap::new(),
    }
}

fn main() {
    let program = program();
    let listener: Arc<dyn TaskListener> = Arc::new(Silent);
    let mut millis = vec![Vec::new(); CASES.len()];
    for _round in 0..ROUNDS {
        for (&(parallelism, processes), millis) in CASES.iter().zip(&mut millis) {
            let plan = ExecutionPlan::new(program.graph.clone(), parallelism).expect("the graph is complete");
            let deployment = deployment(parallelism, processes);
            let start = SystemClock.now();
            let tasks = deployment::build(&program, &plan, deployment, &listener);
            let elapsed = SystemClock.now().since(start);
            tasks.expect("all components can be made");
            millis.push(elapsed.as_secs_f64() * 1e3);
        }
    }
    for ((parallelism, processes), millis) in CASES.iter().zip(&mut millis) {
        millis.sort_by(f64::total_cmp);
        println!(
            "{:8.2} ms  ({:.2} to {:.2})  parallelism {parallelism}, processes: {processes}",
            millis[ROUNDS / 2],
            millis[0],
            millis[ROUNDS - 1]
        );
    }
}
