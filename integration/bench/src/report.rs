//! Figures for people on standard output, and as JSON in a file.

use std::path::Path;

use serde::Serialize;

use crate::{
    error::{Result, Trying},
    rounds::{Row, Spread},
    workload::Engine,
};

/// One row of the JSON file.
#[derive(Debug, Serialize)]
struct JsonRow {
    workload: &'static str,
    cores: u32,
    flott: f64,
    hand: f64,
    ratio: f64,
    ratio_min: f64,
    unit: &'static str,
    rss_mb: f64,
    cpu_s_per_million: f64,
    hand_rss_mb: f64,
    hand_cpu_s_per_million: f64,
    rounds: usize,
    flott_spread: [f64; 2],
    hand_spread: [f64; 2],
    ratio_spread: [f64; 2],
}

/// Prints a workload's table.
pub(crate) fn print(row: &Row) {
    let Row { workload, cores, .. } = row;
    println!("\n{} on {cores} core(s), M records/s", workload.name());
    println!(
        "  {:<14} {:>28}  {:>18}  {:>8}  {:>10}",
        "", "min / median / max", "of hand", "RSS MB", "CPU s/M"
    );
    for (engine, runs) in &row.runs {
        let (Some(rates), Some(rss), Some(cpu)) = (runs.rates(), runs.rss_mb(), runs.cpu_s_per_million())
        else {
            continue;
        };
        let ratio = match row.ratio(*engine) {
            Some(ratio) if *engine != Engine::Hand => spread(&ratio, 1.0),
            _ => String::new(),
        };
        println!(
            "  {:<14} {:>28}  {ratio:>18}  {:>8.1}  {:>10.4}",
            engine.name(),
            spread(&rates, 1e6),
            rss.median,
            cpu.median,
        );
    }
    if let Some(ratio) = row.ratio(Engine::Flott) {
        let goal = workload.ratio_min(*cores);
        let verdict = if ratio.median >= goal { "reached" } else { "MISSED" };
        println!("  goal: {goal:.2} of the hand-written loop, {verdict} with {:.2}", ratio.median);
    }
    if let Some(ratio) = row.ratio_between(Engine::FlottTls, Engine::Flott) {
        println!("  with TLS: {} of the rate without", spread(&ratio, 1.0));
    }
    let rss = row.runs.get(&Engine::Flott).and_then(|runs| runs.rss_mb());
    if let (Some(rss), Some(goal)) = (rss, workload.rss_mb_max()) {
        let verdict = if rss.max <= goal { "reached" } else { "MISSED" };
        println!("  goal: at most {goal:.0} MB, {verdict} with {:.0}", rss.max);
    }
}

fn spread(of: &Spread, unit: f64) -> String {
    let [min, median, max] = [of.min, of.median, of.max].map(|value| value / unit);
    let digits = if median >= 100.0 { 0 } else { 2 };
    format!("{min:.digits$} / {median:.digits$} / {max:.digits$}")
}

/// Writes the rows to a file.
pub(crate) fn write_json(rows: &[Row], path: &Path) -> Result<()> {
    let rows: Vec<_> = rows.iter().filter_map(json_row).collect();
    let text = serde_json::to_string_pretty(&rows).map_err(std::io::Error::other);
    text.and_then(|text| std::fs::write(path, text + "\n"))
        .trying(|| format!("cannot write {}", path.display()))
}

fn json_row(row: &Row) -> Option<JsonRow> {
    let (flott, hand) = (row.runs.get(&Engine::Flott)?, row.runs.get(&Engine::Hand)?);
    let (flott_rate, hand_rate, ratio) = (flott.rates()?, hand.rates()?, row.ratio(Engine::Flott)?);
    Some(JsonRow {
        workload: row.workload.name(),
        cores: row.cores,
        flott: flott_rate.median,
        hand: hand_rate.median,
        ratio: ratio.median,
        ratio_min: row.workload.ratio_min(row.cores),
        unit: "records/s",
        rss_mb: flott.rss_mb()?.median,
        cpu_s_per_million: flott.cpu_s_per_million()?.median,
        hand_rss_mb: hand.rss_mb()?.median,
        hand_cpu_s_per_million: hand.cpu_s_per_million()?.median,
        rounds: flott.outcomes.len(),
        flott_spread: [flott_rate.min, flott_rate.max],
        hand_spread: [hand_rate.min, hand_rate.max],
        ratio_spread: [ratio.min, ratio.max],
    })
}
