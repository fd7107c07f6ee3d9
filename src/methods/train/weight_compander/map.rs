//! How a chosen layer's weight is made of its free parameter v. The numbers of a map are tensors of the network's store
//! (frozen unless they are learned), so that a training checkpoint says itself what its weights mean.

use tch::{Tensor, no_grad};

use super::psi::Compander;
use super::rivals::{powerprop, tanh, weight_norm};
use crate::params::{ParamId, ParamStore, View};

/// A map v -> w of one layer.
pub enum Map {
    Compander {
        log_a: ParamId,
        log_b: ParamId,
        /// a and b, where they are not learned.
        fixed: Option<Compander>,
    },
    Tanh {
        bound: ParamId,
        slope: f64,
    },
    Powerprop {
        alpha: f64,
    },
    WeightNorm {
        g: ParamId,
    },
    /// w = v, cut to the bound after each step.
    Clip {
        bound: Tensor,
    },
    Plain,
}

impl Map {
    /// w of `v` with the numbers that `view` shows; None where it is v itself.
    pub fn weight(&self, view: &View, v: &Tensor) -> Option<Tensor> {
        match self {
            Map::Compander { fixed: Some(compander), .. } => Some(compander.psi(v)),
            Map::Compander { log_a, log_b, fixed: None } => {
                Some(Compander::from_logs(view.get(*log_a), view.get(*log_b)).psi(v))
            }
            Map::Tanh { bound, slope } => Some(tanh(v, view.get(*bound), *slope)),
            Map::Powerprop { alpha } => Some(powerprop(v, *alpha)),
            Map::WeightNorm { g } => Some(weight_norm(v, view.get(*g))),
            Map::Clip { .. } | Map::Plain => None,
        }
    }

    /// The compander as it stands, without gradients.
    pub fn compander(&self, store: &ParamStore) -> Option<Compander> {
        let Map::Compander { log_a, log_b, .. } = self else { return None };
        Some(no_grad(|| Compander::from_logs(store.get(*log_a), store.get(*log_b))))
    }

    /// The bound B of |w|: a number a layer or a filter.
    pub fn bound(&self, store: &ParamStore) -> Option<Tensor> {
        match self {
            Map::Compander { .. } => self.compander(store).map(|compander| compander.bound()),
            Map::Tanh { bound, .. } => Some(store.get(*bound).detach()),
            Map::Clip { bound } => Some(bound.shallow_clone()),
            Map::Powerprop { .. } | Map::WeightNorm { .. } | Map::Plain => None,
        }
    }
}
