//! Rows of sharpness.csv and what the summary makes of them.

use serde::Serialize;
use serde_json::json;

use super::config::{Method, Problem};
use super::problem::Label;
use super::sharpness::Sharpness;
use super::stability::{Alignment, Sampling, Stability};
use crate::run::Summary;

/// Factors of two decide whether a bound holds: each row says which loss its numbers are of.
pub const SQUARED: &str = "1/(2n) sum e^2";
pub const CROSS_ENTROPY: &str = "mean cross-entropy (bounds are local and heuristic)";

/// One model of a model problem at the end of its training. Empty: it diverged.
#[derive(Clone, Debug, Serialize)]
pub struct ModelRow {
    pub model: String,
    pub replica: i64,
    pub convention: &'static str,
    /// The rate before any decay.
    pub eta: f64,
    pub batch: i64,
    pub replacement: bool,
    pub loss: f64,
    pub trace: Option<f64>,
    pub frob: Option<f64>,
    pub top: Option<f64>,
    /// 2/eta.
    pub top_bound: f64,
    /// 2B/eta.
    pub trace_bound: f64,
    pub fourth: Option<f64>,
    pub frob_bound: Option<f64>,
    pub mu: Option<f64>,
    pub mu1: Option<f64>,
    pub noise_trace: Option<f64>,
    pub radius: Option<f64>,
    pub gd_radius: Option<f64>,
    pub stable: Option<bool>,
    pub gd_stable: Option<bool>,
    /// Path norm (relu) or l1 norm (diagonal).
    pub norm: Option<f64>,
    /// Relu: 2B/(eta sqrt(d)), what the trace bound leaves the path norm, up to the sampling error of the inputs.
    pub norm_bound: Option<f64>,
    pub ratio: Option<f64>,
    pub test_mse: Option<f64>,
}

impl ModelRow {
    pub fn new(label: &Label, method: &Method, sampling: Sampling) -> ModelRow {
        ModelRow {
            model: label.name.clone(),
            replica: label.replica,
            convention: SQUARED,
            eta: label.rate,
            batch: sampling.batch,
            replacement: method.replacement && !method.is_gradient_descent(),
            loss: f64::NAN,
            trace: None,
            frob: None,
            top: None,
            top_bound: 2.0 / label.rate,
            trace_bound: 2.0 * sampling.batch as f64 / label.rate,
            fourth: None,
            frob_bound: None,
            mu: None,
            mu1: None,
            noise_trace: None,
            radius: None,
            gd_radius: None,
            stable: None,
            gd_stable: None,
            norm: None,
            norm_bound: (method.problem == Problem::Relu)
                .then(|| 2.0 * sampling.batch as f64 / (label.rate * (method.inputs as f64).sqrt())),
            ratio: None,
            test_mse: None,
        }
    }

    pub fn fill(&mut self, sharpness: &Sharpness, stability: &Stability, alignment: &Alignment) {
        self.trace = Some(sharpness.trace);
        self.frob = Some(sharpness.frob);
        self.top = Some(sharpness.top);
        self.fourth = Some(stability.fourth);
        self.frob_bound = Some(alignment.frob_bound);
        self.mu = Some(alignment.mu);
        self.mu1 = Some(alignment.mu1);
        self.noise_trace = Some(alignment.noise_trace);
        self.radius = Some(stability.radius);
        self.gd_radius = Some(stability.gradient_descent_radius);
        self.stable = Some(stability.stable());
        self.gd_stable = Some(stability.gradient_descent_stable());
    }
}

/// A column by its name and how to read it.
type Column = (&'static str, fn(&ModelRow) -> Option<f64>);

const COLUMNS: [Column; 8] = [
    ("loss", |r| Some(r.loss)),
    ("trace", |r| r.trace),
    ("frob", |r| r.frob),
    ("top", |r| r.top),
    ("radius", |r| r.radius),
    ("norm", |r| r.norm),
    ("ratio", |r| r.ratio),
    ("mse", |r| r.test_mse),
];

/// `<column>.<model>` for each model (mean over the replicas), the worst distance to the bounds, and how the norm, the trace
/// and the test error go along the models. A diverged model leaves its numbers, and all that need them, null.
pub fn summarize(rows: &[ModelRow], models: &[(String, Vec<usize>)], tolerance: f64) -> Summary {
    let mut summary = Summary::new();
    let mean = |places: &[usize], of: fn(&ModelRow) -> Option<f64>| {
        places.iter().map(|&r| of(&rows[r])).sum::<Option<f64>>().map(|sum| sum / places.len() as f64)
    };
    for (name, of) in COLUMNS {
        let values: Vec<Option<f64>> = models.iter().map(|(_, places)| mean(places, of)).collect();
        for ((model, _), value) in models.iter().zip(&values) {
            summary.insert(format!("{name}.{model}"), json!(value));
        }
        let known: Option<Vec<f64>> = values.into_iter().collect();
        if ["norm", "mse", "trace"].contains(&name) && models.len() > 1 {
            along(&mut summary, name, known.as_deref());
        }
    }
    let worst = |of: &dyn Fn(&ModelRow) -> Option<f64>| {
        rows.iter().map(of).try_fold(f64::NEG_INFINITY, |worst, value| Some(worst.max(value?)))
    };
    let count = |is: &dyn Fn(&ModelRow) -> bool| rows.iter().filter(|r| is(r)).count();
    let away = |r: &ModelRow| Some(r.ratio? - 1.0);
    let kept = |r: &ModelRow| {
        let start: f64 = r.model.strip_prefix("r0-")?.parse().ok()?;
        Some((r.ratio? / start - 1.0).abs())
    };
    for (name, value) in [
        ("trace_over_bound", json!(worst(&|r| Some(r.trace? / r.trace_bound)))),
        ("top_over_bound", json!(worst(&|r| Some(r.top? / r.top_bound)))),
        ("norm_over_bound", json!(worst(&|r| Some(r.norm? / r.norm_bound?)))),
        ("fourth", json!(worst(&|r| r.fourth))),
        ("imbalance", json!(worst(&away))),
        ("ratio_change", json!(worst(&kept))),
        ("converged", json!(count(&|r| r.loss < tolerance))),
        ("diverged", json!(count(&|r| r.trace.is_none()))),
    ] {
        summary.insert(name.to_owned(), value);
    }
    summary
}

/// `_rise`: the largest factor from one model to the next (below 1: it falls all along); `_ratio`: the last over the first;
/// `_spread`: the largest over the smallest, less 1.
fn along(summary: &mut Summary, name: &str, values: Option<&[f64]>) {
    let rise = values.map(|v| v.windows(2).map(|pair| pair[1] / pair[0]).fold(f64::NEG_INFINITY, f64::max));
    let ratio = values.and_then(|v| Some(v.last()? / v.first()?));
    let end = |fold: fn(f64, f64) -> f64| values.and_then(|v| v.iter().copied().reduce(fold));
    let spread = end(f64::max).zip(end(f64::min)).map(|(high, low)| high / low - 1.0);
    for (suffix, value) in [("rise", rise), ("ratio", ratio), ("spread", spread)] {
        summary.insert(format!("{name}_{suffix}"), json!(value));
    }
}
