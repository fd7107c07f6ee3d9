//! Pictures of the trials of a search: over one parameter, and over all at once.

use anyhow::{Result, anyhow, ensure};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::fmt::Display;

/// Trials over one parameter, coloured by their number: the first light, the last dark.
pub struct Slice<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    /// Number, parameter and value of each trial.
    pub trials: &'a [(usize, f64, f64)],
}

/// Trials as lines through one axis a parameter and one for the value, best dark.
pub struct Parallel<'a> {
    pub title: &'a str,
    pub axes: &'a [Axis],
    /// Of each trial: where it crosses each axis, in [0, 1] from bottom to top, and how dark it is, in [0, 1].
    pub lines: &'a [(Vec<f64>, f64)],
}

/// One upright axis.
pub struct Axis {
    pub name: String,
    /// What stands at its ends.
    pub low: String,
    pub high: String,
}

impl Slice<'_> {
    /// The picture as an SVG text.
    pub fn svg(&self) -> Result<String> {
        ensure!(!self.trials.is_empty(), "{}: there is no trial to draw", self.title);
        let broken = |e: &dyn Display| anyhow!("cannot draw {}: {e}", self.title);
        let last = self.trials.iter().map(|trial| trial.0).max().unwrap_or_default();
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, (720, 450)).into_drawing_area();
            area.fill(&WHITE).map_err(|e| broken(&e))?;
            let x = margin(self.trials.iter().map(|trial| trial.1));
            let y = margin(self.trials.iter().map(|trial| trial.2));
            let mut chart = ChartBuilder::on(&area)
                .caption(format!("{} (trial 0 light, trial {last} dark)", self.title), ("sans-serif", 18))
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
                .draw()
                .map_err(|e| broken(&e))?;
            let dot = |&(number, x, y): &(usize, f64, f64)| {
                Circle::new((x, y), 5, shade(number as f64 / last.max(1) as f64).filled())
            };
            chart.draw_series(self.trials.iter().map(dot)).map_err(|e| broken(&e))?;
            area.present().map_err(|e| broken(&e))?;
        }
        Ok(text)
    }
}

impl Parallel<'_> {
    /// The picture as an SVG text.
    pub fn svg(&self) -> Result<String> {
        ensure!(self.axes.len() > 1 && !self.lines.is_empty(), "{}: there is no trial to draw", self.title);
        let broken = |e: &dyn Display| anyhow!("cannot draw {}: {e}", self.title);
        let width = 180 * self.axes.len() as u32;
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, (width, 450)).into_drawing_area();
            area.fill(&WHITE).map_err(|e| broken(&e))?;
            let ends = -0.5..self.axes.len() as f64 - 0.5;
            let mut chart = ChartBuilder::on(&area)
                .caption(self.title, ("sans-serif", 18))
                .margin(12)
                .build_cartesian_2d(ends, -0.2..1.15)
                .map_err(|e| broken(&e))?;
            // The darkest last, on top.
            let mut lines: Vec<&(Vec<f64>, f64)> = self.lines.iter().collect();
            lines.sort_by(|a, b| a.1.total_cmp(&b.1));
            for (heights, depth) in lines {
                let points = heights.iter().enumerate().map(|(i, height)| (i as f64, *height));
                let line = LineSeries::new(points, shade(*depth).stroke_width(2));
                chart.draw_series(line).map_err(|e| broken(&e))?;
            }
            let style =
                |size: i32, at: VPos| ("sans-serif", size).into_font().color(&BLACK).pos(Pos::new(HPos::Center, at));
            for (i, axis) in self.axes.iter().enumerate() {
                let x = i as f64;
                chart.draw_series([PathElement::new([(x, 0.0), (x, 1.0)], BLACK)]).map_err(|e| broken(&e))?;
                let labels = [
                    Text::new(axis.high.clone(), (x, 1.03), style(14, VPos::Bottom)),
                    Text::new(axis.low.clone(), (x, -0.03), style(14, VPos::Top)),
                    Text::new(axis.name.clone(), (x, -0.12), style(15, VPos::Top)),
                ];
                chart.draw_series(labels).map_err(|e| broken(&e))?;
            }
            area.present().map_err(|e| broken(&e))?;
        }
        Ok(text)
    }
}

/// Light to dark blue.
fn shade(depth: f64) -> RGBColor {
    let between = |light: f64, dark: f64| (light + (dark - light) * depth.clamp(0.0, 1.0)) as u8;
    RGBColor(between(190.0, 0.0), between(215.0, 30.0), between(240.0, 90.0))
}

/// A little more than the values span.
fn margin(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let room = if high > low { 0.05 * (high - low) } else { 0.5 * high.abs().max(1.0) };
    (low - room, high + room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trial_and_axis_is_drawn() {
        let trials = [(0, 1.0, 2.0), (1, 3.0, 4.0)];
        let svg = Slice { title: "t", x: "lr", y: "loss", trials: &trials }.svg().unwrap();
        assert!(svg.matches("<circle").count() == 2 && svg.contains("lr"));
        let axis = |name: &str| Axis { name: name.into(), low: "0".into(), high: "9".into() };
        let axes = [axis("lr"), axis("loss")];
        let lines = [(vec![0.0, 1.0], 0.0), (vec![1.0, 0.0], 1.0)];
        let svg = Parallel { title: "t", axes: &axes, lines: &lines }.svg().unwrap();
        assert_eq!(svg.matches("<polyline").count(), 4);
        assert!(Slice { title: "t", x: "", y: "", trials: &[] }.svg().is_err());
    }
}
