//! What a forward pass is given besides its input.

use std::cell::RefCell;
use tch::Tensor;

use crate::params::{ParamId, View};

/// Reads or replaces activations by site name: the `activations` door of a method. Sites: a ReLU output under the name of the
/// layer that made it (`fc1`, `layer1.0.conv1`); in residual networks also the output of a block (`layer1.0`) and its
/// residual branch before the addition (`layer1.0.branch`).
pub trait Taps {
    fn tap(&self, site: &str, activation: Tensor) -> Tensor;

    /// Sees what the Linear layer `layer` is about to read, `[.., in]`.
    fn input(&self, _layer: &str, _x: &Tensor) {}
}

/// One forward pass: the tensors to use, the mode, and what listens in.
pub struct Cx<'a> {
    pub view: &'a View<'a>,
    /// Training mode: batch statistics and dropout.
    pub train: bool,
    pub taps: Option<&'a dyn Taps>,
    cost: Option<&'a RefCell<Cost>>,
}

impl<'a> Cx<'a> {
    pub fn train(view: &'a View<'a>) -> Cx<'a> {
        Cx { view, train: true, taps: None, cost: None }
    }

    pub fn eval(view: &'a View<'a>) -> Cx<'a> {
        Cx { view, train: false, taps: None, cost: None }
    }

    pub fn with_taps(mut self, taps: &'a dyn Taps) -> Cx<'a> {
        self.taps = Some(taps);
        self
    }

    pub fn with_cost(mut self, cost: &'a RefCell<Cost>) -> Cx<'a> {
        self.cost = Some(cost);
        self
    }

    pub fn get(&self, id: ParamId) -> &Tensor {
        self.view.get(id)
    }

    /// Passes an activation by whoever listens at `site`.
    pub fn tap(&self, site: &str, activation: Tensor) -> Tensor {
        match self.taps {
            Some(taps) => taps.tap(site, activation),
            None => activation,
        }
    }

    /// Called by the functional layers: counts multiply-accumulates when somebody asked for them.
    pub(super) fn count(&self, layer: impl FnOnce() -> LayerCost) {
        if let Some(cost) = self.cost {
            cost.borrow_mut().layers.push(layer());
        }
    }
}

/// Multiply-accumulates and parameters of one layer for one sample.
#[derive(Clone, Debug, serde::Serialize)]
pub struct LayerCost {
    pub layer: String,
    pub macs: i64,
    pub params: i64,
    /// Output shape without the batch dimension.
    pub output: Vec<i64>,
}

#[derive(Default)]
pub struct Cost {
    pub layers: Vec<LayerCost>,
}

impl Cost {
    pub fn macs(&self) -> i64 {
        self.layers.iter().map(|l| l.macs).sum()
    }

    pub fn params(&self) -> i64 {
        self.layers.iter().map(|l| l.params).sum()
    }
}
