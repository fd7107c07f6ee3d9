//! What all tasks end with: one performance a run over d, the dimension, its bootstrap, and the picture.

use anyhow::Result;
use rand::RngExt;
use serde::Serialize;
use serde_json::json;

use super::dimension::{bootstrap, intrinsic_dimension};
use crate::report::plot::{Chart, Curve, Format, Look, Spread};
use crate::rng;
use crate::run::{Run, Stamp, Summary};

/// A row of curve.csv: one run.
#[derive(Clone, Debug, Serialize)]
pub struct CurveRow {
    /// 0: in the full space.
    pub d: i64,
    pub run: u64,
    pub performance: f64,
    /// Of the other images (supervised).
    pub other_accuracy: Option<f64>,
    pub projection: &'static str,
    /// D.
    pub parameters: i64,
    /// Bytes that P takes.
    pub projection_bytes: usize,
    /// Directions without any entry.
    pub empty_directions: i64,
}

/// How the curve is judged.
pub struct Judge {
    pub baseline: Option<f64>,
    pub threshold: f64,
    pub resamples: usize,
    /// What the performance is, for the picture.
    pub performance: &'static str,
}

/// Writes the rows and sums them up: `perf.d<d>` for each d, `d_int`, `solved`, the bootstrap, the compression.
pub fn finish(rows: &[CurveRow], judge: &Judge, at: Stamp, run: &mut Run) -> Result<Summary> {
    let mut summary = Summary::new();
    let (d, perf): (Vec<i64>, Vec<f64>) = rows.iter().map(|r| (r.d, r.performance)).unzip();
    let parameters = rows.iter().map(|r| r.parameters).max().unwrap_or(0);
    summary.insert("parameters".into(), json!(parameters));
    summary.insert("steps".into(), json!(at.step));
    let direct: Vec<f64> = rows.iter().filter(|r| r.d == 0).map(|r| r.performance).collect();
    if !direct.is_empty() {
        summary.insert("direct".into(), json!(direct.iter().sum::<f64>() / direct.len() as f64));
    }
    if d.iter().all(|d| *d == 0) {
        return Ok(summary); // direct runs alone have no dimension
    }
    let found = intrinsic_dimension(&d, &perf, judge.baseline, judge.threshold)?;
    for (d, mean) in found.unique_d.iter().zip(&found.mean) {
        summary.insert(format!("perf.d{d}"), json!(mean));
    }
    let runs_at = |wanted: i64| rows.iter().filter(|r| r.d == wanted).map(|r| r.performance).collect::<Vec<f64>>();
    let runs: Vec<Vec<f64>> = found.unique_d.iter().map(|&d| runs_at(d)).collect();
    let mut draw = rng::stream(run.seed(), "bootstrap");
    let pick = |_| runs.iter().map(|r| draw.random_range(0..r.len())).collect::<Vec<usize>>();
    let choice: Vec<Vec<usize>> = (0..judge.resamples).map(pick).collect();
    let bound = judge.threshold * found.baseline;
    let spread = bootstrap(&found.unique_d, &runs, &choice, bound)?;
    let compression = parameters as f64 * 4.0 / (found.d_int as f64 * 4.0 + 8.0);
    for (name, value) in [
        ("d_int", json!(found.d_int)),
        ("solved", json!(i64::from(found.solved))),
        ("perf_at", json!(found.perf_at)),
        ("baseline", json!(found.baseline)),
        ("bootstrap_mean", json!(spread.mean)),
        ("bootstrap_std", json!(spread.std)),
        ("compression", json!(compression)),
    ] {
        summary.insert(name.into(), value);
    }
    match found.solved {
        true => run.progress.say(&format!(
            "d_int{:.0} = {} of D = {parameters} ({:.0} +- {:.0} by the bootstrap)",
            100.0 * judge.threshold,
            found.d_int,
            spread.mean,
            spread.std
        )),
        false => run.progress.warn(&format!(
            "no d up to {} passes {:.3}, {:.0}% of the baseline: d_int is larger than what was tried",
            found.d_int,
            bound,
            100.0 * judge.threshold
        )),
    }
    picture(&found.unique_d, &runs, bound, judge.performance, run)?;
    Ok(summary)
}

fn picture(d: &[i64], runs: &[Vec<f64>], bound: f64, performance: &str, run: &Run) -> Result<()> {
    let mean = |r: &Vec<f64>| r.iter().sum::<f64>() / r.len() as f64;
    let points: Vec<(f64, f64)> = d.iter().zip(runs).map(|(&d, r)| (d as f64, mean(r))).collect();
    let ends = |(&d, r): (&i64, &Vec<f64>)| {
        (d as f64, r.iter().copied().fold(f64::INFINITY, f64::min), r.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    };
    let line = [points.first(), points.last()].into_iter().flatten().map(|p| (p.0, bound)).collect::<Vec<_>>();
    let flat = Spread::Bars(Vec::new());
    let curves = [Curve { name: "mean of the runs".into(), points }, Curve { name: "threshold".into(), points: line }];
    let spread = vec![Spread::Bars(d.iter().zip(runs).map(ends).collect()), flat];
    let title = "performance by dimension of the subspace";
    let chart = Chart { title, x: "d", y: performance, curves: &curves, dots: true, marks: &[] };
    let wide = d.len() > 1 && d[d.len() - 1] > 20 * d[0];
    let look = Look { log_x: wide, spread, ..Look::default() };
    run.write("plots/curve.svg", &chart.picture(look, Format::Svg)?)
}
