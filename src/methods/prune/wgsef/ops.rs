//! The core functions under their public names, on a flat vector with one group id an entry.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use super::envelope::{self, Minimizer};
use super::groups::{FlatGroups, GroupKind, conv_groups};
use super::{checks, device, group_lasso, half_space, prox, topk};
use crate::ops::{Case, Op, Outputs};

pub const OPS: &[Op] = &[
    Op::new("wgsef.value", value),
    Op::new("wgsef.conjugate", conjugate),
    Op::new("wgsef.prox", prox_op),
    Op::new("wgsef.prox_sgd", prox_sgd),
    Op::new("wgsef.topk_project", topk_project),
    Op::new("wgsef.half_space_step", half_space_step),
    Op::new("wgsef.group_lasso_prox", group_lasso_prox),
    Op::new("wgsef.conv_groups", conv_groups_op),
];

/// Groups and their weights, checked: what all ops on a flat vector are given.
struct Problem {
    groups: FlatGroups,
    d: Vec<f64>,
    /// `d` on the device under test.
    weights: Tensor,
}

impl Problem {
    fn new(case: &Case, weights: &str) -> Result<Problem> {
        let d = case.f64s(weights)?;
        let groups = FlatGroups::new(&case.tensor("groups")?, d.len())?;
        checks::weights(weights, &d, groups.len())?;
        Ok(Problem { groups, d, weights: case.tensor(weights)?.to_kind(Kind::Double) })
    }

    /// Input `name`, `[n]` float64, all finite.
    fn vector(&self, case: &Case, name: &str) -> Result<Tensor> {
        let x = case.tensor(name)?.to_kind(Kind::Double);
        checks::finite(name, &x, self.groups.entries())?;
        Ok(x)
    }

    fn k(&self, case: &Case) -> Result<usize> {
        checks::k(case.i64("k")?, self.groups.len())
    }

    /// z_j = sqrt(d_j) ||x_j||.
    fn scaled_norms(&self, x: &Tensor) -> Tensor {
        self.groups.norms(x) * self.weights.sqrt()
    }

    /// Host numbers, one a group, on the device under test.
    fn on_device(&self, per_group: &[f64]) -> Tensor {
        Tensor::from_slice(per_group).to_device(self.weights.device())
    }

    /// u of the prox, by the form that belongs to the device.
    fn occupancy(&self, z: &Tensor, shrink: &Tensor, k: usize) -> Result<Tensor> {
        if z.device() == Device::Cpu {
            return Ok(Tensor::from_slice(&prox::occupancy(&host(z)?, &host(shrink)?, k)));
        }
        let k = Tensor::full([1, 1], k as f64, (Kind::Double, z.device()));
        Ok(device::occupancy(&z.unsqueeze(0), &shrink.unsqueeze(0), &k).squeeze_dim(0))
    }

    /// prox_{lambda GS_k}(y) and its u.
    fn prox(&self, y: &Tensor, lambda: f64, k: usize) -> Result<(Tensor, Tensor)> {
        let shrink = &self.weights * lambda;
        let u = self.occupancy(&self.scaled_norms(y), &shrink, k)?;
        Ok((y * self.groups.spread(&device::prox_factors(&u, &shrink), 1.0), u))
    }

    /// dGS_k/dtheta; infinite in the direction of theta where k = 0 leaves no finite one.
    fn gradient(&self, theta: &Tensor, z: &[f64], u: &[f64]) -> Tensor {
        let factors = self.groups.spread(&self.on_device(&envelope::gradient_factors(z, u, &self.d)), 0.0);
        (factors * theta).where_scalarother(&theta.ne(0.0), 0.0)
    }
}

fn host(x: &Tensor) -> Result<Vec<f64>> {
    Ok(Vec::<f64>::try_from(x.to_device(Device::Cpu))?)
}

fn value(case: &Case) -> Result<Outputs> {
    let problem = Problem::new(case, "d")?;
    let theta = problem.vector(case, "theta")?;
    let z = host(&problem.scaled_norms(&theta))?;
    let Minimizer { eta, u } = envelope::minimizer(&z, problem.k(case)?);
    let gradient = problem.gradient(&theta, &z, &u);
    Ok(Outputs::new().with("value", envelope::value(&z, eta)).with("u", u).with("grad_theta", gradient))
}

fn conjugate(case: &Case) -> Result<Outputs> {
    let problem = Problem::new(case, "d")?;
    let y = problem.vector(case, "y")?;
    let (value, factors) = envelope::conjugate(&problem.groups.norms(&y), &problem.weights, problem.k(case)?);
    Ok(Outputs::new().with("value", value).with("grad_y", y * problem.groups.spread(&factors, 0.0)))
}

