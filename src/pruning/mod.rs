//! What all pruning methods share: scores, plans by rank, schedules and budgets. Cutting itself is in
//! [`crate::params::channels`].

pub mod budget;
pub mod cut;
pub mod gamma_penalty;
pub mod magnitude;
mod ops;
mod ops_network;
pub mod plan;
pub mod removal;
pub mod report;
pub mod schedule;
pub mod scores;

pub use ops::OPS;
pub use ops_network::OPS as NETWORK_OPS;

use anyhow::{Result, bail, ensure};

/// A fraction to cut: 0 <= fraction < 1.
fn check_fraction(fraction: f64) -> Result<()> {
    ensure!((0.0..1.0).contains(&fraction), "fraction = {fraction} must lie in [0, 1)");
    Ok(())
}

/// floor(fraction * total), the count that `fraction` cuts.
fn cut_count(fraction: f64, total: usize) -> usize {
    (fraction * total as f64).floor() as usize
}

/// Scores can only be ranked when none is NaN.
fn check_ranked(name: &str, scores: &[f64]) -> Result<()> {
    match scores.iter().position(|score| score.is_nan()) {
        Some(index) => bail!("{name}[{index}] is NaN: it has no rank"),
        None => Ok(()),
    }
}
