//! The decisions of a settlement: facts in, actions out.

use std::collections::{BTreeMap, BTreeSet};

use flott_core::{CheckpointId, Error, Generation, Result};

use super::{
    Action, Committable, EndAnswer, Fact, ForeignMarker, LostTransaction, Marker, MarkerReading,
    OpenTransaction, OtherCluster, RepeatedOutput, SettledTransaction, SettlementReport, SettlementRequest,
    TransactionalIds,
    judge::{Doubt, Judgement, Witnesses},
    to_audit::ToAudit,
};
use crate::kafka::client::{EndedProducers, RecordFate, TransactionDescription};

/// One settlement. Ask for actions, report a fact for each, and so on until there are no actions left.
#[derive(Debug)]
pub struct Settlement {
    request: SettlementRequest,
    step: Step,
    /// Which committables come first, second, … of their id, in checkpoint order.
    rounds: Vec<Vec<usize>>,
    states: Vec<State>,
    ids: BTreeSet<String>,
    known_ids: BTreeSet<String>,
    /// Ids of which only the markers are of interest.
    watched_ids: BTreeSet<String>,
    /// There are ids of generations later than the job's own.
    has_later: bool,
    seen: BTreeMap<String, Vec<TransactionDescription>>,
    /// What is written down of whose the ids are.
    claim: MarkerReading,
    markers: BTreeMap<String, MarkerReading>,
    /// Ids whose group waits for the end of a transaction that is over, and where it waits.
    unstable: BTreeMap<String, Option<(String, i32)>>,
    records: BTreeMap<usize, Vec<RecordFate>>,
    /// It ended before anything was fenced, so that nothing is judged.
    is_broken_off: bool,
    report: SettlementReport,
}

/// What to ask for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Cluster,
    Leftovers,
    Later,
    Owners,
    Claim,
    Describe(usize),
    Commit(usize),
    Probe,
    Fence,
    Markers,
    Unstable,
    Records,
    Done,
}

/// How far one committable has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Listed,
    Committed,
    Doubtful(Doubt),
}

impl Settlement {
    /// Begins a settlement.
    ///
    /// # Errors
    /// When the request contradicts itself or its prefix cannot be one.
    pub fn new(mut request: SettlementRequest) -> Result<Self> {
        if request.restored.is_none() && !request.committables.is_empty() {
            return Err(Error::internal("a settlement has transactions but no checkpoint that lists them"));
        }
        let mut ids = BTreeSet::new();
        for scope in &request.scopes {
            let (uid, generation) = (request.sink_uid.clone(), scope.generation);
            let names =
                TransactionalIds::new(&request.prefix, uid, generation, scope.parallelism, scope.slots_max)?;
            ids.extend(names.all());
        }
        ids.extend(request.committables.iter().map(|committable| committable.transactional_id.clone()));
        if !request.is_settling() {
            request.committables.clear();
        }
        Ok(Self {
            rounds: rounds(&request.committables),
            states: vec![State::Listed; request.committables.len()],
            report: SettlementReport::new(request.sink_uid.clone(), request.restored),
            step: Step::Cluster,
            ids,
            known_ids: BTreeSet::new(),
            watched_ids: BTreeSet::new(),
            has_later: false,
            seen: BTreeMap::new(),
            claim: MarkerReading::Absent,
            markers: BTreeMap::new(),
            unstable: BTreeMap::new(),
            records: BTreeMap::new(),
            is_broken_off: false,
            request,
        })
    }

    /// What to do next; nothing, when the settlement is done. All facts about earlier actions must have been
    /// reported.
    pub fn next_actions(&mut self) -> Vec<Action> {
        while self.step != Step::Done {
            let (actions, next) = self.enter(self.step);
            self.step = next;
            if !actions.is_empty() {
                return actions;
            }
        }
        Vec::new()
    }

    /// Takes note of a fact.
    pub fn on_fact(&mut self, fact: Fact) {
        match fact {
            Fact::ClusterId(found) => self.on_cluster(&found),
            Fact::FoundLater(found) => self.has_later = !found.is_empty(),
            Fact::Listed(listed) => self.on_listed(listed),
            Fact::Described(found) => self.on_described(found),
            Fact::Answered { index, code } => {
                self.states[index] = match EndAnswer::of(code) {
                    EndAnswer::Committed => State::Committed,
                    _ => State::Doubtful(Doubt::Answered(code)),
                };
            }
            Fact::Fenced(id) => self.report.fenced.push(id),
            Fact::Marker { transactional_id, reading } if transactional_id == self.claim_group() => {
                self.claim = reading;
            }
            Fact::Marker { transactional_id, reading } => {
                if let MarkerReading::Unstable(place) = &reading {
                    self.unstable.insert(transactional_id.clone(), place.clone());
                }
                self.markers.insert(transactional_id, reading);
            }
            Fact::MarkerWritten(group) if group == self.claim_group() => {
                self.claim = MarkerReading::Found(self.own_claim());
            }
            Fact::MarkerWritten(_) => {}
            Fact::Records { index, fates } => {
                self.records.insert(index, fates);
            }
        }
    }

