//! A job among random faults. The world below plays driver, TaskManagers, storage and Kafka; after the storm nothing
//! fails any more and the job has to finish.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use flott_core::{
    AttemptId, CheckpointId, ErrorKind, Generation, MonotonicTime, TaskManagerId,
    task::{Failure, TaskFact, TaskId},
};

use super::kit::{Actions, outline, reported, restored};
use crate::{
    checkpoint::StoreFailure,
    job::{Action, Fact, History, JobMaster, JobSettings, JobStatus},
    restart::RestartSettings,
    testing::{Xorshift, at},
};

const STORM_STEPS: usize = 400;
const HEALING_STEPS: usize = 4000;
/// Leaves checkpoints 9.5 s, and 5 s more for a late append; a jump of the world takes 30 s.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(40);

type Answer = Fact<&'static str>;

/// What still runs of an attempt in a TaskManager; the JobMaster may have lost sight of it.
#[derive(Clone, Debug)]
struct Tasks {
    generation: Generation,
    is_cancelled: bool,
}

struct World {
    random: Xorshift,
    seed: u64,
    now: u64,
    master: JobMaster<&'static str>,
    /// Answers and messages on their way, delivered in random order but for the bounds that the driver promises.
    mail: Vec<Answer>,
    connected: BTreeSet<TaskManagerId>,
    draining: BTreeSet<TaskManagerId>,
    last_id: u64,
    tasks: BTreeMap<(AttemptId, TaskManagerId), Tasks>,
    generation: Generation,
    attempt: Option<AttemptId>,
    is_settled: bool,
    /// What the last settling was asked for.
    settled_up_to: Generation,
    is_settling: bool,
    sweeping: Option<Generation>,
    /// Generations of tasks that have opened output which no checkpoint will list.
    open: BTreeSet<Generation>,
    storing: BTreeSet<CheckpointId>,
    stored: BTreeMap<CheckpointId, bool>,
    /// Until then what a checkpoint lists can be committed in time.
    usable_until: BTreeMap<CheckpointId, MonotonicTime>,
    last_checkpoint: CheckpointId,
    is_calm: bool,
    is_ending: bool,
    end: Option<JobStatus>,
    trace: Actions,
}

impl World {
    fn new(seed: u64) -> Self {
        // Its failures are all alike.
        let restart = RestartSettings { same_failures_max: None, ..RestartSettings::default() };
        let settings =
            JobSettings { start_timeout: None, slot_timeout: None, restart, ..JobSettings::default() };
        Self {
            random: Xorshift::new(seed),
            seed,
            now: 0,
            master: JobMaster::new(settings, outline(), History::default(), seed),
            mail: Vec::new(),
            connected: BTreeSet::new(),
            draining: BTreeSet::new(),
            last_id: 0,
            tasks: BTreeMap::new(),
            generation: Generation(0),
            attempt: None,
            is_settled: false,
            settled_up_to: Generation(0),
            is_settling: false,
            sweeping: None,
            open: BTreeSet::new(),
            storing: BTreeSet::new(),
            stored: BTreeMap::new(),
            usable_until: BTreeMap::new(),
            last_checkpoint: CheckpointId(0),
            is_calm: false,
            is_ending: false,
            end: None,
            trace: Vec::new(),
        }
    }

    fn run(mut self) -> Actions {
        self.start();
        self.storm(STORM_STEPS);
        self.heal();
        assert_eq!(self.end, Some(JobStatus::Finished), "seed {}: {:?}", self.seed, self.master);
        assert!(self.open.is_empty(), "seed {}: left open by {:?}", self.seed, self.open);
        self.trace
    }

    fn start(&mut self) {
        let mut out = Vec::new();
        self.master.start(at(0), &mut out);
        self.carry_out(out);
    }

