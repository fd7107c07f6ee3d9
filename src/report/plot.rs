//! Line charts as SVG: colour-blind-safe, readable at column width.

use anyhow::{Context, Result, anyhow, ensure};
use plotters::prelude::*;
use std::path::Path;

use crate::config::hint;

/// A named curve; points that are not finite are left out.
#[derive(Clone, Debug)]
pub struct Curve {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// A chart of curves over one axis.
pub struct Chart<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    pub curves: &'a [Curve],
    /// Mark the points: for few of them.
    pub dots: bool,
    /// Where vertical lines stand: task switches, phases.
    pub marks: &'a [f64],
}

/// Okabe and Ito's palette without yellow: told apart by everybody, in print too.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];

impl Chart<'_> {
    /// The chart as an SVG text.
    pub fn svg(&self) -> Result<String> {
        self.draw(true)
    }

    /// The same with the points alone.
    pub fn scatter(&self) -> Result<String> {
        self.draw(false)
    }

    fn draw(&self, lines: bool) -> Result<String> {
        let points = || self.curves.iter().flat_map(|c| &c.points).filter(|(x, y)| x.is_finite() && y.is_finite());
        ensure!(points().next().is_some(), "{}: there is no point to draw", self.title);
        let mut text = String::new();
        let broken = |e: &dyn std::fmt::Display| anyhow!("cannot draw {}: {e}", self.title);
        {
            let area = SVGBackend::with_string(&mut text, (720, 450)).into_drawing_area();
            area.fill(&WHITE).map_err(|e| broken(&e))?;
            let (x, y) = (range(points().map(|p| p.0)), range(points().map(|p| p.1)));
            let mut chart = ChartBuilder::on(&area)
                .caption(self.title, ("sans-serif", 20))
                .margin(12)
                .x_label_area_size(44)
                .y_label_area_size(64)
                .build_cartesian_2d(x.0..x.1, y.0..y.1)
                .map_err(|e| broken(&e))?;
            chart
                .configure_mesh()
                .x_desc(self.x)
                .y_desc(self.y)
                .label_style(("sans-serif", 15))
                .axis_desc_style(("sans-serif", 17))
                .light_line_style(WHITE)
                .bold_line_style(RGBColor(225, 225, 225))
                .x_label_formatter(&|v| tick(*v))
                .y_label_formatter(&|v| tick(*v))
                .draw()
                .map_err(|e| broken(&e))?;
            for &mark in self.marks.iter().filter(|mark| (x.0..=x.1).contains(mark)) {
                let line = DashedLineSeries::new([(mark, y.0), (mark, y.1)], 4, 4, RGBColor(130, 130, 130).into());
                chart.draw_series(line).map_err(|e| broken(&e))?;
            }
            for (i, curve) in self.curves.iter().enumerate() {
                let colour = COLOURS[i % COLOURS.len()];
                let points: Vec<(f64, f64)> =
                    curve.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
                // After one round of colours the lines become thin.
                let style = colour.stroke_width(if i < COLOURS.len() { 2 } else { 1 });
                chart
                    .draw_series(LineSeries::new(points.iter().copied().filter(|_| lines), style))
                    .map_err(|e| broken(&e))?
                    .label(curve.name.clone())
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
                if self.dots || !lines || points.len() == 1 {
                    let dot = |&p: &(f64, f64)| Circle::new(p, 4, colour.filled());
                    chart.draw_series(points.iter().map(dot)).map_err(|e| broken(&e))?;
                }
            }
            if self.curves.len() > 1 {
                chart
                    .configure_series_labels()
                    .label_font(("sans-serif", 15))
                    .background_style(WHITE.mix(0.85))
                    .border_style(RGBColor(200, 200, 200))
                    .draw()
                    .map_err(|e| broken(&e))?;
            }
            area.present().map_err(|e| broken(&e))?;
        }
        Ok(text)
    }
}

/// A little more than the values span.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let margin = if high > low { 0.04 * (high - low) } else { 0.5 * high.abs().max(1.0) };
    (low - margin, high + margin)
}

fn tick(value: f64) -> String {
    if value == 0.0 || (1e-3..1e5).contains(&value.abs()) {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:.1e}")
    }
}

/// Two columns of a run's table; rows without a number in either are left out, and so are rows where the column
/// `only.0` is not `only.1`.
pub fn columns(folder: &Path, table: &str, x: &str, y: &str, only: Option<(&str, &str)>) -> Result<Vec<(f64, f64)>> {
    let path = folder.join(format!("{table}.csv"));
    let mut reader = csv::Reader::from_path(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let header = reader.headers()?.clone();
    let find = |name: &str| {
        let near = hint(name, header.iter());
        header.iter().position(|c| c == name).with_context(|| format!("{} has no column {name}{near}", path.display()))
    };
    let (x, y) = (find(x)?, find(y)?);
    let only = only.map(|(column, value)| Ok::<_, anyhow::Error>((find(column)?, value))).transpose()?;
    let mut points = Vec::new();
    for row in reader.records() {
        let row = row.with_context(|| path.display().to_string())?;
        if let (true, Ok(a), Ok(b)) =
            (only.is_none_or(|(column, value)| &row[column] == value), row[x].parse(), row[y].parse())
        {
            points.push((a, b));
        }
    }
    Ok(points)
}

/// Draws a column of a table over the epochs, one curve for each value of the column `by` (the layers, say); a table that was
/// not written is left out.
pub fn draw_each(run: &crate::run::Run, file: &str, table: &str, column: &str, by: &str) -> Result<()> {
    let path = run.folder().join(format!("{table}.csv"));
    if !path.exists() {
        return Ok(());
    }
    let mut names: Vec<String> = Vec::new();
    let mut reader = csv::Reader::from_path(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let place = reader.headers()?.iter().position(|c| c == by);
    let place = place.with_context(|| format!("{} has no column {by}", path.display()))?;
    for row in reader.records() {
        let name = row.with_context(|| path.display().to_string())?[place].to_owned();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let curve = |name: String| {
        let points = columns(run.folder(), table, "epoch", column, Some((by, &name)))?;
        Ok(Curve { name, points })
    };
    let curves = names.into_iter().map(curve).collect::<Result<Vec<_>>>()?;
    if curves.iter().all(|curve| curve.points.is_empty()) {
        return Ok(());
    }
    let title = format!("{column} by epoch");
    let svg = Chart { title: &title, x: "epoch", y: column, curves: &curves, dots: false, marks: &[] }.svg()?;
    run.write(&format!("plots/{file}.svg"), svg.as_bytes())
}

/// Draws one column of a table over the epochs into the run's plots folder; a table that was not written is left out.
pub fn draw_column(
    run: &crate::run::Run,
    file: &str,
    table: &str,
    column: &str,
    only: Option<(&str, &str)>,
) -> Result<()> {
    if !run.folder().join(format!("{table}.csv")).exists() {
        return Ok(());
    }
    let points = columns(run.folder(), table, "epoch", column, only)?;
    if points.is_empty() {
        return Ok(());
    }
    let curves = [Curve { name: column.into(), points }];
    let svg =
        Chart { title: &format!("{column} by epoch"), x: "epoch", y: column, curves: &curves, dots: false, marks: &[] }
            .svg()?;
    run.write(&format!("plots/{file}.svg"), svg.as_bytes())
}
