use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use flott::connectors::kafka::{
    client::{TransactionDescription, TransactionPhase},
    settlement::Committable,
};
use flott_cards::{
    kafka::proxy::{KafkaProxy, ProxiedRequest, Verdict},
    process::{Cluster, JobProcess},
};
use flott_tests::{KafkaStage, PATIENCE, Trap, committables, newest_checkpoint, wait_until};
use kafka_protocol::messages::{
    DescribeTransactionsRequest, EndTxnRequest, InitProducerIdRequest, ProduceRequest,
};
use xtask::{
    clock::pause,
    kafka::{BrokerSettings, KafkaBroker, availability},
};

pub(crate) const TASK_MANAGERS: usize = 2;
pub(crate) const SETTINGS: [&str; 3] = ["--bounded", "--parallelism", "2"];
const PAYMENTS: u64 = 400_000;

/// Time within which requests that were sent before are answered.
pub(crate) const ECHO: Duration = Duration::from_millis(500);

/// The names that clients give themselves: tasks write and commit as the one, and ask the broker as the other. So does the
/// JobManager when it settles.
const TASKS: &str = "rdkafka";
const ASKING: &str = "flott";

type SharedBroker = (KafkaProxy, KafkaBroker);

/// A job on topics of its own, and the proxy of the broker, which tests use one after the other.
pub(crate) struct Act {
    pub(crate) job: Cluster,
    pub(crate) stage: KafkaStage,
    // Last, so that the next test begins when the processes of this one are gone.
    broker: MutexGuard<'static, Option<SharedBroker>>,
}

impl Act {
    /// Prepares a stage; `set` sees the proxy before the job starts. Nothing where Kafka cannot be had.
    pub(crate) fn begin<T>(
        name: &str,
        settings: &[&str],
        set: impl FnOnce(&KafkaProxy) -> T,
    ) -> Option<(Self, T)> {
        static SHARED: Mutex<Option<SharedBroker>> = Mutex::new(None);
        let libraries = availability().libraries();
        let libraries = libraries.inspect_err(|reason| eprintln!("not tested, no Kafka: {reason}")).ok()?;
        let mut broker = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = broker.get_or_insert_with(|| {
            let settings = BrokerSettings::temporary()
                .property("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500");
            KafkaProxy::start_broker_with(libraries, settings).unwrap()
        });
        shared.0.pass();
        let stage = KafkaStage::new(&shared.0.bootstrap(), name).feed(PAYMENTS);
        let set = set(&shared.0);
        let job = stage.cluster(TASK_MANAGERS, &[&SETTINGS, settings].concat());
        Some((Self { job, stage, broker }, set))
    }

    pub(crate) fn proxy(&self) -> &KafkaProxy {
        &self.broker.as_ref().unwrap().0
    }

    /// Kills all TaskManagers. The JobManager is frozen, so that what they leave behind can be looked at.
    pub(crate) fn kill_taskmanagers(&mut self) {
        self.job.jobmanager().freeze().unwrap();
        self.job.taskmanagers().iter_mut().for_each(JobProcess::kill9);
        self.job.taskmanagers().clear();
    }

    /// Lets the JobManager recover, and gives it other TaskManagers.
    pub(crate) fn recover(&mut self) {
        self.job.jobmanager().thaw().unwrap();
        self.add_taskmanagers();
    }

    pub(crate) fn kill_all(&mut self) {
        self.job.jobmanager().kill9();
        self.job.taskmanagers().iter_mut().for_each(JobProcess::kill9);
        self.job.taskmanagers().clear();
    }

    pub(crate) fn add_taskmanagers(&mut self) {
        for _ in 0..TASK_MANAGERS {
            self.job.add_taskmanager().unwrap();
        }
    }

    /// Takes the TaskManagers away from the job and stops them where they are.
    pub(crate) fn freeze_taskmanagers(&mut self) -> Vec<JobProcess> {
        self.job.taskmanagers().iter().for_each(|taskmanager| taskmanager.freeze().unwrap());
        std::mem::take(self.job.taskmanagers())
    }

    pub(crate) fn describe(&self, id: &str) -> TransactionDescription {
        self.stage.describe(&[id.to_owned()]).remove(id).flatten().unwrap()
    }

    /// The newest checkpoint and what it lists.
    pub(crate) fn stored(&self) -> (u64, Vec<Committable>) {
        let (checkpoint, manifest) = newest_checkpoint(&self.stage.checkpoints());
        (checkpoint, committables(&manifest))
    }

    /// Returns `true` if the transaction of an id is open and no checkpoint lists it.
    pub(crate) fn is_open_and_unlisted(&self, id: &str) -> bool {
        let seen = self.describe(id);
        let (checkpoint, listed) = self.stored();
        let is_it = |listed: &Committable| listed.transactional_id == id && !listed.is_superseded(&seen);
        let is_listed = listed.iter().any(is_it);
        eprintln!("{id} is {:?}, listed by checkpoint {checkpoint}: {is_listed}", seen.phase);
        seen.phase == TransactionPhase::Ongoing && !is_listed
    }

