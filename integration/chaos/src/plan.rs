//! What a storm does, as a sequence that depends on its seed alone.

use std::time::Duration;

use crate::ablation::Ablation;

/// A login that fails for so long passes by itself.
const PASSWORD_CHANGED: Duration = Duration::from_secs(20);

/// Something bad that happens to the cluster, its store or the brokers. All durations end in the opposite: a process that
/// was killed is started again, one that was frozen goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL of one TaskManager.
    KillTaskManager { away: Duration },
    /// SIGKILL of all TaskManagers.
    KillTaskManagers { away: Duration },
    /// SIGSTOP of one TaskManager.
    FreezeTaskManager { frozen: Duration },
    /// SIGKILL of the JobManager.
    KillJobManager { away: Duration },
    /// SIGSTOP of the JobManager.
    FreezeJobManager { frozen: Duration },
    /// SIGKILL of all processes of the job.
    KillAll { away: Duration },
    /// SIGKILL of one broker.
    KillBroker { away: Duration },
    /// SIGSTOP of one broker.
    FreezeBroker { frozen: Duration },
    /// A second JobManager, with a TaskManager of its own, beside the first, on the same checkpoints.
    StartRival { beside: Duration },
    /// SIGKILL of the JobManager, and two new ones at once.
    StartTwo { beside: Duration },
    /// Writes of checkpoints wait.
    StallStore { stalled: Duration },
    /// The password of the job is not valid any more.
    ChangePassword { changed: Duration },
}

impl Fault {
    /// All names.
    pub(crate) const NAMES: [&str; 12] = [
        "kill_taskmanager",
        "kill_taskmanagers",
        "freeze_taskmanager",
        "kill_jobmanager",
        "freeze_jobmanager",
        "kill_all",
        "kill_broker",
        "freeze_broker",
        "start_rival",
        "start_two",
        "stall_store",
        "change_password",
    ];

    /// Its kind.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KillTaskManager { .. } => "kill_taskmanager",
            Self::KillTaskManagers { .. } => "kill_taskmanagers",
            Self::FreezeTaskManager { .. } => "freeze_taskmanager",
            Self::KillJobManager { .. } => "kill_jobmanager",
            Self::FreezeJobManager { .. } => "freeze_jobmanager",
            Self::KillAll { .. } => "kill_all",
            Self::KillBroker { .. } => "kill_broker",
            Self::FreezeBroker { .. } => "freeze_broker",
            Self::StartRival { .. } => "start_rival",
            Self::StartTwo { .. } => "start_two",
            Self::StallStore { .. } => "stall_store",
            Self::ChangePassword { .. } => "change_password",
        }
    }
}

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// When its time has come.
    Now,
    /// So long after the JobManager says that a checkpoint is complete: its commits may be under way.
    AfterCheckpoint(Duration),
}

/// One fault of a storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strike {
    /// Time since the strike before.
    pub(crate) pause: Duration,
    pub(crate) moment: Moment,
    pub(crate) fault: Fault,
    /// Chooses among several processes.
    pub(crate) victim: usize,
}

/// The endless sequence of a storm's strikes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    random: Random,
    without: Option<Ablation>,
    only: Vec<String>,
}

impl Plan {
    /// The storm of this seed; for an ablation, one that strikes where that shows.
    pub(crate) fn new(seed: u64, without: Option<Ablation>) -> Self {
        Self { random: Random(seed), without, only: Vec::new() }
    }

    /// Leaves out all faults but those of these kinds. None: leaves none out.
    pub(crate) fn only(mut self, kinds: &[String]) -> Self {
        self.only = kinds.to_vec();
        self
    }

    fn fault(&mut self) -> Fault {
        let random = &mut self.random;
        let away = random.duration_ms(0, 1_500);
        // A frozen process is noticed after 1.5 s, see `crew::settings`.
        let frozen =
            if random.chance(50) { random.duration_ms(20, 1_000) } else { random.duration_ms(1_800, 4_500) };
        match random.below(100) {
            0..24 => Fault::KillTaskManager { away },
            24..33 => Fault::KillTaskManagers { away },
            33..47 => Fault::FreezeTaskManager { frozen },
            47..60 => Fault::KillJobManager { away },
            60..67 => Fault::FreezeJobManager { frozen },
            67..74 => Fault::KillAll { away },
            74..81 => Fault::KillBroker { away },
            81..86 => Fault::FreezeBroker { frozen },
            86..90 => Fault::StartRival { beside: random.duration_ms(300, 5_000) },
            90..93 => Fault::StartTwo { beside: random.duration_ms(300, 3_000) },
            93..98 => Fault::StallStore { stalled: random.duration_ms(200, 8_000) },
            _ => Fault::ChangePassword { changed: PASSWORD_CHANGED },
        }
    }

    fn strike(&mut self) -> Strike {
        let fault = self.fault();
        let random = &mut self.random;
        // Some come in quick succession, into the recovery from the last one.
        let pause =
            if random.chance(25) { random.duration_ms(50, 500) } else { random.duration_ms(800, 4_000) };
        let moment = if random.chance(40) {
            Moment::AfterCheckpoint(random.duration_us(0, 30_000))
        } else {
            Moment::Now
        };
        Strike { pause, moment, fault, victim: random.below(1 << 16) as usize }
    }

