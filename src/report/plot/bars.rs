//! Horizontal bars with error bars: arms, or the layers of a network, with room for their names.

use anyhow::{Result, ensure};
use plotters::prelude::*;

use super::axis::Axis;
use super::canvas::{Canvas, Drawing, LARGE, Pen, SMALL, WIDTH, colour, titled};
use super::legend::Legend;

/// Groups of bars, one bar a series in each.
pub struct Bars<'a> {
    pub title: &'a str,
    /// What the bars' lengths are.
    pub axis: &'a str,
    /// Names of the groups, from above.
    pub groups: &'a [String],
    pub series: &'a [(String, Vec<Option<Bar>>)],
    pub log: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Bar {
    pub value: f64,
    /// The ends of the error bar.
    pub spread: Option<(f64, f64)>,
}

impl Bars<'_> {
    fn legend(&self) -> Legend {
        Legend::new(&self.series.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>())
    }

    fn bars(&self) -> impl Iterator<Item = &Bar> {
        self.series.iter().flat_map(|(_, bars)| bars).flatten().filter(|bar| bar.value.is_finite())
    }

    /// Bars begin at 0, or where that cannot be (a logarithm) left of the least.
    fn axis(&self) -> Axis {
        let ends = self.bars().flat_map(|bar| {
            let (low, high) = bar.spread.unwrap_or((bar.value, bar.value));
            [bar.value, low, high]
        });
        Axis::over(ends.chain((!self.log).then_some(0.0)), self.log)
    }
}

const NAMES: i32 = 190;

impl Drawing for Bars<'_> {
    fn title(&self) -> &str {
        self.title
    }

    fn size(&self) -> (u32, u32) {
        let bars = (self.groups.len() * self.series.len()).max(2) as u32;
        (WIDTH, 90 + self.legend().height() + 22 * self.groups.len() as u32 / 2 + bars * 14)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>, pen: Pen) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        ensure!(self.bars().next().is_some(), "there is no value to draw");
        let below = titled(canvas, pen, self.title)?;
        let below = self.legend().draw(&below, pen)?;
        let names: Vec<String> = self.groups.iter().map(|name| shortened(name)).collect();
        let room = names.iter().map(|name| Pen::width(SMALL, name)).max().unwrap_or(0) + 12;
        let x = self.axis();
        let start = if self.log { x.ends().0 } else { 0.0 };
        let mut area = ChartBuilder::on(&below)
            .margin_top(pen.px(4))
            .margin_left(pen.px(6))
            .margin_right(pen.px(20))
            .margin_bottom(pen.px(4))
            .x_label_area_size(pen.px(44))
            .y_label_area_size(pen.px(room))
            .build_cartesian_2d(x, Axis::names(names))?;
        area.configure_mesh()
            .disable_y_mesh()
            .x_desc(self.axis)
            .x_labels(6)
            .label_style(pen.text(SMALL))
            .axis_desc_style(pen.text(LARGE))
            .axis_style(pen.line(RGBColor(90, 90, 90), 1))
            .set_all_tick_mark_size(pen.px(4))
            .light_line_style(TRANSPARENT)
            .bold_line_style(pen.line(RGBColor(228, 228, 228), 1))
            .draw()?;
        let thickness = 0.76 / self.series.len() as f64;
        for (index, (_, bars)) in self.series.iter().enumerate() {
            for (group, bar) in bars.iter().enumerate() {
                let Some(bar) = bar.filter(|bar| bar.value.is_finite() && (!self.log || bar.value > 0.0)) else {
                    continue;
                };
                let top = group as f64 - 0.38 + index as f64 * thickness;
                let corners = [(start, top), (bar.value, top + 0.94 * thickness)];
                area.draw_series([Rectangle::new(corners, colour(index).mix(0.75).filled())])?;
                if let Some((low, high)) = bar.spread {
                    let middle = top + 0.47 * thickness;
                    let low = if self.log { low.max(start) } else { low };
                    let style = pen.line(BLACK, 1);
                    let lines = [
                        [(low, middle), (high, middle)],
                        [(low, middle - thickness / 5.0), (low, middle + thickness / 5.0)],
                        [(high, middle - thickness / 5.0), (high, middle + thickness / 5.0)],
                    ];
                    area.draw_series(lines.map(|line| PathElement::new(line, style)))?;
                }
            }
        }
        Ok(())
    }
}

/// A name that fits: its middle gives way.
fn shortened(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let cut = |n: usize| {
        let half = n / 2;
        let (head, tail) = (&letters[..n - half], &letters[letters.len() - half..]);
        head.iter().chain(&['…']).chain(tail).collect::<String>()
    };
    if Pen::width(SMALL, name) <= NAMES {
        return name.to_owned();
    }
    (4..letters.len()).rev().map(cut).find(|short| Pen::width(SMALL, short) <= NAMES).unwrap_or_else(|| cut(4))
}

#[cfg(test)]
mod tests {
    use super::super::canvas::Format;
    use super::*;

    #[test]
    fn bars_have_names_and_long_ones_are_cut_in_the_middle() {
        let groups = ["plain".to_owned(), "cifar10-sym40-early-learning-regularization-cosine".to_owned()];
        let bar = |value: f64| Some(Bar { value, spread: Some((value - 0.1, value + 0.1)) });
        let series = [("accuracy".to_owned(), vec![bar(0.5), bar(0.7)]), ("best".to_owned(), vec![None, bar(0.8)])];
        let bars = Bars { title: "t", axis: "accuracy", groups: &groups, series: &series, log: false };
        let svg = String::from_utf8(bars.picture(Format::Svg).unwrap()).unwrap();
        assert!(svg.contains("\nplain\n") && svg.contains('…') && svg.contains("-cosine\n"), "{svg}");
        assert_eq!(svg.matches("opacity=\"0.75\"").count(), 3);
        let empty = Bars { series: &[], ..bars };
        assert!(empty.picture(Format::Svg).is_err());
    }
}