fn prox_op(case: &Case) -> Result<Outputs> {
    let problem = Problem::new(case, "d")?;
    let lambda = case.f64("lam")?;
    checks::not_negative("lam", lambda)?;
    let (theta, u) = problem.prox(&problem.vector(case, "y")?, lambda, problem.k(case)?)?;
    Ok(Outputs::new().with("theta", theta).with("u", u))
}

/// v <- mu v + (grad + wd theta); theta <- theta - lr v; theta <- prox_{lr lambda GS_k}(theta). The prox does not touch v.
fn prox_sgd(case: &Case) -> Result<Outputs> {
    let problem = Problem::new(case, "d")?;
    let (lr, lambda, k) = (case.f64("lr")?, case.f64("lam")?, problem.k(case)?);
    let (momentum, weight_decay) = (case.f64("momentum")?, case.f64("weight_decay")?);
    checks::not_negative("lr", lr)?;
    checks::not_negative("lam", lambda)?;
    let mut theta = problem.vector(case, "theta")?;
    let mut velocity = theta.zeros_like();
    let (mut path, mut nonzero) = (Vec::new(), Vec::new());
    for gradient in case.tensor("grads")?.to_kind(Kind::Double).unbind(0) {
        checks::finite("grads", &gradient, problem.groups.entries())?;
        velocity = velocity * momentum + (gradient + &theta * weight_decay);
        theta = problem.prox(&(&theta - &velocity * lr), lr * lambda, k)?.0;
        nonzero.push(problem.groups.norms(&theta).gt(0.0).sum(Kind::Int64).int64_value(&[]));
        path.push(theta.shallow_clone());
    }
    let path = Tensor::stack(&path, 0);
    Ok(Outputs::new().with("theta", path).with("velocity", velocity).with("nonzero_groups", nonzero))
}

fn topk_project(case: &Case) -> Result<Outputs> {
    let problem = Problem::new(case, "d")?;
    let theta = problem.vector(case, "theta")?;
    let mask = topk::largest(&problem.scaled_norms(&theta), problem.k(case)?);
    let theta = theta * problem.groups.spread(&mask.to_kind(Kind::Double), 1.0);
    Ok(Outputs::new().with("theta", theta).with("mask", mask.to_kind(Kind::Uint8)))
}

/// t = x - lr (grad + lambda dGS_k(x)), then the half-space test for each group; ungrouped entries take x - lr grad.
fn half_space_step(case: &Case) -> Result<Outputs> {
    let problem = Problem::new(case, "d")?;
    let (lr, lambda, eps) = (case.f64("lr")?, case.f64("lam")?, case.f64("eps")?);
    for (name, value) in [("lr", lr), ("lam", lambda), ("eps", eps)] {
        checks::not_negative(name, value)?;
    }
    ensure!(eps < 1.0, "eps = {eps} must lie in [0, 1)");
    let (theta, k) = (problem.vector(case, "theta")?, problem.k(case)?);
    let mut gradient = problem.vector(case, "grad")?;
    if lambda > 0.0 {
        let z = host(&problem.scaled_norms(&theta))?;
        gradient += problem.gradient(&theta, &z, &envelope::minimizer(&z, k).u) * lambda;
    }
    let trial = &theta - gradient * lr;
    let dots = problem.groups.sums(&(&trial * &theta));
    let stays = half_space::stays(&dots, &problem.groups.sums(&theta.square()), eps);
    let stays = problem.groups.spread(&stays.to_kind(Kind::Double), 1.0).gt(0.0);
    Ok(Outputs::new().with("theta", trial.where_scalarother(&stays, 0.0)))
}

fn group_lasso_prox(case: &Case) -> Result<Outputs> {
    let problem = Problem::new(case, "w")?;
    let (y, lambda) = (problem.vector(case, "y")?, case.f64("lam")?);
    checks::not_negative("lam", lambda)?;
    let factors = group_lasso::factors(&problem.groups.norms(&y), &(&problem.weights * lambda));
    Ok(Outputs::new().with("theta", y * problem.groups.spread(&factors, 1.0)))
}

fn conv_groups_op(case: &Case) -> Result<Outputs> {
    let kind = case.str("kind")?;
    let kind: GroupKind = serde_json::from_value(Value::from(kind)).with_context(|| format!("kind = {kind}"))?;
    Ok(Outputs::new().with("groups", conv_groups(&case.i64s("shape")?, kind)?))
}