    /// Kills the one who commits, in the moment in which it does.
    fn strike_without_settle(&mut self) -> Strike {
        let random = &mut self.random;
        // The first checkpoints of an attempt list next to nothing.
        let pause = random.duration_ms(2_500, 4_000);
        let moment = Moment::AfterCheckpoint(random.duration_us(0, 2_000));
        let fault = Fault::KillTaskManagers { away: random.duration_ms(0, 200) };
        Strike { pause, moment, fault, victim: 0 }
    }

    /// Starts two JobManagers on one journal at one moment.
    fn strike_without_writer(&mut self) -> Strike {
        let random = &mut self.random;
        let pause = random.duration_ms(2_000, 4_000);
        let fault = Fault::StartTwo { beside: random.duration_ms(1_000, 2_000) };
        Strike { pause, moment: Moment::Now, fault, victim: 0 }
    }

    /// Changes the password, and kills the TaskManagers: the JobManager settles then, and has to log in anew.
    fn strike_without_refusals(&mut self) -> Strike {
        let random = &mut self.random;
        let fault = if random.chance(50) {
            Fault::ChangePassword { changed: PASSWORD_CHANGED }
        } else {
            Fault::KillTaskManagers { away: random.duration_ms(0, 500) }
        };
        Strike { pause: random.duration_ms(2_000, 4_000), moment: Moment::Now, fault, victim: 0 }
    }

    /// Kills the writers while a checkpoint is under way: the newest complete one lists producers that are in use again
    /// since its successor's barrier.
    fn strike_without_quarantine(&mut self) -> Strike {
        let random = &mut self.random;
        let pause = random.duration_ms(1_500, 2_500);
        let moment = Moment::AfterCheckpoint(random.duration_us(0, 100_000));
        let fault = Fault::KillTaskManagers { away: random.duration_ms(0, 200) };
        Strike { pause, moment, fault, victim: 0 }
    }
}

impl Iterator for Plan {
    type Item = Strike;

    fn next(&mut self) -> Option<Strike> {
        match self.without {
            None => loop {
                let strike = self.strike();
                if self.only.is_empty() || self.only.iter().any(|kind| kind == strike.fault.name()) {
                    return Some(strike);
                }
            },
            Some(Ablation::Settle) => Some(self.strike_without_settle()),
            Some(Ablation::Writer) => Some(self.strike_without_writer()),
            Some(Ablation::Refusals) => Some(self.strike_without_refusals()),
            Some(Ablation::Quarantine) => Some(self.strike_without_quarantine()),
        }
    }
}

/// Numbers of the splitmix64 sequence.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn duration_ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }

    fn duration_us(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(from + self.below(to - from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strikes(seed: u64, without: Option<Ablation>) -> Vec<Strike> {
        Plan::new(seed, without).take(500).collect()
    }

    #[test]
    fn a_storm_depends_on_its_seed_alone() {
        assert_eq!(strikes(7, None), strikes(7, None));
        assert_ne!(strikes(7, None), strikes(8, None));
    }

    #[test]
    fn a_storm_does_everything() {
        let strikes = strikes(1, None);
        let count = |is: fn(&Fault) -> bool| strikes.iter().filter(|strike| is(&strike.fault)).count();
        assert!(count(|fault| matches!(fault, Fault::KillTaskManager { .. })) > 100);
        assert!(count(|fault| matches!(fault, Fault::KillTaskManagers { .. })) > 20);
        assert!(count(|fault| matches!(fault, Fault::KillJobManager { .. })) > 40);
        assert!(count(|fault| matches!(fault, Fault::KillAll { .. })) > 20);
        assert!(count(|fault| matches!(fault, Fault::KillBroker { .. })) > 10);
        assert!(Fault::NAMES.iter().all(|name| strikes.iter().any(|strike| strike.fault.name() == *name)));
        let short = Duration::from_millis(1_500);
        assert!(count(|fault| matches!(fault, Fault::FreezeJobManager { .. })) > 20);
        let is_short = |fault: &Fault| matches!(*fault, Fault::FreezeTaskManager { frozen } if frozen < Duration::from_millis(1_500));
        assert!(count(is_short) > 20);
        let is_long =
            |strike: &&Strike| matches!(strike.fault, Fault::FreezeTaskManager { frozen } if frozen > short);
        assert!(strikes.iter().filter(is_long).count() > 20);
        let in_window =
            strikes.iter().filter(|strike| matches!(strike.moment, Moment::AfterCheckpoint(_))).count();
        assert!((150..250).contains(&in_window), "{in_window}");
    }

    #[test]
    fn a_storm_can_be_of_some_kinds_only() {
        let plan = Plan::new(1, None).only(&["kill_broker".to_owned()]);
        assert!(plan.take(20).all(|strike| strike.fault.name() == "kill_broker"));
    }

    #[test]
    fn a_storm_without_settle_strikes_right_after_checkpoints() {
        let soon = Duration::from_millis(2);
        let is_right_after =
            |strike: &Strike| matches!(strike.moment, Moment::AfterCheckpoint(delay) if delay < soon);
        assert!(strikes(1, Some(Ablation::Settle)).iter().all(is_right_after));
    }
}
