//! Families of counters, gauges and timers whose label values are known when the program is built: every series
//! exists from the start, at 0, and is found by index.

use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::SECONDS;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A histogram of seconds.
    Timer,
}

impl Kind {
    /// The word of docs/METRICS.md.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Timer => "histogram",
        }
    }
}

/// The labels of a family: none, one enum, or two.
pub trait LabelSet: Copy {
    /// Label names with all their values.
    const LABELS: &'static [(&'static str, &'static [&'static str])];
    /// Where this combination stands, counting the last label fastest.
    fn index(self) -> usize;
}

impl LabelSet for () {
    const LABELS: &'static [(&'static str, &'static [&'static str])] = &[];
    fn index(self) -> usize {
        0
    }
}

/// Makes an enum of label values: variants, their strings, and the label's name.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $label:literal, { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* #[doc = concat!("`", $text, "`")] $variant),+ }

        impl $name {
            /// The strings, in the order of the enum.
            pub const VALUES: &'static [&'static str] = &[$($text),+];

            /// The variant of a string; `None` when it is not one of [`Self::VALUES`].
            #[must_use]
            pub fn of(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl $crate::ops::metrics::LabelSet for $name {
            const LABELS: &'static [(&'static str, &'static [&'static str])] = &[($label, Self::VALUES)];
            fn index(self) -> usize { self as usize }
        }
    };
}
pub(super) use label;

/// Every combination of label values, in index order.
fn combinations(labels: &[(&'static str, &'static [&'static str])]) -> Vec<Vec<&'static str>> {
    labels.iter().fold(vec![Vec::new()], |sets, (_, values)| {
        sets.iter()
            .flat_map(|set| values.iter().map(move |value| set.iter().copied().chain([*value]).collect()))
            .collect()
    })
}

/// A family that can be declared in the table.
pub(super) trait Family: Sized {
    /// What it is.
    const KIND: Kind;
    /// Its labels.
    const LABELS: &'static [(&'static str, &'static [&'static str])];
    /// Makes it, every series at 0, and registers it.
    fn register(registry: &Registry, name: &str, help: &str) -> Result<Self, prometheus::Error>;
}

fn names(labels: &[(&'static str, &'static [&'static str])]) -> Vec<&'static str> {
    labels.iter().map(|(name, _)| *name).collect()
}

/// A family of counters.
#[derive(Debug)]
pub struct Counter<L: LabelSet = ()>(Vec<IntCounter>, PhantomData<L>);

impl<L: LabelSet> Counter<L> {
    /// Adds one to the series of `labels`.
    pub fn up(&self, labels: L) {
        self.add(labels, 1);
    }

    /// Adds `by`.
    pub fn add(&self, labels: L, by: u64) {
        if let Some(series) = self.0.get(labels.index()) {
            series.inc_by(by);
        }
    }

    /// The value now.
    #[must_use]
    pub fn value(&self, labels: L) -> u64 {
        self.0.get(labels.index()).map_or(0, IntCounter::get)
    }
}

impl<L: LabelSet> Family for Counter<L> {
    const KIND: Kind = Kind::Counter;
    const LABELS: &'static [(&'static str, &'static [&'static str])] = L::LABELS;

    fn register(registry: &Registry, name: &str, help: &str) -> Result<Self, prometheus::Error> {
        let family = IntCounterVec::new(Opts::new(name, help), &names(L::LABELS))?;
        let sets = combinations(L::LABELS);
        let series = sets.iter().map(|set| family.get_metric_with_label_values(set)).collect::<Result<_, _>>()?;
        registry.register(Box::new(family))?;
        Ok(Self(series, PhantomData))
    }
}

/// A family of gauges.
#[derive(Debug)]
pub struct Gauge<L: LabelSet = ()>(Vec<IntGauge>, PhantomData<L>);

impl<L: LabelSet> Gauge<L> {
    /// Puts the series of `labels` to `value`.
    pub fn set(&self, labels: L, value: i64) {
        if let Some(series) = self.0.get(labels.index()) {
            series.set(value);
        }
    }

    /// Adds `by`, which may be negative.
    pub fn add(&self, labels: L, by: i64) {
        if let Some(series) = self.0.get(labels.index()) {
            series.add(by);
        }
    }

    /// The value now.
    #[must_use]
    pub fn value(&self, labels: L) -> i64 {
        self.0.get(labels.index()).map_or(0, IntGauge::get)
    }
}

impl<L: LabelSet> Family for Gauge<L> {
    const KIND: Kind = Kind::Gauge;
    const LABELS: &'static [(&'static str, &'static [&'static str])] = L::LABELS;

    fn register(registry: &Registry, name: &str, help: &str) -> Result<Self, prometheus::Error> {
        let family = IntGaugeVec::new(Opts::new(name, help), &names(L::LABELS))?;
        let sets = combinations(L::LABELS);
        let series = sets.iter().map(|set| family.get_metric_with_label_values(set)).collect::<Result<_, _>>()?;
        registry.register(Box::new(family))?;
        Ok(Self(series, PhantomData))
    }
}

/// A family of histograms of seconds, in the buckets of [`SECONDS`].
#[derive(Debug)]
pub struct Timer<L: LabelSet = ()>(Vec<Histogram>, PhantomData<L>);

impl<L: LabelSet> Timer<L> {
    /// Counts one duration.
    pub fn took(&self, labels: L, duration: std::time::Duration) {
        if let Some(series) = self.0.get(labels.index()) {
            series.observe(duration.as_secs_f64());
        }
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self, labels: L) -> u64 {
        self.0.get(labels.index()).map_or(0, Histogram::get_sample_count)
    }
}

