//! A running sum per key over two processes: each makes half of the records and owns half of the keys; what belongs to
//! the other goes over TCP in frames of 64 KiB.
//!
//! One thread per process, which reads when it cannot write: two threads would only take turns on its core.

use std::{
    hint::black_box,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    time::Duration,
};

use super::{keyed_sum::Sums, mesh::owner};
use crate::{
    error::{Result, Trying},
    measure,
    records::addend,
};

const FRAME: usize = 64 * 1024;
const RECORD: usize = 16;

struct Peer {
    stream: TcpStream,
    frame: Vec<u8>,
    received: Vec<u8>,
    /// Bytes of a record that has arrived in part.
    rest: usize,
    sums: Sums,
}

pub(super) fn run(records: u64, me: u16, port: u16) -> Result<()> {
    let stream = meet(me, port).trying(|| format!("cannot meet the other process on port {port}"))?;
    let (frame, received) = (Vec::with_capacity(FRAME), vec![0; FRAME]);
    let mut peer = Peer { stream, frame, received, rest: 0, sums: Sums::default() };
    measure::started();
    let half = records / 2;
    let numbers = if me == 0 { 0..half } else { half..records };
    for n in numbers {
        let record = addend(black_box(n));
        if owner(record.0, 2) == usize::from(me) {
            peer.sums.add(record);
        } else {
            peer.frame.extend_from_slice(&record.0.to_le_bytes());
            peer.frame.extend_from_slice(&record.1.to_le_bytes());
            if peer.frame.len() == FRAME {
                peer.send().trying(|| "cannot send to the other process".into())?;
            }
        }
    }
    peer.finish().trying(|| "the other process went away".into())?;
    peer.sums.done();
    Ok(())
}

fn meet(me: u16, port: u16) -> std::io::Result<TcpStream> {
    let address = (Ipv4Addr::LOCALHOST, port);
    let stream = if me == 0 {
        TcpListener::bind(address)?.accept()?.0
    } else {
        let mut attempts = 0;
        loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(error) if attempts == 500 => return Err(error),
                Err(_) => xtask::clock::pause(Duration::from_millis(10)),
            }
            attempts += 1;
        }
    };
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

impl Peer {
    /// Sends the frame, and receives whenever there is no room for it.
    fn send(&mut self) -> std::io::Result<()> {
        let mut sent = 0;
        while sent < self.frame.len() {
            match self.stream.write(&self.frame[sent..]) {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.receive()? == Received::Nothing {
                        std::thread::yield_now();
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.frame.clear();
        self.receive().map(|_| ())
    }

    /// Receives what has arrived.
    fn receive(&mut self) -> std::io::Result<Received> {
        let bytes = match self.stream.read(&mut self.received[self.rest..]) {
            Ok(0) => return Ok(Received::End),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Received::Nothing),
            Err(error) => return Err(error),
        };
        let end = self.rest + bytes;
        let (records, _) = self.received[..end].as_chunks::<RECORD>();
        for record in records {
            let (numbers, _) = record.as_chunks::<8>();
            self.sums.add((u64::from_le_bytes(numbers[0]), u64::from_le_bytes(numbers[1])));
        }
        self.rest = end % RECORD;
        self.received.copy_within(end - self.rest..end, 0);
        Ok(Received::Some)
    }

    fn finish(&mut self) -> std::io::Result<()> {
        self.send()?;
        self.stream.shutdown(std::net::Shutdown::Write)?;
        loop {
            match self.receive()? {
                Received::End => return Ok(()),
                Received::Nothing => std::thread::yield_now(),
                Received::Some => {}
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Received {
    Some,
    Nothing,
    End,
}