    /// What was found.
    ///
    /// # Panics
    /// When actions are left.
    #[must_use]
    pub fn into_report(mut self) -> SettlementReport {
        assert_eq!(self.step, Step::Done, "a settlement is reported when it is done");
        if self.report.other_cluster.is_none() && !self.is_broken_off {
            self.judge_all();
        }
        self.guard();
        let (listed, seen) = (&self.request.committables, &self.seen);
        let to_audit = ToAudit { report: &self.report, listed, seen, unstable: &self.unstable }.items();
        self.report.audit_too(to_audit);
        self.report.fenced.sort();
        self.report
    }

    fn enter(&mut self, step: Step) -> (Vec<Action>, Step) {
        match step {
            Step::Cluster => (self.ask_cluster(), Step::Leftovers),
            Step::Leftovers if self.report.other_cluster.is_some() => (Vec::new(), Step::Done),
            Step::Leftovers if self.is_list_needed() => (vec![self.list()], Step::Owners),
            Step::Leftovers => (self.find_later(), Step::Later),
            // An old copy of the checkpoint directory: what its original has written since may be under any id.
            Step::Later if self.has_later => (vec![self.list()], Step::Owners),
            Step::Later => (Vec::new(), Step::Owners),
            // No marker is stable before the fence; these say only whether the prefix is in other hands.
            Step::Owners => (self.ask_owners(), Step::Claim),
            Step::Claim => {
                self.is_broken_off = self.is_refused_untouched();
                if self.is_broken_off {
                    return (Vec::new(), Step::Done);
                }
                self.spare_successor();
                (self.claim(), Step::Describe(0))
            }
            Step::Describe(round) if round == self.rounds.len() => (Vec::new(), Step::Probe),
            Step::Describe(round) => (vec![Action::Describe(self.ids_of(round))], Step::Commit(round)),
            Step::Commit(round) => (self.commit(round), Step::Describe(round + 1)),
            Step::Probe => (self.probe(), Step::Fence),
            Step::Fence if self.is_anything_left_open() => (Vec::new(), Step::Done),
            Step::Fence => (self.known_ids.iter().cloned().map(Action::Fence).collect(), Step::Markers),
            Step::Markers => {
                self.markers.clear();
                (self.read_markers_after_fence(), Step::Unstable)
            }
            Step::Unstable => (self.read_unstable_markers(), Step::Records),
            Step::Records => (self.look_up_records(), Step::Done),
            Step::Done => (Vec::new(), Step::Done),
        }
    }

    /// Returns `true` if the job itself does not know all ids with open transactions. Otherwise the list is not asked for: that
    /// of a cluster which many applications share is long, and all brokers have to give their part of it.
    fn is_list_needed(&self) -> bool {
        let SettlementRequest { restored, is_fallback, scopes, .. } = &self.request;
        restored.is_none() || *is_fallback || scopes.is_empty()
    }

    fn list(&self) -> Action {
        Action::ListTransactions {
            stem: TransactionalIds::stem(&self.request.prefix, &self.request.sink_uid),
        }
    }

    fn find_later(&self) -> Vec<Action> {
        let SettlementRequest { prefix, sink_uid, scopes, .. } = &self.request;
        let newest = scopes.iter().map(|scope| scope.generation).max();
        let find =
            |newest| Action::FindLater(TransactionalIds::first_of_later(prefix, sink_uid, newest).collect());
        newest.map(find).into_iter().collect()
    }

    fn ask_cluster(&self) -> Vec<Action> {
        let is_named = self.request.committables.iter().any(|committable| committable.cluster_id.is_some());
        if is_named { vec![Action::ReadClusterId] } else { Vec::new() }
    }

