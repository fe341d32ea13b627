//! Choice of the broker that is asked; one that has failed is left alone for a while.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flott_core::MonotonicTime;

use super::settings::BrokerAddress;

/// A broker that could not be reached is not tried again for so long, so that the many requests which are for it do not wait
/// for it one after the other.
const DOWN_FOR: Duration = Duration::from_secs(1);
/// A broker that has failed is for so long not chosen when another one can answer: one that hangs accepts connections, and each
/// request to it costs a whole request timeout.
const SUSPECT_FOR: Duration = Duration::from_secs(60);
/// Brokers that are remembered; the largest clusters have some hundreds.
const KNOWN_MAX: usize = 10_000;

/// The brokers that metadata have named so far. All clients of one source or sink share them: they stay reachable when the
/// addresses that a user gave have gone.
#[derive(Clone, Debug, Default)]
pub struct KnownBrokers(Arc<Mutex<Vec<BrokerAddress>>>);

impl KnownBrokers {
    /// The brokers of the newest metadata.
    #[must_use]
    pub fn addresses(&self) -> Vec<BrokerAddress> {
        self.lock().clone()
    }

    fn replace<'a>(&self, brokers: impl Iterator<Item = &'a BrokerAddress>) {
        *self.lock() = brokers.take(KNOWN_MAX).cloned().collect();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<BrokerAddress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Chooses whom to ask.
#[derive(Debug)]
pub(super) struct Brokers {
    bootstrap: Vec<BrokerAddress>,
    known: KnownBrokers,
    /// The broker for requests that any broker can answer.
    current: Option<BrokerAddress>,
    /// Something that this one has told turned out wrong: it may be behind the others.
    is_doubted: bool,
    /// Brokers that could not be reached and have not answered since: until when they are left alone, and why.
    down: HashMap<BrokerAddress, (MonotonicTime, String)>,
    /// Brokers that have not let this user in since one last did.
    refusing: HashSet<BrokerAddress>,
}

/// Extent of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusedBy {
    /// Another broker may: a certificate can have expired at one of them, a login can be missing at one.
    Some,
    /// None of those that can be asked.
    All,
}

impl Brokers {
    /// # Panics
    /// When there is no bootstrap broker.
    pub(super) fn new(bootstrap: Vec<BrokerAddress>, known: KnownBrokers) -> Self {
        assert!(!bootstrap.is_empty(), "a client has a broker to begin with");
        Self {
            bootstrap,
            known,
            current: None,
            is_doubted: false,
            down: HashMap::new(),
            refusing: HashSet::new(),
        }
    }

