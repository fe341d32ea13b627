//! Builds the tasks of one process from the plan: chains, queues to tasks here, links to tasks elsewhere.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, mpsc},
};

use flott_core::{
    AttemptId, CheckpointId, EdgeId, Generation, JobIdentity, OperatorId, OperatorUid, Result, SubtaskIndex,
    VertexId,
    operator::{OperatorContext, OperatorMetrics},
    snapshot::RestoredOperator,
};
use flott_plan::{ExecutionPlan, Vertex};

use crate::{
    exchange::{ChannelId, PeerIndex, PeerLink},
    program::{ErasedChannel, ErasedDownstream, InputChannel, JobProgram, OutputChannel},
    slot::SlotWaker,
    task::{Task, TaskCommand, TaskHead, TaskListener},
};

/// Commands that wait for a task at most: splits, triggers and completions, all few.
const COMMANDS_MAX: usize = 1024;

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

/// Sends commands to a task and wakes its slot.
#[derive(Clone, Debug)]
pub struct TaskHandle {
    commands: mpsc::SyncSender<TaskCommand>,
    waker: SlotWaker,
}

impl TaskHandle {
    /// Sends a command; `false` when the task is gone or does not take commands any more.
    #[must_use]
    pub fn send(&self, command: TaskCommand) -> bool {
        let is_sent = self.commands.try_send(command).is_ok();
        self.waker.wake();
        is_sent
    }
}

/// All that one process runs of an attempt, not started yet.
pub struct DeployedTasks {
    /// By subtask index: the slot's waker and its tasks.
    pub slots: BTreeMap<SubtaskIndex, (SlotWaker, Vec<Task>)>,
    /// How to talk to the tasks.
    pub handles: BTreeMap<(VertexId, SubtaskIndex), TaskHandle>,
    /// What must be connected before the tasks start.
    pub links: HashMap<PeerIndex, PeerLink>,
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
    builder.make_local_channels();
    let here: Vec<_> = builder.wakers.keys().copied().collect();
    let mut slots: BTreeMap<_, _> =
        builder.wakers.iter().map(|(&index, waker)| (index, (waker.clone(), Vec::new()))).collect();
    let mut handles = BTreeMap::new();
    for vertex in &plan.vertices {
        for &subtask in here.iter().filter(|index| index.0 < vertex.parallelism) {
            let head = builder.head(vertex, subtask)?;
            let (commands, receiver) = mpsc::sync_channel(COMMANDS_MAX);
            let waker = builder.wakers[&subtask].clone();
            handles.insert((vertex.id, subtask), TaskHandle { commands, waker });
            let task = Task::new(vertex.id, subtask, head, receiver, Arc::clone(listener));
            if let Some((_, tasks)) = slots.get_mut(&subtask) {
                tasks.push(task);
            }
        }
    }
    Ok(DeployedTasks { slots, handles, links: builder.links, metrics: builder.metrics })
}

struct Builder<'a> {
    program: &'a JobProgram,
    plan: &'a ExecutionPlan,
    deployment: Deployment,
    /// One waker per slot used here, by subtask index.
    wakers: BTreeMap<SubtaskIndex, SlotWaker>,
    senders: HashMap<ChannelId, ErasedChannel>,
    receivers: HashMap<ChannelId, ErasedChannel>,
    links: HashMap<PeerIndex, PeerLink>,
    metrics: Vec<SubtaskMetrics>,
}

impl<'a> Builder<'a> {
    fn new(program: &'a JobProgram, plan: &'a ExecutionPlan, deployment: Deployment) -> Self {
        let indexes = (0..).map(SubtaskIndex).zip(&deployment.locations);
        let here = indexes.filter(|&(_, &peer)| peer == deployment.me);
        let wakers = here.map(|(index, _)| (index, SlotWaker::default())).collect();
        // Every pair is connected, whether or not a channel needs it: so a lost TaskManager is noticed by all.
        let peers = deployment.locations.iter().filter(|&&peer| peer != deployment.me);
        let links = peers.map(|&peer| (peer, PeerLink::default())).collect();
        Self {
            program,
            plan,
            deployment,
            wakers,
            senders: HashMap::new(),
            receivers: HashMap::new(),
            links,
            metrics: Vec::new(),
        }
    }

    fn location(&self, subtask: SubtaskIndex) -> PeerIndex {
        self.deployment.locations[subtask.0 as usize]
    }

