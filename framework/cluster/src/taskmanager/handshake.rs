//! Makes sure that this binary and the JobManager's run the same program.

use std::{sync::Arc, time::Duration};

use flott_core::{Error, ErrorKind, LeaderEpoch, Result, ResultExt};
use flott_plan::{ExecutionPlan, JobGraph};
use flott_runtime::{exchange::ExchangeListener, program::JobProgram};
use flott_state::storage::CheckpointStorage;
use tokio::{io::AsyncWriteExt, time::timeout};

use super::{Connection, Job, Member, directory::find_leader};
use crate::{
    rpc::{
        connection::{Outbox, Reader, split},
        frame::{self, FRAME_BYTES_MAX},
        message::{Hello, Reception, ToJobManager, Welcome},
    },
    settings::ClusterSettings,
};

/// Time for a JobManager in another process to answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a JobManager that runs the same program.
pub(super) struct Registration {
    pub(super) epoch: LeaderEpoch,
    pub(super) job: Arc<Job>,
    pub(super) exchange: Arc<ExchangeListener>,
    pub(super) reader: Reader,
    pub(super) outbox: Outbox<ToJobManager>,
    pub(super) writing: tokio::task::JoinHandle<()>,
}

/// Why there is none.
pub(super) enum NotRegistered {
    /// Try again: the connection broke.
    Lost(Error),
    /// Try again: the JobManager is there, and does not lead yet.
    NotLeading,
    /// Do not: refused, or another program.
    Refused(Error),
}

/// Registers over a new connection.
pub(super) async fn register(
    member: &Arc<Member>,
    stream: Connection,
    exchange: Arc<ExchangeListener>,
    answer_timeout: Duration,
) -> Result<Registration, NotRegistered> {
    let (mut reader, mut writer) = split(stream);
    let hello = Hello {
        build_id: member.build_id.clone(),
        slots: member.settings.slots,
        exchange_port: exchange.port(),
    };
    let reception = timeout(answer_timeout, async {
        frame::write_preamble(&mut writer).await?;
        let frame = frame::encode(&hello)?;
        writer.write_all(&frame).await.or_error(ErrorKind::Transient, "cannot send")?;
        writer.flush().await.or_error(ErrorKind::Transient, "cannot send")?;
        member.security.expect_answer(&mut reader).await?;
        frame::read::<Reception>(&mut reader, FRAME_BYTES_MAX).await
    });
    let reception = reception.await.unwrap_or_else(|_| Err(Error::transient("it did not answer in time")));
    let welcome = match reception.map_err(NotRegistered::Lost)? {
        None => return Err(NotRegistered::Lost(Error::transient("it closed the connection"))),
        Some(Reception::NotLeading) => return Err(NotRegistered::NotLeading),
        Some(Reception::Refused) => return Err(NotRegistered::Refused(refused(&member.settings))),
        Some(Reception::Welcome(welcome)) => *welcome,
    };
    let epoch = welcome.epoch;
    let (outbox, writing) = Outbox::start(epoch, writer);
    match adopt(welcome, member).await {
        Ok(job) => {
            // Other TaskManagers hear of this one as soon as it has registered.
            exchange.expect(job.cluster, epoch.0);
            outbox.send(ToJobManager::Registered).map_err(NotRegistered::Lost)?;
            tracing::info!(epoch = epoch.0, "registered with the JobManager");
            Ok(Registration { epoch, job: Arc::new(job), exchange, reader, outbox, writing })
        }
        Err(error) => {
            let _ = outbox.send(ToJobManager::Mismatch { reason: error.to_string() });
            drop(outbox);
            let _ = writing.await;
            Err(NotRegistered::Refused(error))
        }
    }
}

fn refused(settings: &ClusterSettings) -> Error {
    let address = &settings.jobmanager;
    Error::new(
        ErrorKind::Incompatible,
        format!(
            "the JobManager at {address} has refused this TaskManager, and its log says why; most likely the two were \
             started from different binaries"
        ),
    )
}

/// Becomes part of the JobManager's job: builds the same program and finds the same checkpoints.
async fn adopt(welcome: Welcome, member: &Arc<Member>) -> Result<Job> {
    let (welcome, building) = (Arc::new(welcome), Arc::clone(member));
    let told = Arc::clone(&welcome);
    let built = tokio::task::spawn_blocking(move || build(&told, &building)).await;
    let panicked = |error| Error::user(format!("the job's `main` panicked: {error}"));
    let (program, plan, settings) = built.map_err(panicked)??;
    let storage = CheckpointStorage::open(&settings.checkpoint_dir).await?;
    find_leader(&storage, &welcome, &settings.jobmanager, &*member.clock).await?;
    Ok(Job { program, plan, settings, storage, cluster: welcome.cluster, epoch: welcome.epoch })
}

/// Builds the program from what the JobManager says, and compares. Runs the user's `main`, which may block.
fn build(welcome: &Welcome, member: &Member) -> Result<(JobProgram, ExecutionPlan, ClusterSettings)> {
    let parse = "the JobManager's welcome cannot be read";
    let parameters = serde_json::from_str(&welcome.parameters).or_error(ErrorKind::Incompatible, parse)?;
    let settings: ClusterSettings =
        serde_json::from_str(&welcome.settings).or_error(ErrorKind::Incompatible, parse)?;
    let settings = settings.adopted_by(&member.settings);
    let program = (member.build_program)(&parameters, &settings)?;
    compare(&program, welcome)?;
    let plan = ExecutionPlan::new(program.graph.clone(), settings.parallelism)?;
    Ok((program, plan, settings))
}

fn compare(program: &JobProgram, welcome: &Welcome) -> Result<()> {
    if program.graph.fingerprint() == welcome.fingerprint {
        return Ok(());
    }
    let theirs: Option<JobGraph> = serde_json::from_str(&welcome.graph).ok();
    let difference = theirs.and_then(|theirs| program.graph.difference(&theirs));
    Err(Error::new(
        ErrorKind::Incompatible,
        format!(
            "this TaskManager builds another plan than the JobManager of job {:?}, although both run the same binary: {}; \
             the job's `main` must depend on its parameters and settings alone",
            welcome.job_name,
            difference.as_deref().unwrap_or("the plans differ")
        ),
    ))
}
