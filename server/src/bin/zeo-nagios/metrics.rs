//! Metrics: counts that stand for themselves, and rates, which need two samples.

use serde_json::Value;
use zeo_proto::repr;
use zeo_server::tools::output::on_one_line;

use crate::check::{Report, Status};
use crate::python;
use crate::samples::Before;

const COUNTS: [&str; 3] = ["active_txns", "connections", "waiting"];
const RATES: [&str; 6] = [
    "aborts",
    "commits",
    "conflicts",
    "conflicts_resolved",
    "loads",
    "stores",
];

/// Metrics in the form `name=value`.
#[derive(Debug, Default)]
pub struct Metrics(Vec<String>);

impl Metrics {
    /// Adds one. The storage's name stands before that of the metric, but for storage 1.
    fn push(&mut self, storage: &str, name: &str, value: &str) {
        let label = match storage {
            "1" => name.to_owned(),
            _ if storage.contains(' ') => format!("'{storage}:{name}'"),
            _ => format!("{storage}:{name}"),
        };
        self.0.push(format!("{label}={value}"));
    }

    /// The text of the messages, with the metrics where Nagios looks for them.
    pub fn after(self, messages: Vec<String>) -> String {
        let [mut messages, metrics] = [messages, self.0].map(|texts| {
            let lines = texts.iter().map(|text| on_one_line(text));
            lines.collect::<Vec<_>>()
        });
        let mut metrics = metrics.into_iter();
        if let (Some(message), Some(metric)) = (messages.first_mut(), metrics.next()) {
            *message = format!("{message}|{metric}");
        }
        let rest: Vec<String> = metrics.collect();
        if !rest.is_empty() {
            messages.push(format!("| {}", rest.join("\n ")));
        }
        messages.join("\n")
    }
}

/// What is counted at this moment.
pub fn count_metrics(metrics: &mut Metrics, status: &Status) -> Result<(), Report> {
    for (storage, counters) in status {
        for name in COUNTS {
            let value = python::text(counter(storage, counters, name)?);
            metrics.push(storage, name, &value);
        }
    }
    Ok(())
}

/// What has changed since the sample before, by so many units of time. Notes in the status when
/// that was, as Python's script does.
pub fn rate_metrics(
    metrics: &mut Metrics,
    status: &mut Status,
    before: &Before,
    units: f64,
) -> Result<(), Report> {
    for (storage, counters) in status.iter_mut() {
        if let Value::Object(counters) = counters {
            counters.insert("sameple-time".to_owned(), before.now.into());
        }
        let Some(old) = before.status.get(storage) else {
            continue;
        };
        for name in RATES {
            let [new, old] = [&*counters, old].map(|from| number(storage, from, name));
            metrics.push(storage, name, &repr::float((new? - old?) / units));
        }
    }
    Ok(())
}

fn counter<'v>(storage: &str, counters: &'v Value, name: &str) -> Result<&'v Value, Report> {
    counters.get(name).ok_or_else(|| {
        let text = format!("the status of storage {storage} has no {name:?}: what server is this?");
        Report::unclear(text)
    })
}

fn number(storage: &str, counters: &Value, name: &str) -> Result<f64, Report> {
    let value = counter(storage, counters, name)?;
    value.as_f64().ok_or_else(|| {
        Report::unclear(format!(
            "{name:?} of storage {storage} is no number but {value}"
        ))
    })
}
