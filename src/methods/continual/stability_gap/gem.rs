//! Gradient episodic memory (Lopez-Paz and Ranzato 2017). g is the gradient on the current batch, the rows of G those
//! on the memory of each old task. If any <G_i, g> < 0:
//!
//! v* = argmin 1/2 v' (G G' + ridge I) v + (G g)' v  s.t. v >= gamma,   g~ = g + G' v*
//!
//! The problem has at most T-1 variables and is solved on the host in float64: nearly parallel rows make G G' almost
//! singular.

use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;
use tch::{Kind, Tensor, no_grad};

use super::memory_gradient::{self, Mode};
use crate::continual::flat;
use crate::continual::protocol::{Learner, Task};
use crate::continual::replay::{Replay, Replayed};
use crate::continual::tasks::Tasks;
use crate::params::ParamId;
use crate::train::{Doors, Pass, Step, Terms};

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
    tasks: &'a Tasks,
    gamma: f64,
    ridge: f64,
    replay: Replay,
    task: usize,
    /// The memory of each old task.
    old: Vec<Replayed>,
}

impl<'a> Gem<'a> {
    pub fn new(tasks: &'a Tasks, gamma: f64, ridge: f64, replay: Replay) -> Gem<'a> {
        Gem { tasks, gamma, ridge, replay, task: 0, old: Vec::new() }
    }

    fn look_up(&mut self) -> Result<()> {
        // The first state of a fresh run holds no samples.
        let old = if self.replay.is_empty() { 0 } else { self.task };
        self.old = (0..old).map(|task| self.replay.of_task(task)).collect::<Result<_>>()?;
        Ok(())
    }
}

impl Doors for Gem<'_> {
    fn name(&self) -> &'static str {
        "gem"
    }

    fn terms(&self) -> Vec<&'static str> {
        vec!["ce"]
    }

    fn owns_loss(&self) -> bool {
        true
    }

    fn loss(&mut self, _step: &Step, pass: &Pass, terms: &mut Terms) -> Result<()> {
        terms.add("ce", self.tasks.output.cross_entropy(pass.logits, &pass.batch.y, self.task + 1));
        Ok(())
    }

    fn grads(&mut self, step: &Step, leaves: &[ParamId], grads: &mut [Option<Tensor>]) -> Result<()> {
        if self.old.is_empty() {
            return Ok(());
        }
        let of_task = |(x, y): &Replayed| {
            let loss = |logits: &Tensor| self.tasks.output.cross_entropy(logits, y, self.task + 1);
            memory_gradient::of(step.model, step.store, leaves, x, Mode::Train, loss)
        };
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
        self.task = task.index;
        self.look_up()
    }

    fn task_end(&mut self, task: &Task) -> Result<()> {
        self.replay.fill(task)
    }
}

fn host(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(Vec::try_from(tensor.to_device(tch::Device::Cpu).to_kind(Kind::Double).flatten(0, -1))?)
}

/// argmin 1/2 v' P v + q' v  s.t. v >= lower, for a symmetric positive semidefinite P (m x m, row by row). The
/// active-set method of Lawson and Hanson on u = v - lower >= 0: variables leave the bound one at a time, the one with
/// the steepest descent first.
pub fn bounded_qp(p: &[f64], q: &[f64], lower: f64) -> Result<Vec<f64>> {
    let m = q.len();
    ensure!(p.len() == m * m, "a quadratic form of {m} variables has {} values, got {}", m * m, p.len());
    let row = |i: usize| &p[i * m..(i + 1) * m];
    let linear: Vec<f64> = (0..m).map(|i| q[i] + lower * row(i).iter().sum::<f64>()).collect();
    let tolerance = 1e-14 * linear.iter().fold(0.0, |most: f64, c| most.max(c.abs()));
    let (mut u, mut free) = (vec![0.0; m], Vec::<usize>::new());
    // Variables whose release, by rounding, led nowhere since u last changed.
    let mut refused = vec![false; m];
    for _ in 0..100 * (m + 1) {
        let gradient: Vec<f64> = (0..m).map(|i| dot(row(i), &u) + linear[i]).collect();
        let bound = (0..m).filter(|i| !free.contains(i) && !refused[*i] && gradient[*i] < -tolerance);
        let Some(steepest) = bound.min_by(|&a, &b| gradient[a].total_cmp(&gradient[b])) else {
            return Ok(u.into_iter().map(|u| u + lower).collect());
        };
        free.push(steepest);
        let Some(mut goal) = minimum_over(p, &linear, &free).filter(|goal| goal[free.len() - 1] > 0.0) else {
            free.pop();
            refused[steepest] = true;
            continue;
        };
        // Walk towards the minimum over the free variables; whoever meets the bound on the way stays there.
        while goal.iter().any(|&to| to <= 0.0) {
            let reach = |(&i, &to): (&usize, &f64)| if to <= 0.0 { u[i] / (u[i] - to) } else { 1.0 };
            let steps: Vec<f64> = free.iter().zip(&goal).map(reach).collect();
            let step = steps.iter().copied().fold(1.0, f64::min);
            for (&i, to) in free.iter().zip(&goal) {
                u[i] += step * (to - u[i]);
            }
            let met: Vec<usize> = free.iter().zip(&steps).filter(|(_, s)| **s == step).map(|(&i, _)| i).collect();
            for &i in &met {
                u[i] = 0.0;
            }
            free.retain(|i| !met.contains(i));
            goal =
                minimum_over(p, &linear, &free).context("the memory gradients are linearly dependent: use a ridge")?;
        }
        for (&i, &to) in free.iter().zip(&goal) {
            u[i] = to;
        }
        refused.fill(false);
    }
    bail!("the projection of {m} memory gradients did not converge")
}

