//! The core of the intrinsic dimension under public names.

use anyhow::{Result, bail, ensure};
use tch::{Kind, Tensor};

use super::cart_pole::CartPole;
use super::dimension::{bootstrap, intrinsic_dimension};
use super::{dqn, evolution, toy};
use crate::ops::{Case, Op, Outputs, gradient};
use crate::params::projection::{Dense, Fastfood, Sparse};

pub const OPS: &[Op] = &[
    Op::new("intrinsic-dim.dense", op_dense),
    Op::new("intrinsic-dim.sparse", op_sparse),
    Op::new("intrinsic-dim.fastfood", op_fastfood),
    Op::new("intrinsic-dim.d_int", op_d_int),
    Op::new("intrinsic-dim.bootstrap", op_bootstrap),
    Op::new("intrinsic-dim.toy_loss", op_toy_loss),
    Op::new("intrinsic-dim.toy_min", op_toy_min),
    Op::new("intrinsic-dim.cartpole_step", op_cartpole_step),
    Op::new("intrinsic-dim.td_loss", op_td_loss),
    Op::new("intrinsic-dim.es_grad", op_es_grad),
];

fn op_dense(case: &Case) -> Result<Outputs> {
    let count = case.i64("tensors")?;
    let theta = gradient::leaf("theta", &case.tensor("theta")?)?;
    let all = |prefix: &str| (0..count).map(|i| case.tensor(&format!("{prefix}_{i}"))).collect::<Result<Vec<_>>>();
    let (parts, cotangents) = (all("p")?, all("grad_out")?);
    let sizes: Vec<i64> = parts.iter().map(|p| p.size()[1]).collect();
    let (projection, norms) = Dense::new(Tensor::cat(&parts, 1));
    let offset = projection.offset(&theta);
    let cotangent = Tensor::cat(&cotangents.iter().map(|g| g.contiguous().view(-1)).collect::<Vec<_>>(), 0);
    let pulled = gradient::pullback(&offset, "grad_out", &cotangent, &[&theta])?.remove(0);
    let mut out = Outputs::new().with("norms", norms).with("grad_theta", pulled);
    for (i, (part, like)) in offset.detach().split_with_sizes(&sizes, 0).iter().zip(&cotangents).enumerate() {
        out = out.with(&format!("offset_{i}"), part.view(like.size().as_slice()));
    }
    Ok(out)
}

fn op_sparse(case: &Case) -> Result<Outputs> {
    let theta = gradient::leaf("theta", &case.tensor("theta")?)?;
    let (row, col, val) = (case.tensor("row")?, case.tensor("col")?, case.tensor("val")?);
    let (projection, norms) = Sparse::new(row, col, val, case.i64("D")?, theta.numel() as i64);
    let offset = projection.offset(&theta);
    let pulled = gradient::pullback(&offset, "grad_out", &case.tensor("grad_out")?, &[&theta])?.remove(0);
    Ok(Outputs::new().with("offset", offset.detach()).with("norms", norms).with("grad_theta", pulled))
}

fn op_fastfood(case: &Case) -> Result<Outputs> {
    let theta = gradient::leaf("theta", &case.tensor("theta")?)?;
    let sizes = case.i64s("sizes")?;
    let parameters = sizes.iter().sum();
    let (sign, perm, gauss) = (case.tensor("sign")?, case.tensor("perm")?, case.tensor("gauss")?);
    let projection = Fastfood::new(&sign, &perm, &gauss, parameters, theta.numel() as i64)?;
    let offset = projection.offset(&theta);
    let pulled = gradient::pullback(&offset, "grad_out", &case.tensor("grad_out")?, &[&theta])?.remove(0);
    let parts = offset.detach().split_with_sizes(&sizes, 0);
    let out = Outputs::new().with("grad_theta", pulled);
    Ok(parts.iter().enumerate().fold(out, |out, (i, part)| out.with(&format!("offset_{i}"), part)))
}

fn baseline(case: &Case) -> Result<Option<f64>> {
    if case.has("baseline") { Ok(Some(case.f64("baseline")?)) } else { Ok(None) }
}

