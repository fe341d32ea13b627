//! What the user is told when the job may not go on.

use std::{
    collections::BTreeSet,
    fmt::Write,
    time::{Duration, UNIX_EPOCH},
};

use flott_core::{
    CheckpointId,
    sink::{ACCEPT_LOST_OUTPUT, ALLOW_REPEATED_OUTPUT},
};

use super::{LossCause, LostTransaction, MarkerOwner, OtherCluster, SettlementReport};

/// More lines of one sort than this are only counted.
const LINES_MAX: usize = 50;

pub(super) fn lost(report: &SettlementReport) -> String {
    let mut text = format!("sink {}: ", report.sink_uid);
    if !report.lost.is_empty() {
        let checkpoints = checkpoints(&report.lost);
        let (records, transactions) = (report.lost_records(), report.lost.len());
        text += &format!(
            "output of {checkpoints} is lost: {records} records in {transactions} transactions that Kafka aborted \
             before they could be committed; read_committed readers miss exactly these records:"
        );
        lines(&mut text, report.lost.iter().map(transaction));
    }
    if !report.unknown.is_empty() {
        if !report.lost.is_empty() {
            text += "\nalso, ";
        }
        let records: u64 = report.unknown.iter().map(|unknown| unknown.committable.record_count()).sum();
        text += &format!(
            "output of {} may be lost: nobody can tell whether Kafka committed or aborted {records} records in {} \
             transactions:",
            checkpoints(&report.unknown),
            report.unknown.len()
        );
        lines(&mut text, report.unknown.iter().map(transaction));
    }
    text += &format!(
        "\nChoose: (1) stay stopped, the default, and repair the output by hand; \
         (2) go on without these records: --set {ACCEPT_LOST_OUTPUT}=true.\n\
         To make this rarer, raise transaction.timeout.ms (the broker's limit is transaction.max.timeout.ms), or \
         restart the JobManager sooner: it commits such output as soon as it is back."
    );
    text
}

pub(super) fn open(report: &SettlementReport) -> String {
    let mut text = format!(
        "sink {}: Kafka did not commit these transactions although they are open; the commit is repeated later:",
        report.sink_uid
    );
    lines(
        &mut text,
        report.open.iter().map(|open| {
            let answer = open.code.map_or_else(String::new, |code| format!(": answered with {code}"));
            format!("checkpoint {}, transaction {}{answer}", open.checkpoint_id, open.transactional_id)
        }),
    );
    text
}

pub(super) fn repeated(report: &SettlementReport) -> String {
    let what = match report.restored {
        Some(checkpoint) => format!("checkpoint {checkpoint} is restored, but output of later checkpoints"),
        None => "the job starts from nothing, but output that it wrote before".into(),
    };
    let mut text =
        format!("sink {}: {what} is already committed and would be written again:", report.sink_uid);
    lines(
        &mut text,
        report.repeated.iter().map(|repeated| {
            let (id, marker) = (&repeated.transactional_id, &repeated.marker);
            format!("{id}: committed with checkpoint {} of run {}", marker.checkpoint, marker.owner.run)
        }),
    );
    text += &format!(
        "\nRestore the latest checkpoint instead, or allow the repeats with --set {ALLOW_REPEATED_OUTPUT}=true, or \
         write to new topics under a new transactional id prefix."
    );
    text
}

pub(super) fn foreign(report: &SettlementReport) -> String {
    let mut text = format!(
        "sink {}: another job uses the same transactional id prefix; the two would abort each other's output:",
        report.sink_uid
    );
    let owners =
        report.foreign.iter().map(|foreign| format!("{}: {}", foreign.transactional_id, foreign.owner));
    lines(&mut text, owners);
    text += "\nGive each job a prefix of its own. If that other job is gone for good, delete these consumer groups.";
    text
}

