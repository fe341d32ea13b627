//! Takes connections of TaskManagers and lets in those that run the same program.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use flott_control::Failure;
use flott_core::{Error, ErrorKind, LeaderEpoch, Result, ResultExt, TaskManagerId};
use tokio::{
    io::AsyncWriteExt,
    net::TcpListener,
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::event::Event;
use crate::rpc::{
    connection::{Outbox, Reader, Stream, prepare, receive, split},
    frame::{self, HELLO_BYTES_MAX},
    message::{self, Hello, ToJobManager, ToTaskManager, Welcome},
};

/// Time for a stranger to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for a TaskManager to build its program.
const BUILD_TIMEOUT: Duration = Duration::from_secs(60);

/// Connections that have not registered yet.
const STRANGERS_MAX: usize = 256;

/// Most slots that a TaskManager may claim to have.
const SLOTS_MAX: u32 = 4096;

/// What every TaskManager is told when it joins.
pub(crate) struct Reception {
    pub(crate) build_id: String,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) cluster: u64,
    pub(crate) job_name: String,
    pub(crate) parameters: String,
    pub(crate) settings: String,
    pub(crate) checkpoint_place: String,
    pub(crate) fingerprint: u64,
    pub(crate) graph: String,
}

/// A TaskManager that may get tasks.
pub(super) struct Newcomer {
    pub(super) slots: u32,
    pub(super) exchange_address: String,
    pub(super) reader: Reader,
    pub(super) outbox: Outbox<ToTaskManager>,
    pub(super) writing: JoinHandle<()>,
}

/// Lets TaskManagers in, one after the other, for ever.
pub(super) async fn accept(listener: TcpListener, reception: Arc<Reception>, events: mpsc::Sender<Event>) {
    let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&strangers).acquire_owned().await else { return };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to become free.
                tracing::warn!(%error, "cannot take a connection");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (reception, events) = (Arc::clone(&reception), events.clone());
        tokio::spawn(async move {
            let taken = match prepare(&stream) {
                Ok(()) => welcome(Box::new(stream), address.ip(), &reception).await,
                Err(error) => Err(error.into()),
            };
            drop(permit);
            match taken {
                Ok(newcomer) => drop(events.send(Event::Joined(Box::new(newcomer))).await),
                Err(error) => tracing::warn!(%address, %error, "refused a connection"),
            }
        });
    }
}

/// Lets the TaskManager of this process in.
pub(super) async fn take_pipe(pipe: Box<dyn Stream>, reception: Arc<Reception>, events: mpsc::Sender<Event>) {
    match welcome(pipe, IpAddr::V4(Ipv4Addr::LOCALHOST), &reception).await {
        Ok(newcomer) => drop(events.send(Event::Joined(Box::new(newcomer))).await),
        Err(error) => tracing::error!(%error, "the TaskManager of this process cannot register"),
    }
}

async fn welcome(stream: Box<dyn Stream>, ip: IpAddr, reception: &Reception) -> Result<Newcomer> {
    let (mut reader, mut writer) = split(stream);
    let hello = timeout(HELLO_TIMEOUT, async {
        frame::read_preamble(&mut reader).await?;
        frame::read::<Hello>(&mut reader, HELLO_BYTES_MAX).await
    });
    let hello = hello.await.map_err(|_| Error::transient("it did not say who it is"))??;
    let hello = hello.ok_or_else(|| Error::transient("it closed the connection"))?;
    let answer = match refusal(&hello, reception) {
        Some(failure) => {
            let answer = frame::encode(&message::Reception::Refused(failure.clone()))?;
            let _ = timeout(HELLO_TIMEOUT, writer.write_all(&answer)).await;
            let _ = timeout(HELLO_TIMEOUT, writer.shutdown()).await;
            return Err(failure.into());
        }
        None => message::Reception::Welcome(Box::new(Welcome {
            epoch: reception.epoch,
            cluster: reception.cluster,
            job_name: reception.job_name.clone(),
            parameters: reception.parameters.clone(),
            settings: reception.settings.clone(),
            checkpoint_place: reception.checkpoint_place.clone(),
            fingerprint: reception.fingerprint,
            graph: reception.graph.clone(),
        })),
    };
    let answer = frame::encode(&answer)?;
    writer.write_all(&answer).await.or_error(ErrorKind::Transient, "cannot send")?;
    writer.flush().await.or_error(ErrorKind::Transient, "cannot send")?;
    let registered = timeout(BUILD_TIMEOUT, receive::<ToJobManager>(&mut reader, reception.epoch));
    match registered.await.map_err(|_| Error::transient("it did not register in time"))?? {
        Some(ToJobManager::Registered) => {}
        Some(ToJobManager::Mismatch { reason }) => return Err(Error::new(ErrorKind::Incompatible, reason)),
        Some(_) => return Err(Error::transient("it spoke before it registered")),
        None => return Err(Error::transient("it closed the connection")),
    }
    let (outbox, writing) = Outbox::start(reception.epoch, writer);
    let exchange_address = std::net::SocketAddr::new(ip, hello.exchange_port).to_string();
    Ok(Newcomer { slots: hello.slots, exchange_address, reader, outbox, writing })
}

fn refusal(hello: &Hello, reception: &Reception) -> Option<Failure> {
    if hello.build_id != reception.build_id {
        return Some(Failure::new(
            ErrorKind::Incompatible,
            format!(
                "the TaskManager runs build {} and the JobManager of job {:?} runs build {}; \
                 start both from the same binary",
                hello.build_id, reception.job_name, reception.build_id
            ),
        ));
    }
    if hello.slots == 0 || hello.slots > SLOTS_MAX {
        let message = format!("a TaskManager offers between 1 and {SLOTS_MAX} slots, not {}", hello.slots);
        return Some(Failure::new(ErrorKind::Settings, message));
    }
    None
}

/// Passes on what a TaskManager says until its connection breaks.
pub(super) async fn listen(
    id: TaskManagerId,
    epoch: LeaderEpoch,
    mut reader: Reader,
    events: mpsc::Sender<Event>,
) {
    let reason = loop {
        match receive(&mut reader, epoch).await {
            Ok(Some(message)) => {
                if events.send(Event::FromTaskManager { id, message }).await.is_err() {
                    return;
                }
            }
            Ok(None) => break "its connection was closed".to_owned(),
            Err(error) => break format!("its connection broke: {error}"),
        }
    };
    let _ = events.send(Event::TaskManagerGone { id, reason }).await;
}