impl<L: LabelSet> Family for Timer<L> {
    const KIND: Kind = Kind::Timer;
    const LABELS: &'static [(&'static str, &'static [&'static str])] = L::LABELS;

    fn register(registry: &Registry, name: &str, help: &str) -> Result<Self, prometheus::Error> {
        Ok(Self(histograms::<L>(registry, name, help, SECONDS)?, PhantomData))
    }
}

/// Buckets of [`Sizes`].
const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 4_096.0];

/// A family of histograms of how many came together.
#[derive(Debug)]
pub struct Sizes<L: LabelSet = ()>(Vec<Histogram>, PhantomData<L>);

impl<L: LabelSet> Sizes<L> {
    /// Counts one group of `size`.
    pub fn of(&self, labels: L, size: usize) {
        if let Some(series) = self.0.get(labels.index()) {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            series.observe(size as f64);
        }
    }
}

impl<L: LabelSet> Family for Sizes<L> {
    const KIND: Kind = Kind::Timer;
    const LABELS: &'static [(&'static str, &'static [&'static str])] = L::LABELS;

    fn register(registry: &Registry, name: &str, help: &str) -> Result<Self, prometheus::Error> {
        Ok(Self(histograms::<L>(registry, name, help, SIZES)?, PhantomData))
    }
}

/// A histogram with these buckets for each set of labels, registered.
fn histograms<L: LabelSet>(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> Result<Vec<Histogram>, prometheus::Error> {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    let family = HistogramVec::new(options, &names(L::LABELS))?;
    let sets = combinations(L::LABELS);
    let series = sets.iter().map(|set| family.get_metric_with_label_values(set)).collect::<Result<_, _>>()?;
    registry.register(Box::new(family))?;
    Ok(series)
}

/// A family of gauges a table of reference data: its name is the label `table`, and a series is there once it was set. The rates'
/// is from the start.
#[derive(Debug)]
pub struct NamedGauge(IntGaugeVec);

impl NamedGauge {
    /// Puts the series of a table to `value`.
    pub fn set(&self, table: &str, value: i64) {
        self.0.with_label_values(&[table]).set(value);
    }

    /// The value now.
    #[must_use]
    pub fn value(&self, table: &str) -> i64 {
        self.0.with_label_values(&[table]).get()
    }
}

impl Family for NamedGauge {
    const KIND: Kind = Kind::Gauge;
    const LABELS: &'static [(&'static str, &'static [&'static str])] = &[];

    fn register(registry: &Registry, name: &str, help: &str) -> Result<Self, prometheus::Error> {
        let family = IntGaugeVec::new(Opts::new(name, help), &["table"])?;
        // A family without a series would not be told.
        family.get_metric_with_label_values(&["rates"])?.set(0);
        registry.register(Box::new(family.clone()))?;
        Ok(Self(family))
    }
}

/// The one version that something holds of: a series of 1 whose label `version` names it.
#[derive(Debug)]
pub struct VersionGauge {
    family: IntGaugeVec,
    /// Whose series that is.
    named: Mutex<String>,
}

impl VersionGauge {
    /// It holds of this version from now on; the one before has no series any more.
    pub fn name(&self, version: &str) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if *named != version {
            self.family.with_label_values(&[version]).set(1);
            // There is one: it was made with the name.
            drop(self.family.remove_label_values(&[named.as_str()]));
            version.clone_into(&mut named);
        }
    }
}

impl Family for VersionGauge {
    const KIND: Kind = Kind::Gauge;
    const LABELS: &'static [(&'static str, &'static [&'static str])] = &[];

    fn register(registry: &Registry, name: &str, help: &str) -> Result<Self, prometheus::Error> {
        let family = IntGaugeVec::new(Opts::new(name, help), &["version"])?;
        // A family without a series would not be told.
        family.get_metric_with_label_values(&[""])?.set(0);
        registry.register(Box::new(family.clone()))?;
        Ok(Self { family, named: Mutex::default() })
    }
}

/// A family of gauges a partition: its number is the last label, and a series is there once it was set.
#[derive(Debug)]
pub struct PartitionGauge<L: LabelSet>(prometheus::GaugeVec, PhantomData<L>);

impl<L: LabelSet> PartitionGauge<L> {
    /// Puts the series of a partition to `value`.
    pub fn set(&self, labels: L, partition: usize, value: f64) {
        let sets = combinations(L::LABELS);
        let number = partition.to_string();
        if let Some(set) = sets.get(labels.index()) {
            let values: Vec<&str> = set.iter().copied().chain([number.as_str()]).collect();
            self.0.with_label_values(&values).set(value);
        }
    }
}

impl<L: LabelSet> Family for PartitionGauge<L> {
    const KIND: Kind = Kind::Gauge;
    const LABELS: &'static [(&'static str, &'static [&'static str])] = L::LABELS;

    fn register(registry: &Registry, name: &str, help: &str) -> Result<Self, prometheus::Error> {
        let labels: Vec<&str> = names(L::LABELS).into_iter().chain(["partition"]).collect();
        let family = prometheus::GaugeVec::new(Opts::new(name, help), &labels)?;
        // The first partition is there from the start: a family without a series would not be told.
        for set in combinations(L::LABELS) {
            let values: Vec<&str> = set.iter().copied().chain(["0"]).collect();
            family.get_metric_with_label_values(&values)?.set(0.0);
        }
        registry.register(Box::new(family.clone()))?;
        Ok(Self(family, PhantomData))
    }
}
