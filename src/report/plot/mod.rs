//! Pictures as SVG and PNG: colour-blind-safe, and readable at the width of a printed column (85 mm, where the smallest text
//! is 7 points high).

mod axis;
mod bars;
mod canvas;
mod chart;
mod columns;
mod legend;

pub use bars::{Bar, Bars};
pub use canvas::{Canvas, Drawing, Format, Pen, titled};
pub use chart::{Chart, Curve, Look, Spread};
pub use columns::{Columns, columns, draw_column, draw_each, table_names};
