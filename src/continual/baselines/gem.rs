//! Gradient episodic memory (Lopez-Paz and Ranzato 2017). g is the gradient on the current batch, the rows of G those
//! on the memory of each old task. If any <G_i, g> < 0:
//!
//! v* = argmin 1/2 v' (G G' + ridge I) v + (G g)' v  s.t. v >= gamma,   g~ = g + G' v*
//!
//! The problem has at most T-1 variables and is solved on the host in float64: nearly parallel rows make G G' almost
//! singular.

use anyhow::{Result, ensure};
use std::collections::HashMap;
use tch::{Kind, Tensor, no_grad};

use super::qp::bounded_qp;
use crate::continual::flat;
use crate::continual::protocol::{Learner, Task};
use crate::continual::replay::{Replay, Replayed};
use crate::params::ParamId;
use crate::train::{Doors, Step};

/// The gradient to descend on.
pub struct Projection {
    /// g~ `[P]`, in the kind of g; g itself when nothing conflicts.
    pub grad: Tensor,
    /// v* `[m]`; zeros when nothing conflicts.
    pub v: Vec<f64>,
    pub projected: bool,
}

/// Projects `grad` `[P]` against `memory_grads` `[m, P]`, m >= 0. `gamma` >= 0 is the margin, `ridge` >= 0 (the
/// official values: 0.5 and 1e-3). Reads m numbers back to the host; m (m+1) more if there is a conflict.
pub fn project(grad: &Tensor, memory_grads: &Tensor, gamma: f64, ridge: f64) -> Result<Projection> {
    let (rows, width) = memory_grads.size2()?;
    ensure!(grad.size() == [width], "memory gradients have {width} values each, the gradient {:?}", grad.size());
    ensure!(gamma >= 0.0, "gamma = {gamma} must not be negative");
    ensure!(ridge >= 0.0, "ridge = {ridge} must not be negative");
    let products = host(&memory_grads.mv(grad))?;
    if !products.iter().any(|&product| product < 0.0) {
        return Ok(Projection { grad: grad.shallow_clone(), v: vec![0.0; rows as usize], projected: false });
    }
    let (g, memory) = (grad.to_kind(Kind::Double), memory_grads.to_kind(Kind::Double));
    let all = Tensor::cat(&[&memory, &g.unsqueeze(0)], 0);
    // [m, m+1]: G G' and G g side by side.
    let side_by_side = host(&memory.matmul(&all.tr()))?;
    let (mut gram, mut linear) = (Vec::new(), Vec::new());
    for (i, row) in side_by_side.chunks(rows as usize + 1).enumerate() {
        let (products, with_g) = row.split_at(rows as usize);
        gram.extend(products.iter().enumerate().map(|(j, product)| if i == j { product + ridge } else { *product }));
        linear.extend(with_g);
    }
    let v = bounded_qp(&gram, &linear, gamma)?;
    let v_here = Tensor::from_slice(&v).to_device(grad.device());
    Ok(Projection { grad: (g + memory.tr().mv(&v_here)).to_kind(grad.kind()), v, projected: true })
}

/// The learner. Every step takes one backward pass over the memory of each old task, and the host waits for their products
/// with the new gradient: the quadratic problem is solved there.
pub struct Gem<'a> {
    gamma: f64,
    ridge: f64,
    replay: Replay<'a>,
    /// The memory of each old task.
    old: Vec<Replayed>,
}

impl<'a> Gem<'a> {
    pub fn new(gamma: f64, ridge: f64, replay: Replay<'a>) -> Gem<'a> {
        Gem { gamma, ridge, replay, old: Vec::new() }
    }

    fn look_up(&mut self) -> Result<()> {
        self.old = self.replay.old_tasks().map(|task| self.replay.of_task(task)).collect::<Result<_>>()?;
        Ok(())
    }
}

impl Doors for Gem<'_> {
    fn name(&self) -> &'static str {
        "gem"
    }

    fn grads(&mut self, step: &Step, leaves: &[ParamId], grads: &mut [Option<Tensor>]) -> Result<()> {
        if self.old.is_empty() {
            return Ok(());
        }
        let of_task = |samples: &Replayed| self.replay.gradient(step, leaves, samples);
        let memory = Tensor::stack(&self.old.iter().map(of_task).collect::<Result<Vec<_>>>()?, 0);
        let tensors: Vec<&Tensor> = leaves.iter().map(|&id| step.store.get(id)).collect();
        let new = flat::gradient(grads, &tensors);
        let projection = no_grad(|| project(&new, &memory, self.gamma, self.ridge))?;
        if projection.projected {
            flat::put(&projection.grad, &tensors, grads);
        }
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        self.replay.state()
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        self.replay.load_state(state)?;
        self.look_up()
    }
}

impl Learner for Gem<'_> {
    fn task_start(&mut self, task: &Task) -> Result<()> {
        self.replay.start(task);
        self.look_up()
    }

    fn task_end(&mut self, task: &Task) -> Result<()> {
        self.replay.fill(task)
    }

    fn memory(&self) -> Option<&Replay<'_>> {
        Some(&self.replay)
    }
}

fn host(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(Vec::try_from(tensor.to_device(tch::Device::Cpu).to_kind(Kind::Double).flatten(0, -1))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn without_margin_no_old_loss_rises() {
        let options = (Kind::Double, Device::Cpu);
        for _ in 0..20 {
            let (grad, memory) = (Tensor::randn([40], options), Tensor::randn([6, 40], options));
            let projection = project(&grad, &memory, 0.0, 0.0).unwrap();
            let worst = memory.mv(&projection.grad).min().double_value(&[]);
            assert!(worst > -1e-9, "{worst}");
        }
    }

    #[test]
    fn the_test_for_a_conflict_is_strict() {
        let grad = Tensor::from_slice(&[1.0f32, 2.0]);
        let orthogonal = Tensor::from_slice2(&[[-2.0f32, 1.0], [1.0, 0.0]]);
        let projection = project(&grad, &orthogonal, 0.5, 1e-3).unwrap();
        assert!(!projection.projected);
        assert_eq!((projection.grad, projection.v), (grad.shallow_clone(), vec![0.0, 0.0]));
        let nothing = project(&grad, &Tensor::zeros([0, 2], (Kind::Float, Device::Cpu)), 0.5, 1e-3).unwrap();
        assert!(!nothing.projected && nothing.v.is_empty());
        assert!(project(&grad, &-orthogonal, 0.5, 1e-3).unwrap().projected);
        assert!(project(&grad, &Tensor::zeros([1, 3], (Kind::Float, Device::Cpu)), 0.5, 1e-3).is_err());
    }

    #[test]
    fn copies_of_a_task_need_no_ridge() {
        let grad = Tensor::from_slice(&[-1.0, 0.5]);
        let one = project(&grad, &Tensor::from_slice2(&[[1.0, 0.0]]), 0.0, 0.0).unwrap();
        let three = project(&grad, &Tensor::from_slice2(&[[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]), 0.0, 0.0).unwrap();
        assert!(one.grad.allclose(&three.grad, 1e-12, 1e-12, false));
        assert_eq!(one.v, [1.0]);
    }
}
