//! Damaged frames between JobManager and TaskManagers: an error or another message, never a panic.

use flott_control::checkpoint::CheckpointKind;
use flott_core::{
    AttemptId, CheckpointId, ErrorKind, Generation, JobIdentity, LeaderEpoch, MaxParallelism, OperatorUid,
    SubtaskIndex, VertexId,
    operator::Counters,
    source::Split,
    task::{Failure, TaskAction, TaskFact, TaskId},
    testkit::{Random, depth},
};
use flott_state::storage::{Manifest, WrittenList, WrittenOperator, WrittenSnapshot};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    frame::{self, HELLO_BYTES_MAX},
    message::{Deploy, Envelope, Hello, OperatorCounters, Reception, ToJobManager, ToTaskManager},
};

const ATTEMPT: AttemptId = AttemptId(3);
const CHECKPOINT: CheckpointId = CheckpointId(9);

fn uid() -> OperatorUid {
    OperatorUid::new("sum").unwrap()
}

fn task() -> TaskId {
    TaskId { vertex: VertexId(1), subtask: SubtaskIndex(2) }
}

fn failure() -> Failure {
    Failure::new(ErrorKind::User, "division by zero")
}

fn to_jobmanager() -> Vec<ToJobManager> {
    let lists = vec![WrittenList { name: "splits".into(), items: vec![vec![1, 2, 3], vec![]] }];
    let snapshot = WrittenSnapshot {
        operators: vec![WrittenOperator { uid: uid(), file: None, lists, counters: Counters::default() }],
    };
    let counters = OperatorCounters { uid: uid(), counters: Counters::default(), watermark: i64::MIN };
    let facts = [
        TaskFact::Running,
        TaskFact::Failed { failure: failure() },
        TaskFact::Snapshot { checkpoint: CHECKPOINT, snapshot },
        TaskFact::Declined { checkpoint: CHECKPOINT, reason: "no".into() },
    ];
    let mut messages: Vec<_> =
        facts.into_iter().map(|fact| ToJobManager::Task { attempt: ATTEMPT, task: task(), fact }).collect();
    messages.push(ToJobManager::Registered);
    messages.push(ToJobManager::Heartbeat { attempt: Some(ATTEMPT), counters: vec![counters] });
    messages
}

fn to_taskmanager() -> Vec<ToTaskManager> {
    let split = Split { id: "payments-0".into(), state: vec![0, 255] };
    let deploy = Deploy {
        job: JobIdentity { name: "cards".into(), run: "1".into() },
        attempt: ATTEMPT,
        generation: Generation(4),
        restore: Some(Manifest::new(CHECKPOINT, LeaderEpoch(1), ATTEMPT, MaxParallelism::default())),
        peers: vec!["127.0.0.1:1".into(), "127.0.0.1:2".into()],
        me: 1,
        locations: vec![0, 1],
    };
    vec![
        ToTaskManager::Heartbeat,
        ToTaskManager::Deploy(Box::new(deploy)),
        ToTaskManager::ToTask {
            attempt: ATTEMPT,
            task: task(),
            action: TaskAction::AddSplits(vec![split.clone(), split]),
        },
        ToTaskManager::TriggerCheckpoint {
            attempt: ATTEMPT,
            checkpoint: CHECKPOINT,
            kind: CheckpointKind::Periodic,
        },
        ToTaskManager::JobOver { failure: Some(failure()) },
    ]
}

fn enveloped<M: Serialize>(messages: Vec<M>) -> Vec<Vec<u8>> {
    let envelopes = messages.into_iter().map(|message| Envelope { epoch: LeaderEpoch(7), message });
    envelopes.map(|envelope| frame::encode(&envelope).unwrap()).collect()
}

/// Reads frames, some of them damaged, up to the first error. Returns the number of messages that were read.
async fn read_damaged<M: DeserializeOwned>(
    random: &mut Random,
    frames: &[Vec<u8>],
    bytes_max: usize,
) -> usize {
    let mut bytes = Vec::new();
    for _ in 0..1 + random.below(3) {
        let mut frame = random.pick(frames).clone();
        if random.one_in(2) {
            random.damage(&mut frame);
        }
        bytes.append(&mut frame);
    }
    let (mut input, mut read) = (&bytes[..], 0);
    while let Ok(Some(_)) = frame::read::<M>(&mut input, bytes_max).await {
        read += 1;
    }
    read
}

#[tokio::test]
async fn damaged_frames_are_errors_or_other_messages() {
    let mut random = Random::new(11);
    let (to_jobmanager, to_taskmanager) = (enveloped(to_jobmanager()), enveloped(to_taskmanager()));
    let hello = Hello { build_id: "1234".into(), slots: 4, exchange_port: 5000 };
    let strangers = [frame::encode(&hello).unwrap(), frame::encode(&Reception::Refused).unwrap()];
    let (mut read, cases) = (0, 10_000 * depth());
    for case in 0..cases {
        let random = &mut random;
        read += match case % 4 {
            0 => read_damaged::<Envelope<ToJobManager>>(random, &to_jobmanager, 1 << 20).await,
            1 => read_damaged::<Envelope<ToTaskManager>>(random, &to_taskmanager, 1 << 20).await,
            2 => read_damaged::<Hello>(random, &strangers[..1], HELLO_BYTES_MAX).await,
            _ => read_damaged::<Reception>(random, &strangers, HELLO_BYTES_MAX).await,
        } as u64;
    }
    println!("{cases} cases, {read} messages read");
    assert!(read > cases / 2 && read < 2 * cases);
}