    fn on_cluster(&mut self, found: &Option<String>) {
        let expected =
            self.request.committables.iter().filter_map(|committable| committable.cluster_id.as_ref());
        let other = expected.into_iter().find(|&expected| Some(expected) != found.as_ref());
        self.report.other_cluster =
            other.map(|expected| OtherCluster { expected: expected.clone(), found: found.clone() });
    }

    /// Brokers may remember ids that the job does not: those of an earlier run, of another job, or of attempts later than
    /// the restored checkpoint, should it be an old copy.
    fn on_listed(&mut self, listed: Vec<String>) {
        let SettlementRequest { prefix, sink_uid, restored, is_fallback, scopes, .. } = &self.request;
        let newest = scopes.iter().map(|scope| scope.generation).max();
        for id in listed {
            let Some(slot) = TransactionalIds::parse(prefix, sink_uid, &id) else { continue };
            if restored.is_none() {
                self.ids.insert(id.clone());
                self.known_ids.insert(id);
            } else if *is_fallback || Some(slot.generation) > newest {
                self.watched_ids.insert(id);
            }
        }
    }

    fn ask_owners(&self) -> Vec<Action> {
        let ids = self.known_ids.union(&self.watched_ids).cloned().collect();
        let mut actions = self.read_markers(&ids, false);
        let (transactional_id, topic) = (self.claim_group(), self.request.marker_topic.clone());
        actions.push(Action::ReadMarker { transactional_id, topic, is_stable: false });
        actions
    }

    fn claim_group(&self) -> String {
        TransactionalIds::claim_group(&self.request.prefix, &self.request.sink_uid)
    }

    fn own_claim(&self) -> Marker {
        Marker { owner: self.request.owner.clone(), checkpoint: CheckpointId(0), generation: Generation(0) }
    }

    /// The run of this job that the ids belong to, if it is another one.
    fn other_run(&self) -> Option<&Marker> {
        match &self.claim {
            MarkerReading::Found(marker) if marker.owner != self.request.owner => Some(marker),
            _ => None,
        }
    }

    /// Makes the ids this run's own, before any is touched. What was committed under them may have expired, and before
    /// the first commit there is nothing else that tells a running job from one that is gone.
    fn claim(&self) -> Vec<Action> {
        let is_ours = self.other_run().is_none() && self.claim != MarkerReading::Absent;
        let write =
            |group, marker| Action::WriteMarker { group, topic: self.request.marker_topic.clone(), marker };
        let claim = (!is_ours).then(|| write(self.claim_group(), self.own_claim()));
        claim.into_iter().chain(self.rewound().map(|(group, marker)| write(group, marker))).collect()
    }

    /// Markers of later checkpoints whose output may be repeated, set back: these ids and checkpoints will come again, and
    /// must not be taken for committed then.
    fn rewound(&self) -> impl Iterator<Item = (String, Marker)> {
        let later = self.request.restored.map(|restored| (restored, self.intruders().1));
        later.into_iter().flat_map(|(checkpoint, repeated)| {
            let watched =
                repeated.into_iter().filter(|found| self.watched_ids.contains(&found.transactional_id));
            watched.map(move |found| (found.transactional_id, Marker { checkpoint, ..found.marker }))
        })
    }

    /// Whether the job cannot start in any case: then the transactions of those who are there are left alone.
    fn is_refused_untouched(&self) -> bool {
        let (foreign, repeated) = self.intruders();
        let is_taken = !repeated.is_empty() || self.other_run().is_some();
        !foreign.is_empty() || is_taken && !self.request.policy.allow_repeated_output
    }

    /// Under names that are this run's already, newer generations are those of a JobManager that has taken over from the one
    /// that settles, which may not know it yet. A listed one among them may be a pre-committed transaction of a checkpoint.
    fn spare_successor(&mut self) {
        let SettlementRequest { prefix, sink_uid, owner, scopes, .. } = &self.request;
        let is_ours = matches!(&self.claim, MarkerReading::Found(marker) if marker.owner == *owner);
        let newest = scopes.iter().map(|scope| scope.generation).max();
        let is_newer =
            |id: &String| TransactionalIds::parse(prefix, sink_uid, id).map(|slot| slot.generation) > newest;
        if is_ours {
            self.ids.retain(|id| !is_newer(id));
        }
    }

    fn ids_of(&self, round: usize) -> Vec<String> {
        self.rounds[round]
            .iter()
            .map(|&index| self.request.committables[index].transactional_id.clone())
            .collect()
    }

