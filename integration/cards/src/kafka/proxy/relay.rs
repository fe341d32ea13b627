//! One connection of a client, and one to the broker for it.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::request::{ProxiedRequest, Verdict, answered};

/// Brokers accept no longer request by default; answers are shorter.
const FRAME_BYTES_MAX: usize = 100 << 20;

/// Replacement for an answer of the broker.
enum Instead {
    Answer(Vec<u8>),
    Break,
}

pub(super) struct Relay {
    client: TcpStream,
    broker: TcpStream,
    /// The two threads write to the client in turn, whole frames each.
    to_client: Mutex<()>,
    /// By correlation id.
    instead: Mutex<BTreeMap<i32, Instead>>,
}

impl Relay {
    pub(super) fn new(client: TcpStream, broker: TcpStream) -> io::Result<Self> {
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        Ok(Self { client, broker, to_client: Mutex::default(), instead: Mutex::default() })
    }

    /// Ends both connections.
    pub(super) fn cut(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.broker.shutdown(Shutdown::Both);
    }

    /// Moves requests until a connection ends.
    pub(super) fn run_requests(&self, judge: impl Fn(&ProxiedRequest) -> Verdict) {
        while let Ok(frame) = read_frame(&self.client) {
            let Ok(request) = ProxiedRequest::read(frame) else { break };
            let instead = match judge(&request) {
                Verdict::Pass => None,
                Verdict::Swallow => continue,
                Verdict::Break => break,
                Verdict::Answer(answer) => match self.answer(&answer) {
                    Ok(()) => continue,
                    Err(_) => break,
                },
                Verdict::AnswerAfter(answer) => Some(Instead::Answer(answer)),
                Verdict::BreakAfter => Some(Instead::Break),
            };
            if let Some(instead) = instead {
                self.instead().insert(request.correlation_id(), instead);
            }
            if write_frame(&self.broker, request.frame()).is_err() {
                break;
            }
        }
        self.cut();
    }

    /// Moves answers until a connection ends.
    pub(super) fn run_answers(&self) {
        while let Ok(frame) = read_frame(&self.broker) {
            let instead = answered(&frame).and_then(|id| self.instead().remove(&id));
            let moved = match instead {
                None => self.answer(&frame),
                Some(Instead::Answer(answer)) => self.answer(&answer),
                Some(Instead::Break) => break,
            };
            if moved.is_err() {
                break;
            }
        }
        self.cut();
    }

    fn answer(&self, frame: &[u8]) -> io::Result<()> {
        let _turn = self.to_client.lock().unwrap_or_else(PoisonError::into_inner);
        write_frame(&self.client, frame)
    }

    fn instead(&self) -> MutexGuard<'_, BTreeMap<i32, Instead>> {
        self.instead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_frame(mut stream: &TcpStream) -> io::Result<Bytes> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix)?;
    let length = usize::try_from(i32::from_be_bytes(prefix)).ok().filter(|&length| length <= FRAME_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::other("no Kafka frame"))?;
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    Ok(frame.into())
}

fn write_frame(mut stream: &TcpStream, frame: &[u8]) -> io::Result<()> {
    let prefix = i32::try_from(frame.len()).map_err(io::Error::other)?.to_be_bytes();
    stream.write_all(&[&prefix, frame].concat())
}
