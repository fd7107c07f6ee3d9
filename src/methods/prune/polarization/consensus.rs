//! What all samples together want: the static sub-network.

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

/// The vote of S samples on L gates.
pub struct Consensus {
    /// gbar_l > threshold, strictly: a tie drops.
    pub keep: Vec<bool>,
    /// gbar_l.
    pub mean: Vec<f64>,
    /// mean_l max(gbar_l, 1 - gbar_l).
    pub agreement: f64,
    /// Share of the gates with gbar 0 or 1.
    pub unanimous: f64,
    /// Share of the cost that the kept gates control.
    pub kept_cost: f64,
    /// Share of the cost that is open for the mean sample.
    pub mean_cost: f64,
}

impl Consensus {
    /// `gates` `[S, L]` of zeros and ones, one cost a gate.
    pub fn new(gates: &Tensor, costs: &[f64], threshold: f64) -> Result<Consensus> {
        check_costs(costs)?;
        ensure!(
            gates.dim() == 2 && gates.size()[1] == costs.len() as i64 && gates.size()[0] > 0,
            "gates have shape {:?}, expected [samples, {}]",
            gates.size(),
            costs.len()
        );
        let mean = gates.to_kind(Kind::Double).mean_dim(0, false, Kind::Double);
        let mean = Vec::<f64>::try_from(mean.to_device(Device::Cpu))?;
        let keep: Vec<bool> = mean.iter().map(|&m| m > threshold).collect();
        let (count, total) = (mean.len() as f64, costs.iter().sum::<f64>());
        let share = |weight: &dyn Fn(usize) -> f64| (0..costs.len()).map(|l| costs[l] * weight(l)).sum::<f64>() / total;
        Ok(Consensus {
            agreement: mean.iter().map(|&m| m.max(1.0 - m)).sum::<f64>() / count,
            unanimous: mean.iter().filter(|&&m| m == 0.0 || m == 1.0).count() as f64 / count,
            kept_cost: share(&|l| f64::from(u8::from(keep[l]))),
            mean_cost: share(&|l| mean[l]),
            keep,
            mean,
        })
    }
}

/// Costs are not negative, and not all zero.
pub fn check_costs(costs: &[f64]) -> Result<()> {
    let bad = costs.iter().position(|c| !(c.is_finite() && *c >= 0.0));
    ensure!(bad.is_none(), "costs[{0}] = {1} must be zero or more", bad.unwrap_or(0), costs[bad.unwrap_or(0)]);
    ensure!(costs.iter().any(|&c| c > 0.0), "the {} costs are all zero: there is nothing to save", costs.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_drop_and_costs_weigh() {
        let gates = Tensor::from_slice2(&[[1u8, 1, 0], [1, 0, 0]]);
        let vote = Consensus::new(&gates, &[1.0, 2.0, 1.0], 0.5).unwrap();
        assert_eq!((vote.keep, vote.mean), (vec![true, false, false], vec![1.0, 0.5, 0.0]));
        assert_eq!((vote.kept_cost, vote.mean_cost), (0.25, 0.5));
        assert!((vote.agreement - 2.5 / 3.0).abs() < 1e-12 && (vote.unanimous - 2.0 / 3.0).abs() < 1e-12);
        let refused = |costs: &[f64]| Consensus::new(&gates, costs, 0.5).err().unwrap().to_string();
        assert!(refused(&[0.0; 3]).contains("all zero") && refused(&[1.0]).contains("[samples, 1]"));
        assert!(refused(&[1.0, -1.0, 1.0]).contains("costs[1] = -1"));
    }
}
