//! What a picture is drawn on: SVG, or PNG with three pixels for each unit. The font is part of the program, so that a
//! machine without any draws the same.

use anyhow::{Result, anyhow, bail};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{TextStyle, register_font};
use std::path::Path;
use std::sync::Once;

use crate::Usage;

pub type Canvas<B> = DrawingArea<B, Shift>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Svg,
    Png,
}

impl Format {
    /// The format that the file's name asks for.
    pub fn of(path: &Path) -> Result<Format> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("svg") => Ok(Format::Svg),
            Some("png") => Ok(Format::Png),
            _ => bail!(Usage(format!("-o {} should end in .svg or .png", path.display()))),
        }
    }
}

/// Something that can be drawn.
pub trait Drawing {
    fn title(&self) -> &str;

    /// Width and height in units.
    fn size(&self) -> (u32, u32);

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>, pen: Pen) -> Result<()>
    where
        B::ErrorType: 'static;

    fn picture(&self, format: Format) -> Result<Vec<u8>> {
        register();
        let (width, height) = self.size();
        let outcome = match format {
            Format::Svg => {
                let mut text = String::new();
                let canvas = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
                let drawn = finish(self, &canvas, Pen(1));
                drop(canvas);
                drawn.map(|()| scalable(&text, width, height).into_bytes())
            }
            Format::Png => {
                let (width, height) = (PNG_SCALE * width, PNG_SCALE * height);
                let mut pixels = vec![0; 3 * (width * height) as usize];
                let canvas = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
                let drawn = finish(self, &canvas, Pen(PNG_SCALE as i32));
                drop(canvas);
                drawn.and_then(|()| {
                    let mut bytes = Vec::new();
                    PngEncoder::new(&mut bytes).write_image(&pixels, width, height, ExtendedColorType::Rgb8)?;
                    Ok(bytes)
                })
            }
        };
        outcome.map_err(|e| anyhow!("cannot draw {}: {e:#}", self.title()))
    }
}

/// At 85 mm this is 430 dots an inch.
const PNG_SCALE: u32 = 3;

fn finish<D: Drawing + ?Sized, B: DrawingBackend>(drawing: &D, canvas: &Canvas<B>, pen: Pen) -> Result<()>
where
    B::ErrorType: 'static,
{
    canvas.fill(&WHITE)?;
    drawing.draw(canvas, pen)?;
    Ok(canvas.present()?)
}

/// A browser may shrink the picture; without fonts of ours it takes its own.
fn scalable(svg: &str, width: u32, height: u32) -> String {
    let fixed = format!("<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\"");
    debug_assert!(svg.starts_with(&fixed));
    svg.replacen(&fixed, &format!("{fixed} role=\"img\""), 1)
        .replace("font-family=\"sans-serif\"", "font-family=\"DejaVu Sans, Verdana, sans-serif\"")
}

fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let font = include_bytes!("../font/DejaVuSans-subset.ttf");
        let outcome = register_font("sans-serif", FontStyle::Normal, font);
        assert!(outcome.is_ok(), "the embedded font is one");
    });
}

/// Lengths, texts and lines in units.
#[derive(Clone, Copy)]
pub struct Pen(i32);

impl Pen {
    pub fn px(self, units: i32) -> i32 {
        units * self.0
    }

    /// Text whose em is `units` high.
    pub fn text(self, units: i32) -> TextStyle<'static> {
        // plotters sizes a font by its line, which is 1.24 em.
        ("sans-serif", 1.24 * f64::from(self.px(units))).into_font().color(&BLACK)
    }

    /// The same, with its middle or an edge at the point given.
    pub fn anchored(self, units: i32, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
        self.text(units).pos(Pos::new(horizontal, vertical))
    }

    pub fn line(self, colour: RGBColor, units: u32) -> ShapeStyle {
        colour.stroke_width(units * self.0 as u32)
    }

    /// How many units wide a text is.
    pub fn width(units: i32, text: &str) -> i32 {
        register();
        let font = ("sans-serif", 1.24 * f64::from(units)).into_font();
        font.box_size(text).map_or(0, |(width, _)| width as i32)
    }
}

/// Text heights in units: 480 of them are a printed column, where these are 7 and 7.5 points.
pub const SMALL: i32 = 14;
pub const LARGE: i32 = 15;
pub const WIDTH: u32 = 480;

/// Writes the title on the canvas and returns what is left; a long title becomes smaller.
pub fn titled<B: DrawingBackend>(canvas: &Canvas<B>, pen: Pen, title: &str) -> Result<Canvas<B>>
where
    B::ErrorType: 'static,
{
    let room = WIDTH as i32 - 16;
    let size = (LARGE * room / Pen::width(LARGE, title).max(1)).clamp(9, LARGE);
    let (top, rest) = canvas.split_vertically(pen.px(26));
    top.draw(&Text::new(
        title.to_owned(),
        (pen.px(WIDTH as i32 / 2), pen.px(15)),
        pen.anchored(size, HPos::Center, VPos::Center),
    ))?;
    Ok(rest)
}

/// Okabe and Ito's palette without yellow: told apart by everybody, in print too.
pub fn colour(index: usize) -> RGBColor {
    const COLOURS: [RGBColor; ROUND] = [
        RGBColor(0, 114, 178),
        RGBColor(213, 94, 0),
        RGBColor(0, 158, 115),
        RGBColor(204, 121, 167),
        RGBColor(86, 180, 233),
        RGBColor(230, 159, 0),
        RGBColor(0, 0, 0),
    ];
    COLOURS[index % ROUND]
}

/// After so many curves the colours come again, with dashed lines.
pub const ROUND: usize = 7;
