//! Everything that the job needs and does not own: brokers, a store for checkpoints, a login.

use std::time::Duration;

use xtask::kafka::{KafkaBroker, KafkaCluster};

use crate::{error::Result, login::Login, stalling_store::StallingStore};

/// A broker that stands still for longer is shut out by its controller; a lone one by itself.
const LONE_FREEZE_MAX: Duration = Duration::from_secs(2);

/// Brokers, store and login, and what is wrong with them.
#[derive(Debug)]
pub(crate) struct Surroundings {
    brokers: KafkaCluster,
    /// Nothing stalls where the machine mounts nothing.
    store: Option<StallingStore>,
    login: Login,
    /// The broker that a fault strikes. One at a time: with two of three away nothing can be written.
    stricken: Option<Stricken>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stricken {
    index: usize,
    condition: Condition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Away,
    Frozen,
    Starting,
}

impl Surroundings {
    pub(crate) fn new(brokers: KafkaCluster, store: Option<StallingStore>, login: Login) -> Self {
        Self { brokers, store, login, stricken: None }
    }

    /// Bootstrap servers for the job's processes.
    pub(crate) fn login_bootstrap(&self) -> String {
        self.brokers.login_bootstrap()
    }

    /// Returns `true` while a broker that was killed has not started again, writes wait, or the login fails.
    pub(crate) fn is_disturbed(&mut self) -> bool {
        if let Some(Stricken { index, condition: Condition::Starting }) = self.stricken
            && self.brokers.brokers()[index].has_started()
        {
            self.stricken = None;
        }
        self.stricken.is_some()
            || self.store.as_mut().is_some_and(StallingStore::is_frozen)
            || self.login.is_changed()
    }

    /// SIGKILL of one broker; whether there was none away or frozen.
    pub(crate) fn kill_broker(&mut self, victim: usize) -> bool {
        let Some(broker) = self.strike(victim, Condition::Away) else { return false };
        broker.kill9();
        true
    }

    /// SIGSTOP of one broker, for this long; `None` when another one is away or frozen.
    pub(crate) fn freeze_broker(&mut self, victim: usize, frozen: Duration) -> Result<Option<Duration>> {
        let is_lone = self.brokers.brokers().len() == 1;
        let Some(broker) = self.strike(victim, Condition::Frozen) else { return Ok(None) };
        broker.freeze()?;
        Ok(Some(if is_lone { frozen.min(LONE_FREEZE_MAX) } else { frozen }))
    }

    /// Starts the broker that was killed, or lets the one go on that was frozen.
    pub(crate) fn mend_broker(&mut self) -> Result<()> {
        let Some(Stricken { index, condition }) = self.stricken else { return Ok(()) };
        let broker = &mut self.brokers.brokers()[index];
        match condition {
            Condition::Away => {
                broker.relaunch()?;
                self.stricken = Some(Stricken { index, condition: Condition::Starting });
            }
            Condition::Frozen => {
                broker.thaw()?;
                self.stricken = None;
            }
            Condition::Starting => {}
        }
        Ok(())
    }

    /// Stalls writes of checkpoints; whether this machine can.
    pub(crate) fn stall_store(&mut self, stalled: Duration) -> Result<bool> {
        let Some(store) = &mut self.store else { return Ok(false) };
        store.freeze(stalled)?;
        Ok(true)
    }

    /// Makes the password of the job's processes wrong, or right again.
    pub(crate) fn change_password(&mut self, is_right: bool) -> Result<()> {
        self.login.change(self.brokers.bootstrap(), is_right)
    }

    /// Ends all faults, and waits until all brokers serve.
    pub(crate) fn calm_down(&mut self) -> Result<()> {
        self.mend_broker()?;
        if let Some(store) = &mut self.store {
            store.thaw();
        }
        self.brokers.brokers().iter_mut().try_for_each(KafkaBroker::wait_until_ready)?;
        self.stricken = None;
        if self.login.is_changed() {
            self.change_password(true)?;
        }
        Ok(())
    }

    fn strike(&mut self, victim: usize, condition: Condition) -> Option<&mut KafkaBroker> {
        if self.stricken.is_some() {
            return None;
        }
        let brokers = self.brokers.brokers();
        let index = victim % brokers.len();
        self.stricken = Some(Stricken { index, condition });
        Some(&mut brokers[index])
    }
}
