//! Brings tasks to the point where they can be started: restores their state, builds them, connects them. All of it may
//! take long, and ends soon when the attempt is cancelled.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use flott_core::{Error, OperatorUid, Result, SubtaskIndex, snapshot::RestoredOperator};
use flott_runtime::{
    deployment::{self, DeployedTasks, Deployment},
    exchange::{ExchangeListener, PeerPatience, SessionKey},
    task::TaskListener,
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::spawn_blocking,
};

use super::{
    Job, Member,
    event::{Event, Prepared, SessionListener, on_peer_lost},
};
use crate::rpc::message::Deploy;

/// Why tasks could not be prepared.
pub(super) enum NotPrepared {
    /// The checkpoint cannot be read: an older one may have to do.
    Damaged(Error),
    /// The attempt was cancelled.
    Cancelled,
    /// Anything else.
    Failed(Error),
}

impl From<Error> for NotPrepared {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Prepares the tasks of an attempt, until `cancelled` becomes true.
pub(super) async fn prepare(
    member: Arc<Member>,
    exchange: Arc<ExchangeListener>,
    job: Arc<Job>,
    epoch: u64,
    deploy: Deploy,
    mut cancelled: watch::Receiver<bool>,
    events: mpsc::Sender<Event>,
) -> Result<Prepared, NotPrepared> {
    let key = SessionKey { epoch, attempt: deploy.attempt.0, cluster: job.cluster };
    let (me, peers, attempt) = (deploy.me, deploy.peers.clone(), deploy.attempt);
    let patience = PeerPatience {
        // The JobManager knows when it is too late.
        arrival_timeout: job.settings.job_settings().deploy_timeout,
        heartbeat_interval: job.settings.heartbeat_interval,
        heartbeat_timeout: job.settings.heartbeat_timeout,
    };
    let listener = SessionListener { attempt, events: events.clone() };
    let while_building = cancelled.clone();
    let building = spawn_blocking(move || build(&job, deploy, while_building, Arc::new(listener)));
    let tasks = building.await;
    let mut tasks = tasks
        .unwrap_or_else(|error| Err(Error::user(format!("an operator could not be made: {error}")).into()))?;
    let links = std::mem::take(&mut tasks.links).into_iter();
    let links: Vec<_> = links
        .map(|(peer, link)| (peer, peers.get(peer as usize).cloned().unwrap_or_default(), link))
        .collect();
    let on_lost = on_peer_lost(attempt, peers, events);
    let mut connecting =
        member.network.spawn(async move { exchange.connect(key, me, links, patience, on_lost).await });
    match unless_cancelled(&mut cancelled, &mut connecting).await {
        Ok(connected) => {
            let exchange = connected.map_err(|error| Error::internal(error.to_string()))??;
            Ok(Prepared { tasks, exchange })
        }
        Err(cancelled) => {
            connecting.abort();
            // Dropping operators may block on what they hold.
            let _ = spawn_blocking(move || drop(tasks)).await;
            Err(cancelled)
        }
    }
}

/// What comes out of `work`, unless the attempt is cancelled or forgotten before.
async fn unless_cancelled<T>(
    cancelled: &mut watch::Receiver<bool>,
    work: impl Future<Output = T>,
) -> Result<T, NotPrepared> {
    tokio::select! {
        biased;
        _ = cancelled.wait_for(|&is_cancelled| is_cancelled) => Err(NotPrepared::Cancelled),
        done = work => Ok(done),
    }
}

fn build(
    job: &Job,
    deploy: Deploy,
    cancelled: watch::Receiver<bool>,
    listener: Arc<dyn TaskListener>,
) -> Result<DeployedTasks, NotPrepared> {
    let restored = restore(job, &deploy, cancelled, &Handle::current())?;
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
    mut cancelled: watch::Receiver<bool>,
    runtime: &Handle,
) -> Result<BTreeMap<(SubtaskIndex, OperatorUid), RestoredOperator>, NotPrepared> {
    let Some(manifest) = &deploy.restore else { return Ok(BTreeMap::new()) };
    let graph = &job.plan.graph;
    let mut restored = BTreeMap::new();
    for vertex in &job.plan.vertices {
        let subtasks = (0..vertex.parallelism).map(SubtaskIndex);
        for subtask in subtasks.filter(|index| deploy.locations.get(index.0 as usize) == Some(&deploy.me)) {
            let groups = graph.max_parallelism.key_groups(subtask, vertex.parallelism);
            for &operator in &vertex.operators {
                let uid = &graph.operator(operator).uid;
                let restoring = job.storage.restore(manifest, uid, groups);
                let operator = runtime.block_on(unless_cancelled(&mut cancelled, restoring))?;
                let operator = operator.map_err(|error| {
                    let context = format!("operator {:?}: cannot restore its state", uid.as_str());
                    NotPrepared::Damaged(error.context(context))
                })?;
                restored.insert((subtask, uid.clone()), operator);
            }
        }
    }
    Ok(restored)
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use flott_core::{AttemptId, MonotonicTime};

    use super::*;
    use crate::taskmanager::attempt::Attempt;

    #[tokio::test]
    async fn a_cancelled_attempt_waits_for_nothing() {
        let mut attempt = Attempt::new(AttemptId(1));
        let mut cancelled = attempt.cancelled();
        assert!(matches!(unless_cancelled(&mut cancelled, async { 7 }).await, Ok(7)));
        attempt.cancel(MonotonicTime::ZERO, Duration::from_secs(30));
        let restoring = unless_cancelled(&mut cancelled, pending::<()>()).await;
        assert!(matches!(restoring, Err(NotPrepared::Cancelled)));
    }

    #[tokio::test]
    async fn an_attempt_that_is_forgotten_waits_for_nothing() {
        let mut cancelled = Attempt::new(AttemptId(1)).cancelled();
        let restoring = unless_cancelled(&mut cancelled, pending::<()>()).await;
        assert!(matches!(restoring, Err(NotPrepared::Cancelled)));
    }
}