    fn storm(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
            self.fault();
        }
    }

    /// Nothing fails any more, and the input of the job comes to its end.
    fn heal(&mut self) {
        self.is_calm = true;
        self.is_ending = true;
        for _ in 0..HEALING_STEPS {
            if self.end.is_some() {
                break;
            }
            self.step();
            if self.connected.difference(&self.draining).count() < 2 {
                self.register();
            }
        }
    }

    fn step(&mut self) {
        if !self.mail.is_empty() {
            let index = self.random.below(self.mail.len());
            let fact = self.mail.remove(index);
            self.deliver(fact);
        }
        self.now += self.random.below(60) as u64;
        for task_manager in self.connected.clone() {
            self.deliver(Fact::Heartbeat { task_manager });
        }
        let mut out = Vec::new();
        self.master.on_deadline(at(self.now), &mut out);
        self.carry_out(out);
        let deadline = self.master.next_deadline();
        assert!(deadline.is_none_or(|deadline| deadline > at(self.now)), "seed {}: {deadline:?}", self.seed);
        if self.is_ending && self.master.status() == JobStatus::Running && self.random.is_hit(10) {
            self.end_all_tasks();
        }
    }

    fn fault(&mut self) {
        match self.random.below(40) {
            0..=2 if self.connected.len() < 4 => self.register(),
            3 => self.lose_one(),
            4 => self.fail_one(),
            5 if self.random.is_hit(30) => {
                if let Some(id) = self.some_task_manager() {
                    self.draining.insert(id);
                    self.deliver(Fact::TaskManagerDraining { task_manager: id });
                }
            }
            6 => self.end_one_cancelled(),
            7 => self.stale_facts(),
            8 => self.open_late(),
            9 if self.random.is_hit(20) => self.now += 30_000,
            _ => {}
        }
    }

    fn register(&mut self) {
        self.last_id += 1;
        let task_manager = TaskManagerId(self.last_id);
        self.connected.insert(task_manager);
        self.deliver(Fact::TaskManagerRegistered { task_manager, slots: 1 });
    }

    /// The connection breaks. The tasks live on as zombies.
    fn lose_one(&mut self) {
        if let Some(task_manager) = self.some_task_manager() {
            self.connected.remove(&task_manager);
            self.deliver(Fact::TaskManagerLost { task_manager, reason: "reset".into() });
        }
    }

    fn fail_one(&mut self) {
        if let Some(attempt) = self.attempt {
            let failure = Failure::new(ErrorKind::User, "boom");
            self.deliver(Fact::AttemptFailed { attempt, failure });
        }
    }

    fn stale_facts(&mut self) {
        let attempt = AttemptId(self.random.below(3) as u64);
        if self.attempt.is_none_or(|current| attempt < current) {
            let failure = Failure::new(ErrorKind::State, "stale");
            self.deliver(Fact::AttemptFailed { attempt, failure });
            self.deliver(Fact::AttemptGone { attempt: AttemptId(999), task_manager: TaskManagerId(1) });
        }
    }

    fn end_one_cancelled(&mut self) {
        let cancelled: Vec<_> =
            self.tasks.iter().filter(|(_, tasks)| tasks.is_cancelled).map(|(&key, _)| key).collect();
        if !cancelled.is_empty() {
            let (attempt, task_manager) = cancelled[self.random.below(cancelled.len())];
            self.tasks.remove(&(attempt, task_manager));
            if self.connected.contains(&task_manager) {
                self.deliver(Fact::AttemptGone { attempt, task_manager });
            }
        }
    }

    fn end_all_tasks(&mut self) {
        if let Some(attempt) = self.attempt {
            self.all_report(attempt, &TaskFact::Ended);
        }
    }

    /// A task that goes on after the end of its attempt opens some output.
    fn open_late(&mut self) {
        let late: Vec<_> =
            self.tasks.iter().filter(|((attempt, _), _)| Some(*attempt) != self.attempt).collect();
        if !late.is_empty() {
            let (_, tasks) = late[self.random.below(late.len())];
            self.open.insert(tasks.generation);
        }
    }

    fn some_task_manager(&mut self) -> Option<TaskManagerId> {
        let all: Vec<_> = self.connected.iter().copied().collect();
        if all.is_empty() { None } else { Some(all[self.random.below(all.len())]) }
    }

    fn deliver(&mut self, fact: Answer) {
        self.note(&fact);
        let mut out = Vec::new();
        self.master.on_fact(at(self.now), fact, &mut out);
        self.carry_out(out);
    }

    /// What becomes true at the moment when the JobMaster learns it.
    fn note(&mut self, fact: &Answer) {
        match fact {
            Fact::CheckpointStored { checkpoint } if self.is_stored_in_time(*checkpoint) => {
                self.storing.remove(checkpoint);
            }
            Fact::CheckpointStoreFailed { checkpoint, .. } | Fact::CheckpointWithdrawn { checkpoint } => {
                self.storing.remove(checkpoint);
            }
            Fact::Settled { .. } => {
                (self.is_settled, self.is_settling) = (true, false);
                self.open.retain(|&generation| generation > self.settled_up_to);
            }
            Fact::Swept => {
                let below = self.sweeping.take().expect("a sweep was asked for");
                self.open.retain(|&generation| generation >= below);
            }
            Fact::SettleFailed { .. } => self.is_settling = false,
            Fact::GenerationRaised { generation } => self.generation = *generation,
            _ => {}
        }
    }

    fn carry_out(&mut self, actions: Actions) {
        for action in actions {
            self.trace.push(action.clone());
            self.carry_out_one(action);
        }
    }

    fn carry_out_one(&mut self, action: Action<&'static str>) {
        let can_fail = !self.is_calm;
        match action {
            Action::RaiseGeneration { above, .. } => {
                assert_eq!(above, self.generation, "seed {}", self.seed);
                self.mail.push(Fact::GenerationRaised { generation: above.next() });
            }
            Action::ReadCheckpoint { checkpoint, .. } => self.read(checkpoint, can_fail),
            Action::DiscardCheckpoints { checkpoints } => {
                self.stored.retain(|checkpoint, _| !checkpoints.contains(checkpoint));
            }
            Action::Settle { checkpoint, generation, .. } => self.settle(checkpoint, generation, can_fail),
            Action::Sweep { below } => self.sweep(below),
            Action::Deploy { attempt, generation, assignment, restore } => {
                assert_eq!(restore, self.stored.keys().last().copied(), "seed {}", self.seed);
                let places = assignment.iter().map(|place| place.task_manager).collect();
                self.deploy(attempt, generation, &places);
            }
            Action::CancelTasks { attempt, task_managers } => self.cancel(attempt, &task_managers),
            Action::Disconnect { task_manager, .. } => {
                self.connected.remove(&task_manager);
            }
            Action::TriggerCheckpoint { attempt, checkpoint, .. } => {
                assert!(checkpoint > self.last_checkpoint, "seed {}", self.seed);
                self.last_checkpoint = checkpoint;
                self.take_parts(attempt, checkpoint, can_fail);
            }
            Action::StoreCheckpoint { checkpoint, parts, kind, append_before, .. } => {
                assert_eq!(parts.len(), 3, "seed {}", self.seed);
                assert!(append_before > at(self.now), "seed {}", self.seed);
                self.usable_until.insert(checkpoint, append_before + TRANSACTION_TIMEOUT / 8);
                self.store(checkpoint, kind.is_final(), can_fail);
            }
            Action::WithdrawCheckpoint { checkpoint, .. } => {
                assert!(self.stored.contains_key(&checkpoint), "seed {}", self.seed);
                if can_fail && self.random.is_hit(30) {
                    self.mail.push(Fact::CheckpointNotWithdrawn { checkpoint });
                } else {
                    self.stored.remove(&checkpoint);
                    self.mail.push(Fact::CheckpointWithdrawn { checkpoint });
                }
            }
            Action::CompleteCheckpoint { attempt: None, checkpoint } => {
                assert!(self.is_stored_in_time(checkpoint), "seed {}", self.seed);
            }
            Action::CompleteCheckpoint { attempt: Some(attempt), checkpoint } => {
                assert!(self.stored.contains_key(&checkpoint), "seed {}", self.seed);
                assert!(self.is_stored_in_time(checkpoint), "seed {}: {checkpoint} is too old", self.seed);
                let committed = |task| reported(attempt, task, TaskFact::Committed { checkpoint });
                self.mail.extend(outline().committers().into_iter().map(committed));
            }
            Action::FinishJob { status, .. } => self.end = Some(status),
            Action::StepDown => panic!("seed {}: nobody else leads", self.seed),
            _ => {}
        }
    }

    /// The newest checkpoint may turn out to be damaged, as long as there is an older one.
    fn read(&mut self, checkpoint: CheckpointId, can_fail: bool) {
        assert!(self.storing.is_empty(), "seed {}: a manifest is being written", self.seed);
        assert!(!self.is_settling, "seed {}: read beside a settling", self.seed);
        if can_fail && self.stored.len() > 1 && self.random.is_hit(5) {
            self.stored.remove(&checkpoint);
        }
        self.mail.push(if !self.stored.contains_key(&checkpoint) {
            Fact::CheckpointUnreadable { checkpoint, reason: "its checksum is wrong".into() }
        } else if can_fail && self.random.is_hit(5) {
            Fact::SettleFailed { failure: Failure::new(ErrorKind::Transient, "the storage is away") }
        } else {
            Fact::CheckpointRead { checkpoint }
        });
    }

    fn settle(&mut self, checkpoint: Option<CheckpointId>, generation: Generation, can_fail: bool) {
        assert!(self.storing.is_empty(), "seed {}: a manifest is being written", self.seed);
        assert!(!self.is_settling, "seed {}: settled twice at once", self.seed);
        assert!(self.sweeping.is_none(), "seed {}: settled beside a sweep", self.seed);
        assert!(self.attempt.is_none(), "seed {}: settled under a running attempt", self.seed);
        assert!(generation <= self.generation, "seed {}", self.seed);
        assert_eq!(checkpoint, self.stored.keys().last().copied(), "seed {}", self.seed);
        self.is_settling = true;
        self.is_settled = false;
        self.settled_up_to = generation;
        self.mail.push(if can_fail && self.random.is_hit(10) {
            Fact::SettleFailed { failure: Failure::new(ErrorKind::Unreachable, "no broker") }
        } else {
            let is_final = checkpoint.is_some_and(|id| self.stored[&id]);
            let restored = checkpoint.map(|id| restored(id.0, is_final));
            let transaction_timeout = Some(TRANSACTION_TIMEOUT);
            Fact::Settled { restored, sweep_for: Duration::from_secs(120), transaction_timeout }
        });
    }

    fn sweep(&mut self, below: Generation) {
        let seed = self.seed;
        assert!(self.sweeping.is_none(), "seed {seed}: swept twice at once");
        assert!(!self.is_settling, "seed {seed}: swept beside a settling");
        assert!(
            below <= self.generation || self.attempt.is_none() || self.is_done(),
            "seed {seed}: swept under a running attempt"
        );
        self.sweeping = Some(below);
        self.mail.push(Fact::Swept);
    }

    /// The final checkpoint is completed.
    fn is_done(&self) -> bool {
        self.stored.last_key_value().is_some_and(|(_, &is_final)| is_final)
    }

    fn deploy(&mut self, attempt: AttemptId, generation: Generation, places: &BTreeSet<TaskManagerId>) {
        let seed = self.seed;
        assert!(self.attempt.is_none() && self.is_settled && !self.is_settling, "seed {seed}");
        assert_eq!(generation, self.generation, "seed {seed}");
        // A late copy of a settlement's fence meets no id of this attempt.
        assert!(generation > self.settled_up_to, "seed {seed}: generation {generation} was fenced");
        assert!(places.is_subset(&self.connected) && places.is_disjoint(&self.draining), "seed {seed}");
        assert_eq!(places.len(), 2, "seed {seed}");
        for ((_, task_manager), tasks) in &self.tasks {
            assert!(tasks.generation < generation, "seed {seed}: a live task knows generation {generation}");
            assert!(!places.contains(task_manager), "seed {seed}: slot of {task_manager} is in use");
        }
        for &task_manager in places {
            self.tasks.insert((attempt, task_manager), Tasks { generation, is_cancelled: false });
        }
        self.attempt = Some(attempt);
        self.is_settled = false;
        self.all_report(attempt, &TaskFact::Running);
    }

    fn all_report(&mut self, attempt: AttemptId, fact: &TaskFact<&'static str>) {
        let tasks = outline().tasks().into_iter();
        self.mail.extend(tasks.map(|task| reported(attempt, task, fact.clone())));
    }

    fn cancel(&mut self, attempt: AttemptId, task_managers: &[TaskManagerId]) {
        for &task_manager in task_managers {
            if let Some(tasks) = self.tasks.get_mut(&(attempt, task_manager)) {
                tasks.is_cancelled = true;
            }
        }
        self.attempt = None;
    }

    fn take_parts(&mut self, attempt: AttemptId, checkpoint: CheckpointId, can_fail: bool) {
        for task in outline().tasks() {
            let fact = self.part(attempt, checkpoint, task, can_fail);
            self.mail.push(fact);
        }
    }

    fn part(&mut self, attempt: AttemptId, checkpoint: CheckpointId, task: TaskId, can_fail: bool) -> Answer {
        let fact = if can_fail && self.random.is_hit(5) {
            TaskFact::Declined { checkpoint, reason: "no".into() }
        } else {
            TaskFact::Snapshot { checkpoint, snapshot: "s" }
        };
        reported(attempt, task, fact)
    }

    fn is_stored_in_time(&self, checkpoint: CheckpointId) -> bool {
        self.stored.contains_key(&checkpoint) && at(self.now) <= self.usable_until[&checkpoint]
    }

    fn store(&mut self, checkpoint: CheckpointId, is_final: bool, can_fail: bool) {
        self.storing.insert(checkpoint);
        if can_fail && self.random.is_hit(10) {
            let cause = StoreFailure::Io("full".into());
            self.mail.push(Fact::CheckpointStoreFailed { checkpoint, cause });
        } else {
            self.stored.insert(checkpoint, is_final);
            self.mail.push(Fact::CheckpointStored { checkpoint });
        }
    }
}

