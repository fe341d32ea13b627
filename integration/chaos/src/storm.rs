//! Carries out a plan, and undoes each fault when its time is over.

use std::{collections::BTreeMap, time::Duration};

use xtask::clock::{Stopwatch, pause};

use crate::{
    crew::{Crew, JobManagerEnd},
    error::Result,
    plan::{Fault, Moment, Plan, Strike},
    surroundings::Surroundings,
};

/// Between two looks while nothing special is waited for.
const STEP: Duration = Duration::from_millis(2);
/// Between two looks while the completion of a checkpoint is waited for.
const STEP_IN_WAIT: Duration = Duration::from_micros(200);
/// A strike does not wait longer for a checkpoint.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(10);
/// How often ended processes are looked for.
const INSPECTION_INTERVAL: Duration = Duration::from_millis(50);
/// Processes that ended by themselves are started again after this time.
const REPLACEMENT_DELAY: Duration = Duration::from_millis(500);

/// How often what was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// Strikes right after the completion of a checkpoint.
    pub(crate) in_window: u64,
}

/// A storm that is going on.
pub(crate) struct Storm<'a> {
    pub(crate) crew: &'a mut Crew,
    surroundings: &'a mut Surroundings,
    plan: Plan,
    watch: Stopwatch,
    agenda: Vec<(Duration, Step)>,
    /// The strike that waits for a checkpoint, how many there were, and since when.
    waiting: Option<(Strike, u64, Duration)>,
    inspected: Duration,
    /// The brokers, the store or the login were amiss at the last look.
    are_surroundings_disturbed: bool,
    pub(crate) tally: Tally,
    /// The job has stopped for good.
    pub(crate) is_stopped: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Next,
    Strike(Strike),
    Thaw(u32),
    FillUp,
    StartJobManager,
    KillRival,
    MendBroker,
    RestorePassword,
}

impl<'a> Storm<'a> {
    pub(crate) fn new(crew: &'a mut Crew, surroundings: &'a mut Surroundings, plan: Plan) -> Self {
        Self {
            crew,
            surroundings,
            plan,
            watch: Stopwatch::start(),
            agenda: vec![(Duration::ZERO, Step::Next)],
            waiting: None,
            inspected: Duration::ZERO,
            are_surroundings_disturbed: false,
            tally: Tally::default(),
            is_stopped: false,
        }
    }

    /// Rages until `is_over`, which is asked often, or the job has stopped for good.
    pub(crate) fn rage(&mut self, mut is_over: impl FnMut(&Self) -> bool) -> Result<()> {
        while !is_over(self) && !self.is_stopped {
            self.step()?;
            pause(if self.waiting.is_some() { STEP_IN_WAIT } else { STEP });
        }
        Ok(())
    }

