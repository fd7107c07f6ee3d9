//! The constants of MAID, with the paper's defaults.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::descent::Stop;
use crate::bilevel::{Momentum, Work};

/// Whether -z is proved to be a descent direction before the line search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DescentTest {
    /// With the problem's own constants (quadratic).
    Exact,
    /// With constants estimated by secants and power iteration.
    #[default]
    Estimate,
    /// Not at all: each accepted step keeps its certificate, but that a step exists is no longer guaranteed.
    Off,
}

/// The lower-level solver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Solver {
    /// Strongly convex accelerated gradient.
    #[default]
    Fista,
    /// Plain gradient descent, which the published code effectively runs.
    Gd,
}

impl Solver {
    pub fn momentum(self) -> Momentum {
        match self {
            Solver::Fista => Momentum::Accelerated,
            Solver::Gd => Momentum::Off,
        }
    }
}

/// The `[method]` fields of the descent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Settings {
    /// Outer iterations K.
    pub iterations: u64,
    /// Work to stop at: gradients of h plus Hessian products (0: no limit).
    pub budget: u64,
    /// Stop when max(||z||, omega) is at most this (omega only where the descent test computes it).
    pub tol: f64,
    /// Stop, stalled, when eps falls below this.
    pub eps_min: f64,
    /// First accuracy of the lower solve, ||x - x^||.
    pub eps0: f64,
    /// First accuracy of the linear solve, ||H q - grad g||.
    pub delta0: f64,
    /// First outer step.
    pub alpha0: f64,
    /// Factor of the step per backtrack, in (0,1).
    pub rho: f64,
    /// Factor of the step after an accepted one, above 1.
    pub rho_up: f64,
    /// Factor of eps and delta when more accuracy is needed, in (0,1).
    pub nu: f64,
    /// Factor of eps and delta after an accepted step, above 1.
    pub nu_up: f64,
    /// Margin of the descent test, in (lambda, 1).
    pub eta: f64,
    /// Fraction of the decrease a step must certify, in (0, eta).
    pub lambda: f64,
    /// Tries of the first line search of an iteration.
    pub max_bt: u64,
    /// Gradients of one lower solve at most.
    pub inner_cap: usize,
    /// Products of one linear solve at most.
    pub cg_cap: usize,
    pub solver: Solver,
    pub descent_test: DescentTest,
    /// g is convex: its lower bound needs no quadratic term.
    pub g_convex: bool,
    /// Ablation: eps and delta never change; a failing line search ends the run. Set by `algorithm = "fixed"`.
    #[serde(skip)]
    pub fixed_eps: bool,
    /// Seed of the random directions of the estimates: the run's.
    #[serde(skip)]
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            iterations: 1000,
            budget: 0,
            tol: 0.0,
            eps_min: 1e-12,
            eps0: 0.1,
            delta0: 0.1,
            alpha0: 0.01,
            rho: 0.5,
            rho_up: 10.0 / 9.0,
            nu: 0.5,
            nu_up: 1.05,
            eta: 1e-4,
            lambda: 1e-8,
            max_bt: 10,
            inner_cap: 2000,
            cg_cap: 2000,
            solver: Solver::default(),
            descent_test: DescentTest::default(),
            g_convex: true,
            fixed_eps: false,
            seed: 0,
        }
    }
}

impl Settings {
    /// Whether the iterations or the work are spent.
    pub fn over(&self, iteration: u64, work: Work) -> Option<Stop> {
        if iteration >= self.iterations {
            Some(Stop::Iterations)
        } else {
            (self.budget > 0 && work.units() >= self.budget).then_some(Stop::Budget)
        }
    }

    /// One sentence naming the field that is out of range.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [("eps0", self.eps0), ("delta0", self.delta0), ("alpha0", self.alpha0)] {
            ensure!(value > 0.0 && value.is_finite(), "{name} = {value} must be positive");
        }
        for (name, value) in [("rho", self.rho), ("nu", self.nu)] {
            ensure!(value > 0.0 && value < 1.0, "{name} = {value} must lie between 0 and 1");
        }
        for (name, value) in [("rho_up", self.rho_up), ("nu_up", self.nu_up)] {
            ensure!(value > 1.0 && value.is_finite(), "{name} = {value} must be larger than 1");
        }
        let (lambda, eta) = (self.lambda, self.eta);
        ensure!(eta > 0.0 && eta < 1.0, "eta = {eta} must lie between 0 and 1");
        ensure!(lambda > 0.0 && lambda < eta, "lambda = {lambda} must lie between 0 and eta = {eta}");
        ensure!(self.tol >= 0.0, "tol = {} must not be negative", self.tol);
        ensure!(self.eps_min >= 0.0, "eps_min = {} must not be negative", self.eps_min);
        ensure!(self.max_bt > 0, "max_bt = 0: at least one step must be tried");
        ensure!(self.inner_cap > 0, "inner_cap = 0: at least one gradient is needed");
        ensure!(self.cg_cap > 0, "cg_cap = 0: at least one product is needed");
        Ok(())
    }
}