    /// The ids that the newest checkpoint lists, with what the broker has got to with them.
    pub(crate) fn listed_phases(&self) -> Vec<TransactionPhase> {
        let (checkpoint, listed) = self.stored();
        let phases: Vec<_> =
            listed.iter().map(|listed| self.describe(&listed.transactional_id).phase).collect();
        eprintln!("checkpoint {checkpoint} lists transactions in {phases:?}");
        phases
    }

    /// Lets the job run to its end, and checks every answer.
    pub(crate) fn finish(mut self) {
        self.proxy().pass();
        self.job.wait_until_finished(2 * PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        self.stage.assert_right();
    }
}

/// Holds the first request of a transaction that follows on the first one committed: there is a checkpoint to go back to.
/// `id_of` finds the requests that are wanted, and names their transaction.
pub(crate) fn trap_later(
    proxy: &KafkaProxy,
    id_of: impl Fn(&ProxiedRequest) -> Option<String> + Send + Sync + 'static,
) -> Trap {
    let committed = Mutex::new(BTreeSet::new());
    Trap::set(std::slice::from_ref(proxy), move |_, request| {
        let mut committed = committed.lock().unwrap();
        let is_later = id_of(request).is_some_and(|id| !committed.is_empty() && !committed.contains(&id));
        committed.extend(commit_of_a_task(request));
        is_later
    })
}

/// Gives verdicts on the commits of tasks, by their number and id, and counts them.
pub(crate) fn judge_commits(
    proxy: &KafkaProxy,
    verdict: impl Fn(usize, &str) -> Verdict + Send + Sync + 'static,
) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    proxy.judge(move |request| match commit_of_a_task(request) {
        Some(id) => verdict(counted.fetch_add(1, Ordering::AcqRel), &id),
        None => Verdict::Pass,
    });
    count
}

/// Waits until a commit is sent, stops the JobManager before it goes on to the next checkpoint, and waits until all commits
/// are sent and what passed is answered.
pub(crate) fn freeze_at_commits(job: &mut Cluster, commits: &AtomicUsize) {
    wait_until("a commit is sent", || commits.load(Ordering::Acquire) > 0);
    job.jobmanager().freeze().unwrap();
    pause(ECHO);
}

/// The id of a transaction that a task commits.
pub(crate) fn commit_of_a_task(request: &ProxiedRequest) -> Option<String> {
    (request.client_id() == TASKS).then(|| end_of(request)).flatten()
}

/// The id of a transaction that a recovery commits.
pub(crate) fn commit_of_a_recovery(request: &ProxiedRequest) -> Option<String> {
    (request.client_id() == ASKING).then(|| end_of(request)).flatten()
}

fn end_of(request: &ProxiedRequest) -> Option<String> {
    let end = request.decode::<EndTxnRequest>().filter(|end| end.committed)?;
    Some(end.transactional_id.0.to_string())
}

/// The id of a transaction that output is written in.
pub(crate) fn output_of_a_task(request: &ProxiedRequest) -> Option<String> {
    let id = request.decode::<ProduceRequest>()?.transactional_id?;
    Some(id.0.to_string())
}

/// Finds the ids of transactions that are flushed and asked about, which is the last thing before the acknowledgement. A task
/// also asks about an id when it takes the id over: that is before any output.
pub(crate) fn seals() -> impl Fn(&ProxiedRequest) -> Option<String> + Send + Sync + 'static {
    let written = Mutex::new(BTreeSet::new());
    move |request| {
        let mut written = written.lock().unwrap();
        written.extend(output_of_a_task(request));
        asked_about(request).filter(|id| written.contains(id))
    }
}

/// The id of the one transaction that a request asks about.
pub(crate) fn asked_about(request: &ProxiedRequest) -> Option<String> {
    let mut asked = request.decode::<DescribeTransactionsRequest>()?;
    (asked.transactional_ids.len() == 1).then(|| asked.transactional_ids.remove(0).0.to_string())
}

/// The id that a task takes over before it writes.
pub(crate) fn start_of_a_task(request: &ProxiedRequest) -> Option<String> {
    (request.client_id() == TASKS).then(|| start_of(request)).flatten()
}

/// The id that a recovery takes away from whoever uses it.
pub(crate) fn fence_of_a_recovery(request: &ProxiedRequest) -> Option<String> {
    (request.client_id() == ASKING).then(|| start_of(request)).flatten()
}

fn start_of(request: &ProxiedRequest) -> Option<String> {
    Some(request.decode::<InitProducerIdRequest>()?.transactional_id?.0.to_string())
}

/// The generation in `{prefix}.{sink}.g{generation}.{subtask}.{slot}`.
pub(crate) fn generation_of(id: &str) -> u64 {
    id.rsplit('.').nth(2).unwrap().trim_start_matches('g').parse().unwrap()
}

/// The subtask in the same.
pub(crate) fn subtask_of(id: &str) -> u32 {
    id.rsplit('.').nth(1).unwrap().parse().unwrap()
}
