//! A matrix as coloured cells with their values.

use anyhow::{Result, anyhow, ensure};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Row 0 is at the top; a value that is not finite leaves its cell empty.
pub struct HeatMap<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    pub rows: &'a [Vec<f64>],
    /// The values of the lightest and the darkest colour.
    pub span: (f64, f64),
}

impl HeatMap<'_> {
    /// The map as an SVG text.
    pub fn svg(&self) -> Result<String> {
        let (height, width) = (self.rows.len(), self.rows.first().map_or(0, Vec::len));
        ensure!(height > 0 && width > 0, "{}: there is no cell to draw", self.title);
        let mut text = String::new();
        let broken = |e: &dyn std::fmt::Display| anyhow!("cannot draw {}: {e}", self.title);
        {
            let area = SVGBackend::with_string(&mut text, (560, 480)).into_drawing_area();
            area.fill(&WHITE).map_err(|e| broken(&e))?;
            let mut chart = ChartBuilder::on(&area)
                .caption(self.title, ("sans-serif", 20))
                .margin(12)
                .x_label_area_size(44)
                .y_label_area_size(52)
                .build_cartesian_2d(-0.5..width as f64 - 0.5, height as f64 - 0.5..-0.5)
                .map_err(|e| broken(&e))?;
            // A label for every cell, but no more than fit.
            chart
                .configure_mesh()
                .disable_mesh()
                .x_desc(self.x)
                .y_desc(self.y)
                .x_labels(width.min(20))
                .y_labels(height.min(20))
                .label_style(("sans-serif", 15))
                .axis_desc_style(("sans-serif", 17))
                .x_label_formatter(&whole)
                .y_label_formatter(&whole)
                .draw()
                .map_err(|e| broken(&e))?;
            let size = if width.max(height) <= 12 { 15 } else { 9 };
            let cells =
                self.rows.iter().enumerate().flat_map(|(i, row)| row.iter().enumerate().map(move |(j, v)| (i, j, *v)));
            for (i, j, value) in cells.filter(|(_, _, value)| value.is_finite()) {
                let (x, y) = (j as f64, i as f64);
                let depth = ((value - self.span.0) / (self.span.1 - self.span.0)).clamp(0.0, 1.0);
                let cell = Rectangle::new([(x - 0.5, y - 0.5), (x + 0.5, y + 0.5)], shade(depth).filled());
                let ink = if depth > 0.5 { &WHITE } else { &BLACK };
                let style = ("sans-serif", size).into_font().color(ink).pos(Pos::new(HPos::Center, VPos::Center));
                let label = Text::new(format!("{value:.0}"), (x, y), style);
                chart.draw_series([cell]).map_err(|e| broken(&e))?;
                chart.draw_series([label]).map_err(|e| broken(&e))?;
            }
            area.present().map_err(|e| broken(&e))?;
        }
        Ok(text)
    }
}

/// From near white to dark blue.
fn shade(depth: f64) -> RGBColor {
    let between = |light: f64, dark: f64| (light + depth * (dark - light)) as u8;
    RGBColor(between(240.0, 8.0), between(246.0, 48.0), between(252.0, 107.0))
}

fn whole(value: &f64) -> String {
    if value.fract() == 0.0 { format!("{value}") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_carry_their_values_and_gaps_stay_empty() {
        let rows = vec![vec![97.4, f64::NAN], vec![12.2, 88.0]];
        let map = |rows| HeatMap { title: "t", x: "x", y: "y", rows, span: (0.0, 100.0) }.svg();
        let svg = map(&rows).unwrap();
        assert!(["97", "12", "88"].iter().all(|value| svg.contains(&format!("\n{value}\n"))), "{svg}");
        assert!(!svg.contains("NaN") && map(&[]).is_err());
    }
}
