//! What a storm has shown.

use std::collections::{BTreeMap, BTreeSet};

use flott_cards::{
    Comparison, Rule,
    kafka::{Topics, read_answers, read_reference},
};
use serde_json::{Value, json};

use crate::{ablation::Ablation, error::Result, feed::Fed, standstill::Standstill, storm::Tally};

/// Everything that is said on the last line.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) seed: u64,
    pub(crate) without: Option<Ablation>,
    pub(crate) seconds: f64,
    pub(crate) records: u64,
    pub(crate) checkpoints: u64,
    pub(crate) recoveries: u64,
    pub(crate) standstill: Standstill,
    pub(crate) tally: Tally,
    pub(crate) missing: u64,
    pub(crate) duplicated: u64,
    pub(crate) wrong: u64,
    pub(crate) lost_reported: u64,
    /// Epochs in which more than one process has led.
    pub(crate) led_twice: BTreeMap<u64, BTreeSet<String>>,
    /// Processes that ended though nobody had asked for it.
    pub(crate) surprises: Vec<String>,
    /// Whether the job was brought to its end in good order.
    pub(crate) is_ended: bool,
}

impl Verdict {
    /// Whether the job has stood the storm.
    pub(crate) fn is_good(&self) -> bool {
        let crashed = |surprise: &String| surprise.ends_with("code 101") || surprise.contains("by signal");
        self.missing + self.duplicated + self.wrong + self.lost_reported == 0
            && self.led_twice.is_empty()
            && self.is_ended
            && !self.surprises.iter().any(crashed)
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "records": self.records,
            "recoveries": self.recoveries,
            "missing": self.missing,
            "duplicated": self.duplicated,
            "lost_reported": self.lost_reported,
            "wrong": self.wrong,
            "led_twice": self.led_twice,
            "checkpoints": self.checkpoints,
            "standstill_max": tenths(self.standstill.longest().as_secs_f64()),
            "faults": self.tally.faults.values().sum::<u64>(),
            "faults_by_kind": self.tally.faults,
            "faults_after_completion": self.tally.in_window,
            "unexpected_ends": self.surprises,
            "ended_in_order": self.is_ended,
            "seed": self.seed,
            "without": self.without.map(Ablation::name),
            "seconds": tenths(self.seconds),
        })
    }
}

fn tenths(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

/// Compares what readers see with what they should, but for windows that are still open.
pub(crate) fn compare(topics: &Topics, fed: Fed) -> Result<Comparison> {
    let mut expected = read_reference(topics, Rule::default())?;
    expected.merchant_minutes.retain(|minute| minute.minute < fed.open_from);
    Ok(Comparison::new(&expected, &read_answers(topics)?))
}
