//! Training with the penalty: what the method does at the loop's doors.

use anyhow::Result;
use serde::Serialize;
use tch::{Tensor, no_grad};

use super::config::{Method, Regularizer};
use super::penalty::Penalty;
use crate::params::{ParamId, ParamStore};
use crate::run::Run;
use crate::train::{Doors, EpochEnd, Step};

/// Proximal SGD and its rivals.
///
/// `v <- mu v + grad;  theta <- theta - alpha v;  theta_l <- prox_{alpha lambda_l GS_{k_l}}(theta_l)` with the current
/// learning rate alpha; the momentum buffer v is not touched by the prox.
pub struct Training<'a> {
    config: &'a Method,
    penalty: &'a Penalty,
    /// HSPG: the regularized tensors before the step.
    before: Vec<Option<Tensor>>,
}

/// A row of groups.csv: one layer at the end of an epoch; the layer `all` sums up.
#[derive(Serialize)]
struct GroupsRow<'a> {
    layer: &'a str,
    groups: usize,
    k: i64,
    nonzero_groups: usize,
    lambda: f64,
    /// GS_k of the layer's weights.
    envelope: f64,
    eta: Option<f64>,
    z_min: f64,
    z_max: f64,
    /// Training loss + sum lambda GS_k, in the row `all`.
    objective: Option<f64>,
}

impl<'a> Training<'a> {
    pub fn new(config: &'a Method, penalty: &'a Penalty) -> Training<'a> {
        Training { config, penalty, before: Vec::new() }
    }

    /// Whether HSPG has come to its half-space steps.
    fn half_space(&self, step: &Step) -> bool {
        self.config.regularizer == Regularizer::Hspg && step.epoch >= self.config.prox_epochs
    }

    fn remember(&mut self, store: &ParamStore) {
        self.before.resize_with(store.len(), || None);
        for id in self.penalty.table().params() {
            self.before[id.0] = Some(no_grad(|| store.get(id).detach().copy()));
        }
    }
}

impl Doors for Training<'_> {
    fn name(&self) -> &'static str {
        "wgsef"
    }

    fn grads(&mut self, step: &Step, leaves: &[ParamId], grads: &mut [Option<Tensor>]) -> Result<()> {
        if self.half_space(step) {
            self.remember(step.store);
            let place = |id: ParamId| leaves.iter().position(|leaf| *leaf == id).and_then(|i| grads[i].as_ref());
            // A regularized tensor that the loss does not reach gets the penalty's gradient through a zero of its own.
            let zero = Tensor::zeros([0], (tch::Kind::Float, step.store.device()));
            let target = |id| place(id).unwrap_or(&zero);
            self.penalty.add_gradient(target, |id| step.store.get(id))?;
        }
        Ok(())
    }

    fn update(&mut self, step: &Step) -> Result<()> {
        let values = |id| step.store.get(id);
        match self.config.regularizer {
            Regularizer::Wgsef => self.penalty.prox(values, step.lr),
            Regularizer::GroupLasso => self.penalty.prox_group_lasso(values, step.lr),
            Regularizer::Iht if step.epoch >= self.config.iht_start => self.penalty.project(values),
            Regularizer::Hspg if self.half_space(step) => {
                let before = |id: ParamId| self.before[id.0].as_ref().expect("remembered before the step");
                self.penalty.half_space(values, before, self.config.eps);
            }
            Regularizer::Hspg => self.penalty.prox(values, step.lr),
            Regularizer::Iht | Regularizer::Slimming | Regularizer::None => {}
        }
        Ok(())
    }

    fn epoch_end(&mut self, end: &EpochEnd, run: &mut Run) -> Result<()> {
        let states = self.penalty.state(|id| end.step.store.get(id));
        let mut all = GroupsRow {
            layer: "all",
            groups: 0,
            k: 0,
            nonzero_groups: 0,
            lambda: self.config.lambda,
            envelope: 0.0,
            eta: None,
            z_min: f64::INFINITY,
            z_max: 0.0,
            objective: None,
        };
        for (state, layer) in states.iter().zip(self.penalty.layers()) {
            let row = GroupsRow {
                layer: &state.name,
                groups: layer.d.len(),
                k: layer.k,
                nonzero_groups: state.nonzero_groups,
                lambda: layer.lambda,
                envelope: state.value,
                eta: state.eta.is_finite().then_some(state.eta),
                z_min: state.z_min,
                z_max: state.z_max,
                objective: None,
            };
            run.row("groups", end.at, &row)?;
            all.groups += row.groups;
            all.k += row.k;
            all.nonzero_groups += row.nonzero_groups;
            all.envelope += row.lambda * row.envelope;
            all.z_min = all.z_min.min(row.z_min);
            all.z_max = all.z_max.max(row.z_max);
        }
        all.objective = Some(end.loss + all.envelope);
        run.row("groups", end.at, &all)
    }
}
