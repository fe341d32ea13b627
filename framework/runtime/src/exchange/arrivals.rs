//! Connections that other TaskManagers have opened, until the attempt that they belong to asks for them.

use std::collections::BTreeMap;

use flott_core::{Error, Result};
use tokio::sync::oneshot;

use crate::exchange::{PeerIndex, SessionKey};

/// Connections that arrived before their attempt was deployed here. No attempt has more: max parallelism ends here.
const EARLY_CONNECTIONS_MAX: usize = 32_768;

/// Identifies a connection that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    key: SessionKey,
    peer: PeerIndex,
    number: u64,
}

enum Arrival<S> {
    Early { number: u64, stream: S },
    Awaited(oneshot::Sender<S>),
}

/// Connections that have arrived, and those that are awaited.
pub(super) struct Arrivals<S> {
    /// Cluster and leader epoch of the newest registration. Peers hear of this process only after it has registered, so
    /// that nobody can rightly be early for another one.
    registration: Option<(u64, u64)>,
    arrivals: BTreeMap<(SessionKey, PeerIndex), Arrival<S>>,
    last_number: u64,
    capacity: usize,
}

impl<S> Default for Arrivals<S> {
    fn default() -> Self {
        Self {
            registration: None,
            arrivals: BTreeMap::new(),
            last_number: 0,
            capacity: EARLY_CONNECTIONS_MAX,
        }
    }
}

impl<S> Arrivals<S> {
    /// From now on only connections of this registration are taken; those of others are closed.
    pub(super) fn expect(&mut self, cluster: u64, epoch: u64) {
        self.registration = Some((cluster, epoch));
        self.arrivals.retain(|(key, _), _| (key.cluster, key.epoch) == (cluster, epoch));
    }

    /// A connection has arrived. Returns what identifies it if it has to wait.
    ///
    /// # Errors
    /// When nobody will ask for it, or too many wait already. The connection is closed.
    pub(super) fn arrive(&mut self, key: SessionKey, peer: PeerIndex, stream: S) -> Result<Option<Waiting>> {
        if self.registration != Some((key.cluster, key.epoch)) {
            return Err(Error::transient("it is of another cluster, or of another JobManager's reign"));
        }
        match self.arrivals.remove(&(key, peer)) {
            Some(Arrival::Awaited(sender)) => {
                drop(sender.send(stream));
                Ok(None)
            }
            _ if self.arrivals.len() < self.capacity || self.forget_older(key) => {
                self.last_number += 1;
                let number = self.last_number;
                self.arrivals.insert((key, peer), Arrival::Early { number, stream });
                Ok(Some(Waiting { key, peer, number }))
            }
            _ => Err(Error::transient("too many connections wait for their attempt already")),
        }
    }

    /// Makes room for a connection of this attempt at the cost of an older one.
    fn forget_older(&mut self, key: SessionKey) -> bool {
        let mut older = self.arrivals.range(..(key, 0));
        let early = older.find(|(_, arrival)| matches!(arrival, Arrival::Early { .. }));
        let oldest = early.map(|(&oldest, _)| oldest);
        oldest.is_some_and(|oldest| self.arrivals.remove(&oldest).is_some())
    }

    /// The attempt asks for the connection of a peer.
    pub(super) fn await_peer(&mut self, key: SessionKey, peer: PeerIndex) -> oneshot::Receiver<S> {
        let (sender, receiver) = oneshot::channel();
        match self.arrivals.remove(&(key, peer)) {
            // The receiver cannot be gone: it is returned below.
            Some(Arrival::Early { stream, .. }) => drop(sender.send(stream)),
            _ => drop(self.arrivals.insert((key, peer), Arrival::Awaited(sender))),
        }
        receiver
    }

    /// Closes connections of older attempts: nobody will ask for them any more.
    pub(super) fn forget_before(&mut self, key: SessionKey) {
        self.arrivals.retain(|(other, _), _| *other >= key);
    }

    /// Closes a connection that nobody has asked for until now. Returns whether it was still there.
    pub(super) fn give_up(&mut self, waiting: Waiting) -> bool {
        let place = (waiting.key, waiting.peer);
        match self.arrivals.get(&place) {
            Some(Arrival::Early { number, .. }) if *number == waiting.number => {
                self.arrivals.remove(&place);
                true
            }
            _ => false,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.arrivals.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: SessionKey = SessionKey { cluster: 1, epoch: 2, attempt: 3 };
    const OLD: SessionKey = SessionKey { attempt: 2, ..KEY };

    fn registered() -> Arrivals<&'static str> {
        let mut arrivals = Arrivals::default();
        arrivals.expect(1, 2);
        arrivals
    }

    #[test]
    fn only_connections_of_the_registration_are_taken() {
        assert!(Arrivals::default().arrive(KEY, 0, "before any registration").is_err());
        let mut arrivals = registered();
        for key in [
            SessionKey { cluster: 0, ..KEY },
            SessionKey { epoch: u64::MAX, ..KEY },
            SessionKey { epoch: 1, ..KEY },
        ] {
            assert!(arrivals.arrive(key, 0, "of another").is_err(), "{key:?}");
        }
        assert!(arrivals.arrive(KEY, 0, "early").unwrap().is_some());
        arrivals.expect(1, 3);
        assert_eq!(arrivals.len(), 0, "another JobManager leads now");
    }

    #[test]
    fn a_connection_finds_who_asks_for_it_whoever_comes_first() {
        let mut arrivals = registered();
        arrivals.arrive(KEY, 0, "early").unwrap();
        assert_eq!(arrivals.await_peer(KEY, 0).try_recv(), Ok("early"));
        let mut awaited = arrivals.await_peer(KEY, 1);
        assert_eq!(arrivals.arrive(KEY, 1, "late").unwrap(), None);
        assert_eq!(awaited.try_recv(), Ok("late"));
        assert_eq!(arrivals.len(), 0);
    }

    #[test]
    fn a_connection_that_waits_gives_way_only_to_a_newer_attempt() {
        let mut arrivals = registered();
        arrivals.capacity = 3;
        let _awaited = arrivals.await_peer(OLD, 9);
        let taken = [(OLD, 0), (KEY, 1), (KEY, 2), (OLD, 3)]
            .map(|(key, peer)| arrivals.arrive(key, peer, "").is_ok());
        assert_eq!(taken, [true, true, true, false]);
        assert_eq!(arrivals.arrivals.keys().copied().collect::<Vec<_>>(), [(OLD, 9), (KEY, 1), (KEY, 2)]);
    }

    #[test]
    fn a_connection_that_nobody_asks_for_is_given_up_and_its_successor_is_not() {
        let mut arrivals = registered();
        let first = arrivals.arrive(KEY, 0, "first").unwrap().unwrap();
        let second = arrivals.arrive(KEY, 0, "second").unwrap().unwrap();
        assert!(!arrivals.give_up(first));
        assert!(arrivals.give_up(second));
        assert!(!arrivals.give_up(second));
        let mut awaited = arrivals.await_peer(KEY, 0);
        assert!(!arrivals.give_up(second));
        assert!(awaited.try_recv().is_err());
    }

    #[test]
    fn connections_of_older_attempts_are_closed() {
        let mut arrivals = registered();
        arrivals.arrive(OLD, 0, "old").unwrap();
        arrivals.arrive(KEY, 0, "current").unwrap();
        arrivals.forget_before(KEY);
        assert_eq!(arrivals.len(), 1);
    }
}