    /// Takes note of the brokers in metadata.
    pub(super) fn learn<'a>(&self, brokers: impl Iterator<Item = &'a BrokerAddress>) {
        self.known.replace(brokers);
    }

    /// A broker for what any can answer: the one that answered last, unless it is doubted, or else the next that is not
    /// suspect; when all others are, the one that was tried longest ago, and the doubted one before those left alone.
    pub(super) fn any(&mut self, now: MonotonicTime) -> BrokerAddress {
        self.down.retain(|_, (until, _)| *until + SUSPECT_FOR > now);
        let current = self.current.clone().filter(|_| !self.is_doubted);
        if let Some(current) = current.filter(|current| !self.down.contains_key(current)) {
            return current;
        }
        let candidates = self.candidates();
        let turn = candidates.iter().position(|candidate| Some(candidate) == self.current.as_ref());
        let start = turn.map_or(0, |turn| turn + 1);
        let in_turn = (0..candidates.len()).map(|step| &candidates[(start + step) % candidates.len()]);
        let doubted = self.current.as_ref().filter(|_| self.is_doubted);
        let free_from = |address: &BrokerAddress| {
            self.down.get(address).map(|down| down.0).or_else(|| (Some(address) == doubted).then_some(now))
        };
        let chosen = in_turn.min_by_key(|address| free_from(address)).expect("there is a bootstrap broker");
        let chosen = chosen.clone();
        self.current = Some(chosen.clone());
        self.is_doubted = false;
        chosen
    }

    fn candidates(&self) -> Vec<BrokerAddress> {
        let known = self.known.addresses();
        let learnt = known.into_iter().filter(|known| !self.bootstrap.contains(known));
        self.bootstrap.iter().cloned().chain(learnt).collect()
    }

    /// A broker does not let this user in.
    pub(super) fn on_refused(&mut self, address: &BrokerAddress) -> RefusedBy {
        self.refusing.insert(address.clone());
        if !self.candidates().iter().all(|candidate| self.refusing.contains(candidate)) {
            return RefusedBy::Some;
        }
        // Another call asks all of them anew: one may have been mended.
        self.refusing.clear();
        RefusedBy::All
    }

    /// A broker lets this user in, so none refuses it for what it is.
    pub(super) fn on_let_in(&mut self) {
        self.refusing.clear();
    }

    /// A coordinator or leader that `teller` named does not answer, or is none. A broker that the others have shut out can name
    /// the dead for long, so the next one is asked.
    pub(super) fn doubt(&mut self, teller: &BrokerAddress) {
        self.is_doubted |= self.current.as_ref() == Some(teller);
    }

    /// The error of the broker, if it could not be reached a moment ago.
    pub(super) fn down_cause(&self, address: &BrokerAddress, now: MonotonicTime) -> Option<&str> {
        self.down.get(address).filter(|(until, _)| *until > now).map(|(_, cause)| cause.as_str())
    }

    /// The broker could not be reached, or broke a connection.
    pub(super) fn on_lost(&mut self, address: &BrokerAddress, now: MonotonicTime, cause: String) {
        self.down.insert(address.clone(), (now + DOWN_FOR, cause));
    }

    /// The broker has answered.
    pub(super) fn on_answer(&mut self, address: &BrokerAddress) {
        self.down.remove(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(name: &str) -> BrokerAddress {
        BrokerAddress { host: name.into(), port: 1 }
    }

    fn at(millis: u64) -> MonotonicTime {
        MonotonicTime::from_start(Duration::from_millis(millis))
    }

    fn brokers(bootstrap: &[&str], learnt: &[&str]) -> Brokers {
        let brokers =
            Brokers::new(bootstrap.iter().map(|name| address(name)).collect(), KnownBrokers::default());
        let learnt: Vec<_> = learnt.iter().map(|name| address(name)).collect();
        brokers.learn(learnt.iter());
        brokers
    }

    #[test]
    fn brokers_that_metadata_named_are_asked_when_those_given_have_gone() {
        let mut brokers = brokers(&["a", "b"], &["b", "c"]);
        let mut asked = Vec::new();
        for now in 0..4 {
            let next = brokers.any(at(now));
            brokers.on_lost(&next, at(now), "x".into());
            asked.push(next.host);
        }
        assert_eq!(
            asked,
            ["a", "b", "c", "a"],
            "when none can be reached, the one that was tried longest ago"
        );
    }

    #[test]
    fn the_broker_that_answers_is_asked_again() {
        let mut brokers = brokers(&["a", "b"], &[]);
        brokers.on_lost(&address("a"), at(0), "x".into());
        assert_eq!(brokers.any(at(0)).host, "b");
        assert_eq!(brokers.any(at(5_000)).host, "b");
    }

    #[test]
    fn a_broker_that_names_the_dead_is_not_asked_again() {
        let mut brokers = brokers(&["a", "b", "c"], &[]);
        assert_eq!(brokers.any(at(0)).host, "a");
        brokers.on_lost(&address("dead"), at(0), "x".into());
        brokers.doubt(&address("a"));
        assert_eq!(brokers.any(at(0)).host, "b");
        brokers.doubt(&address("a"));
        assert_eq!(brokers.any(at(0)).host, "b", "what a told is about another one by now");
        brokers.on_lost(&address("a"), at(0), "x".into());
        brokers.on_lost(&address("c"), at(0), "x".into());
        brokers.doubt(&address("b"));
        assert_eq!(brokers.any(at(0)).host, "b", "there is nobody else");
        brokers.doubt(&address("b"));
        assert_eq!(brokers.any(at(2_000)).host, "c");
    }

    #[test]
    fn a_user_is_refused_when_every_broker_refuses_it() {
        let mut brokers = brokers(&["a", "b"], &["c"]);
        assert_eq!(brokers.on_refused(&address("a")), RefusedBy::Some);
        assert_eq!(brokers.on_refused(&address("a")), RefusedBy::Some, "again the same one");
        assert_eq!(brokers.on_refused(&address("b")), RefusedBy::Some);
        assert_eq!(brokers.on_refused(&address("c")), RefusedBy::All);
        assert_eq!(brokers.on_refused(&address("a")), RefusedBy::Some, "a later call asks all of them anew");
        brokers.on_refused(&address("b"));
        brokers.on_let_in();
        assert_eq!(brokers.on_refused(&address("c")), RefusedBy::Some);
    }

    #[test]
    fn a_lost_broker_is_left_alone_for_a_second() {
        let mut brokers = brokers(&["a"], &[]);
        brokers.on_lost(&address("x"), at(0), "refused".into());
        assert_eq!(brokers.down_cause(&address("x"), at(999)), Some("refused"));
        assert_eq!(brokers.down_cause(&address("x"), at(1_000)), None);
        assert_eq!(brokers.down_cause(&address("a"), at(0)), None);
    }

    #[test]
    fn a_broker_that_hangs_is_asked_last_until_it_answers() {
        let mut brokers = brokers(&["a", "b", "c"], &[]);
        brokers.on_lost(&address("a"), at(0), "hangs".into());
        assert_eq!(brokers.any(at(5_000)).host, "b");
        brokers.doubt(&address("b"));
        assert_eq!(brokers.any(at(5_000)).host, "c");
        brokers.doubt(&address("c"));
        assert_eq!(brokers.any(at(5_000)).host, "b", "before the one that hangs");
        brokers.on_answer(&address("a"));
        brokers.doubt(&address("b"));
        brokers.on_lost(&address("c"), at(5_000), "hangs".into());
        assert_eq!(brokers.any(at(5_000)).host, "a");
        brokers.doubt(&address("a"));
        brokers.on_lost(&address("b"), at(5_000), "hangs".into());
        brokers.on_lost(&address("a"), at(5_000), "hangs".into());
        assert_eq!(brokers.any(at(65_999)).host, "b", "tried as long ago as the others, and next in turn");
        assert_eq!(brokers.down.len(), 3);
        brokers.any(at(66_000));
        assert_eq!(brokers.down.len(), 0, "what nobody asks is forgotten");
    }

    #[test]
    fn clients_of_one_sink_share_what_they_learn() {
        let known = KnownBrokers::default();
        let first = Brokers::new(vec![address("a")], known.clone());
        first.learn([address("b")].iter());
        let mut second = Brokers::new(vec![address("a")], known);
        second.on_lost(&address("a"), at(0), "x".into());
        assert_eq!(second.any(at(0)).host, "b");
    }
}
