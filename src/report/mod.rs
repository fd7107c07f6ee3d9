//! From run folders to tables, plots and verdicts.

mod better;
pub mod claims;
mod difference;
mod figure;
mod figures;
mod grid;
mod group;
pub mod heat_map;
mod html;
mod judge;
mod labels;
mod latex;
mod markdown;
mod paper;
pub mod plot;
mod scan;
mod series;
mod sheet;
mod statistics;
mod terminal;
mod tidy;
pub mod trials;

pub use figure::{Figure, Kind};
pub use grid::Stat;
use group::{Group, groups};
pub use html::html;
pub use latex::latex;
pub use markdown::markdown;
pub use scan::{Record, scan, scan_all};
pub use series::Around;
pub use sheet::sheets;
pub use statistics::Sample;
pub use terminal::{arms_table, grouped_table, terminal};
pub use tidy::{csv, json};

use anyhow::Result;
use std::path::PathBuf;

use crate::run::Summary;

/// A run that was made just now.
pub struct Finished {
    pub arm: String,
    pub seed: u64,
    pub folder: PathBuf,
    pub outcome: Result<Summary>,
}