    fn make_local_channels(&mut self) {
        let plan = self.plan;
        for (edge, _) in plan.graph.edges().filter(|(edge, _)| !plan.is_chained(*edge)) {
            for (from, to) in plan.channels(edge) {
                if let (Some(sender), Some(receiver)) = (self.wakers.get(&from), self.wakers.get(&to)) {
                    let factory = self.program.edge(edge);
                    let (sending, receiving) = factory.local_channel(sender.clone(), receiver.clone());
                    self.senders.insert(channel_id(edge, from, to), sending);
                    self.receivers.insert(channel_id(edge, from, to), receiving);
                }
            }
        }
    }

    fn head(&mut self, vertex: &Vertex, subtask: SubtaskIndex) -> Result<TaskHead> {
        let first = vertex.operators[0];
        if self.plan.source_of(vertex).is_some() {
            let target = self.outputs(vertex, first, subtask)?;
            let context = self.context(first, subtask, vertex.parallelism);
            return Ok(TaskHead::Source(self.program.operator(first).source(context, target)?));
        }
        let target = self.link(vertex, first, subtask)?;
        let mut channels = Vec::new();
        for &edge in &vertex.inputs {
            for (from, _) in self.plan.channels(edge).into_iter().filter(|&(_, to)| to == subtask) {
                channels.push(self.input_channel(edge, from, subtask));
            }
        }
        let factory = self.program.edge(vertex.inputs[0]);
        Ok(TaskHead::Input(factory.input(channels, target)))
    }

    /// An operator and all that is chained behind it.
    fn link(
        &mut self,
        vertex: &Vertex,
        operator: OperatorId,
        subtask: SubtaskIndex,
    ) -> Result<ErasedDownstream> {
        let target = self.outputs(vertex, operator, subtask)?;
        let side_outputs = self.side_outputs(operator, subtask);
        let context = self.context(operator, subtask, vertex.parallelism);
        self.program.operator(operator).link(context, target, side_outputs)
    }

    /// Where an operator's main output goes: chained operators and exchanges.
    fn outputs(
        &mut self,
        vertex: &Vertex,
        operator: OperatorId,
        subtask: SubtaskIndex,
    ) -> Result<ErasedDownstream> {
        let plan = self.plan;
        let mut targets = Vec::new();
        for (edge, between) in plan.graph.outputs(operator).filter(|(_, edge)| edge.side_output.is_none()) {
            targets.push(if plan.is_chained(edge) {
                self.link(vertex, between.to, subtask)?
            } else {
                self.exchange_output(edge, subtask)
            });
        }
        Ok(match targets.len() {
            1 => targets.remove(0),
            _ => self.program.operator(operator).fan_out(targets),
        })
    }

    fn side_outputs(
        &mut self,
        operator: OperatorId,
        subtask: SubtaskIndex,
    ) -> Vec<(String, ErasedDownstream)> {
        let plan = self.plan;
        let edges = plan.graph.outputs(operator);
        let named = edges.filter_map(|(edge, between)| Some((between.side_output.clone()?, edge)));
        named.map(|(name, edge)| (name, self.exchange_output(edge, subtask))).collect()
    }

    fn exchange_output(&mut self, edge: EdgeId, subtask: SubtaskIndex) -> ErasedDownstream {
        let receivers = self.plan.channels(edge).into_iter().filter(|&(from, _)| from == subtask);
        let channels: Vec<_> = receivers.map(|(from, to)| self.output_channel(edge, from, to)).collect();
        self.program.edge(edge).output(subtask, channels)
    }

    fn output_channel(&mut self, edge: EdgeId, from: SubtaskIndex, to: SubtaskIndex) -> OutputChannel {
        let id = channel_id(edge, from, to);
        match self.senders.remove(&id) {
            Some(sender) => OutputChannel::Local(sender),
            None => {
                let waker = self.wakers[&from].clone();
                let peer = self.location(to);
                OutputChannel::Remote(self.links.entry(peer).or_default().output(id, waker))
            }
        }
    }

    fn input_channel(&mut self, edge: EdgeId, from: SubtaskIndex, to: SubtaskIndex) -> InputChannel {
        let id = channel_id(edge, from, to);
        match self.receivers.remove(&id) {
            Some(receiver) => InputChannel::Local(receiver),
            None => {
                let waker = self.wakers[&to].clone();
                let peer = self.location(from);
                InputChannel::Remote(self.links.entry(peer).or_default().input(id, waker))
            }
        }
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
