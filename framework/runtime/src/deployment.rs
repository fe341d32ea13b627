//! Builds the tasks of one process from the plan: chains, queues to tasks here, links to tasks elsewhere.

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
};

use flott_core::{
    AttemptId, CheckpointId, EdgeId, Generation, JobIdentity, OperatorId, OperatorUid, Result, SubtaskIndex,
    operator::{Head, OperatorContext, OperatorMetrics},
    snapshot::RestoredOperator,
    task::{TaskAction, TaskId},
};
use flott_plan::{ExecutionPlan, Vertex};

use crate::{
    exchange::{ChannelId, PeerIndex, PeerLink},
    program::{ErasedChannel, ErasedDownstream, InputChannel, JobProgram, OutputChannel},
    slot::SlotWaker,
    task::{Task, TaskListener},
};

/// Actions that wait for a task at most: splits, triggers and completions, all few.
const ACTIONS_MAX: usize = 1024;

/// What one process is asked to run.
pub struct Deployment {
    /// The job.
    pub job: Arc<JobIdentity>,
    /// The attempt.
    pub attempt: AttemptId,
    /// Scope of transactional ids.
    pub generation: Generation,
    /// The checkpoint that the attempt starts from.
    pub restored_checkpoint: Option<CheckpointId>,
    /// This process.
    pub me: PeerIndex,
    /// Which process runs the subtasks of an index; one entry per slot that the job needs.
    pub locations: Vec<PeerIndex>,
    /// What the checkpoint has for the subtasks that run here.
    pub restored: BTreeMap<(SubtaskIndex, OperatorUid), RestoredOperator>,
}

/// Counters of one operator of one subtask.
#[derive(Clone, Debug)]
pub struct SubtaskMetrics {
    /// The operator.
    pub uid: OperatorUid,
    /// Its copy.
    pub subtask: SubtaskIndex,
    /// What is counted.
    pub metrics: Arc<OperatorMetrics>,
}

/// Sends actions to a task and wakes its slot.
#[derive(Clone, Debug)]
pub struct TaskHandle {
    actions: mpsc::SyncSender<TaskAction>,
    waker: SlotWaker,
}

impl TaskHandle {
    /// Sends an action; `false` when the task is gone or takes no actions any more.
    #[must_use]
    pub fn send(&self, action: TaskAction) -> bool {
        let is_sent = self.actions.try_send(action).is_ok();
        self.waker.wake();
        is_sent
    }
}

/// All that one process runs of an attempt, not started yet.
pub struct DeployedTasks {
    /// By subtask index: the slot's waker and its tasks.
    pub slots: BTreeMap<SubtaskIndex, (SlotWaker, Vec<Task>)>,
    /// How to talk to the tasks.
    pub handles: BTreeMap<TaskId, TaskHandle>,
    /// What must be connected before the tasks start.
    pub links: BTreeMap<PeerIndex, PeerLink>,
    /// The counters of all operators.
    pub metrics: Vec<SubtaskMetrics>,
}

/// Builds the tasks of this process.
///
/// # Errors
/// When a component cannot be made.
pub fn build(
    program: &JobProgram,
    plan: &ExecutionPlan,
    deployment: Deployment,
    listener: &Arc<dyn TaskListener>,
) -> Result<DeployedTasks> {
    let mut builder = Builder::new(program, plan, deployment);
    let mut slots = builder.slots();
    let mut handles = BTreeMap::new();
    // Senders come before receivers, and in ascending order: `Builder::arriving` relies on it.
    for vertex in &plan.vertices {
        for (&subtask, (waker, tasks)) in slots.range_mut(..SubtaskIndex(vertex.parallelism)) {
            let head = builder.head(vertex, Here { subtask, waker })?;
            let (actions, receiver) = mpsc::sync_channel(ACTIONS_MAX);
            let id = TaskId::new(vertex.id, subtask);
            handles.insert(id, TaskHandle { actions, waker: waker.clone() });
            let committers = plan.committers(vertex).map(|node| node.uid.clone());
            tasks.push(Task::new(id, committers, head, receiver, Arc::clone(listener)));
        }
    }
    Ok(DeployedTasks { slots, handles, links: builder.links, metrics: builder.metrics })
}

/// The subtask that is being built.
#[derive(Clone, Copy)]
struct Here<'a> {
    subtask: SubtaskIndex,
    /// The waker of its slot.
    waker: &'a SlotWaker,
}

struct Builder<'a> {
    program: &'a JobProgram,
    plan: &'a ExecutionPlan,
    deployment: Deployment,
    /// By subtask index: the waker of its slot; `None` in another process.
    wakers: Vec<Option<SlotWaker>>,
    /// By edge and receiving subtask: the receiving ends of queues whose sending subtasks are built, in the order of these.
    arriving: Vec<Vec<Vec<ErasedChannel>>>,
    links: BTreeMap<PeerIndex, PeerLink>,
    metrics: Vec<SubtaskMetrics>,
}

impl<'a> Builder<'a> {
    fn new(program: &'a JobProgram, plan: &'a ExecutionPlan, deployment: Deployment) -> Self {
        let locations = deployment.locations.iter();
        let wakers =
            locations.clone().map(|&peer| (peer == deployment.me).then(SlotWaker::default)).collect();
        // Every pair is connected, whether or not a channel needs it: so a lost TaskManager is noticed by all.
        let peers = locations.filter(|&&peer| peer != deployment.me);
        let links = peers.map(|&peer| (peer, PeerLink::default())).collect();
        let receivers = plan.graph.edges().map(|(_, between)| plan.vertex_of(between.to).parallelism);
        let arriving = receivers.map(|receivers| (0..receivers).map(|_| Vec::new()).collect()).collect();
        Self { program, plan, deployment, wakers, arriving, links, metrics: Vec::new() }
    }

