//! The two parts of every gradient: L = a L_plasticity + b L_stability, where plasticity is the loss of the new task and
//! stability whatever protects the old ones (memory, distillation, penalty, projection). Just after a task switch the
//! stability part is near 0: old tasks are at a minimum, penalties at their anchor.

use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::HashMap;
use tch::{Kind, Tensor, no_grad};

use super::flat;
use super::series::Series;
use crate::native;
use crate::params::ParamId;
use crate::report::plot::{Chart, Curve, columns};
use crate::run::Run;
use crate::train::{Doors, EpochEnd, Pass, Step, Terms};

/// Writes gradients.csv: the norms of grad L_plasticity and grad L_stability at every step. It comes after the learner
/// among the doors and takes the learner's term `ce` for a L_plasticity; what is left of the gradient that the learner
/// hands on is b grad L_stability.
#[derive(Default)]
pub struct GradientNorms {
    task: usize,
    /// a and b.
    weights: (f64, f64),
    /// The parameters that are trained.
    leaves: Vec<ParamId>,
    /// The gradient of the term `ce`.
    plasticity: Option<Tensor>,
    norms: Series,
}

/// plots/gradients.svg: both norms, task switches marked.
pub fn draw(run: &Run) -> Result<()> {
    let curve = |part: &str| -> Result<Curve> {
        Ok(Curve { name: part.to_owned(), points: columns(run.folder(), "gradients", "step", part, None)? })
    };
    let curves = [curve("plasticity")?, curve("stability")?];
    let tasks = columns(run.folder(), "gradients", "step", "task", None)?;
    let switches: Vec<f64> = tasks.windows(2).filter(|pair| pair[0].1 < pair[1].1).map(|pair| pair[0].0).collect();
    let title = "norm of the gradient's two parts";
    let chart = Chart { title, x: "step", y: "norm", curves: &curves, dots: false, marks: &switches };
    run.write("plots/gradients.svg", chart.svg()?.as_bytes())
}

#[derive(Serialize)]
struct NormsRow {
    task: usize,
    plasticity: f64,
    stability: f64,
}

impl GradientNorms {
    /// `task` is learnt from now on, with the weights a and b; `leaves` are trained.
    pub fn start(&mut self, task: usize, weights: (f64, f64), leaves: Vec<ParamId>) {
        (self.task, self.weights, self.leaves) = (task, weights, leaves);
    }
}

impl Doors for GradientNorms {
    fn name(&self) -> &'static str {
        "gradient-norms"
    }

    fn loss(&mut self, step: &Step, _pass: &Pass, terms: &mut Terms) -> Result<()> {
        let ce = terms.get("ce").context("gradient norms need a loss term named ce")?;
        let leaves: Vec<&Tensor> = self.leaves.iter().map(|&id| step.store.get(id)).collect();
        let grads = native::grad(ce, &leaves, true, false)?;
        self.plasticity = Some(flat::gradient(&grads, &leaves));
        Ok(())
    }

    fn grads(&mut self, step: &Step, leaves: &[ParamId], grads: &mut [Option<Tensor>]) -> Result<()> {
        let tensors: Vec<&Tensor> = leaves.iter().map(|&id| step.store.get(id)).collect();
        let plasticity = self.plasticity.take().context("gradient norms come after a loss")?;
        let (a, b) = self.weights;
        let row = no_grad(|| {
            let stability = flat::gradient(grads, &tensors) - &plasticity;
            Tensor::stack(&[plasticity.norm() / a, stability.norm() / b], 0).to_kind(Kind::Float)
        });
        self.norms.push(step.run_step, row);
        Ok(())
    }

    fn epoch_end(&mut self, end: &EpochEnd, run: &mut Run) -> Result<()> {
        for (step, norms) in self.norms.take() {
            let row = NormsRow { task: self.task, plasticity: norms[0], stability: norms[1] };
            run.row("gradients", end.stamp_of(step), &row)?;
        }
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        self.norms.state()
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        self.norms.load_state(state)
    }
}
