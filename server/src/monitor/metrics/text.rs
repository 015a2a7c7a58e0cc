//! Prometheus's text format 0.0.4: a line for each value, with help and type before each metric.

use std::fmt::Write;

use crate::status::histogram::Buckets;

/// What a metric's values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A text of metrics.
#[derive(Debug, Default)]
pub(super) struct Text(String);

/// Names and values of labels.
pub(super) type Labels<'a> = [(&'a str, &'a str)];

impl Text {
    /// A metric begins: `name` without the prefix, and what it is.
    pub fn metric<'t>(&'t mut self, name: &'t str, kind: Kind, help: &str) -> Metric<'t> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.write(format_args!(
            "# HELP zeo_server_{name} {help}\n# TYPE zeo_server_{name} {kind}\n"
        ));
        Metric { text: self, name }
    }

    /// A metric with one value; without any if that is not known.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.metric(name, kind, help).value(&[], value);
        }
    }

    /// All that was written.
    pub fn into_string(self) -> String {
        self.0
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // A String takes everything.
        let _ = self.0.write_fmt(text);
    }
}

/// One metric, whose values follow.
pub(super) struct Metric<'t> {
    text: &'t mut Text,
    name: &'t str,
}

impl Metric<'_> {
    /// A value.
    pub fn value(&mut self, labels: &Labels<'_>, value: f64) {
        self.line("", labels, value);
    }

    /// A histogram, whose buckets are added up.
    pub fn histogram(&mut self, labels: &Labels<'_>, buckets: &Buckets) {
        let mut total = 0;
        let bounds = Buckets::bounds().map(|bound| bound.to_string());
        let bounds = bounds.chain(["+Inf".to_owned()]);
        for (count, bound) in buckets.counts.iter().zip(bounds) {
            total += count;
            let labels = [labels, &[("le", bound.as_str())]].concat();
            self.line("_bucket", &labels, total as f64);
        }
        self.line("_sum", labels, buckets.sum);
        self.line("_count", labels, total as f64);
    }

    fn line(&mut self, suffix: &str, labels: &Labels<'_>, value: f64) {
        self.text
            .write(format_args!("zeo_server_{}{suffix}", self.name));
        for (number, (name, value)) in labels.iter().enumerate() {
            let before = if number == 0 { '{' } else { ',' };
            let value = escaped(value);
            self.text.write(format_args!("{before}{name}=\"{value}\""));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        self.text.write(format_args!("{end} {value}\n"));
    }
}

fn escaped(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::status::histogram::Histogram;

    #[test]
    fn values_have_labels_whatever_is_in_them() {
        let mut text = Text::default();
        let mut metric = text.metric("loads_total", Kind::Counter, "Objects loaded.");
        metric.value(&[], 3.0);
        metric.value(&[("storage", "a\"b\\c\nd"), ("x", "")], 0.5);
        assert_eq!(
            text.into_string(),
            "# HELP zeo_server_loads_total Objects loaded.\n\
             # TYPE zeo_server_loads_total counter\n\
             zeo_server_loads_total 3\n\
             zeo_server_loads_total{storage=\"a\\\"b\\\\c\\nd\",x=\"\"} 0.5\n"
        );
    }

    #[test]
    fn buckets_are_added_up() {
        let histogram = Histogram::default();
        for millis in [1, 1, 40_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let mut text = Text::default();
        let mut metric = text.metric("x_seconds", Kind::Histogram, "X.");
        metric.histogram(&[("storage", "1")], &histogram.buckets());
        let text = text.into_string();
        for line in [
            "_bucket{storage=\"1\",le=\"0.0005\"} 0\n",
            "_bucket{storage=\"1\",le=\"0.001\"} 2\n",
            "_bucket{storage=\"1\",le=\"30\"} 2\n",
            "_bucket{storage=\"1\",le=\"+Inf\"} 3\n",
            "_sum{storage=\"1\"} 40.002\n",
            "_count{storage=\"1\"} 3\n",
        ] {
            assert!(
                text.contains(&format!("zeo_server_x_seconds{line}")),
                "{line} {text}"
            );
        }
    }
}
