//! Which channels stay: always by rank, never by comparing with a threshold, so that ties cannot change the count.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

use super::{check_fraction, check_ranked, cut_count};
use crate::params::channels::ChannelGroup;

/// Which channels compete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The same fraction of each group.
    #[default]
    Uniform,
    /// One ranking over all groups; needs normalized scores.
    Global,
}

/// How many channels go, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PlanRule {
    pub scope: Scope,
    /// Fraction of the channels to cut, in [0, 1); floor(fraction * count) go.
    pub fraction: f64,
    /// Channels every group keeps at least (or all, if it has fewer): the best ones are restored.
    pub min_channels: usize,
    /// The kept count of every group is rounded up to a multiple of this, at most its width (8 suits tensor cores).
    pub round_to: usize,
}

impl Default for PlanRule {
    fn default() -> PlanRule {
        PlanRule { scope: Scope::Uniform, fraction: 0.0, min_channels: 1, round_to: 1 }
    }
}

impl PlanRule {
    /// Keep flags for the scores of each group. The lowest scores go first; among equal scores the earlier group, then the
    /// lower index.
    pub fn keep(&self, scores: &[Vec<f64>]) -> Result<Vec<Vec<bool>>> {
        check_fraction(self.fraction)?;
        ensure!(self.round_to >= 1, "round_to = {} must be at least 1", self.round_to);
        for (group, scores) in scores.iter().enumerate() {
            check_ranked(&format!("scores of group {group}: score"), scores)?;
        }
        let kept = match self.scope {
            Scope::Uniform => scores.iter().map(|s| s.len() - cut_count(self.fraction, s.len())).collect(),
            Scope::Global => self.kept_globally(scores),
        };
        Ok(scores.iter().zip(kept).map(|(scores, kept)| best(scores, self.adjust(kept, scores.len()))).collect())
    }

    /// How many channels of each group survive one ranking over all of them.
    fn kept_globally(&self, scores: &[Vec<f64>]) -> Vec<usize> {
        let mut ranking: Vec<(f64, usize)> =
            scores.iter().enumerate().flat_map(|(group, s)| s.iter().map(move |&score| (score, group))).collect();
        ranking.sort_by(|a, b| ascending(a.0, b.0)); // stable: ties stay in order of group and index
        let mut kept: Vec<usize> = scores.iter().map(Vec::len).collect();
        for (_, group) in &ranking[..cut_count(self.fraction, ranking.len())] {
            kept[*group] -= 1;
        }
        kept
    }

    fn adjust(&self, kept: usize, width: usize) -> usize {
        kept.max(self.min_channels).next_multiple_of(self.round_to).min(width)
    }
}

/// Zeros of either sign are equal.
fn ascending(a: f64, b: f64) -> Ordering {
    (a + 0.0).total_cmp(&(b + 0.0))
}

/// Flags of the `count` best scores: all but the first in cutting order.
pub fn best(scores: &[f64], count: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| ascending(scores[a], scores[b]));
    let mut keep = vec![true; scores.len()];
    for &index in &order[..scores.len() - count] {
        keep[index] = false;
    }
    keep
}

