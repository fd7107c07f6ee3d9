//! The study's pictures: the best value against time and work, trials over each parameter, and over all at once.

use anyhow::Result;

use super::output::{Point, plain, progress};
use crate::report::plot::{Chart, Curve};
use crate::report::trials::{Axis, Parallel, Slice};
use crate::run::Run;
use crate::search::{Dimension, Study};

pub fn draw(run: &Run, study: &Study) -> Result<()> {
    let points = progress(study);
    best_so_far(run, study, "time", "seconds", &points, |point| point.seconds)?;
    best_so_far(run, study, "units", "units of work", &points, |point| point.units)?;
    let done: Vec<usize> = (0..study.trials.len()).filter(|&i| study.trials[i].is_done()).collect();
    if done.is_empty() {
        return Ok(());
    }
    slices(run, study, &done)?;
    parallel(run, study, &done)
}

/// As stairs: the value holds until a better trial ends.
fn best_so_far(
    run: &Run,
    study: &Study,
    name: &str,
    axis: &str,
    points: &[Point],
    at: impl Fn(&Point) -> f64,
) -> Result<()> {
    let metric = &study.header.metric;
    let mut stairs: Vec<(f64, f64)> = Vec::new();
    for (x, best) in points.iter().filter_map(|point| Some((at(point), point.best?))) {
        stairs.extend(stairs.last().map(|&(_, before)| (x, before)));
        stairs.push((x, best));
    }
    if stairs.is_empty() {
        return Ok(());
    }
    let curves = [Curve { name: metric.clone(), points: stairs }];
    let title = format!("best so far by {axis}");
    let chart = Chart { title: &title, x: axis, y: metric, curves: &curves, dots: false, marks: &[] };
    run.write(&format!("plots/best_so_far-{name}.svg"), chart.svg()?.as_bytes())
}

/// Where a value lies on its axis: the logarithm where it was drawn in it, the index of a choice.
fn place(dimension: &Dimension, number: f64) -> f64 {
    let log = matches!(dimension, Dimension::Float { log: true, .. } | Dimension::Int { log: true, .. });
    if log { number.log10() } else { number }
}

fn slices(run: &Run, study: &Study, done: &[usize]) -> Result<()> {
    for (index, (key, dimension)) in study.header.space.iter().enumerate() {
        let mut trials = Vec::new();
        for &i in done {
            let number = study.header.space.numbers(&study.trials[i].params)?[index];
            trials.push((i, place(dimension, number), study.trials[i].value().unwrap_or(f64::NAN)));
        }
        let axis = match dimension {
            Dimension::Categorical { choices } => {
                let names: Vec<String> = choices.iter().enumerate().map(|(i, c)| format!("{i} {}", plain(c))).collect();
                format!("{key} ({})", names.join(", "))
            }
            Dimension::Float { log: true, .. } | Dimension::Int { log: true, .. } => format!("log10 {key}"),
            _ => key.to_owned(),
        };
        let title = format!("trials over {key}");
        let slice = Slice { title: &title, x: &axis, y: &study.header.metric, trials: &trials };
        run.write(&format!("plots/slice-{key}.svg"), slice.svg()?.as_bytes())?;
    }
    Ok(())
}

/// The value's axis is the last; a trial is as dark as its rank is good.
fn parallel(run: &Run, study: &Study, done: &[usize]) -> Result<()> {
    let (header, last) = (&study.header, (done.len() - 1).max(1) as f64);
    let value = |i: usize| study.trials[i].value().unwrap_or(f64::NAN);
    let mut ranked = done.to_vec();
    ranked.sort_by(|&a, &b| header.mode.loss(value(a)).total_cmp(&header.mode.loss(value(b))));
    let ends = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let (low, high) = ends(&mut done.iter().map(|&i| value(i)));
    let share = |x: f64, (low, high): (f64, f64)| if high > low { (x - low) / (high - low) } else { 0.5 };
    let mut axes = Vec::new();
    let mut spans = Vec::new();
    for (key, dimension) in header.space.iter() {
        let extremes = dimension.extremes();
        let text = |value: Option<&serde_json::Value>| value.map_or(String::new(), plain);
        axes.push(Axis { name: key.to_owned(), low: text(extremes.first()), high: text(extremes.last()) });
        spans.push(match dimension {
            Dimension::Categorical { choices } => (0.0, (choices.len() - 1) as f64),
            Dimension::Float { low, high, .. } => (place(dimension, *low), place(dimension, *high)),
            Dimension::Int { low, high, .. } => (place(dimension, *low as f64), place(dimension, *high as f64)),
        });
    }
    axes.push(Axis { name: header.metric.clone(), low: format!("{low:.4}"), high: format!("{high:.4}") });
    let mut lines = Vec::new();
    for (rank, &i) in ranked.iter().enumerate() {
        let numbers = header.space.numbers(&study.trials[i].params)?;
        let placed = header.space.iter().zip(numbers).zip(&spans);
        let mut heights: Vec<f64> = placed.map(|(((_, d), number), span)| share(place(d, number), *span)).collect();
        heights.push(share(value(i), (low, high)));
        lines.push((heights, 1.0 - rank as f64 / last));
    }
    let title = format!("{} trials, the best dark", done.len());
    let picture = Parallel { title: &title, axes: &axes, lines: &lines };
    run.write("plots/parallel.svg", picture.svg()?.as_bytes())
}
