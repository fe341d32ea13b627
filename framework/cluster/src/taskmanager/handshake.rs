//! Makes sure that this binary and the JobManager's run the same program.

use std::{sync::Arc, time::Duration};

use flott_core::{Error, ErrorKind, LeaderEpoch, Result, ResultExt};
use flott_plan::{ExecutionPlan, JobGraph};
use flott_runtime::{exchange::ExchangeListener, program::JobProgram};
use flott_state::storage::CheckpointStorage;
use tokio::{io::AsyncWriteExt, runtime::Handle, time::timeout};

use super::{Connection, Job, Member, directory::find_leader};
use crate::{
    rpc::{
        connection::{Outbox, Reader, split},
        frame::{self, FRAME_BYTES_MAX},
        message::{Hello, Reception, ToJobManager, Welcome},
    },
    settings::ClusterSettings,
};

/// Time for the JobManager to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// Do not: refused, or another program.
    Refused(Error),
}

/// Registers over a new connection.
pub(super) async fn register(
    member: &Arc<Member>,
    stream: Connection,
    exchange: Arc<ExchangeListener>,
) -> Result<Registration, NotRegistered> {
    let (mut reader, mut writer) = split(stream);
    let hello = Hello {
        build_id: member.build_id.clone(),
        slots: member.settings.slots,
        exchange_port: exchange.port(),
    };
    let reception = timeout(ANSWER_TIMEOUT, async {
        frame::write_preamble(&mut writer).await?;
        let frame = frame::encode(&hello)?;
        writer.write_all(&frame).await.or_error(ErrorKind::Transient, "cannot send")?;
        writer.flush().await.or_error(ErrorKind::Transient, "cannot send")?;
        frame::read::<Reception>(&mut reader, FRAME_BYTES_MAX).await
    });
    let reception = reception.await.unwrap_or_else(|_| Err(Error::transient("it did not answer in time")));
    let welcome = match reception.map_err(NotRegistered::Lost)? {
        None => return Err(NotRegistered::Lost(Error::transient("it closed the connection"))),
        Some(Reception::Refused(failure)) => return Err(NotRegistered::Refused(failure.into())),
        Some(Reception::Welcome(welcome)) => *welcome,
    };
    let epoch = welcome.epoch;
    let (outbox, writing) = Outbox::start(epoch, writer);
    let adopting = Arc::clone(member);
    let built = tokio::task::spawn_blocking(move || adopt(&welcome, &adopting, &Handle::current())).await;
    let built = built.unwrap_or_else(|error| Err(Error::user(format!("the job's `main` panicked: {error}"))));
    match built {
        Ok(job) => {
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

/// Builds the program from what the JobManager says, and compares.
fn adopt(welcome: &Welcome, member: &Member, runtime: &Handle) -> Result<Job> {
    let parse = "the JobManager's welcome cannot be read";
    let parameters = serde_json::from_str(&welcome.parameters).or_error(ErrorKind::Incompatible, parse)?;
    let settings: ClusterSettings =
        serde_json::from_str(&welcome.settings).or_error(ErrorKind::Incompatible, parse)?;
    let settings = settings.adopted_by(&member.settings);
    let program = (member.build_program)(&parameters, &settings)?;
    compare(&program, welcome)?;
    let plan = ExecutionPlan::new(program.graph.clone(), settings.parallelism)?;
    let storage = runtime.block_on(CheckpointStorage::open(&settings.checkpoint_dir))?;
    let finding = find_leader(&storage, welcome, &settings.jobmanager, &*member.clock);
    runtime.block_on(finding)?;
    Ok(Job { program, plan, settings, storage, cluster: welcome.cluster, epoch: welcome.epoch })
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
