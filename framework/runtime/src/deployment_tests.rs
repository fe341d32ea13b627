//! Tests of the wiring between the subtasks of random plans over several processes.

use std::sync::Mutex;

use flott_core::{
    Record,
    sink::{DeliveryGuarantee, Settler},
    source::SplitEnumerator,
    testkit::{Random, seeds},
};
use flott_plan::{GraphEdge, JobGraph, OperatorNode, OperatorRole, Partitioning, WatermarkStrategy};

use super::*;
use crate::{
    program::{EdgeFactory, OperatorFactory},
    task::tests::{Listener, Noting},
};

/// A queue by the slots of its two ends. Both ends share it.
struct Queue {
    sender: SlotWaker,
    receiver: SlotWaker,
}

/// The channels of each sending and each receiving subtask, as they were handed to the factories.
#[derive(Default)]
struct Wiring {
    outputs: BTreeMap<(EdgeId, SubtaskIndex), Vec<OutputChannel>>,
    inputs: BTreeMap<(OperatorId, SubtaskIndex), Vec<InputChannel>>,
}

struct NotingEdge(EdgeId, Arc<Mutex<Wiring>>);

impl EdgeFactory for NotingEdge {
    fn local_channel(&self, sender: SlotWaker, receiver: SlotWaker) -> (ErasedChannel, ErasedChannel) {
        let queue = Arc::new(Queue { sender, receiver });
        (Box::new(Arc::clone(&queue)), Box::new(queue))
    }

    fn output(&self, sender: SubtaskIndex, channels: Vec<OutputChannel>) -> ErasedDownstream {
        let former = self.1.lock().unwrap().outputs.insert((self.0, sender), channels);
        assert!(former.is_none(), "an output is made once");
        Box::new(())
    }

    fn input(&self, channels: Vec<InputChannel>, target: ErasedDownstream) -> Box<dyn Head> {
        let target = *target.downcast::<(OperatorId, SubtaskIndex)>().unwrap();
        let former = self.1.lock().unwrap().inputs.insert(target, channels);
        assert!(former.is_none(), "an input is made once");
        Box::new(Noting::default())
    }
}

/// Makes links that know nothing but the operator and the subtask that they belong to.
struct NamedOperator(OperatorId);

