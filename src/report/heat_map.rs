//! A matrix as coloured cells with their values.

use anyhow::{Result, ensure};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::plot::{Canvas, Drawing, Format, Pen};

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
        Ok(String::from_utf8(self.picture(Format::Svg)?)?)
    }

    fn size_of_map(&self) -> (usize, usize) {
        (self.rows.iter().map(Vec::len).max().unwrap_or(0), self.rows.len())
    }

    /// Digits after the point that tell the values of the span apart.
    fn label(&self, value: f64) -> String {
        let width = (self.span.1 - self.span.0).abs();
        let digits = if width >= 20.0 {
            0
        } else if width >= 2.0 {
            1
        } else {
            2
        };
        format!("{value:.digits$}")
    }
}

impl Drawing for HeatMap<'_> {
    fn title(&self) -> &str {
        self.title
    }

    fn size(&self) -> (u32, u32) {
        let (columns, rows) = self.size_of_map();
        let cell = (390.0 / columns.max(1) as f64).min(52.0);
        (480, (rows as f64 * cell) as u32 + 100)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>, pen: Pen) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let (columns, rows) = self.size_of_map();
        ensure!(columns > 0 && rows > 0, "there is no cell to draw");
        let below = super::plot::titled(canvas, pen, self.title)?;
        let mut chart = ChartBuilder::on(&below)
            .margin_top(pen.px(6))
            .margin_left(pen.px(6))
            .margin_right(pen.px(14))
            .margin_bottom(pen.px(4))
            .x_label_area_size(pen.px(44))
            .y_label_area_size(pen.px(50))
            .build_cartesian_2d(-0.5..columns as f64 - 0.5, rows as f64 - 0.5..-0.5)?;
        // A label for every cell, but no more than fit.
        chart
            .configure_mesh()
            .disable_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .x_labels(columns.min(12))
            .y_labels(rows.min(16))
            .label_style(pen.text(14))
            .axis_desc_style(pen.text(15))
            .axis_style(pen.line(RGBColor(90, 90, 90), 1))
            .set_all_tick_mark_size(pen.px(4))
            .x_label_formatter(&whole)
            .y_label_formatter(&whole)
            .draw()?;
        // Values that would not be readable are left to the colours.
        let size = [14, 12, 10, 8].into_iter().find(|size| {
            let widest =
                self.rows.iter().flatten().filter(|v| v.is_finite()).map(|v| Pen::width(*size, &self.label(*v)));
            widest.max().unwrap_or(0) + 3 <= 390 / columns as i32
        });
        for (i, row) in self.rows.iter().enumerate() {
            for (j, value) in row.iter().enumerate().filter(|(_, value)| value.is_finite()) {
                let (x, y) = (j as f64, i as f64);
                let depth = ((value - self.span.0) / (self.span.1 - self.span.0)).clamp(0.0, 1.0);
                chart.draw_series([Rectangle::new([(x - 0.5, y - 0.5), (x + 0.5, y + 0.5)], shade(depth).filled())])?;
                if let Some(size) = size {
                    let ink = if depth > 0.5 { WHITE } else { BLACK };
                    let style = pen.anchored(size, HPos::Center, VPos::Center).color(&ink);
                    chart.draw_series([Text::new(self.label(*value), (x, y), style)])?;
                }
            }
        }
        Ok(())
    }
}

/// From near white to dark blue.
fn shade(depth: f64) -> RGBColor {
    let depth = if depth.is_nan() { 0.5 } else { depth };
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
        let map = |rows, span| HeatMap { title: "t", x: "x", y: "y", rows, span }.svg();
        let svg = map(&rows, (0.0, 100.0)).unwrap();
        assert!(["97", "12", "88"].iter().all(|value| svg.contains(&format!("\n{value}\n"))), "{svg}");
        assert!(!svg.contains("NaN") && map(&[], (0.0, 1.0)).is_err());
        assert!(map(&[vec![0.125]], (0.0, 1.0)).unwrap().contains("\n0.12\n"));
    }
}
