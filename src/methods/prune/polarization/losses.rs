//! The two penalties on the gates of a batch, and the ramp.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// gbar `[L]` of gates `[N, L]`: the mean is taken before gbar (1 - gbar), else gates would only become binary.
pub fn mean_gate(gates: &Tensor) -> Tensor {
    gates.mean_dim(0, false, None::<Kind>)
}

/// L_polar = 1/L sum_l gbar_l (1 - gbar_l): 0 if and only if the batch agrees on every gate.
pub fn polar(mean: &Tensor) -> Tensor {
    (mean - mean.square()).mean(None::<Kind>)
}

/// A = sum_l cost_l gbar_l / sum_l cost_l. `costs` `[L]`, not all zero.
pub fn openness(mean: &Tensor, costs: &Tensor) -> Tensor {
    (mean * costs).sum(None::<Kind>) / costs.sum(None::<Kind>)
}

/// L_act of the openness A.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// (A - t)^2.
    #[default]
    Target,
    /// max(0, A - t)^2.
    Hinge,
    /// A.
    L1,
}

impl Activation {
    pub fn loss(self, openness: &Tensor, target: f64) -> Tensor {
        match self {
            Activation::Target => (openness - target).square(),
            Activation::Hinge => (openness - target).relu().square(),
            Activation::L1 => openness.shallow_clone(),
        }
    }
}

/// When the polarization sets in: with it from the first step, all gates would stay open.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ramp {
    /// Share of the steps before it rises.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub start: f64,
    /// Share of the steps in which it rises from 0 to 1 (0: at once).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub length: f64,
}

impl Default for Ramp {
    fn default() -> Ramp {
        Ramp { start: 0.2, length: 0.4 }
    }
}

impl Ramp {
    pub fn check(&self) -> Result<()> {
        for (name, value) in [("start", self.start), ("length", self.length)] {
            ensure!((0.0..=1.0).contains(&value), "ramp.{name} = {value} should lie between 0 and 1");
        }
        Ok(())
    }

    /// r = clip((step / total - start) / length, 0, 1); with length 0 a jump to 1 at `start`.
    pub fn at(&self, step: u64, total: u64) -> f64 {
        let past = step as f64 / total as f64 - self.start;
        if self.length == 0.0 { f64::from(u8::from(past >= 0.0)) } else { (past / self.length).clamp(0.0, 1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(t: &Tensor) -> f64 {
        t.double_value(&[])
    }

    #[test]
    fn agreement_costs_nothing_and_disagreement_a_quarter() {
        let mean = |gates: &[[f64; 2]]| mean_gate(&Tensor::from_slice2(gates));
        assert_eq!(value(&polar(&mean(&[[1.0, 0.0], [1.0, 0.0]]))), 0.0);
        assert_eq!(value(&polar(&mean(&[[1.0, 0.0], [0.0, 1.0]]))), 0.25);
        let costs = Tensor::from_slice(&[3.0, 1.0]);
        let open = openness(&mean(&[[1.0, 0.0], [1.0, 0.0]]), &costs);
        assert_eq!(value(&open), 0.75);
        assert_eq!(value(&Activation::Target.loss(&open, 0.25)), 0.25);
        assert_eq!(value(&Activation::Hinge.loss(&open, 0.8)), 0.0);
        assert_eq!(value(&Activation::L1.loss(&open, 0.8)), 0.75);
    }

    #[test]
    fn the_ramp_rises_once() {
        let at = |start, length| [0, 20, 40, 60, 100].map(|step| Ramp { start, length }.at(step, 100));
        assert!(at(0.2, 0.4).iter().zip([0.0, 0.0, 0.5, 1.0, 1.0]).all(|(a, b)| (a - b).abs() < 1e-12));
        assert_eq!(at(0.0, 0.0), [1.0; 5]);
        assert!(Ramp { start: 1.5, length: 0.0 }.check().is_err());
    }
}