/// The minimum when only the variables `free` may differ from 0: P_ff u_f = -linear_f by Cholesky. `None` if P_ff is
/// singular.
fn minimum_over(p: &[f64], linear: &[f64], free: &[usize]) -> Option<Vec<f64>> {
    let (m, n) = (linear.len(), free.len());
    let mut factor = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let rest = p[free[i] * m + free[j]] - dot(&factor[i * n..i * n + j], &factor[j * n..j * n + j]);
            if i > j {
                factor[i * n + j] = rest / factor[j * n + j];
            } else if rest > 1e-14 * p[free[i] * m + free[i]] {
                factor[i * n + i] = rest.sqrt();
            } else {
                return None;
            }
        }
    }
    let mut x: Vec<f64> = free.iter().map(|&i| -linear[i]).collect();
    for i in 0..n {
        x[i] = (x[i] - dot(&factor[i * n..i * n + i], &x[..i])) / factor[i * n + i];
    }
    for i in (0..n).rev() {
        let below: f64 = (i + 1..n).map(|j| factor[j * n + i] * x[j]).sum();
        x[i] = (x[i] - below) / factor[i * n + i];
    }
    Some(x)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;
    use tch::Device;

    /// How far v is from the optimality conditions v >= lower, P v + q >= 0, (v - lower)(P v + q) = 0, relative to
    /// their terms.
    fn violation(p: &[f64], q: &[f64], lower: f64, v: &[f64]) -> f64 {
        let m = q.len();
        let one = |i: usize| {
            let row = &p[i * m..(i + 1) * m];
            let size = q[i].abs() + row.iter().zip(v).map(|(p, v)| (p * v).abs()).sum::<f64>();
            let gradient = (dot(row, v) + q[i]) / size.max(1e-300);
            let slack = v[i] - lower;
            (-slack).max(-gradient).max(if slack > 0.0 { gradient.abs() } else { 0.0 })
        };
        (0..m).map(one).fold(0.0, f64::max)
    }

    /// `rows` gradients of `width` values, some of them copies of earlier ones but for `noise`.
    fn gradients(rows: usize, width: usize, noise: f64, seed: u64) -> Vec<Vec<f64>> {
        let mut rng = crate::rng::stream(seed, "gem test");
        let mut all: Vec<Vec<f64>> = Vec::new();
        for i in 0..rows {
            let twin = i > 0 && rng.random_bool(0.5);
            let row = (0..width).map(|j| match twin {
                true => all[i - 1][j] + noise * rng.random_range(-1.0..1.0),
                false => rng.random_range(-1.0..1.0),
            });
            let row = row.collect();
            all.push(row);
        }
        all
    }

    #[test]
    fn solutions_meet_the_optimality_conditions() {
        for seed in 0..200 {
            let rows = 1 + seed as usize % 19;
            for (noise, ridge, lower) in [(1.0, 1e-3, 0.5), (1e-6, 1e-3, 0.0), (0.0, 1e-3, 0.5), (0.0, 0.0, 0.0)] {
                let all = gradients(rows + 1, 30, noise, seed);
                let (g, memory) = all.split_first().unwrap();
                let entry = |k: usize| {
                    let (i, j) = (k / rows, k % rows);
                    dot(&memory[i], &memory[j]) + if i == j { ridge } else { 0.0 }
                };
                let p: Vec<f64> = (0..rows * rows).map(entry).collect();
                let q: Vec<f64> = memory.iter().map(|row| dot(row, g)).collect();
                let v = bounded_qp(&p, &q, lower).unwrap();
                let off = violation(&p, &q, lower, &v);
                assert!(off < 1e-9, "seed {seed}, {rows} rows, noise {noise}: {off:e}");
            }
        }
    }

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