    fn commit(&mut self, round: usize) -> Vec<Action> {
        let mut actions = Vec::new();
        for &index in &self.rounds[round] {
            let committable = &self.request.committables[index];
            let seen = self.seen.get(&committable.transactional_id).and_then(|seen| seen.last());
            let is_superseded = seen.is_some_and(|seen| committable.is_superseded(seen));
            if is_superseded && self.request.is_comparing_start_times() {
                self.states[index] = State::Doubtful(Doubt::Superseded);
                continue;
            }
            let transactional_id = committable.transactional_id.clone();
            actions.push(Action::Commit { index, transactional_id, producer: committable.producer() });
        }
        actions
    }

    /// Returns `true` if the coordinator still shows a listed transaction open although its commit was not answered with
    /// success. Such an answer decides nothing: the commit can be repeated, and a fence would abort what it has to save.
    fn is_anything_left_open(&mut self) -> bool {
        let is_open = |&(_, committable, _): &(usize, &Committable, Doubt)| {
            let seen = self.seen.get(&committable.transactional_id).and_then(|seen| seen.last());
            seen.is_some_and(|seen| committable.is_still_open(seen))
        };
        let open = self.doubts().filter(is_open).map(|(_, committable, doubt)| OpenTransaction {
            transactional_id: committable.transactional_id.clone(),
            checkpoint_id: committable.checkpoint_id,
            code: doubt.code(),
        });
        self.report.open = open.collect();
        self.is_broken_off = !self.report.open.is_empty();
        self.is_broken_off
    }

    fn probe(&mut self) -> Vec<Action> {
        self.known_ids.clear();
        let ids: Vec<_> = self.ids.iter().cloned().collect();
        if ids.is_empty() { Vec::new() } else { vec![Action::Describe(ids)] }
    }

    fn on_described(&mut self, found: BTreeMap<String, Option<TransactionDescription>>) {
        for (id, description) in found {
            if let Some(description) = description {
                self.seen.entry(id.clone()).or_default().push(description);
                self.known_ids.insert(id);
            }
        }
    }

    /// Every id that may have a marker: those the broker knows, and those whose transaction is in doubt.
    fn marked_ids(&self) -> BTreeSet<String> {
        let doubtful = self.doubts().map(|(_, committable, _)| committable.transactional_id.clone());
        self.known_ids.iter().cloned().chain(doubtful).collect()
    }

    /// A commit that was answered with success needs no witness, so its marker need not be stable: brokers may never write the end
    /// of that transaction to the group's partition (KAFKA-20734).
    fn read_markers_after_fence(&self) -> Vec<Action> {
        let doubtful: BTreeSet<_> =
            self.doubts().map(|(_, committable, _)| &committable.transactional_id).collect();
        let is_certain = |id: &String| !doubtful.contains(id) && self.is_listed(id);
        let (certain, others) = self.marked_ids().into_iter().partition(is_certain);
        let mut actions = self.read_markers(&others, true);
        actions.extend(self.read_markers(&certain, false));
        actions
    }

    /// Reads what is committed under an id whose group waits in vain: not a witness of a transaction in doubt, but of output that the
    /// checkpoint does not know.
    fn read_unstable_markers(&self) -> Vec<Action> {
        let ids = self.unstable.keys().filter(|id| !self.is_listed(id)).cloned().collect();
        self.read_markers(&ids, false)
    }

    fn is_listed(&self, id: &str) -> bool {
        self.request.committables.iter().any(|committable| committable.transactional_id == id)
    }

    fn read_markers(&self, ids: &BTreeSet<String>, is_stable: bool) -> Vec<Action> {
        let topic = |id: &str| {
            let listed =
                self.request.committables.iter().find(|committable| committable.transactional_id == id);
            listed.map_or(&self.request.marker_topic, |committable| &committable.marker_topic).clone()
        };
        let read =
            |id: &String| Action::ReadMarker { transactional_id: id.clone(), topic: topic(id), is_stable };
        ids.iter().map(read).collect()
    }

    fn look_up_records(&self) -> Vec<Action> {
        let undecided = self.doubts().filter(|&(index, committable, doubt)| {
            self.judge(index, committable, doubt) == Judgement::NeedsEvidence
        });
        let look_up = undecided.map(|(index, committable, _)| {
            let mut ended = self.ended();
            ended.add(committable.producer());
            let (records, producer_id) = (committable.witnesses(), committable.producer_id);
            Action::LookUpRecords { index, records, producer_id, ended }
        });
        look_up.collect()
    }