    /// The slots used here, without tasks.
    fn slots(&self) -> BTreeMap<SubtaskIndex, (SlotWaker, Vec<Task>)> {
        let indexes = (0..).map(SubtaskIndex).zip(&self.wakers);
        indexes.filter_map(|(index, waker)| Some((index, (waker.clone()?, Vec::new())))).collect()
    }

    fn head(&mut self, vertex: &Vertex, here: Here<'_>) -> Result<Box<dyn Head>> {
        let first = vertex.operators[0];
        if self.plan.source_of(vertex).is_some() {
            let target = self.outputs(vertex, first, here)?;
            let context = self.context(first, here.subtask, vertex.parallelism);
            return self.program.operator(first).source(context, target);
        }
        let target = self.link(vertex, first, here)?;
        let mut channels = Vec::new();
        for &edge in &vertex.inputs {
            self.add_input(edge, here, &mut channels);
        }
        let factory = self.program.edge(vertex.inputs[0]);
        Ok(factory.input(channels, target))
    }

    /// An operator and all that is chained behind it.
    fn link(&mut self, vertex: &Vertex, operator: OperatorId, here: Here<'_>) -> Result<ErasedDownstream> {
        let target = self.outputs(vertex, operator, here)?;
        let side_outputs = self.side_outputs(operator, here);
        let context = self.context(operator, here.subtask, vertex.parallelism);
        self.program.operator(operator).link(context, target, side_outputs)
    }

    /// Where an operator's main output goes: chained operators and exchanges.
    fn outputs(&mut self, vertex: &Vertex, operator: OperatorId, here: Here<'_>) -> Result<ErasedDownstream> {
        let plan = self.plan;
        let mut targets = Vec::new();
        for (edge, between) in plan.graph.outputs(operator).filter(|(_, edge)| edge.side_output.is_none()) {
            targets.push(if plan.is_chained(edge) {
                self.link(vertex, between.to, here)?
            } else {
                self.exchange_output(edge, here)
            });
        }
        Ok(match targets.len() {
            1 => targets.remove(0),
            _ => self.program.operator(operator).fan_out(targets),
        })
    }

    fn side_outputs(&mut self, operator: OperatorId, here: Here<'_>) -> Vec<(String, ErasedDownstream)> {
        let plan = self.plan;
        let edges = plan.graph.outputs(operator);
        let named = edges.filter_map(|(edge, between)| Some((between.side_output.clone()?, edge)));
        named.map(|(name, edge)| (name, self.exchange_output(edge, here))).collect()
    }

    fn exchange_output(&mut self, edge: EdgeId, here: Here<'_>) -> ErasedDownstream {
        let factory = self.program.edge(edge);
        let arriving = &mut self.arriving[edge.0 as usize];
        let channels = self.plan.receivers(edge, here.subtask).map(|to| {
            let index = to.0 as usize;
            match &self.wakers[index] {
                Some(receiver) => {
                    let (sending, receiving) = factory.local_channel(here.waker.clone(), receiver.clone());
                    arriving[index].push(receiving);
                    OutputChannel::Local(sending)
                }
                None => {
                    let link = self.links.entry(self.deployment.locations[index]).or_default();
                    OutputChannel::Remote(link.output(channel_id(edge, here.subtask, to), here.waker.clone()))
                }
            }
        });
        factory.output(here.subtask, channels.collect())
    }

    fn add_input(&mut self, edge: EdgeId, here: Here<'_>, channels: &mut Vec<InputChannel>) {
        let arriving = std::mem::take(&mut self.arriving[edge.0 as usize][here.subtask.0 as usize]);
        let mut arriving = arriving.into_iter();
        channels.extend(self.plan.senders(edge, here.subtask).map(|from| {
            let index = from.0 as usize;
            if self.wakers[index].is_some() {
                InputChannel::Local(arriving.next().expect("senders are built before receivers"))
            } else {
                let link = self.links.entry(self.deployment.locations[index]).or_default();
                InputChannel::Remote(link.input(channel_id(edge, from, here.subtask), here.waker.clone()))
            }
        }));
    }

    fn context(&mut self, operator: OperatorId, subtask: SubtaskIndex, parallelism: u32) -> OperatorContext {
        let uid = self.plan.graph.operator(operator).uid.clone();
        let metrics = Arc::new(OperatorMetrics::default());
        self.metrics.push(SubtaskMetrics { uid: uid.clone(), subtask, metrics: Arc::clone(&metrics) });
        let restored = self.deployment.restored.remove(&(subtask, uid.clone())).unwrap_or_default();
        OperatorContext {
            uid,
            job: Arc::clone(&self.deployment.job),
            subtask,
            parallelism,
            max_parallelism: self.plan.graph.max_parallelism,
            attempt: self.deployment.attempt,
            generation: self.deployment.generation,
            restored_checkpoint: self.deployment.restored_checkpoint,
            restored,
            metrics,
        }
    }
}

fn channel_id(edge: EdgeId, from: SubtaskIndex, to: SubtaskIndex) -> ChannelId {
    ChannelId { edge: edge.0, from: from.0, to: to.0 }
}

#[cfg(test)]
#[path = "deployment_tests.rs"]
mod tests;
