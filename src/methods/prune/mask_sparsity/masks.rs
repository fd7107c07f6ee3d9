//! From scales to masks: keep flags, true = the channel stays.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pruning::plan::{PlanRule, Scope};

/// keep = |gamma| > tau, strictly; where fewer than `min_channels` are left, the largest stay (of equals the earlier ones).
pub fn threshold_mask(gamma: &[f64], tau: f64, min_channels: usize) -> Vec<bool> {
    let keep = gamma.iter().map(|g| g.abs() > tau).collect();
    at_least(keep, gamma, min_channels)
}

/// `keep`, but the `min_channels` of largest |score| where it leaves fewer.
pub fn at_least(mut keep: Vec<bool>, scores: &[f64], min_channels: usize) -> Vec<bool> {
    let min_channels = min_channels.min(keep.len());
    if keep.iter().filter(|&&k| k).count() < min_channels {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].abs().total_cmp(&scores[a].abs())); // stable: ties stay in order
        keep.fill(false);
        order[..min_channels].iter().for_each(|&c| keep[c] = true);
    }
    keep
}

/// Optimal thresholding: x = sorted max(|gamma|, 1e-18); a layer with max x < 1e-3 is dead (tau = 1); else, with i the first
/// index at which the running sum of x^2 exceeds the share p, tau = (x_{i-1} + x_i) / 2, or 0 if i = 0.
pub fn energy_threshold(gamma: &[f64], p: f64) -> f64 {
    let mut x: Vec<f64> = gamma.iter().map(|g| g.abs().max(1e-18)).collect();
    x.sort_by(f64::total_cmp);
    if x.last().is_none_or(|&largest| largest < 1e-3) {
        return 1.0;
    }
    let total: f64 = x.iter().map(|x| x * x).sum();
    let mut sum = 0.0;
    let first = x.iter().position(|x| {
        sum += x * x;
        sum / total > p
    });
    match first {
        Some(0) => 0.0,
        Some(i) => (x[i - 1] + x[i]) / 2.0,
        // p = 1: rounding decides whether the last one exceeds it.
        None => x[x.len() - 1],
    }
}

/// The floor(fraction n) smallest |gamma| of all layers go; each keeps `min_channels`.
pub fn global_quantile_mask(gammas: &[Vec<f64>], fraction: f64, min_channels: usize) -> Result<Vec<Vec<bool>>> {
    let scores: Vec<Vec<f64>> = gammas.iter().map(|layer| layer.iter().map(|g| g.abs()).collect()).collect();
    PlanRule { scope: Scope::Global, fraction, min_channels, round_to: 1 }.keep(&scores)
}

/// How layers whose outputs are added agree on one mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Consensus {
    /// votes_c = how many drop c; need = the fewest channels that a layer drops; the channels with at least i votes go, for the
    /// largest i that gives `need` of them.
    #[default]
    Vote,
    /// A channel goes if all drop it.
    All,
    /// A channel goes if one drops it.
    Any,
}

impl Consensus {
    /// One mask for the masks of several layers, which must be equally long. It may drop everything.
    pub fn mask(self, keep: &[Vec<bool>]) -> Result<Vec<bool>> {
        let channels = keep.first().map_or(0, Vec::len);
        let odd = keep.iter().position(|layer| layer.len() != channels);
        ensure!(
            odd.is_none() && channels > 0,
            "masks that vote must be equally long, got lengths {:?}",
            keep.iter().map(Vec::len).collect::<Vec<_>>()
        );
        let votes: Vec<usize> = (0..channels).map(|c| keep.iter().filter(|layer| !layer[c]).count()).collect();
        let need = match self {
            Consensus::All => keep.len(),
            Consensus::Any => 1,
            Consensus::Vote => {
                let dropped = |layer: &Vec<bool>| layer.iter().filter(|&&k| !k).count();
                let fewest = keep.iter().map(dropped).min().unwrap_or(0);
                let enough = |i: &usize| votes.iter().filter(|&v| v >= i).count() >= fewest;
                (1..=keep.len()).rev().find(enough).unwrap_or(1)
            }
        };
        Ok(votes.into_iter().map(|v| v < need).collect())
    }
}

/// How many channels a drops, b drops, both drop, either drops; and both / either (1 if nothing is dropped).
pub fn mask_iou(a: &[bool], b: &[bool]) -> Result<([i64; 4], f64)> {
    ensure!(a.len() == b.len(), "the masks have {} and {} entries: they must be equally long", a.len(), b.len());
    let count = |f: fn(bool, bool) -> bool| a.iter().zip(b).filter(|(a, b)| f(**a, **b)).count() as i64;
    let counts = [count(|a, _| !a), count(|_, b| !b), count(|a, b| !a && !b), count(|a, b| !a || !b)];
    let iou = if counts[3] == 0 { 1.0 } else { counts[2] as f64 / counts[3] as f64 };
    Ok((counts, iou))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_strict_and_leave_the_largest() {
        assert_eq!(threshold_mask(&[0.01, -0.02, 0.0], 0.01, 1), [false, true, false]);
        assert_eq!(threshold_mask(&[0.001, -0.002, 0.002], 0.01, 1), [false, true, false]);
        assert_eq!(threshold_mask(&[0.001, 0.0], 0.01, 5), [true, true]);
    }

    #[test]
    fn energy_thresholds_of_dead_and_even_layers() {
        assert_eq!(energy_threshold(&[1e-4, -5e-4], 1e-4), 1.0);
        assert_eq!(energy_threshold(&[1.0, -1.0], 1e-4), 0.0);
        assert!((energy_threshold(&[0.001, 1.0, -3.0], 1e-4) - 0.5005).abs() < 1e-12);
    }

    #[test]
    fn votes_go_down_until_enough_channels_fall() {
        let masks = [vec![false, false, true, true], vec![false, true, false, true], vec![true, false, false, true]];
        assert_eq!(Consensus::Vote.mask(&masks).unwrap(), [false, false, false, true]);
        assert_eq!(Consensus::All.mask(&masks).unwrap(), [true; 4]);
        assert_eq!(Consensus::Any.mask(&masks).unwrap(), [false, false, false, true]);
        let all_stay = [vec![true; 2], vec![false, true]];
        assert_eq!(Consensus::Vote.mask(&all_stay).unwrap(), [true, true], "nobody needs anything");
        assert!(Consensus::Vote.mask(&[vec![true], vec![true, true]]).unwrap_err().to_string().contains("[1, 2]"));
    }

    #[test]
    fn overlap_counts_what_is_dropped() {
        assert_eq!(mask_iou(&[true, false, false], &[true, true, false]).unwrap(), ([2, 1, 1, 2], 0.5));
        assert_eq!(mask_iou(&[true], &[true]).unwrap(), ([0; 4], 1.0));
        assert!(mask_iou(&[true], &[]).is_err());
    }
}
