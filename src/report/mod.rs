//! From run folders to tables, plots and verdicts.

pub mod claims;
pub mod heat_map;
pub mod plot;
mod scan;
mod statistics;
mod table;

pub use scan::{Record, scan};
pub use statistics::Sample;
pub use table::{arms_table, grouped_table, sweep_table};

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