fn op_d_int(case: &Case) -> Result<Outputs> {
    let found = intrinsic_dimension(&case.i64s("d")?, &case.f64s("perf")?, baseline(case)?, case.f64("threshold")?)?;
    let out = Outputs::new().with("unique_d", found.unique_d).with("mean", found.mean);
    let out = out.with("baseline", found.baseline).with("d_int", found.d_int);
    Ok(out.with("perf_at", found.perf_at).with("solved", found.solved))
}

fn op_bootstrap(case: &Case) -> Result<Outputs> {
    let (d, perf, choice) = (case.i64s("d")?, case.f64s("perf")?, case.i64s("choice")?);
    ensure!(!d.is_empty() && perf.len() % d.len() == 0, "perf has {} values for {} dimensions", perf.len(), d.len());
    let runs: Vec<Vec<f64>> = perf.chunks((perf.len() / d.len()).max(1)).map(<[f64]>::to_vec).collect();
    let index = |i: &i64| usize::try_from(*i).map_err(|_| anyhow::anyhow!("choice holds {i}"));
    let picks = choice.chunks(d.len()).map(|row| row.iter().map(index).collect::<Result<Vec<_>>>());
    let bound = case.f64("threshold")? * case.f64("baseline")?;
    let found = bootstrap(&d, &runs, &picks.collect::<Result<Vec<_>>>()?, bound)?;
    Ok(Outputs::new().with("d_int", found.d_int).with("mean", found.mean).with("std", found.std))
}

fn op_toy_loss(case: &Case) -> Result<Outputs> {
    let (theta, groups) = (gradient::leaf("theta", &case.tensor("theta")?)?, case.i64("groups")?);
    toy::check(theta.numel() as i64, groups)?;
    let loss = toy::loss(&theta, groups);
    let gradient = gradient::gradients(&loss, &[&theta]).remove(0);
    let loss = loss.detach();
    Ok(Outputs::new().with("perf", (-&loss).exp()).with("loss", loss).with("grad_theta", gradient))
}

fn op_toy_min(case: &Case) -> Result<Outputs> {
    let (p, theta0, groups) = (case.tensor("p")?, case.tensor("theta0")?, case.i64("groups")?);
    toy::check(theta0.numel() as i64, groups)?;
    let least = toy::smallest_loss(&p.to_kind(Kind::Double), &theta0.to_kind(Kind::Double), groups);
    Ok(Outputs::new().with("min_loss", least).with("solvable", least < toy::SOLVED))
}

fn op_cartpole_step(case: &Case) -> Result<Outputs> {
    let env = CartPole {
        dt: case.f64("dt")?,
        force: case.f64("force_mag")?,
        angle_limit: case.f64("theta_limit")?,
        position_limit: case.f64("x_limit")?,
    };
    let (state, action) = (case.tensor("state")?, case.tensor("action")?);
    let force = match case.str("mode")? {
        "discrete" => env.discrete(&action, state.kind()),
        "continuous" => env.continuous(&action.to_kind(state.kind())),
        other => bail!("parameter mode = {other:?} is neither discrete nor continuous"),
    };
    let (next, fallen) = env.step(&state, &force);
    let reward = force.ones_like();
    Ok(Outputs::new().with("next_state", next).with("reward", reward).with("done", fallen.to_kind(Kind::Uint8)))
}

fn op_td_loss(case: &Case) -> Result<Outputs> {
    let q = gradient::leaf("q", &case.tensor("q")?)?;
    let (action, reward, done) = (case.tensor("action")?, case.tensor("reward")?, case.tensor("done")?);
    let target = dqn::target(&case.tensor("q_next")?, &reward, &done, case.f64("gamma")?);
    let loss = dqn::loss(&q, &action, &target);
    let gradient = gradient::gradients(&loss, &[&q]).remove(0);
    Ok(Outputs::new().with("target", target).with("loss", loss.detach()).with("grad_q", gradient))
}

fn op_es_grad(case: &Case) -> Result<Outputs> {
    let ranks = evolution::centred_ranks(&case.tensor("fitness")?);
    let gradient = evolution::gradient(&case.tensor("eps")?, &ranks);
    Ok(Outputs::new().with("ranks", ranks).with("grad", gradient))
}
