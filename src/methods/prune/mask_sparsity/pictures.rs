//! The method's own pictures: the scales over the epochs and at the end, and the widths that are left.

use anyhow::Result;

use super::plan::InScope;
use crate::params::ParamStore;
use crate::report::plot::{Bar, Bars, Chart, Columns, Curve, Drawing, Format, draw_column};
use crate::run::Run;

/// scales.svg: the sorted scales of kept and of masked channels; widths.svg: channels left in each group.
pub fn after_training(run: &Run, scope: &InScope, store: &ParamStore, keep: &[Vec<bool>]) -> Result<()> {
    let gammas = scope.gammas(store)?;
    let flags = scope.layers.iter().flat_map(|layer| keep[layer.group].iter().copied());
    let all: Vec<(f64, bool)> = gammas.concat().into_iter().zip(flags).collect();
    let sorted = |name: &str, flag: bool| {
        let mut values: Vec<f64> = all.iter().filter(|(_, k)| *k == flag).map(|(g, _)| *g).collect();
        values.sort_by(f64::total_cmp);
        let points = values.into_iter().enumerate().map(|(i, g)| (i as f64, g)).collect();
        Curve { name: name.to_owned(), points }
    };
    let curves: Vec<Curve> = [sorted("stays", true), sorted("goes", false)]
        .into_iter()
        .filter(|curve: &Curve| !curve.points.is_empty())
        .collect();
    let chart = Chart {
        title: "Scales before the cut",
        x: "channel, sorted",
        y: "|gamma|",
        curves: &curves,
        dots: true,
        marks: &[],
    };
    run.write("plots/scales.svg", chart.svg()?.as_bytes())?;
    let in_scope: Vec<usize> = (0..keep.len()).filter(|&g| scope.layers.iter().any(|layer| layer.group == g)).collect();
    let names: Vec<String> = in_scope.iter().map(|&g| scope.groups[g].name.clone()).collect();
    let left = |&g: &usize| {
        let value = keep[g].iter().filter(|&&k| k).count() as f64 / keep[g].len() as f64;
        Some(Bar { value, spread: None })
    };
    let series = [("channels left".to_owned(), in_scope.iter().map(left).collect())];
    let bars = Bars { title: "Channels left", axis: "share of the layer", groups: &names, series: &series, log: false };
    run.write("plots/widths.svg", &bars.picture(Format::Svg)?)
}

/// Accuracy and loss over all phases, and gammas.svg: kept and masked scales over the epochs.
pub fn curves(run: &Run) -> Result<()> {
    draw_column(run, "accuracy", "eval", "test_accuracy", None)?;
    draw_column(run, "loss", "train", "loss", None)?;
    if !run.folder().join("gammas.csv").exists() {
        return Ok(());
    }
    draw_column(run, "accuracy-if-cut", "gammas", "accuracy_if_cut", Some(("layer", "all")))?;
    let table = Columns::read(run.folder(), "gammas")?;
    let curve = |(name, column): (&str, &str)| {
        Ok(Curve { name: name.to_owned(), points: table.points("epoch", column, Some(("layer", "all")))? })
    };
    let columns = [("mean of those that stay", "kept_mean"), ("largest of those that go", "masked_max")];
    let curves = columns.into_iter().map(curve).collect::<Result<Vec<_>>>()?;
    let curves: Vec<Curve> = curves.into_iter().filter(|curve| !curve.points.is_empty()).collect();
    let title = "Scales by epoch";
    let chart = Chart { title, x: "epoch", y: "|gamma|", curves: &curves, dots: false, marks: &[] };
    run.write("plots/gammas.svg", chart.svg()?.as_bytes())
}