pub(super) fn claimed(report: &SettlementReport, owner: &MarkerOwner) -> String {
    format!(
        "sink {}: its transactional id prefix belongs to another run of job {:?}, run {}: a JobManager with another \
         checkpoint directory, or an earlier run whose checkpoint directory is gone. Two at once would abort each other's \
         output. Give each job a prefix and a checkpoint directory of its own; if that other run is gone for good, take \
         its prefix over with --set {ALLOW_REPEATED_OUTPUT}=true.",
        report.sink_uid, owner.job, owner.run
    )
}

pub(super) fn other_cluster(report: &SettlementReport, other: &OtherCluster) -> String {
    let found = other.found.as_deref().unwrap_or("one without an id");
    format!(
        "sink {}: the restored checkpoint lists transactions in Kafka cluster {}, but bootstrap.servers leads to {found}. \
         Point it at the old cluster until a checkpoint without pending output is stored (stop the job with a \
         checkpoint), or start from nothing.",
        report.sink_uid, other.expected
    )
}

fn transaction(lost: &LostTransaction) -> String {
    let committable = &lost.committable;
    let mut line = format!(
        "checkpoint {}, transaction {} (producer {}), {} records",
        committable.checkpoint_id,
        committable.transactional_id,
        lost.producer(),
        committable.record_count()
    );
    for part in &committable.records {
        let (topic, partition, records) = (&part.topic, part.partition, part.records);
        // Writing to a string cannot fail.
        let _ = write!(line, "; {topic}/{partition}: {records}");
        if part.offset_first >= 0 {
            let _ = write!(line, " at offsets {} to {}", part.offset_first, part.offset_last);
        }
    }
    format!("{line}; {}", cause(lost))
}

fn cause(lost: &LostTransaction) -> String {
    let committable = &lost.committable;
    match lost.cause {
        LossCause::TimedOut => {
            let limit = Duration::from_millis(committable.timeout_ms.into());
            let limit = humantime::format_duration(limit);
            match committable.txn_start_ms {
                Some(start) => format!(
                    "begun at {}, aborted by the broker at about {}, when its timeout of {limit} was over",
                    moment(start),
                    moment(start.saturating_add(committable.timeout_ms.into()))
                ),
                None => format!("aborted by the broker when its timeout of {limit} was over"),
            }
        }
        LossCause::Aborted => "aborted by its own producer".into(),
        LossCause::Fenced => format!(
            "its transactional id has been taken over, be it by an earlier settlement, after it was aborted{}",
            committable.txn_start_ms.map_or_else(String::new, |start| format!(
                "; begun at {}, with a timeout of {}",
                moment(start),
                humantime::format_duration(Duration::from_millis(committable.timeout_ms.into()))
            ))
        ),
        LossCause::Forgotten => {
            "the broker no longer knows its id (transactional.id.expiration.ms), or gave it to another producer".into()
        }
        LossCause::Superseded => "its producer has begun a later transaction".into(),
        LossCause::Code(code) => format!("the broker answered its commit with {code}"),
    }
}

fn checkpoints(lost: &[LostTransaction]) -> String {
    let ids: BTreeSet<CheckpointId> = lost.iter().map(|lost| lost.committable.checkpoint_id).collect();
    let names: Vec<_> = ids.iter().map(ToString::to_string).collect();
    format!("{} {}", if names.len() == 1 { "checkpoint" } else { "checkpoints" }, names.join(", "))
}

fn lines(text: &mut String, lines: impl ExactSizeIterator<Item = String>) {
    let rest = lines.len().saturating_sub(LINES_MAX);
    for line in lines.take(LINES_MAX) {
        *text += "\n  ";
        *text += &line;
    }
    if rest > 0 {
        *text += &format!("\n  and {rest} more");
    }
}

fn moment(millis: i64) -> String {
    let since_epoch = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    match UNIX_EPOCH.checked_add(since_epoch) {
        Some(time) => humantime::format_rfc3339_seconds(time).to_string(),
        None => format!("{millis} ms"),
    }
}
