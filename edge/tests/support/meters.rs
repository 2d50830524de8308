//! What a process counts.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

static METERS: LazyLock<Mutex<HashMap<String, Arc<AtomicU64>>>> = LazyLock::new(Mutex::default);

struct Meters;

fn cell(name: &str) -> Arc<AtomicU64> {
    Arc::clone(METERS.lock().unwrap().entry(name.to_owned()).or_default())
}

/// `name` or `name{label="value"}`, as Prometheus writes it.
fn name(key: &Key) -> String {
    let labels: Vec<String> =
        key.labels().map(|label| format!("{}=\"{}\"", label.key(), label.value())).collect();
    if labels.is_empty() { key.name().to_owned() } else { format!("{}{{{}}}", key.name(), labels.join(",")) }
}

impl Recorder for Meters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(cell(&name(key)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(cell(&name(key)))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Begins to count; before anything is.
pub fn install() {
    // Another test of this process may have done so.
    let _ = metrics::set_global_recorder(Meters);
}

/// A counter.
pub fn counter(name: &str) -> u64 {
    cell(&format!("bakehouse_edge_{name}")).load(Ordering::Relaxed)
}

/// A gauge.
pub fn gauge(name: &str) -> f64 {
    f64::from_bits(cell(&format!("bakehouse_edge_{name}")).load(Ordering::Relaxed))
}
