//! Curves and points over one axis.

use anyhow::{Result, ensure};
use plotters::prelude::*;

use super::axis::Axis;
use super::canvas::{Canvas, Drawing, Format, LARGE, Pen, ROUND, SMALL, WIDTH, colour, titled};
use super::legend::Legend;

/// A named curve; points that are not finite are left out.
#[derive(Clone, Debug, Default)]
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

/// How a chart is drawn.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Points alone.
    pub scatter: bool,
    pub log_x: bool,
    /// A logarithmic axis leaves out what is not positive.
    pub log_y: bool,
    /// What lies around the curves: none, or one for each.
    pub spread: Vec<Spread>,
}

/// (x, low, high) along a curve.
#[derive(Clone, Debug)]
pub enum Spread {
    /// A shaded band: over seeds.
    Band(Vec<(f64, f64, f64)>),
    /// A bar at each point.
    Bars(Vec<(f64, f64, f64)>),
}

impl Spread {
    fn edges(&self) -> &[(f64, f64, f64)] {
        match self {
            Spread::Band(edges) | Spread::Bars(edges) => edges,
        }
    }
}

impl Chart<'_> {
    /// The chart as an SVG text.
    pub fn svg(&self) -> Result<String> {
        Ok(String::from_utf8(self.picture(Look::default(), Format::Svg)?)?)
    }

    /// The same with the points alone.
    pub fn scatter(&self) -> Result<String> {
        Ok(String::from_utf8(self.picture(Look { scatter: true, ..Look::default() }, Format::Svg)?)?)
    }

    pub fn picture(&self, look: Look, format: Format) -> Result<Vec<u8>> {
        let names: Vec<&str> = self.curves.iter().map(|c| c.name.as_str()).collect();
        Sheet { chart: self, look, legend: Legend::new(&names) }.picture(format)
    }
}

struct Sheet<'a> {
    chart: &'a Chart<'a>,
    look: Look,
    legend: Legend,
}

impl Sheet<'_> {
    fn seen(&self, (x, y): (f64, f64)) -> bool {
        x.is_finite() && y.is_finite() && (!self.look.log_x || x > 0.0) && (!self.look.log_y || y > 0.0)
    }

    /// Both axes, over all that is drawn.
    fn axes(&self) -> Result<(Axis, Axis)> {
        let points = || self.chart.curves.iter().flat_map(|c| &c.points).filter(|p| self.seen(**p));
        ensure!(points().next().is_some(), "there is no point to draw");
        let edges = self.look.spread.iter().flat_map(|s| s.edges()).flat_map(|e| [e.1, e.2]);
        let x = Axis::over(points().map(|p| p.0), self.look.log_x);
        Ok((x, Axis::over(points().map(|p| p.1).chain(edges), self.look.log_y)))
    }
}

