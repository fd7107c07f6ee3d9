//! The numeric core of MAID under public names.

use anyhow::{Result, bail, ensure};
use tch::Tensor;

use super::bound::{Accuracy, error_bound, is_descent};
use super::descent::{Maid, Outcome};
use super::foe::FoeLower;
use super::hoag::{Decision, Schedule, hoag_step};
use super::line_search::{Inexact, accepts, psi};
use super::logreg::{CrossEntropy, LogisticLower};
use super::quadratic::{QuadraticLower, QuadraticUpper};
use super::settings::{DescentTest, Settings, Solver};
use super::tv::{TvLower, Variation};
use crate::bilevel::{Bilevel, Constants, Curvature, Lower, Momentum, accelerated_gradient, hypergradient};
use crate::ops::{Case, Op, Outputs};

pub const OPS: &[Op] = &[
    Op::new("maid.line_search", op_line_search),
    Op::new("maid.error_bound", op_error_bound),
    Op::new("maid.hypergradient", op_hypergradient),
    Op::new("maid.lower_solve", op_lower_solve),
    Op::new("maid.run_quadratic", op_run_quadratic),
    Op::new("maid.tv_lower", op_tv_lower),
    Op::new("maid.foe_lower", op_foe_lower),
    Op::new("maid.logreg_lower", op_logreg_lower),
    Op::new("maid.hoag_step", op_hoag_step),
];

fn scalar(case: &Case, name: &str) -> Result<f64> {
    let values = case.f64s(name)?;
    ensure!(values.len() == 1, "input {name} holds {} values, one is needed", values.len());
    Ok(values[0])
}

fn op_line_search(case: &Case) -> Result<Outputs> {
    let (g_new, norms) = (case.f64s("g_new")?, case.f64s("grad_g_new_norm")?);
    ensure!(g_new.len() == norms.len(), "g_new has {} values, grad_g_new_norm {}", g_new.len(), norms.len());
    let old = Inexact { g: scalar(case, "g_old")?, grad_norm: scalar(case, "grad_g_old_norm")?, eps: case.f64("eps")? };
    let (z_norm, eps_new) = (scalar(case, "z_norm")?, case.f64("eps_new")?);
    let (alpha0, rho, lambda) = (case.f64("alpha0")?, case.f64("rho")?, case.f64("lambda")?);
    let (l_g, convex) = (case.f64("L_g")?, case.bool("convex")?);
    let alpha: Vec<f64> = (0..g_new.len()).map(|j| alpha0 * rho.powi(j as i32)).collect();
    let trials = g_new.iter().zip(&norms).zip(&alpha);
    let psis: Vec<f64> = trials
        .map(|((&g, &grad_norm), &a)| psi(Inexact { g, grad_norm, eps: eps_new }, old, a, z_norm, lambda, l_g, convex))
        .collect();
    let accept: Vec<bool> = psis.iter().map(|&psi| accepts(psi)).collect();
    let first = accept.iter().position(|&a| a).map_or(-1, |j| j as i64);
    Ok(Outputs::new().with("alpha", alpha).with("psi", psis).with("accept", accept).with("first", first))
}

fn op_error_bound(case: &Case) -> Result<Outputs> {
    let constants =
        Constants { jac_norm: scalar(case, "jac_norm")?, l_ainv: case.f64("L_Ainv")?, l_b: case.f64("L_B")? };
    let (eps, delta) = (case.f64("eps")?, case.f64("delta")?);
    let grad_g_norm = scalar(case, "grad_g_norm")?;
    let bound = error_bound(grad_g_norm, case.f64("mu")?, case.f64("L_g")?, constants, Accuracy { eps, delta });
    let ok = is_descent(bound.omega, scalar(case, "z_norm")?, case.f64("eta")?);
    let factor = if ok { 1.0 } else { case.f64("nu")? };
    let out = Outputs::new().with("c", bound.c).with("omega", bound.omega).with("ok", ok);
    Ok(out.with("eps_next", eps * factor).with("delta_next", delta * factor))
}

fn quadratic(case: &Case) -> Result<Bilevel> {
    let lower = QuadraticLower::new(&case.tensor("A2")?, &case.tensor("A3")?, &case.tensor("b2")?);
    let upper = QuadraticUpper::new(&case.tensor("A1")?, &case.tensor("b1")?);
    Ok(Bilevel { lower: Box::new(lower), upper: Box::new(upper) })
}

fn count(case: &Case, key: &str) -> Result<usize> {
    let n = case.i64(key)?;
    usize::try_from(n).map_err(|_| anyhow::anyhow!("parameter {key} = {n} must not be negative"))
}

fn op_hypergradient(case: &Case) -> Result<Outputs> {
    let problem = quadratic(case)?;
    let x = case.tensor("x")?;
    let (_, grad_g) = problem.upper.value_and_grad(&x);
    // The products of a quadratic do not depend on theta.
    let products = problem.lower.products(&x, &x);
    let solved = hypergradient(products.as_ref(), &grad_g, case.f64("delta")?, count(case, "max_iter")?)?;
    let out = Outputs::new().with("q", solved.q).with("z", solved.z);
    Ok(out.with("n_cg", solved.iterations).with("residual", solved.residual))
}

fn op_lower_solve(case: &Case) -> Result<Outputs> {
    let lower = QuadraticLower::new(&case.tensor("A2")?, &case.tensor("A3")?, &case.tensor("b2")?);
    let theta = case.tensor("theta")?;
    let curvature = Curvature { mu: scalar(case, "mu")?, l: scalar(case, "L")? };
    let momentum = if case.bool("momentum")? { Momentum::Accelerated } else { Momentum::Off };
    let (eps, cap) = (case.f64("eps")?, count(case, "max_iter")?);
    let grad = |x: &Tensor| lower.grad_x(x, &theta);
    let solution = accelerated_gradient(grad, &case.tensor("x0")?, curvature, eps, cap, momentum);
    let out = Outputs::new().with("x", solution.x);
    Ok(out.with("n_grad", solution.gradients).with("certificate", solution.certificate))
}

