//! Brings tasks to the point where they can be started: restores their state, builds them, connects them.

use std::{collections::BTreeMap, sync::Arc};

use flott_core::{Error, OperatorUid, Result, SubtaskIndex, snapshot::RestoredOperator};
use flott_runtime::{
    deployment::{self, DeployedTasks, Deployment},
    exchange::SessionKey,
    task::TaskListener,
};
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    Job, Member,
    evidence::{Event, Prepared, SessionListener, on_peer_lost},
};
use crate::rpc::message::Deploy;

/// Why tasks could not be prepared.
pub(super) enum NotPrepared {
    /// The checkpoint cannot be read: an older one may have to do.
    Damaged(Error),
    /// Anything else.
    Failed(Error),
}

impl From<Error> for NotPrepared {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Prepares the tasks of an attempt.
pub(super) async fn prepare(
    member: Arc<Member>,
    job: Arc<Job>,
    epoch: u64,
    deploy: Deploy,
    events: mpsc::Sender<Event>,
) -> Result<Prepared, NotPrepared> {
    let key = SessionKey { epoch, attempt: deploy.attempt.0, cluster: job.cluster };
    let (me, peers, attempt) = (deploy.me, deploy.peers.clone(), deploy.attempt);
    let listener = SessionListener { attempt, events: events.clone() };
    let building = tokio::task::spawn_blocking(move || build(&job, deploy, Arc::new(listener)));
    let tasks = building.await;
    let mut tasks = tasks
        .unwrap_or_else(|error| Err(Error::user(format!("an operator could not be made: {error}")).into()))?;
    let links = std::mem::take(&mut tasks.links).into_iter();
    let links: Vec<_> = links
        .map(|(peer, link)| (peer, peers.get(peer as usize).cloned().unwrap_or_default(), link))
        .collect();
    let on_lost = on_peer_lost(attempt, peers, events);
    let listener = Arc::clone(&member.exchange);
    let connecting = member.network.spawn(async move { listener.connect(key, me, links, on_lost).await });
    let exchange = connecting.await.map_err(|error| Error::internal(error.to_string()))??;
    Ok(Prepared { tasks, exchange })
}

fn build(job: &Job, deploy: Deploy, listener: Arc<dyn TaskListener>) -> Result<DeployedTasks, NotPrepared> {
    let restored = restore(job, &deploy, &Handle::current()).map_err(NotPrepared::Damaged)?;
    let deployment = Deployment {
        job: Arc::new(deploy.job),
        attempt: deploy.attempt,
        generation: deploy.generation,
        restored_checkpoint: deploy.restore.as_ref().map(|manifest| manifest.checkpoint),
        me: deploy.me,
        locations: deploy.locations,
        restored,
    };
    Ok(deployment::build(&job.program, &job.plan, deployment, &listener)?)
}

/// Reads the key groups of the subtasks that run here.
fn restore(
    job: &Job,
    deploy: &Deploy,
    runtime: &Handle,
) -> Result<BTreeMap<(SubtaskIndex, OperatorUid), RestoredOperator>> {
    let Some(manifest) = &deploy.restore else { return Ok(BTreeMap::new()) };
    let graph = &job.plan.graph;
    let mut restored = BTreeMap::new();
    for vertex in &job.plan.vertices {
        let subtasks = (0..vertex.parallelism).map(SubtaskIndex);
        for subtask in subtasks.filter(|index| deploy.locations.get(index.0 as usize) == Some(&deploy.me)) {
            let groups = graph.max_parallelism.key_groups(subtask, vertex.parallelism);
            for &operator in &vertex.operators {
                let uid = &graph.operator(operator).uid;
                let operator = runtime.block_on(job.storage.restore(manifest, uid, groups));
                let operator = operator.map_err(|error| {
                    error.context(format!("operator {:?}: cannot restore its state", uid.as_str()))
                })?;
                restored.insert((subtask, uid.clone()), operator);
            }
        }
    }
    Ok(restored)
}
