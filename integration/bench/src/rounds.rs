//! Interleaves the runs of the engines, so that what else the machine does meets them all alike.

use std::collections::BTreeMap;

use crate::{
    error::{Error, Result},
    kafka::Kafka,
    run::{Outcome, Spec},
    workload::{Engine, Workload},
};

/// The runs of one workload on so many cores.
#[derive(Debug)]
pub(crate) struct Row {
    /// The work.
    pub(crate) workload: Workload,
    /// On how many cores.
    pub(crate) cores: u32,
    /// By engine: in order of rounds.
    pub(crate) runs: BTreeMap<Engine, Runs>,
}

/// The runs of one engine.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// Records that went into each.
    pub(crate) records: u64,
    /// What came out.
    pub(crate) outcomes: Vec<Outcome>,
}

/// Median and spread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    /// The lowest.
    pub(crate) min: f64,
    /// The median.
    pub(crate) median: f64,
    /// The highest.
    pub(crate) max: f64,
}

impl Row {
    /// Runs a workload so many times on each of its engines.
    pub(crate) fn measure(workload: Workload, cores: u32, rounds: u32, is_smoke: bool) -> Result<Self> {
        let mut row = Self { workload, cores, runs: BTreeMap::new() };
        let mut kafka = if workload.needs_kafka() { Some(Kafka::start()?) } else { None };
        for round in 1..=rounds {
            for &engine in workload.engines() {
                let spec = Spec { workload, engine, cores, records: workload.records(engine, is_smoke) };
                let outcome = match &mut kafka {
                    Some(kafka) => kafka.run(&spec)?,
                    None => spec.run()?,
                };
                let runs = row.runs.entry(engine).or_default();
                runs.records = spec.records;
                let rate = runs.rate(&outcome) / 1e6;
                let (name, engine) = (workload.name(), engine.name());
                eprintln!("{name} {cores} core(s) round {round}/{rounds} {engine}: {rate:.3} M/s");
                runs.outcomes.push(outcome);
            }
            row.check()?;
        }
        Ok(row)
    }

    /// All runs of equally many records must have given the same.
    fn check(&self) -> Result<()> {
        let answers = self.runs.values().flat_map(|runs| {
            runs.outcomes.iter().map(|outcome| (runs.records, outcome.records, outcome.checksum))
        });
        let mut by_records = BTreeMap::new();
        for (given, records, checksum) in answers {
            let (first_records, first_checksum) = *by_records.entry(given).or_insert((records, checksum));
            if (records, checksum) != (first_records, first_checksum) {
                return Err(Error::Different(format!(
                    "{} on {} core(s): the same {given} records gave {first_records} records with checksum \
                     {first_checksum:016x} in one run and {records} with {checksum:016x} in another",
                    self.workload.name(),
                    self.cores,
                )));
            }
        }
        Ok(())
    }

    /// Median rate of an engine to that of the hand-written loop, within rounds.
    pub(crate) fn ratio(&self, engine: Engine) -> Option<Spread> {
        self.ratio_between(engine, Engine::Hand)
    }

    /// Median rate of an engine to that of another, within rounds.
    pub(crate) fn ratio_between(&self, engine: Engine, base: Engine) -> Option<Spread> {
        let (base, other) = (self.runs.get(&base)?, self.runs.get(&engine)?);
        let pairs = base.outcomes.iter().zip(&other.outcomes);
        Spread::of(pairs.map(|(of_base, of_other)| other.rate(of_other) / base.rate(of_base)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
impl Runs {
    fn rate(&self, outcome: &Outcome) -> f64 {
        self.records as f64 / outcome.seconds
    }

    /// Records per second.
    pub(crate) fn rates(&self) -> Option<Spread> {
        Spread::of(self.outcomes.iter().map(|outcome| self.rate(outcome)))
    }

    /// Peak memory in megabytes.
    pub(crate) fn rss_mb(&self) -> Option<Spread> {
        Spread::of(self.outcomes.iter().map(|outcome| outcome.rss_mb))
    }

    /// Processor seconds per million records.
    pub(crate) fn cpu_s_per_million(&self) -> Option<Spread> {
        let millions = self.records as f64 / 1e6;
        Spread::of(self.outcomes.iter().map(|outcome| outcome.cpu_s / millions))
    }
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let median = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
        Some(Self { min, median, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert!(spread(&[]).is_none());
        assert!(spread(&[3.0, 1.0, 2.0]).is_some_and(|spread| (spread.median - 2.0).abs() < 1e-9));
        assert!(spread(&[4.0, 1.0]).is_some_and(|spread| (spread.median - 2.5).abs() < 1e-9));
    }
}
