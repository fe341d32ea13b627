//! What is measured.

use clap::ValueEnum;

/// A workload; see the performance goals for what each is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Workload {
    /// Stateless: numbers, mapped, filtered, counted.
    #[value(name = "W1")]
    Stateless,
    /// A running sum per key, a million keys.
    #[value(name = "W2")]
    KeyedSum,
    /// A count per auction and window.
    #[value(name = "W3")]
    WindowedCount,
    /// The running sum over two processes.
    #[value(name = "W4")]
    TwoProcesses,
    /// Kafka to Kafka, exactly once, stateless.
    #[value(name = "kafka")]
    Kafka,
    /// The example job, Kafka to Kafka, exactly once.
    #[value(name = "card-alerts")]
    CardAlerts,
}

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Engine {
    /// A loop written for the purpose: what Flott is compared with.
    Hand,
    /// Flott.
    Flott,
    /// Flott, the running sum written by hand as a keyed operator.
    FlottProcess,
    /// Flott, its connections over TLS.
    FlottTls,
    /// The hand-written Kafka loop with batch calls; for information.
    HandBatch,
}

impl Workload {
    /// All workloads, in order.
    pub(crate) fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stateless => "W1",
            Self::KeyedSum => "W2",
            Self::WindowedCount => "W3",
            Self::TwoProcesses => "W4",
            Self::Kafka => "kafka",
            Self::CardAlerts => "card-alerts",
        }
    }

    /// The numbers of cores that it is measured on, unless one is asked for.
    pub(crate) fn cores(self) -> &'static [u32] {
        match self {
            Self::Stateless | Self::WindowedCount => &[1],
            Self::KeyedSum => &[1, 2],
            Self::TwoProcesses | Self::Kafka | Self::CardAlerts => &[2],
        }
    }

    /// Who does it; [`Engine::Hand`] and [`Engine::Flott`] are compared.
    pub(crate) fn engines(self) -> &'static [Engine] {
        match self {
            Self::KeyedSum => &[Engine::Hand, Engine::Flott, Engine::FlottProcess],
            Self::TwoProcesses => &[Engine::Hand, Engine::Flott, Engine::FlottTls],
            Self::Kafka => &[Engine::Hand, Engine::Flott, Engine::HandBatch],
            _ => &[Engine::Hand, Engine::Flott],
        }
    }

    /// Records of one run: enough for some seconds, or as few as a test can do with.
    pub(crate) fn records(self, engine: Engine, is_smoke: bool) -> u64 {
        if is_smoke {
            return 100_000;
        }
        match (self, engine) {
            (Self::Stateless, _) => 4_000_000_000,
            (Self::KeyedSum, _) => 150_000_000,
            (Self::WindowedCount, _) => 300_000_000,
            (Self::TwoProcesses, _) => 150_000_000,
            (Self::Kafka, _) => 5_000_000,
            (Self::CardAlerts, _) => 3_000_000,
        }
    }

    /// The ratio of Flott to the hand-written loop that must be reached.
    pub(crate) fn ratio_min(self, cores: u32) -> f64 {
        match (self, cores) {
            (Self::KeyedSum, 1) => 0.75,
            (Self::KeyedSum | Self::CardAlerts, _) => 0.7,
            (Self::Kafka, _) => 1.0,
            _ => 0.55,
        }
    }

    /// The memory that Flott may use at most, in MB.
    pub(crate) fn rss_mb_max(self) -> Option<f64> {
        (self == Self::KeyedSum).then_some(200.0)
    }

    /// Whether it needs a broker.
    pub(crate) fn needs_kafka(self) -> bool {
        matches!(self, Self::Kafka | Self::CardAlerts)
    }
}

impl Engine {
    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hand => "hand",
            Self::Flott => "flott",
            Self::FlottProcess => "flott-process",
            Self::FlottTls => "flott-tls",
            Self::HandBatch => "hand-batch",
        }
    }

    /// Whether it runs as a Flott job.
    pub(crate) fn is_flott(self) -> bool {
        matches!(self, Self::Flott | Self::FlottProcess | Self::FlottTls)
    }
}