fn op_run_quadratic(case: &Case) -> Result<Outputs> {
    let problem = quadratic(case)?;
    let (theta0, x0) = (case.tensor("theta0")?, case.tensor("x0")?);
    let settings = Settings {
        iterations: count(case, "iters")? as u64,
        eps0: case.f64("eps")?,
        delta0: case.f64("delta")?,
        alpha0: case.f64("alpha")?,
        rho: case.f64("rho")?,
        rho_up: case.f64("rho_up")?,
        nu: case.f64("nu")?,
        nu_up: case.f64("nu_up")?,
        eta: case.f64("eta")?,
        lambda: case.f64("lambda")?,
        max_bt: count(case, "max_bt")? as u64,
        solver: match case.str("solver")? {
            "fista" => Solver::Fista,
            "gd" => Solver::Gd,
            other => bail!("parameter solver = {other:?} is neither fista nor gd"),
        },
        g_convex: case.bool("convex")?,
        inner_cap: 100_000,
        cg_cap: 10 * x0.numel(),
        descent_test: DescentTest::Exact,
        ..Settings::default()
    };
    let mut maid = Maid::start(&problem, settings, &theta0, &x0)?;
    let mut thetas = vec![theta0];
    let mut accuracies = vec![[maid.settings().eps0, maid.settings().delta0, maid.settings().alpha0]];
    let (mut g, mut counts) = (Vec::new(), Vec::new());
    for _ in 0..maid.settings().iterations {
        match maid.iterate()? {
            Outcome::Stopped(stop) => bail!("the run stopped at iteration {}: {stop:?}", thetas.len()),
            Outcome::Accepted(record) => {
                if g.is_empty() {
                    g.push(record.g_before);
                }
                g.push(record.g);
                thetas.push(maid.state().theta.shallow_clone());
                accuracies.push([record.eps, record.delta, record.alpha]);
                counts.push(record);
            }
        }
    }
    let accuracy = |i: usize| accuracies.iter().map(|a| a[i]).collect::<Vec<f64>>();
    let column = |of: fn(&super::descent::Record) -> u64| counts.iter().map(|r| of(r) as i64).collect::<Vec<i64>>();
    let out = Outputs::new().with("theta", Tensor::stack(&thetas, 0)).with("g", g).with("x", &maid.state().x);
    let out = out.with("eps", accuracy(0)).with("delta", accuracy(1)).with("alpha", accuracy(2));
    let out = out.with("n_ll", column(|r| r.n_gradients)).with("n_cg", column(|r| r.n_products));
    let out = out.with("n_backtrack", column(|r| r.n_backtrack)).with("n_fail", column(|r| r.n_fail));
    Ok(out.with("n_tighten", column(|r| r.n_tighten)))
}

/// Value, gradients and products of a lower level at (x, theta) along v.
fn lower_outputs(lower: &dyn Lower, case: &Case) -> Result<Outputs> {
    let (x, theta, v) = (case.tensor("x")?, case.tensor("theta")?, case.tensor("v")?);
    let products = lower.products(&x, &theta);
    let out = Outputs::new().with("value", lower.value(&x, &theta)).with("grad_x", lower.grad_x(&x, &theta));
    let out = out.with("grad_theta", lower.grad_theta(&x, &theta));
    Ok(out.with("hvp", products.hessian(&v)).with("mixed", products.mixed_transposed(&v)))
}

fn op_tv_lower(case: &Case) -> Result<Outputs> {
    let (side, factor, mean) = (case.i64("side")?, case.f64("factor")?, case.bool("mean")?);
    let lower = TvLower::new(&case.tensor("y")?, side, Variation::Anisotropic, factor, mean)?;
    lower_outputs(&lower, case)
}

fn op_foe_lower(case: &Case) -> Result<Outputs> {
    let (filters, kernel, pad) = (case.i64("filters")?, case.i64("kernel")?, case.i64("pad")?);
    let lower = FoeLower::new(&case.tensor("y")?, filters, kernel, pad, case.f64("factor")?, case.bool("mean")?)?;
    lower_outputs(&lower, case)
}

fn op_logreg_lower(case: &Case) -> Result<Outputs> {
    lower_outputs(&LogisticLower(CrossEntropy::new(&case.tensor("a")?, &case.tensor("labels")?)?), case)
}

fn op_hoag_step(case: &Case) -> Result<Outputs> {
    let schedule = match case.str("kind")? {
        "geometric" => Schedule::Geometric,
        "quadratic" => Schedule::Quadratic,
        "cubic" => Schedule::Cubic,
        other => bail!("parameter kind = {other:?} is none of geometric, quadratic, cubic"),
    };
    let eps_old = scalar(case, "eps_old")?;
    let eps_new = schedule.next(count(case, "k")? as u64, case.f64("eps0")?, eps_old, case.f64("rho")?);
    let (g, g_old, z_norm, l) =
        (scalar(case, "g")?, scalar(case, "g_old")?, scalar(case, "z_norm")?, scalar(case, "L")?);
    let step = hoag_step(g, g_old, z_norm, l, eps_old, eps_new);
    let decision: i64 = match step.decision {
        Decision::Grow => 0,
        Decision::Reject => 1,
        Decision::Keep => 2,
    };
    let out = Outputs::new().with("decision", decision).with("L_new", step.l);
    Ok(out.with("step", step.step).with("eps_next", step.eps))
}
