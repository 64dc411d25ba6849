//! What is told, and how it is written down.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit as Written};

/// What [`text`] is, for `Content-Type`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Names and values that tell the samples of a family apart. Values may be anything; names are ours.
pub type Labels = Vec<(&'static str, String)>;

/// What a family is measured in; the last part of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `_seconds`
    Seconds,
    /// `_bytes`
    Bytes,
}

/// Metrics of one name. All samples have the same kind of value.
#[derive(Clone, Debug)]
pub struct Family {
    /// Its name without unit and `_total`: letters, digits and underscores.
    pub name: &'static str,
    /// What it tells, in one line.
    pub help: &'static str,
    /// What it is measured in.
    pub unit: Option<Unit>,
    /// What was measured.
    pub samples: Vec<Sample>,
}

/// One measurement.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Whose.
    pub labels: Labels,
    /// How much.
    pub value: Value,
}

/// How much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// So many since some start.
    Counter(u64),
    /// So much time since some start; of a family in [`Unit::Seconds`].
    Time(Duration),
    /// So many at the moment.
    Gauge(u64),
    /// Nothing but its labels.
    Info,
    /// How long things took.
    Histogram(Histogram),
}

/// How long things took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// All of them together.
    pub sum: Duration,
    /// Upper bounds, in rising order, and how many took no longer than that but longer than the bound before.
    pub buckets: Vec<(Duration, u64)>,
    /// How many took longer than the last bound.
    pub longer: u64,
}

impl Family {
    /// A family without samples.
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, unit: None, samples: Vec::new() }
    }

    /// A family that is measured in something.
    #[must_use]
    pub const fn of(name: &'static str, unit: Unit, help: &'static str) -> Self {
        Self { name, help, unit: Some(unit), samples: Vec::new() }
    }

    /// Adds a sample.
    pub fn push(&mut self, labels: Labels, value: Value) {
        self.samples.push(Sample { labels, value });
    }

    /// With this sample, too.
    #[must_use]
    pub fn with(mut self, labels: Labels, value: Value) -> Self {
        self.push(labels, value);
        self
    }
}

impl Value {
    const fn kind(&self) -> MetricType {
        match self {
            Self::Counter(_) | Self::Time(_) => MetricType::Counter,
            Self::Gauge(_) => MetricType::Gauge,
            Self::Info => MetricType::Info,
            Self::Histogram(_) => MetricType::Histogram,
        }
    }

    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Counter(count) => encoder.encode_counter::<Labels, _, f64>(count, None),
            Self::Time(time) => encoder.encode_counter::<Labels, _, f64>(&time.as_secs_f64(), None),
            Self::Gauge(count) => encoder.encode_gauge(count),
            Self::Info => encoder.encode_info(&Labels::new()),
            Self::Histogram(histogram) => {
                let mut buckets: Vec<(f64, u64)> =
                    histogram.buckets.iter().map(|(bound, count)| (bound.as_secs_f64(), *count)).collect();
                buckets.push((f64::INFINITY, histogram.longer));
                let count = buckets.iter().map(|(_, count)| count).sum();
                encoder.encode_histogram::<Labels>(histogram.sum.as_secs_f64(), count, &buckets, None)
            }
        }
    }
}

/// What was collected, once.
#[derive(Debug)]
struct Collected(Vec<Family>);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // A family without samples says nothing, and has no kind.
        for family in self.0.iter() {
            let Some(first) = family.samples.first() else { continue };
            let unit = family.unit.map(|unit| match unit {
                Unit::Seconds => Written::Seconds,
                Unit::Bytes => Written::Bytes,
            });
            let kind = first.value.kind();
            let mut metric = encoder.encode_descriptor(family.name, family.help, unit.as_ref(), kind)?;
            for sample in &family.samples {
                // The encoder puts a comma between the labels of a family and those of an info, even if one is empty.
                match &sample.value {
                    Value::Info => metric.encode_info(&sample.labels)?,
                    value if sample.labels.is_empty() => value.encode(&mut metric)?,
                    value => value.encode(&mut metric.encode_family(&sample.labels)?)?,
                }
            }
        }
        Ok(())
    }
}

/// Writes families down. Families without samples are left out.
#[must_use]
pub fn text(families: Vec<Family>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Collected(families)));
    let mut text = String::new();
    // Writing into a String can not fail.
    let _ = encode(&mut text, &registry);
    text
}

#[cfg(test)]
mod tests;
