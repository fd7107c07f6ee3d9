//! Baseline HOAG (Pedregosa 2016): approximate gradient with a prescribed sequence of accuracies.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Instant;
use tch::Tensor;

use super::descent::Stop;
use super::settings::Settings;
use crate::bilevel::{Bilevel, Work, accelerated_gradient, hypergradient, norm};

/// The accuracy of iteration k (from 0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// The last accuracy times `rho` (0.9).
    #[default]
    Geometric,
    /// eps0/(k+1)^2.
    Quadratic,
    /// eps0/(k+1)^3.
    Cubic,
}

/// The published geometric factor.
pub const GEOMETRIC: f64 = 0.9;
/// No schedule asks for more than this.
const FLOOR: f64 = 1e-12;
/// theta is kept in [-BOX, BOX].
const BOX: f64 = 1000.0;

impl Schedule {
    pub fn next(self, k: u64, eps0: f64, eps_old: f64, rho: f64) -> f64 {
        let k = k as f64 + 1.0;
        let eps = match self {
            Schedule::Geometric => eps_old * rho,
            Schedule::Quadratic => eps0 / (k * k),
            Schedule::Cubic => eps0 / (k * k * k),
        };
        eps.max(FLOOR)
    }
}

/// What the heuristic decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Enough decrease: the constant shrinks by 0.95, a longer step is made.
    Grow,
    /// g rose by a fifth: the constant doubles, no step.
    Reject,
    /// Neither.
    Keep,
}

/// One update of the step constant L and the accuracy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HoagStep {
    pub decision: Decision,
    pub l: f64,
    /// theta -= step z; 0 where rejected.
    pub step: f64,
    pub eps: f64,
}

/// incr = ||z||/L; grow if g <= g_old + 0.25 eps_new + 1.25 eps_old incr - L incr^2, reject if g >= 1.2 g_old (and halve eps_new).
pub fn hoag_step(g: f64, g_old: f64, z_norm: f64, l: f64, eps_old: f64, eps_new: f64) -> HoagStep {
    let incr = z_norm / l;
    if g <= g_old + 0.25 * eps_new + 1.25 * eps_old * incr - l * incr * incr {
        let l = 0.95 * l;
        HoagStep { decision: Decision::Grow, l, step: 1.0 / l, eps: eps_new }
    } else if g >= 1.2 * g_old {
        HoagStep { decision: Decision::Reject, l: 2.0 * l, step: 0.0, eps: 0.5 * eps_new }
    } else {
        HoagStep { decision: Decision::Keep, l, step: 1.0 / l, eps: eps_new }
    }
}

/// The numbers a run goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HoagScalars {
    pub eps: f64,
    /// The step constant; `None` before the first gradient.
    pub l: Option<f64>,
    /// g at the last step; `None` before the first.
    pub g_old: Option<f64>,
    pub iteration: u64,
    pub work: Work,
}

/// A run of HOAG between two iterations.
pub struct HoagState {
    pub theta: Tensor,
    pub x: Tensor,
    pub scalars: HoagScalars,
}

/// One iteration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HoagRecord {
    pub iteration: u64,
    pub g: f64,
    pub z_norm: f64,
    pub l: f64,
    pub eps: f64,
    pub decision: Decision,
    /// theta moved by step z; 0 where the step was rejected.
    pub step: f64,
}

impl HoagState {
    pub fn start(theta: &Tensor, x: &Tensor, eps0: f64) -> HoagState {
        let scalars = HoagScalars { eps: eps0, l: None, g_old: None, iteration: 0, work: Work::default() };
        HoagState { theta: theta.copy(), x: x.copy(), scalars }
    }

    /// Whether the iterations or the work are spent.
    pub fn over(&self, settings: &Settings) -> Option<Stop> {
        settings.over(self.scalars.iteration, self.scalars.work)
    }

    /// Solves to eps, takes z, moves by the heuristic. Of `settings`, eps0, the caps and the solver are used.
    pub fn iterate(&mut self, problem: &Bilevel, settings: &Settings, schedule: Schedule) -> Result<HoagRecord> {
        let start = Instant::now();
        let HoagScalars { eps, l, g_old, iteration, ref mut work } = self.scalars;
        let (lower, theta) = (&problem.lower, &self.theta);
        let curvature = lower.curvature(theta)?;
        let momentum = settings.solver.momentum();
        let grad = |x: &Tensor| lower.grad_x(x, theta);
        let solution = accelerated_gradient(grad, &self.x, curvature, eps, settings.inner_cap, momentum);
        let (g, grad_g) = problem.upper.value_and_grad(&solution.x);
        let g = g.double_value(&[]);
        let products = lower.products(&solution.x, theta);
        let solved = hypergradient(products.as_ref(), &grad_g, eps, settings.cg_cap)?;
        drop(products);
        work.gradients += solution.gradients as u64;
        work.hessian_products += solved.iterations as u64;

        let z_norm = norm(&solved.z);
        ensure!(
            g.is_finite() && z_norm.is_finite(),
            "g = {g} or ||z|| = {z_norm} is not finite at iteration {}",
            iteration + 1
        );
        let l = l.unwrap_or(if z_norm > 1e-3 { z_norm / (theta.numel() as f64).sqrt() } else { 1.0 });
        let eps_new = schedule.next(iteration, settings.eps0, eps, GEOMETRIC);
        let step = hoag_step(g, g_old.unwrap_or(f64::INFINITY), z_norm, l, eps, eps_new);
        work.seconds += start.elapsed().as_secs_f64();
        if step.decision != Decision::Reject {
            self.theta = (theta - solved.z * step.step).clamp(-BOX, BOX);
            self.scalars.g_old = Some(g);
        }
        self.x = solution.x;
        self.scalars.l = Some(step.l);
        self.scalars.eps = step.eps;
        self.scalars.iteration += 1;
        let HoagStep { decision, l, step, eps } = step;
        Ok(HoagRecord { iteration: iteration + 1, g, z_norm, l, eps, decision, step })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_decisions() {
        // incr = 0.5, allowed: 2 + 0.025 + 0.0625 - 0.5.
        let grow = hoag_step(1.5, 2.0, 1.0, 2.0, 0.1, 0.1);
        assert_eq!((grow.decision, grow.l, grow.step), (Decision::Grow, 1.9, 1.0 / 1.9));
        let reject = hoag_step(2.4, 2.0, 1.0, 2.0, 0.1, 0.1);
        assert_eq!((reject.decision, reject.l, reject.step, reject.eps), (Decision::Reject, 4.0, 0.0, 0.05));
        let keep = hoag_step(1.7, 2.0, 1.0, 2.0, 0.1, 0.1);
        assert_eq!((keep.decision, keep.l, keep.step, keep.eps), (Decision::Keep, 2.0, 0.5, 0.1));
    }

    #[test]
    fn no_schedule_falls_below_the_floor() {
        assert_eq!(Schedule::Geometric.next(9, 0.1, 1e-12, 0.9), FLOOR);
        assert_eq!(Schedule::Cubic.next(9, 1e-10, 1.0, 0.9), FLOOR);
        assert!((Schedule::Quadratic.next(4, 0.1, 1.0, 0.9) - 0.004).abs() < 1e-17);
    }
}
