//! Finds the JobManager, and finds it again.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use flott_core::{Error, ErrorKind};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{
    Connection, Member,
    exchange::{self, Exchange},
    handshake::{NotRegistered, Registration, register},
    session::{Session, SessionEnd},
};
use crate::{
    launch::TaskManagerOutcome,
    progress::{ProgressListener, Silent},
    rpc::connection::prepare,
    termination::StopRequests,
};

const RETRY_DELAY_FIRST: Duration = Duration::from_millis(50);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A TaskManager that joins the JobManager at an address, as often as needed.
pub(crate) struct Membership {
    member: Arc<Member>,
    address: String,
    exchange: Exchange,
}

impl Membership {
    pub(crate) fn new(member: Arc<Member>, progress: Arc<dyn ProgressListener>) -> Self {
        let address = member.settings.jobmanager.clone();
        let exchange = Exchange::new(member.network.clone(), progress);
        Self { member, address, exchange }
    }

    /// Runs until the job is over, a signal comes, or there is no JobManager for too long.
    pub(crate) async fn run(mut self, mut stop: StopRequests) -> TaskManagerOutcome {
        let listen = self.member.settings.listen.clone();
        // An address that cannot be used is known before there is a JobManager.
        if !listen.is_empty()
            && let Err(error) = self.exchange.listen(listen).await
        {
            return TaskManagerOutcome::Failed(error);
        }
        let mut patience = self.member.settings.jobmanager_timeout;
        loop {
            let registration = tokio::select! {
                joined = self.join(patience) => match joined {
                    Ok(registration) => registration,
                    Err(error) => return TaskManagerOutcome::Failed(error),
                },
                signal = stop.next() => return TaskManagerOutcome::Signalled(signal),
            };
            let epoch = registration.epoch;
            patience = registration.job.settings.jobmanager_timeout;
            match Session::run(Arc::clone(&self.member), registration, &mut stop).await {
                SessionEnd::JobManagerGone(reason) => {
                    tracing::warn!(epoch = epoch.0, reason, "the JobManager went away; waiting for it");
                }
                end => return outcome(end),
            }
        }
    }

    /// Registers, trying again until the time is up.
    async fn join(&mut self, patience: Duration) -> Result<Registration, Error> {
        let clock = &self.member.clock;
        let (since, mut delay) = (clock.now(), RETRY_DELAY_FIRST);
        loop {
            let error = match self.connect().await {
                Ok((stream, local)) => {
                    let address = exchange::address(&self.member.settings.listen, local);
                    let exchange = self.exchange.listen(address).await?;
                    match register(&self.member, stream, exchange).await {
                        Ok(registration) => return Ok(registration),
                        Err(NotRegistered::Refused(error)) => return Err(error),
                        Err(NotRegistered::Lost(error)) => error,
                    }
                }
                Err(error) => error,
            };
            if clock.now().since(since) + delay > patience {
                return Err(Error::new(
                    ErrorKind::Unreachable,
                    format!(
                        "no JobManager at {} within {patience:?}: {error}; check `--jobmanager`, and that it runs and \
                         listens on an address that can be reached from here",
                        self.address
                    ),
                ));
            }
            tracing::debug!(%error, address = self.address, "no JobManager yet");
            sleep(delay).await;
            delay = (delay * 2).min(RETRY_DELAY_MAX);
        }
    }

    /// A connection to the JobManager, and the address of this end.
    async fn connect(&self) -> Result<(Connection, SocketAddr), Error> {
        let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.address)).await;
        let stream = connecting.map_err(|_| Error::transient("no answer"))??;
        prepare(&stream)?;
        let local = stream.local_addr()?;
        Ok((Box::new(stream), local))
    }
}

/// Runs a TaskManager over a pipe to a JobManager in the same process. There is no other JobManager to wait for.
pub(crate) async fn serve_pipe(
    member: Arc<Member>,
    pipe: Connection,
    mut stop: StopRequests,
) -> TaskManagerOutcome {
    let mut exchange = Exchange::new(member.network.clone(), Arc::new(Silent));
    let exchange = match exchange.listen("127.0.0.1:0".into()).await {
        Ok(exchange) => exchange,
        Err(error) => return TaskManagerOutcome::Failed(error),
    };
    match register(&member, pipe, exchange).await {
        Ok(registration) => outcome(Session::run(member, registration, &mut stop).await),
        Err(NotRegistered::Refused(error)) => TaskManagerOutcome::Failed(error),
        // Such as one that finds that the job has finished before.
        Err(NotRegistered::Lost(error)) => outcome(SessionEnd::JobManagerGone(error.to_string())),
    }
}

fn outcome(end: SessionEnd) -> TaskManagerOutcome {
    match end {
        SessionEnd::JobOver(failure) => TaskManagerOutcome::JobOver(failure.map(Error::from)),
        SessionEnd::Signalled(signal) => TaskManagerOutcome::Signalled(signal),
        SessionEnd::Stuck(error) => TaskManagerOutcome::Failed(error),
        SessionEnd::JobManagerGone(reason) => {
            let message = format!("the JobManager went away: {reason}");
            TaskManagerOutcome::Failed(Error::new(ErrorKind::Unreachable, message))
        }
    }
}
