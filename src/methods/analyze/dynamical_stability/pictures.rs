//! Sharpness, norm and test error along the rates; the loss (and the balance) along the steps; the probes of a network.

use anyhow::Result;

use super::config::Method;
use super::measure::ModelRow;
use crate::metrics::curvature::{Hutchinson, Lanczos};
use crate::report::plot::{Chart, Columns, Curve, Format, Look, draw_column};
use crate::run::Run;

fn draw(run: &Run, file: &str, chart: Chart, look: Look) -> Result<()> {
    if chart.curves.iter().all(|c| c.points.iter().all(|(x, y)| !x.is_finite() || !y.is_finite())) {
        return Ok(()); // every model diverged
    }
    run.write(&format!("plots/{file}.svg"), &chart.picture(look, Format::Svg)?)
}

/// Logarithmic in both axes where there are several rates.
fn log_log() -> Look {
    Look { log_x: true, log_y: true, ..Look::default() }
}

pub fn model_problem(method: &Method, rows: &[ModelRow], run: &Run) -> Result<()> {
    let (x, at): (&str, fn(&ModelRow) -> f64) = match method.ratios.is_empty() {
        true => ("learning rate", |r| r.eta),
        false => ("r at the start", |r| r.model.trim_start_matches("r0-").parse().unwrap_or(f64::NAN)),
    };
    let curve = |name: &str, of: &dyn Fn(&ModelRow) -> Option<f64>| {
        let points = rows.iter().filter(|r| r.replica == 0).map(|r| (at(r), of(r).unwrap_or(f64::NAN))).collect();
        Curve { name: name.into(), points }
    };
    let sharpness = [
        curve("trace", &|r| r.trace),
        curve("largest eigenvalue", &|r| r.top),
        curve("2B/eta", &|r| Some(r.trace_bound)),
        curve("2/eta", &|r| Some(r.top_bound)),
    ];
    let kept = if method.batch == 1 { &sharpness[..3] } else { &sharpness[..] };
    let chart = |title, y, curves| Chart { title, x, y, curves, dots: true, marks: &[] };
    draw(run, "sharpness", chart("sharpness of the minimum", "sharpness", kept), log_log())?;
    let norm = [curve("norm", &|r| r.norm)];
    draw(run, "norm", chart("path or l1 norm of the minimum", "norm", &norm), log_log())?;
    let error = [curve("test error", &|r| r.test_mse)];
    draw(run, "test", chart("test error of the minimum", "mean squared error", &error), log_log())?;
    let ratio = [curve("r at the end", &|r| r.ratio), curve("r at the start", &|r| Some(at(r)))];
    if !method.ratios.is_empty() {
        draw(run, "ratio", chart("balance of the factors", "r", &ratio), log_log())?;
    }
    over_steps(run)
}

/// Every column of training.csv, by its kind.
fn over_steps(run: &Run) -> Result<()> {
    let table = Columns::read(run.folder(), "training")?;
    for kind in ["loss", "ratio"] {
        let names = table.header().iter().filter_map(|c| Some((c, c.strip_prefix(kind)?.strip_prefix('.')?)));
        let curve = |(column, name): (&String, &str)| {
            Ok(Curve { name: name.to_owned(), points: table.points("step", column, None)? })
        };
        let curves = names.map(curve).collect::<Result<Vec<_>>>()?;
        let title = format!("{kind} by step");
        let chart = Chart { title: &title, x: "step", y: kind, curves: &curves, dots: false, marks: &[] };
        draw(run, kind, chart, Look { log_y: true, ..Look::default() })?;
    }
    Ok(())
}

/// Loss and accuracy of a network that was trained here.
pub fn training(run: &Run) -> Result<()> {
    draw_column(run, "loss", "train", "loss", None)?;
    draw_column(run, "accuracy", "eval", "test_accuracy", None)
}

/// The running estimate of the trace, and the Ritz values.
pub fn probes(found: &Hutchinson, spectrum: &Lanczos, run: &Run) -> Result<()> {
    let mut sum = 0.0;
    let running = |(k, quad): (usize, &f64)| {
        sum += quad;
        ((k + 1) as f64, sum / (k + 1) as f64)
    };
    let curves = [Curve { name: "estimate".into(), points: found.quad.iter().enumerate().map(running).collect() }];
    let title = "Hutchinson's estimate of the trace";
    let chart = Chart { title, x: "probes", y: "trace", curves: &curves, dots: false, marks: &[] };
    draw(run, "trace", chart, Look::default())?;
    let ritz = spectrum.ritz.iter().enumerate().map(|(i, value)| ((i + 1) as f64, *value)).collect();
    let curves = [Curve { name: "Ritz values".into(), points: ritz }];
    let title = "ends of the spectrum";
    let chart = Chart { title, x: "rank", y: "Ritz value", curves: &curves, dots: true, marks: &[] };
    draw(run, "spectrum", chart, Look { scatter: true, ..Look::default() })
}