/// Refuses a plan (keep flags a group) that does not fit the groups of a network; the error names both sizes.
pub fn check_plan(groups: &[ChannelGroup], keep: &[Vec<bool>]) -> Result<()> {
    ensure!(keep.len() == groups.len(), "the plan has {} groups, the network {}", keep.len(), groups.len());
    for (group, keep) in groups.iter().zip(keep) {
        ensure!(
            keep.len() == group.channels,
            "the plan has {} channels for {}, which has {}",
            keep.len(),
            group.name,
            group.channels
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kept(rule: PlanRule, scores: &[Vec<f64>]) -> Vec<Vec<u8>> {
        rule.keep(scores).unwrap().into_iter().map(|keep| keep.into_iter().map(u8::from).collect()).collect()
    }

    #[test]
    fn ties_are_cut_in_order_of_group_and_index() {
        let scores = [vec![1.0; 4], vec![1.0; 4]];
        let global = PlanRule { scope: Scope::Global, fraction: 0.75, ..PlanRule::default() };
        assert_eq!(kept(global, &scores), [[0, 0, 0, 1], [0, 0, 1, 1]], "one channel of the first group is restored");
        let uniform = PlanRule { fraction: 0.7, ..PlanRule::default() };
        assert_eq!(kept(uniform, &scores), [[0, 0, 1, 1], [0, 0, 1, 1]]);
    }

    #[test]
    fn zero_of_either_sign_is_a_tie() {
        let rule = PlanRule { fraction: 0.5, ..PlanRule::default() };
        assert_eq!(kept(rule, &[vec![0.0, -0.0]]), [[0, 1]]);
    }

    #[test]
    fn minimum_and_rounding_restore_the_best() {
        let scores = [vec![3.0, 1.0, 2.0, 0.5, 0.1], vec![9.0, 8.0, 7.0]];
        let rule = PlanRule { scope: Scope::Global, fraction: 0.6, min_channels: 2, round_to: 1 };
        assert_eq!(kept(rule, &scores), [vec![1, 0, 1, 0, 0], vec![1, 1, 1]]);
        let rounded = PlanRule { round_to: 4, min_channels: 1, ..rule };
        assert_eq!(kept(rounded, &scores), [vec![1, 1, 1, 1, 0], vec![1, 1, 1]]);
        let vanish = PlanRule { min_channels: 0, fraction: 0.65, round_to: 1, ..rule };
        assert_eq!(kept(vanish, &scores), [vec![0; 5], vec![1, 1, 1]]);
    }

    #[test]
    fn bad_input_is_refused() {
        let message = |rule: PlanRule| rule.keep(&[vec![1.0], vec![2.0, f64::NAN]]).unwrap_err().to_string();
        let rule = PlanRule::default();
        assert_eq!(message(PlanRule { fraction: 1.0, ..rule }), "fraction = 1 must lie in [0, 1)");
        assert_eq!(message(PlanRule { round_to: 0, ..rule }), "round_to = 0 must be at least 1");
        assert_eq!(message(rule), "scores of group 1: score[1] is NaN: it has no rank");
        let group =
            ChannelGroup { name: "conv".into(), channels: 3, inner: true, members: Vec::new(), branch: Vec::new() };
        let error = check_plan(&[group], &[vec![true; 2]]).unwrap_err().to_string();
        assert_eq!(error, "the plan has 2 channels for conv, which has 3");
    }

    proptest! {
        #[test]
        fn counts_are_exact(
            scores in prop::collection::vec(prop::collection::vec((0..5u8).prop_map(f64::from), 1..12), 1..5),
            fraction in 0.0..1.0f64,
            min_channels in 0..3usize,
            round_to in 1..5usize,
        ) {
            for scope in [Scope::Uniform, Scope::Global] {
                let keep = PlanRule { scope, fraction, min_channels, round_to }.keep(&scores).unwrap();
                for (keep, scores) in keep.iter().zip(&scores) {
                    let kept = keep.iter().filter(|k| **k).count();
                    prop_assert!(kept >= min_channels.min(scores.len()));
                    prop_assert!(kept % round_to == 0 || kept == scores.len());
                    let worst_kept = scores.iter().zip(keep).filter(|(_, k)| **k).map(|(s, _)| *s).fold(9.0, f64::min);
                    prop_assert!(scores.iter().zip(keep).all(|(s, k)| *k || *s <= worst_kept));
                }
                if min_channels == 0 && round_to == 1 && scope == Scope::Global {
                    let total: usize = scores.iter().map(Vec::len).sum();
                    let cut = keep.iter().flatten().filter(|k| !**k).count();
                    prop_assert_eq!(cut, (fraction * total as f64).floor() as usize);
                }
            }
        }
    }
}
