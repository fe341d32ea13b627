use std::collections::BTreeMap;

use flott_core::{MonotonicTime, TaskManagerId};

use super::LivenessSettings;

/// The heartbeat deadlines of all registered TaskManagers.
#[derive(Debug)]
pub struct Heartbeats {
    settings: LivenessSettings,
    peers: BTreeMap<TaskManagerId, Peer>,
}

#[derive(Debug)]
struct Peer {
    deadline: MonotonicTime,
    is_excused: bool,
}

impl Heartbeats {
    /// Nobody is registered.
    #[must_use]
    pub fn new(settings: LivenessSettings) -> Self {
        Self { settings, peers: BTreeMap::new() }
    }

    /// A TaskManager registered: it counts as heard now.
    pub fn on_registered(&mut self, now: MonotonicTime, id: TaskManagerId) {
        self.peers.insert(id, self.heard(now));
    }

    /// A sign of life. Returns whether the TaskManager is registered: who was lost stays lost.
    pub fn on_heartbeat(&mut self, now: MonotonicTime, id: TaskManagerId) -> bool {
        let heard = self.heard(now);
        self.peers.get_mut(&id).map(|peer| *peer = heard).is_some()
    }

    /// The connection broke, or the TaskManager left. Returns whether it was registered.
    pub fn on_gone(&mut self, id: TaskManagerId) -> bool {
        self.peers.remove(&id).is_some()
    }

    /// Removes and returns who was silent for too long.
    ///
    /// A deadline that is noticed late shows that this process itself stood still (SIGSTOP, a suspended machine). Then
    /// heartbeats may lie unread in the sockets, so every silent peer is excused once, for one heartbeat interval.
    pub fn on_deadline(&mut self, now: MonotonicTime) -> Vec<TaskManagerId> {
        let interval = self.settings.heartbeat_interval;
        let mut lost = Vec::new();
        for (&id, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.deadline <= now) {
            if !peer.is_excused && now.since(peer.deadline) > interval {
                *peer = Peer { deadline: now + interval, is_excused: true };
            } else {
                lost.push(id);
            }
        }
        self.peers.retain(|id, _| !lost.contains(id));
        lost
    }

    /// When [`Self::on_deadline`] has to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<MonotonicTime> {
        self.peers.values().map(|peer| peer.deadline).min()
    }

    fn heard(&self, now: MonotonicTime) -> Peer {
        Peer { deadline: now + self.settings.heartbeat_timeout, is_excused: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    const A: TaskManagerId = TaskManagerId(1);
    const B: TaskManagerId = TaskManagerId(2);

    fn two() -> Heartbeats {
        let mut heartbeats = Heartbeats::new(LivenessSettings::default());
        heartbeats.on_registered(at(0), A);
        heartbeats.on_registered(at(100), B);
        heartbeats
    }

    #[test]
    fn a_silent_peer_is_lost_after_the_timeout() {
        let mut heartbeats = two();
        assert_eq!(heartbeats.next_deadline(), Some(at(3000)));
        assert_eq!(heartbeats.on_deadline(at(2999)), []);
        assert_eq!(heartbeats.on_deadline(at(3000)), [A]);
        assert_eq!(heartbeats.next_deadline(), Some(at(3100)));
        assert!(!heartbeats.on_heartbeat(at(3001), A));
    }

    #[test]
    fn a_heartbeat_moves_the_deadline() {
        let mut heartbeats = two();
        assert!(heartbeats.on_heartbeat(at(2000), A));
        assert_eq!(heartbeats.on_deadline(at(3100)), [B]);
        assert_eq!(heartbeats.on_deadline(at(5000)), [A]);
        assert_eq!(heartbeats.next_deadline(), None);
    }

    #[test]
    fn a_broken_connection_needs_no_deadline() {
        let mut heartbeats = two();
        assert!(heartbeats.on_gone(A));
        assert!(!heartbeats.on_gone(A));
        assert_eq!(heartbeats.next_deadline(), Some(at(3100)));
    }

    #[test]
    fn peers_are_excused_once_when_this_process_stood_still() {
        let mut heartbeats = two();
        assert_eq!(heartbeats.on_deadline(at(60_000)), []);
        assert!(heartbeats.on_heartbeat(at(60_001), A));
        assert_eq!(heartbeats.next_deadline(), Some(at(60_500)));
        assert_eq!(heartbeats.on_deadline(at(90_000)), [B]);
    }
}
