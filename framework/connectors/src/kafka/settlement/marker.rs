//! The marker: an offset committed inside a transaction, so that it is there exactly if the transaction is.

use std::fmt::Write;

use flott_core::{CheckpointId, Generation};
use serde::{Deserialize, Serialize};

/// Whose markers these are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MarkerOwner {
    /// Name of the job.
    pub job: String,
    /// Name of the run: made when a job starts from nothing, kept through all its recoveries. Checkpoint ids of
    /// different runs cannot be compared.
    pub run: String,
}

/// What a transaction says about itself: the metadata of an offset committed in it. The group is the transactional
/// id, the offset is the checkpoint id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Marker {
    /// Who wrote it.
    pub owner: MarkerOwner,
    /// Checkpoint whose completion commits the transaction.
    pub checkpoint: CheckpointId,
    /// Generation of the transactional id.
    pub generation: Generation,
}

impl Marker {
    /// The metadata text: `v1;job=…;run=…;ckpt=…;gen=…`.
    #[must_use]
    pub fn encode(&self) -> String {
        let MarkerOwner { job, run } = &self.owner;
        format!("v1;job={};run={};ckpt={};gen={}", escape(job), escape(run), self.checkpoint, self.generation)
    }

    /// Reads a metadata text; `None` when it is not ours.
    #[must_use]
    pub fn parse(metadata: &str) -> Option<Self> {
        let mut fields = metadata.split(';');
        if fields.next() != Some("v1") {
            return None;
        }
        let mut value = |name: &str| fields.next()?.strip_prefix(name)?.strip_prefix('=');
        let owner = MarkerOwner { job: unescape(value("job")?)?, run: unescape(value("run")?)? };
        let checkpoint = CheckpointId(value("ckpt")?.parse().ok()?);
        Some(Self { owner, checkpoint, generation: Generation(value("gen")?.parse().ok()?) })
    }
}

/// What was found where a marker should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkerReading {
    /// Nothing was committed there, or it has expired.
    Absent,
    /// A marker, ours or of another job or run.
    Found(Marker),
    /// Something that no Flott job writes: its text.
    Unreadable(String),
    /// The group still waits for the end of a transaction that should be over, so that nobody can tell: no witness. Where it
    /// waits; `None` where brokers do not tell.
    Unstable(Option<(String, i32)>),
}

impl MarkerReading {
    /// Reads a committed offset and its metadata.
    #[must_use]
    pub fn of(offset: i64, metadata: &str) -> Self {
        match Marker::parse(metadata) {
            Some(marker) if i64::try_from(marker.checkpoint.0) == Ok(offset) => Self::Found(marker),
            _ => Self::Unreadable(format!("offset {offset}, {metadata:?}")),
        }
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | b';' | b'=' | ..b' ' | 0x7f.. => {
                // Writing to a string cannot fail.
                let _ = write!(escaped, "%{byte:02x}");
            }
            _ => escaped.push(char::from(byte)),
        }
    }
    escaped
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(job: &str) -> Marker {
        let owner = MarkerOwner { job: job.into(), run: "r1".into() };
        Marker { owner, checkpoint: CheckpointId(7), generation: Generation(2) }
    }

    #[test]
    fn the_text_is_frozen() {
        assert_eq!(marker("card-alerts").encode(), "v1;job=card-alerts;run=r1;ckpt=7;gen=2");
    }

    #[test]
    fn every_job_name_survives() {
        for job in ["a", "", "a;b=c%d", "Prüfung 7", "\n"] {
            let text = marker(job).encode();
            assert_eq!(Marker::parse(&text), Some(marker(job)), "{text}");
            assert_eq!(text.matches(';').count(), 4);
        }
    }

    #[test]
    fn a_marker_stands_at_its_checkpoint() {
        let text = marker("a").encode();
        assert_eq!(MarkerReading::of(7, &text), MarkerReading::Found(marker("a")));
        assert!(matches!(MarkerReading::of(8, &text), MarkerReading::Unreadable(_)));
        assert!(matches!(MarkerReading::of(8, ""), MarkerReading::Unreadable(_)));
    }

    #[test]
    fn other_texts_are_not_markers() {
        let foreign =
            ["", "v2;job=a;run=r;ckpt=1;gen=1", "v1", "v1;job=a;run=r;ckpt=x;gen=1", "v1;job=a;ckpt=1;gen=1"];
        for text in
            foreign.into_iter().chain(["v1;job=%;run=r;ckpt=1;gen=1", "v1;job=%zz;run=r;ckpt=1;gen=1"])
        {
            assert_eq!(Marker::parse(text), None, "{text}");
        }
    }
}