#[test]
fn a_job_survives_the_storm_and_finishes() {
    for seed in 0..300 {
        World::new(seed).run();
    }
}

#[test]
fn a_job_that_is_asked_to_end_in_the_storm_ends_in_that_way() {
    use JobStatus::{Cancelled, Finished, Suspended};
    let (stop, cancel, shutdown) = (Fact::StopRequested, Fact::CancelRequested, Fact::ShutdownRequested);
    let requests = [
        (vec![stop.clone()], vec![Suspended, Finished]),
        (vec![cancel.clone()], vec![Cancelled, Finished]),
        // The first request may be enough.
        (vec![stop, cancel], vec![Suspended, Cancelled, Finished]),
        (vec![shutdown.clone()], vec![Suspended, Finished]),
        (vec![shutdown.clone(), shutdown], vec![Suspended, Finished]),
    ];
    for (seed, (requests, ends)) in (0..500).zip(requests.iter().cycle()) {
        let mut world = World::new(seed);
        world.start();
        let steps = world.random.below(STORM_STEPS);
        world.storm(steps);
        for request in requests {
            world.deliver(request.clone());
            world.storm(5);
        }
        world.heal();
        let is_expected = world.end.is_some_and(|end| ends.contains(&end));
        assert!(is_expected, "seed {seed}, {requests:?}: {:?}, {:?}", world.end, world.master);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 17, 4711] {
        assert_eq!(World::new(seed).run(), World::new(seed).run());
    }
}

#[test]
fn some_checkpoint_is_stored_too_late() {
    let withdrawn = |action: &Action<_>| matches!(action, Action::WithdrawCheckpoint { .. });
    assert!((0..300).any(|seed| World::new(seed).run().iter().any(withdrawn)));
}

#[test]
fn some_job_goes_back_to_an_older_checkpoint() {
    let is_fallback = |action: &Action<_>| matches!(action, Action::Settle { is_fallback: true, .. });
    assert!((0..300).any(|seed| World::new(seed).run().iter().any(is_fallback)));
}
