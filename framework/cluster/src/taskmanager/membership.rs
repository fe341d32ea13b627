//! Finds the JobManager, and finds it again.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use flott_core::{Error, ErrorKind};
use flott_runtime::exchange::ExchangeListener;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{
    Connection, Member,
    exchange::{self, Exchange},
    handshake::{ANSWER_TIMEOUT, NotRegistered, Registration, register},
    session::{Session, SessionEnd},
};
use crate::{
    launch::TaskManagerOutcome, progress::ProgressListener, rpc::connection::prepare,
    termination::StopRequests,
};

const RETRY_DELAY_FIRST: Duration = Duration::from_millis(50);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The JobManager of this process answers when it has checked the external systems, however long that takes. If it ends
/// before, it closes the pipe.
const LOCAL_ANSWER_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

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
            && let Err(error) = self.exchange.listen(listen, &self.member.security).await
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
        let clock = Arc::clone(&self.member.clock);
        let (mut since, mut delay) = (clock.now(), RETRY_DELAY_FIRST);
        let (mut is_put_off, mut refusal) = (false, None);
        loop {
            let error = match self.try_to_join().await {
                Ok(registration) => return Ok(registration),
                Err(NotRegistered::Refused(error)) => return Err(error),
                Err(NotRegistered::Lost(error)) => error,
                Err(NotRegistered::NotLeading) => {
                    if !is_put_off {
                        let address = &self.address;
                        tracing::warn!(
                            address,
                            "the JobManager does not lead yet, and its log says what it waits for"
                        );
                        is_put_off = true;
                    }
                    (since, refusal) = (clock.now(), None);
                    sleep(RETRY_DELAY_MAX).await;
                    continue;
                }
            };
            tracing::debug!(%error, address = self.address, "no JobManager yet");
            // A secret that is being changed reaches one process before the other: worth a warning, and another try.
            let is_refusal = error.kind() == ErrorKind::Settings;
            if is_refusal && refusal.is_none() {
                tracing::warn!(address = self.address, "cannot join the JobManager yet: {error}");
            }
            // A refusal says more than a connection that broke.
            let error = if is_refusal { error } else { refusal.take().unwrap_or(error) };
            if clock.now().since(since) + delay > patience {
                return Err(not_joined(&self.address, patience, &error));
            }
            refusal = (error.kind() == ErrorKind::Settings).then_some(error);
            sleep(delay).await;
            delay = (delay * 2).min(RETRY_DELAY_MAX);
        }
    }

    async fn try_to_join(&mut self) -> Result<Registration, NotRegistered> {
        let member = Arc::clone(&self.member);
        let (stream, local) = self.connect().await.map_err(NotRegistered::Lost)?;
        member.security.allow(local).map_err(NotRegistered::Refused)?;
        let address = exchange::address(&member.settings.listen, local);
        let exchange =
            self.exchange.listen(address, &member.security).await.map_err(NotRegistered::Refused)?;
        let secured = timeout(CONNECT_TIMEOUT, member.security.dial(stream)).await;
        let secured = secured.unwrap_or_else(|_| Err(Error::transient("no answer")));
        register(&member, secured.map_err(NotRegistered::Lost)?, exchange, ANSWER_TIMEOUT).await
    }

    /// A connection to the JobManager, and the address of this end.
    async fn connect(&self) -> Result<(TcpStream, SocketAddr), Error> {
        let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.address)).await;
        let stream = connecting.map_err(|_| Error::transient("no answer"))??;
        prepare(&stream)?;
        let local = stream.local_addr()?;
        Ok((stream, local))
    }
}

/// The error when the time to join is up.
fn not_joined(address: &str, patience: Duration, error: &Error) -> Error {
    if error.kind() == ErrorKind::Settings {
        let message = format!("cannot join the JobManager at {address}, tried for {patience:?}: {error}");
        return Error::new(ErrorKind::Settings, message);
    }
    Error::new(
        ErrorKind::Unreachable,
        format!(
            "no JobManager at {address} within {patience:?}: {error}; check `--jobmanager`, and that it runs and listens \
             on an address that can be reached from here"
        ),
    )
}

/// Runs a TaskManager over a pipe to a JobManager in the same process. There is no other JobManager to wait for.
pub(crate) async fn serve_pipe(
    member: Arc<Member>,
    pipe: Connection,
    mut stop: StopRequests,
) -> TaskManagerOutcome {
    match register(&member, pipe, Arc::new(ExchangeListener::alone()), LOCAL_ANSWER_TIMEOUT).await {
        Ok(registration) => outcome(Session::run(member, registration, &mut stop).await),
        Err(NotRegistered::Refused(error)) => TaskManagerOutcome::Failed(error),
        // Such as one that finds that the job has finished before.
        Err(NotRegistered::Lost(error)) => outcome(SessionEnd::JobManagerGone(error.to_string())),
        Err(NotRegistered::NotLeading) => outcome(SessionEnd::JobManagerGone("it does not lead".into())),
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