    /// Time since the storm began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.watch.elapsed()
    }

    /// Whether somebody is away or frozen.
    pub(crate) fn is_disturbed(&self) -> bool {
        let is_undoing = |step: &Step| !matches!(step, Step::Next | Step::Strike(_));
        self.are_surroundings_disturbed || self.agenda.iter().any(|(_, step)| is_undoing(step))
    }

    /// Ends all faults: everybody runs, and the brokers serve.
    pub(crate) fn calm_down(&mut self) -> Result<()> {
        self.agenda.clear();
        self.waiting = None;
        self.crew.kill_rival()?;
        self.crew.thaw_all()?;
        self.surroundings.calm_down()?;
        self.look_after()
    }

    /// Sees to it that everybody runs, until `is_over`.
    pub(crate) fn watch_over(&mut self, mut is_over: impl FnMut(&Self) -> bool) -> Result<()> {
        while !is_over(self) && !self.is_stopped {
            self.inspect()?;
            self.do_what_is_due()?;
            pause(INSPECTION_INTERVAL);
        }
        Ok(())
    }

    fn look_after(&mut self) -> Result<()> {
        self.inspect()?;
        if !self.is_stopped {
            self.crew.start_jobmanager()?;
            self.crew.fill_up()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        let now = self.watch.elapsed();
        if now.saturating_sub(self.inspected) >= INSPECTION_INTERVAL {
            self.inspected = now;
            self.inspect()?;
        }
        self.do_what_is_due()?;
        if let Some((strike, before, since)) = self.waiting {
            let has_completed = self.crew.checkpoints() > before;
            if has_completed || now.saturating_sub(since) > CHECKPOINT_PATIENCE {
                self.waiting = None;
                self.tally.in_window += u64::from(has_completed);
                match strike.moment {
                    Moment::AfterCheckpoint(delay) if has_completed => pause(delay),
                    _ => {}
                }
                self.strike(strike)?;
            }
        }
        Ok(())
    }

    fn do_what_is_due(&mut self) -> Result<()> {
        let now = self.watch.elapsed();
        while let Some(index) = self.agenda.iter().position(|&(at, _)| at <= now) {
            let (_, step) = self.agenda.swap_remove(index);
            self.act(step)?;
        }
        Ok(())
    }

    fn after(&mut self, delay: Duration, step: Step) {
        self.agenda.push((self.watch.elapsed() + delay, step));
    }

    fn act(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Next => {
                if let Some(strike) = self.plan.next() {
                    self.after(strike.pause, Step::Strike(strike));
                }
                Ok(())
            }
            Step::Strike(strike) if strike.moment == Moment::Now => self.strike(strike),
            Step::Strike(strike) => {
                self.waiting = Some((strike, self.crew.checkpoints(), self.watch.elapsed()));
                Ok(())
            }
            Step::Thaw(id) => Ok(self.crew.find(id).map_or(Ok(()), |process| process.thaw())?),
            Step::FillUp => self.crew.fill_up(),
            Step::StartJobManager => self.crew.start_jobmanager(),
            Step::KillRival => self.crew.kill_rival(),
            Step::MendBroker => self.surroundings.mend_broker(),
            Step::RestorePassword => self.surroundings.change_password(true),
        }
    }

    fn strike(&mut self, strike: Strike) -> Result<()> {
        match strike.fault {
            Fault::KillTaskManager { away } => {
                if !self.crew.taskmanagers.is_empty() {
                    let index = strike.victim % self.crew.taskmanagers.len();
                    self.crew.taskmanagers.remove(index).kill9();
                }
                self.after(away, Step::FillUp);
            }
            Fault::KillTaskManagers { away } => {
                self.crew.kill_taskmanagers();
                self.after(away, Step::FillUp);
            }
            Fault::FreezeTaskManager { frozen } => {
                if !self.crew.taskmanagers.is_empty() {
                    let index = strike.victim % self.crew.taskmanagers.len();
                    let id = self.crew.taskmanagers[index].id();
                    self.crew.taskmanagers[index].freeze()?;
                    self.after(frozen, Step::Thaw(id));
                }
            }
            Fault::KillJobManager { away } => {
                self.crew.kill_jobmanager();
                self.after(away, Step::StartJobManager);
            }
            Fault::FreezeJobManager { frozen } => {
                if let Some(jobmanager) = &self.crew.jobmanager {
                    jobmanager.freeze()?;
                    let id = jobmanager.id();
                    self.after(frozen, Step::Thaw(id));
                }
            }
            Fault::KillAll { away } => {
                self.crew.kill_jobmanager();
                self.crew.kill_taskmanagers();
                self.after(away, Step::StartJobManager);
                self.after(away, Step::FillUp);
            }
            Fault::KillBroker { away } => {
                if self.surroundings.kill_broker(strike.victim) {
                    self.after(away, Step::MendBroker);
                }
            }
            Fault::FreezeBroker { frozen } => {
                if let Some(frozen) = self.surroundings.freeze_broker(strike.victim, frozen)? {
                    self.after(frozen, Step::MendBroker);
                }
            }
            Fault::StartRival { beside } => {
                self.crew.start_rival()?;
                self.after(beside, Step::KillRival);
            }
            Fault::StartTwo { beside } => {
                self.crew.start_two()?;
                self.after(beside, Step::KillRival);
            }
            Fault::StallStore { stalled } => drop(self.surroundings.stall_store(stalled)?),
            Fault::ChangePassword { changed } => {
                self.surroundings.change_password(false)?;
                self.after(changed, Step::RestorePassword);
            }
        }
        eprintln!("chaos:   {:>6.1} s: {}", self.elapsed().as_secs_f64(), strike.fault.name());
        *self.tally.faults.entry(strike.fault.name()).or_default() += 1;
        self.after(Duration::ZERO, Step::Next);
        Ok(())
    }

    /// Whoever ended without being killed is started again, as by a supervisor; but not a job that has lost output.
    fn inspect(&mut self) -> Result<()> {
        self.are_surroundings_disturbed = self.surroundings.is_disturbed();
        let known = self.crew.surprises.len();
        let ended = self.crew.look_for_ended()?;
        for surprise in &self.crew.surprises[known..] {
            eprintln!("chaos: {surprise}");
        }
        if self.crew.surprises.len() > known {
            self.after(REPLACEMENT_DELAY, Step::FillUp);
        }
        if let Some(JobManagerEnd { status, is_deposed }) = ended {
            if status.code().is_some_and(is_final) && !is_deposed {
                self.is_stopped = true;
            } else {
                self.after(REPLACEMENT_DELAY, Step::StartJobManager);
            }
        }
        Ok(())
    }
}

/// Whether a person has to look at a job that ended with this code before it is started again.
fn is_final(code: i32) -> bool {
    const FAILED: i32 = 1;
    const BINARY_DIFFERS: i32 = 5;
    (FAILED..=BINARY_DIFFERS).contains(&code)
}
