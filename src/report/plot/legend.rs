//! The names of curves above the picture, where they cover nothing.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{Canvas, Pen, ROUND, SMALL, WIDTH, colour};

const LINE: i32 = 19;
const SWATCH: i32 = 20;
const GAP: i32 = 14;

/// Lines of (index, name) that fit the width.
pub struct Legend(Vec<Vec<(usize, String)>>);

impl Legend {
    /// A single curve needs none: the title names it.
    pub fn new(names: &[&str]) -> Legend {
        let mut lines: Vec<Vec<(usize, String)>> = Vec::new();
        let mut used = i32::MAX;
        for (index, name) in names.iter().enumerate().filter(|_| names.len() > 1) {
            let width = SWATCH + Pen::width(SMALL, name) + GAP;
            if used.saturating_add(width) > WIDTH as i32 - 24 {
                lines.push(Vec::new());
                used = 0;
            }
            used += width;
            lines.last_mut().expect("one was pushed").push((index, (*name).to_owned()));
        }
        Legend(lines)
    }

    /// Units it takes from the height.
    pub fn height(&self) -> u32 {
        LINE as u32 * self.0.len() as u32
    }

    pub fn draw<B: DrawingBackend>(&self, canvas: &Canvas<B>, pen: Pen) -> Result<Canvas<B>>
    where
        B::ErrorType: 'static,
    {
        let (top, rest) = canvas.split_vertically(pen.px(self.height() as i32));
        for (row, line) in self.0.iter().enumerate() {
            let y = LINE * row as i32 + LINE / 2;
            let mut x = 14;
            for (index, name) in line {
                let style = pen.line(colour(*index), 3);
                let dash = if *index >= ROUND { 4 } else { SWATCH - 6 };
                for from in (0..SWATCH - 6).step_by(dash as usize * 3 / 2) {
                    let to = (from + dash).min(SWATCH - 6);
                    let ends = [from, to].map(|dx| (pen.px(x + dx), pen.px(y)));
                    top.draw(&PathElement::new(ends, style))?;
                }
                let at = (pen.px(x + SWATCH - 2), pen.px(y));
                top.draw(&Text::new(name.clone(), at, pen.anchored(SMALL, HPos::Left, VPos::Center)))?;
                x += SWATCH + Pen::width(SMALL, name) + GAP;
            }
        }
        Ok(rest)
    }
}
