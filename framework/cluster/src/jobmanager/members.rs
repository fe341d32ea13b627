//! Takes connections of TaskManagers and lets in those that run the same program.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use flott_core::{Error, ErrorKind, LeaderEpoch, Result, ResultExt, TaskManagerId};
use flott_runtime::exchange::{ByteStream, Strangers, quoted};
use tokio::{
    io::{AsyncWriteExt, WriteHalf},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::event::Event;
use crate::{
    rpc::{
        connection::{Outbox, Reader, prepare, receive, split},
        frame::{self, HELLO_BYTES_MAX},
        message::{self, Hello, ToJobManager, ToTaskManager, Welcome},
    },
    security::Security,
    settings::SLOTS_MAX,
};

/// Time for a stranger to prove itself and to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for a TaskManager to build its program.
const BUILD_TIMEOUT: Duration = Duration::from_secs(60);

/// Connections whose peers have not proven that they run the same program.
const STRANGERS_MAX: usize = 256;

/// By what a TaskManager of the same cluster is known.
pub(crate) struct Identity {
    pub(crate) build_id: String,
    pub(crate) job_name: String,
}

/// What every TaskManager is told when it joins.
pub(crate) struct Reception {
    pub(crate) epoch: LeaderEpoch,
    pub(crate) cluster: u64,
    pub(crate) parameters: String,
    pub(crate) settings: String,
    pub(crate) checkpoint_place: String,
    /// Number of the newest journal entry.
    pub(crate) newest_entry: Arc<AtomicU64>,
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

/// Lets TaskManagers in, one after the other, for ever. Until there is a reception, this JobManager does not lead and tells
/// them to come again.
pub(super) async fn accept(
    listener: TcpListener,
    security: Security,
    identity: Arc<Identity>,
    reception: watch::Receiver<Option<Arc<Reception>>>,
    events: mpsc::Sender<Event>,
) {
    let strangers = Arc::new(Strangers::new("rpc", STRANGERS_MAX));
    loop {
        let permit = strangers.admit().await;
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to become free.
                tracing::warn!(%error, "cannot take a connection");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (security, strangers) = (security.clone(), Arc::clone(&strangers));
        let (identity, reception, events) = (Arc::clone(&identity), reception.clone(), events.clone());
        tokio::spawn(async move {
            let met = timeout(HELLO_TIMEOUT, meet(stream, &security, &identity)).await;
            let met = met.unwrap_or_else(|_| Err(Error::transient("it did not say in time who it is")));
            drop(permit);
            let met = match met {
                Ok(met) => met,
                Err(error) => return strangers.refused(address, &error),
            };
            let reception = reception.borrow().clone();
            match reception {
                Some(reception) => let_in(met, address.ip(), &identity, &reception, &events).await,
                None => put_off(met).await,
            }
        });
    }
}

/// Lets the TaskManager of this process in, when this JobManager leads.
pub(super) async fn take_pipe(
    pipe: Box<dyn ByteStream>,
    identity: Arc<Identity>,
    mut reception: watch::Receiver<Option<Arc<Reception>>>,
    events: mpsc::Sender<Event>,
) {
    let reception = match reception.wait_for(Option::is_some).await {
        Ok(reception) => reception.clone(),
        // It never led.
        Err(_) => return,
    };
    let Some(reception) = reception else { return };
    match greet(pipe, &identity).await {
        Ok(met) => let_in(met, IpAddr::V4(Ipv4Addr::LOCALHOST), &identity, &reception, &events).await,
        Err(error) => tracing::error!(%error, "the TaskManager of this process cannot register"),
    }
}

/// A peer that runs the same binary.
struct Met {
    hello: Hello,
    reader: Reader,
    writer: WriteHalf<Box<dyn ByteStream>>,
}

async fn meet(stream: TcpStream, security: &Security, identity: &Identity) -> Result<Met> {
    prepare(&stream)?;
    greet(security.accept(stream).await?, identity).await
}

/// Listens to who a peer is. Until it has shown that it runs the same binary it learns nothing.
async fn greet(stream: Box<dyn ByteStream>, identity: &Identity) -> Result<Met> {
    let (mut reader, mut writer) = split(stream);
    frame::read_preamble(&mut reader).await?;
    let hello = frame::read::<Hello>(&mut reader, HELLO_BYTES_MAX).await?;
    let hello = hello.ok_or_else(|| Error::transient("it closed the connection"))?;
    if let Some(error) = refusal(&hello, identity) {
        writer.write_all(&frame::encode(&message::Reception::Refused)?).await?;
        writer.shutdown().await?;
        return Err(error);
    }
    Ok(Met { hello, reader, writer })
}

/// Tells a TaskManager that this JobManager does not lead yet.
async fn put_off(met: Met) {
    let Met { mut writer, .. } = met;
    let answering = async {
        writer.write_all(&frame::encode(&message::Reception::NotLeading)?).await?;
        writer.shutdown().await?;
        Ok::<_, Error>(())
    };
    if let Ok(Err(error)) = timeout(HELLO_TIMEOUT, answering).await {
        tracing::debug!(%error, "a TaskManager was not told that this JobManager does not lead yet");
    }
}

async fn let_in(
    met: Met,
    ip: IpAddr,
    identity: &Identity,
    reception: &Reception,
    events: &mpsc::Sender<Event>,
) {
    match welcome(met, ip, identity, reception).await {
        Ok(newcomer) => drop(events.send(Event::Joined(Box::new(newcomer))).await),
        Err(error) => tracing::warn!(%ip, %error, "a TaskManager has not registered"),
    }
}

async fn welcome(met: Met, ip: IpAddr, identity: &Identity, reception: &Reception) -> Result<Newcomer> {
    let Met { hello, mut reader, mut writer } = met;
    let answer = frame::encode(&message::Reception::Welcome(Box::new(Welcome {
        epoch: reception.epoch,
        cluster: reception.cluster,
        job_name: identity.job_name.clone(),
        parameters: reception.parameters.clone(),
        settings: reception.settings.clone(),
        checkpoint_place: reception.checkpoint_place.clone(),
        journal_entry: reception.newest_entry.load(Ordering::Relaxed),
        fingerprint: reception.fingerprint,
        graph: reception.graph.clone(),
    })))?;
    let sent = timeout(HELLO_TIMEOUT, async {
        writer.write_all(&answer).await?;
        writer.flush().await
    });
    let sent = sent.await.map_err(|_| Error::transient("it does not read what it is sent"))?;
    sent.or_error(ErrorKind::Transient, "cannot send")?;
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

/// The reason to refuse a peer, if there is one. The peer is not told.
fn refusal(hello: &Hello, identity: &Identity) -> Option<Error> {
    if hello.build_id != identity.build_id {
        return Some(Error::new(
            ErrorKind::Incompatible,
            format!(
                "it runs build {}, and this JobManager of job {:?} runs build {}; start both from the same binary",
                quoted(&hello.build_id),
                identity.job_name,
                quoted(&identity.build_id)
            ),
        ));
    }
    if hello.slots == 0 || hello.slots > SLOTS_MAX {
        let message = format!("a TaskManager offers between 1 and {SLOTS_MAX} slots, not {}", hello.slots);
        return Some(Error::new(ErrorKind::Settings, message));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_both_builds_and_lets_a_stranger_write_no_line_into_the_log() {
        let identity = Identity { build_id: "ours".into(), job_name: "sum".into() };
        let refuse = |build_id: &str, slots| {
            refusal(&Hello { build_id: build_id.into(), slots, exchange_port: 1 }, &identity)
        };
        assert!(refuse("ours", 1).is_none());
        let hostile = format!("theirs\n12:00 WARN all is well{}", "x".repeat(1000));
        let text = refuse(&hostile, 1).unwrap().to_string();
        assert!(text.contains("build \"theirs\\n12:00") && text.contains("build \"ours\""), "{text}");
        assert!(text.len() < 300 && !text.contains('\n'), "{text}");
        for slots in [0, SLOTS_MAX + 1] {
            assert_eq!(refuse("ours", slots).unwrap().kind(), ErrorKind::Settings);
        }
    }
}