impl Drawing for Sheet<'_> {
    fn title(&self) -> &str {
        self.chart.title
    }

    fn size(&self) -> (u32, u32) {
        (WIDTH, 310 + self.legend.height())
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>, pen: Pen) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let (x, y) = self.axes()?;
        let below = titled(canvas, pen, self.chart.title)?;
        let below = self.legend.draw(&below, pen)?;
        let widest = y.labels().iter().map(|label| Pen::width(SMALL, label)).max().unwrap_or(0);
        let (floor, ceiling) = y.ends();
        let mut area = ChartBuilder::on(&below)
            .margin_top(pen.px(6))
            .margin_left(pen.px(8))
            .margin_right(pen.px(18))
            .margin_bottom(pen.px(4))
            .x_label_area_size(pen.px(44))
            .y_label_area_size(pen.px(widest + 34))
            .build_cartesian_2d(x.clone(), y.clone())?;
        area.configure_mesh()
            .x_desc(self.chart.x)
            .y_desc(self.chart.y)
            .x_labels(6)
            .y_labels(6)
            .label_style(pen.text(SMALL))
            .axis_desc_style(pen.text(LARGE))
            .axis_style(pen.line(RGBColor(90, 90, 90), 1))
            .set_all_tick_mark_size(pen.px(4))
            .light_line_style(TRANSPARENT)
            .bold_line_style(pen.line(RGBColor(228, 228, 228), 1))
            .draw()?;
        for &mark in self.chart.marks.iter().filter(|&&mark| x.holds(mark)) {
            let style = pen.line(RGBColor(130, 130, 130), 1);
            area.draw_series(dashed(vec![(mark, floor), (mark, ceiling)], pen, style))?;
        }
        for (index, spread) in self.look.spread.iter().enumerate() {
            let edges: Vec<(f64, f64, f64)> =
                spread.edges().iter().copied().filter(|e| self.seen((e.0, e.2))).collect();
            // On a logarithmic axis a band may reach below what can be shown.
            let low = |e: &(f64, f64, f64)| if self.look.log_y { e.1.max(floor) } else { e.1 };
            match spread {
                Spread::Band(_) => {
                    let there = edges.iter().map(|e| (e.0, e.2));
                    let back = edges.iter().rev().map(|e| (e.0, low(e)));
                    let band = Polygon::new(there.chain(back).collect::<Vec<_>>(), colour(index).mix(0.2).filled());
                    area.draw_series([band])?;
                }
                Spread::Bars(_) => {
                    let style = pen.line(colour(index), 1);
                    area.draw_series(edges.iter().map(|e| PathElement::new([(e.0, low(e)), (e.0, e.2)], style)))?;
                    for end in [|e: &(f64, f64, f64), low: f64| (e.0, low), |e: &(f64, f64, f64), _| (e.0, e.2)] {
                        let cap = |e: &(f64, f64, f64)| {
                            let ends = [(-pen.px(3), 0), (pen.px(3), 0)];
                            EmptyElement::at(end(e, low(e))) + PathElement::new(ends, style)
                        };
                        area.draw_series(edges.iter().map(cap))?;
                    }
                }
            }
        }
        for (index, curve) in self.chart.curves.iter().enumerate() {
            let points: Vec<(f64, f64)> = curve.points.iter().copied().filter(|p| self.seen(*p)).collect();
            let style = pen.line(colour(index), 2);
            if !self.look.scatter && index < ROUND {
                area.draw_series(LineSeries::new(points.iter().copied(), style))?;
            } else if !self.look.scatter {
                area.draw_series(dashed(points.clone(), pen, style))?;
            }
            if self.chart.dots || self.look.scatter || points.len() == 1 {
                let size = pen.px(4);
                let filled = colour(index).filled();
                match index % 3 {
                    0 => area.draw_series(points.iter().map(|&p| Circle::new(p, size, filled))).map(drop),
                    1 => area
                        .draw_series(points.iter().map(|&p| TriangleMarker::new(p, size + pen.px(1), filled)))
                        .map(drop),
                    _ => area
                        .draw_series(
                            points
                                .iter()
                                .map(|&p| EmptyElement::at(p) + Rectangle::new([(-size, -size), (size, size)], filled)),
                        )
                        .map(drop),
                }?;
            }
        }
        Ok(())
    }
}

fn dashed(
    points: Vec<(f64, f64)>,
    pen: Pen,
    style: ShapeStyle,
) -> DashedLineSeries<std::vec::IntoIter<(f64, f64)>, i32> {
    DashedLineSeries::new(points, pen.px(5), pen.px(4), style)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(curves: &[Curve]) -> Chart<'_> {
        Chart { title: "t", x: "step", y: "loss", curves, dots: false, marks: &[2.0] }
    }

    fn curve(name: &str, points: &[(f64, f64)]) -> Curve {
        Curve { name: name.into(), points: points.to_vec() }
    }

    #[test]
    fn curves_are_named_and_gaps_left_out() {
        let curves = [curve("one", &[(1.0, 0.5), (2.0, f64::NAN), (3.0, 0.1)]), curve("two", &[(1.0, 1.0)])];
        let svg = chart(&curves).svg().unwrap();
        assert!(["one", "two", "loss", "step"].iter().all(|word| svg.contains(&format!("\n{word}\n"))), "{svg}");
        assert!(!svg.contains("NaN"));
        let empty = [curve("none", &[(f64::NAN, 1.0)])];
        assert_eq!(chart(&empty).svg().unwrap_err().to_string(), "cannot draw t: there is no point to draw");
    }

    #[test]
    fn a_png_needs_no_font_of_the_machine() {
        let curves = [curve("one", &[(1.0, 1e-3), (3.0, 10.0), (4.0, -1.0)])];
        let look = Look {
            log_y: true,
            spread: vec![Spread::Band(vec![(1.0, -1.0, 0.1), (3.0, 5.0, 20.0)])],
            ..Look::default()
        };
        let png = chart(&curves).picture(look, Format::Png).unwrap();
        let picture = image::load_from_memory(&png).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), (3 * 480, 3 * 310));
        assert!(picture.pixels().any(|p| p.0 == [0, 114, 178]) && picture.pixels().any(|p| p.0 == [0, 0, 0]));
    }
}