    /// The producers that the fence has shut out: it does not succeed before their last transaction is over.
    fn ended(&self) -> EndedProducers {
        let mut ended = EndedProducers::default();
        let fenced = self.report.fenced.iter().filter_map(|id| self.seen.get(id));
        fenced.flatten().for_each(|seen| ended.add(seen.producer()));
        ended
    }

    fn doubts(&self) -> impl Iterator<Item = (usize, &Committable, Doubt)> {
        let states = self.states.iter().enumerate();
        states.filter_map(|(index, state)| match *state {
            State::Doubtful(doubt) => Some((index, &self.request.committables[index], doubt)),
            State::Listed | State::Committed => None,
        })
    }

    fn judge(&self, index: usize, committable: &Committable, doubt: Doubt) -> Judgement {
        let id = &committable.transactional_id;
        let witnesses = Witnesses {
            doubt,
            seen: self.seen.get(id).map_or(&[], Vec::as_slice),
            marker: self.markers.get(id).unwrap_or(&MarkerReading::Absent),
            records: self.records.get(&index).map(Vec::as_slice),
        };
        witnesses.judge(committable, &self.request.owner)
    }

    fn judge_all(&mut self) {
        let mut report = self.report.clone();
        for (index, committable) in self.request.committables.iter().enumerate() {
            let settled = SettledTransaction {
                transactional_id: committable.transactional_id.clone(),
                checkpoint_id: committable.checkpoint_id,
            };
            let doubt = match self.states[index] {
                State::Listed => unreachable!("every listed transaction was answered or is in doubt"),
                State::Committed => {
                    report.committed.push(settled);
                    continue;
                }
                State::Doubtful(doubt) => doubt,
            };
            let seen = self.seen.get(&committable.transactional_id).and_then(|seen| seen.last());
            let missing =
                |cause| LostTransaction { committable: committable.clone(), cause, seen: seen.cloned() };
            match self.judge(index, committable, doubt) {
                Judgement::Committed => report.already_committed.push(settled),
                Judgement::Empty => report.empty.push(settled),
                Judgement::Lost(cause) => report.lost.push(missing(cause)),
                Judgement::Unknown(cause) => report.unknown.push(missing(cause)),
                Judgement::NeedsEvidence => unreachable!("a fact was reported for every action"),
            }
        }
        self.report = report;
    }

    fn guard(&mut self) {
        (self.report.foreign, self.report.repeated) = self.intruders();
        self.report.claimed = self.other_run().map(|marker| marker.owner.clone());
    }

    /// Markers that are not this job's, and those of output that the restored checkpoint does not know.
    fn intruders(&self) -> (Vec<ForeignMarker>, Vec<RepeatedOutput>) {
        let (mut foreign, mut repeated) = (Vec::new(), Vec::new());
        let group = self.claim_group();
        // A claim of this job says nothing about its output.
        let claim = match &self.claim {
            MarkerReading::Found(marker) if marker.owner.job == self.request.owner.job => None,
            claim => Some((&group, claim)),
        };
        for (id, reading) in self.markers.iter().chain(claim) {
            let transactional_id = id.clone();
            match reading {
                MarkerReading::Absent | MarkerReading::Unstable(_) => {}
                MarkerReading::Unreadable(text) => {
                    foreign
                        .push(ForeignMarker { transactional_id, owner: format!("no Flott marker: {text}") });
                }
                MarkerReading::Found(marker) if marker.owner.job != self.request.owner.job => {
                    let owner = format!("job {:?}", marker.owner.job);
                    foreign.push(ForeignMarker { transactional_id, owner });
                }
                MarkerReading::Found(marker) => {
                    // A checkpoint of this run cannot know of another run's output; whether to write it again was
                    // decided when this run began.
                    let is_unknown = match self.request.restored {
                        None => true,
                        Some(restored) => marker.owner == self.request.owner && marker.checkpoint > restored,
                    };
                    if is_unknown {
                        repeated.push(RepeatedOutput { transactional_id, marker: marker.clone() });
                    }
                }
            }
        }
        (foreign, repeated)
    }
}

fn rounds(committables: &[Committable]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..committables.len()).collect();
    order.sort_by_key(|&index| committables[index].checkpoint_id);
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for index in order {
        let count = counts.entry(&committables[index].transactional_id).or_default();
        if *count == rounds.len() {
            rounds.push(Vec::new());
        }
        rounds[*count].push(index);
        *count += 1;
    }
    rounds
}

#[cfg(test)]
#[path = "decider_tests.rs"]
mod tests;
