//! Between our table of series and the Prometheus recorder: descriptions, buckets, handles.

use std::sync::OnceLock;

use ::metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};

use super::series::{Kind, SERIES, Series};

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// A recorder that knows every series' help and buckets, installed nowhere.
pub(super) fn recorder() -> PrometheusRecorder {
    let mut builder = PrometheusBuilder::new();
    for series in SERIES {
        if let Kind::Histogram(buckets) = series.kind {
            let matcher = Matcher::Full(series.name.to_owned());
            let with_buckets = builder.set_buckets_for_metric(matcher, buckets);
            builder = with_buckets.expect("fails on an empty list of buckets only");
        }
    }
    let recorder = builder.build_recorder();
    for series in SERIES {
        let name = series.name.into();
        let help = series.help.into();
        match series.kind {
            Kind::Counter => recorder.describe_counter(name, series.unit, help),
            Kind::Gauge => recorder.describe_gauge(name, series.unit, help),
            Kind::Histogram(_) => recorder.describe_histogram(name, series.unit, help),
        }
    }
    recorder
}

/// Cells that are filled when first asked for.
pub(super) struct Table<T>(Vec<OnceLock<T>>);

impl<T> Table<T> {
    pub(super) fn new(cells: usize) -> Self {
        Self(std::iter::repeat_with(OnceLock::new).take(cells).collect())
    }

    pub(super) fn cell(&self, index: usize, fill: impl FnOnce() -> T) -> &T {
        self.0[index].get_or_init(fill)
    }
}

type Labels<'a> = &'a [(&'static str, &'a str)];

/// Makes handles of a recorder.
pub(super) struct Register<'a>(pub(super) &'a PrometheusRecorder);

impl Register<'_> {
    pub(super) fn counter(&self, series: &Series, labels: Labels<'_>) -> Counter {
        self.0.register_counter(&key(series, labels), &METADATA)
    }

    pub(super) fn gauge(&self, series: &Series, labels: Labels<'_>) -> Gauge {
        self.0.register_gauge(&key(series, labels), &METADATA)
    }

    pub(super) fn histogram(&self, series: &Series, labels: Labels<'_>) -> Histogram {
        self.0.register_histogram(&key(series, labels), &METADATA)
    }
}

fn key(series: &Series, labels: Labels<'_>) -> Key {
    let labels = labels.iter().map(|(name, text)| Label::new(*name, (*text).to_owned()));
    Key::from_parts(series.name, labels.collect::<Vec<_>>())
}