impl OperatorFactory for NamedOperator {
    fn link(
        &self,
        context: OperatorContext,
        _target: ErasedDownstream,
        _side_outputs: Vec<(String, ErasedDownstream)>,
    ) -> Result<ErasedDownstream> {
        Ok(Box::new((self.0, context.subtask)))
    }
    fn source(&self, _context: OperatorContext, _target: ErasedDownstream) -> Result<Box<dyn Head>> {
        Ok(Box::new(Noting::default()))
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

/// A source and operators that read any operators before them, by main or side outputs, each with any parallelism.
fn random_graph(random: &mut Random) -> JobGraph {
    let mut graph = JobGraph::default();
    for number in 0..2 + random.below(6) {
        let is_source = number == 0;
        let to = graph.add_operator(OperatorNode {
            uid: OperatorUid::new(format!("o{number}")).unwrap(),
            role: if is_source {
                OperatorRole::Source(WatermarkStrategy::Undeclared)
            } else {
                OperatorRole::Sink(DeliveryGuarantee::None)
            },
            description: String::new(),
            parallelism: (!random.one_in(3)).then(|| *random.pick(&[1, 2, 3, 7])),
            states: vec![],
            // A source has none.
            side_outputs: if is_source { vec![] } else { vec!["side".into()] },
            needs_event_time: false,
        });
        let to = to.unwrap();
        let inputs = if is_source { 0 } else { 1 + random.below(3) };
        for _ in 0..inputs {
            let from = u32::try_from(random.below(number)).unwrap();
            let partitionings = [Partitioning::Forward, Partitioning::Hash, Partitioning::Rebalance];
            graph.add_edge(GraphEdge {
                from: OperatorId(from),
                side_output: (from > 0 && random.one_in(4)).then(|| "side".to_owned()),
                to,
                partitioning: *random.pick(&partitionings),
                schema: u64::schema(),
            });
        }
    }
    graph
}

/// Builds one of the processes of a deployment.
fn build_noting(plan: &ExecutionPlan, locations: &[PeerIndex], me: PeerIndex) -> (DeployedTasks, Wiring) {
    let wiring = Arc::new(Mutex::new(Wiring::default()));
    let program = JobProgram {
        graph: plan.graph.clone(),
        operators: plan.graph.operators().map(|(id, _)| Arc::new(NamedOperator(id)) as Arc<_>).collect(),
        edges: plan
            .graph
            .edges()
            .map(|(id, _)| Arc::new(NotingEdge(id, Arc::clone(&wiring))) as Arc<_>)
            .collect(),
    };
    let deployment = Deployment {
        job: Arc::default(),
        attempt: AttemptId(1),
        generation: Generation(1),
        restored_checkpoint: None,
        me,
        locations: locations.to_vec(),
        restored: BTreeMap::new(),
    };
    let listener: Arc<dyn TaskListener> = Arc::new(Listener::default());
    let tasks = build(&program, plan, deployment, &listener).unwrap();
    let wiring = std::mem::take(&mut *wiring.lock().unwrap());
    (tasks, wiring)
}

/// The queue behind the end of a local channel.
fn queue(end: &ErasedChannel) -> &Arc<Queue> {
    end.downcast_ref().unwrap()
}

/// Checks each channel that begins here, and returns the local ones.
fn check_outputs(
    plan: &ExecutionPlan,
    locations: &[PeerIndex],
    tasks: &DeployedTasks,
    wiring: &Wiring,
) -> BTreeMap<(EdgeId, SubtaskIndex, SubtaskIndex), Arc<Queue>> {
    let mut queues = BTreeMap::new();
    for (&(edge, from), channels) in &wiring.outputs {
        assert!(!plan.is_chained(edge));
        assert_eq!(plan.receivers(edge, from).len(), channels.len());
        for (to, channel) in plan.receivers(edge, from).zip(channels) {
            match channel {
                OutputChannel::Local(end) => {
                    let queue = queue(end);
                    assert!(queue.sender.is_same(&tasks.slots[&from].0));
                    assert!(queue.receiver.is_same(&tasks.slots[&to].0));
                    queues.insert((edge, from, to), Arc::clone(queue));
                }
                OutputChannel::Remote(output) => {
                    assert_eq!(output.channel, channel_id(edge, from, to));
                    let link = &tasks.links[&locations[to.0 as usize]];
                    assert!(Arc::ptr_eq(&output.outbox, &link.outbox));
                }
            }
        }
    }
    queues
}

/// Checks each channel that ends here; `queues` are the local ones.
fn check_inputs(
    plan: &ExecutionPlan,
    locations: &[PeerIndex],
    tasks: &DeployedTasks,
    wiring: &Wiring,
    mut queues: BTreeMap<(EdgeId, SubtaskIndex, SubtaskIndex), Arc<Queue>>,
) {
    for (&(operator, to), channels) in &wiring.inputs {
        let inputs = plan.vertex_of(operator).inputs.iter();
        let expected: Vec<_> =
            inputs.flat_map(|&edge| plan.senders(edge, to).map(move |from| (edge, from))).collect();
        assert_eq!(expected.len(), channels.len());
        for ((edge, from), channel) in expected.into_iter().zip(channels) {
            match channel {
                InputChannel::Local(end) => {
                    assert!(Arc::ptr_eq(queue(end), &queues.remove(&(edge, from, to)).unwrap()));
                }
                InputChannel::Remote(input) => {
                    assert_eq!(input.channel, channel_id(edge, from, to));
                    let link = &tasks.links[&locations[from.0 as usize]];
                    assert!(Arc::ptr_eq(&input.outbox, &link.outbox));
                }
            }
        }
    }
    assert!(queues.is_empty(), "nobody reads {:?}", queues.keys());
}

#[test]
fn both_ends_of_each_channel_are_those_of_the_plan() {
    for seed in seeds(500) {
        let mut random = Random::new(seed);
        let plan = ExecutionPlan::new(random_graph(&mut random), *random.pick(&[1, 2, 3, 7])).unwrap();
        let processes = 1 + random.below(3);
        let location = |_| PeerIndex::try_from(random.below(processes)).unwrap();
        let locations: Vec<_> = (0..plan.slots_needed()).map(location).collect();
        let (mut outputs, mut inputs) = (0, 0);
        for me in (0..).take(usize::try_from(processes).unwrap()) {
            let (tasks, wiring) = build_noting(&plan, &locations, me);
            outputs += wiring.outputs.len();
            inputs += wiring.inputs.len();
            let queues = check_outputs(&plan, &locations, &tasks, &wiring);
            check_inputs(&plan, &locations, &tasks, &wiring, queues);
        }
        let parallelism_of = |operator| plan.vertex_of(operator).parallelism as usize;
        let exchanges = plan.graph.edges().filter(|(edge, _)| !plan.is_chained(*edge));
        assert_eq!(outputs, exchanges.map(|(_, edge)| parallelism_of(edge.from)).sum::<usize>());
        let readers = plan.vertices.iter().filter(|vertex| !vertex.inputs.is_empty());
        assert_eq!(inputs, readers.map(|vertex| vertex.parallelism as usize).sum::<usize>());
    }
}
