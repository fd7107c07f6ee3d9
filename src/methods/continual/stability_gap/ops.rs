//! Numeric ground truth of the protocol's metrics and of its learners.

use anyhow::{Result, ensure};
use tch::{Kind, Tensor};

use crate::continual::anchor::{quadratic_penalty, quadratic_penalty_grad};
use crate::continual::baselines::{agem, er, ewc, gem, lwf, si};
use crate::continual::curves::{Curves, Trace};
use crate::continual::heads::cross_entropy;
use crate::ops::{Case, Op, Outputs};

pub const OPS: &[Op] = &[
    Op::new("stability-gap.acc_forg", acc_forg),
    Op::new("stability-gap.min_acc", min_acc),
    Op::new("stability-gap.wc_acc", wc_acc),
    Op::new("stability-gap.windowed", windowed),
    Op::new("stability-gap.lca", lca),
    Op::new("stability-gap.gem_project", gem_project),
    Op::new("stability-gap.agem_project", agem_project),
    Op::new("stability-gap.ewc", ewc_step),
    Op::new("stability-gap.lwf", lwf_loss),
    Op::new("stability-gap.si", si_task),
    Op::new("stability-gap.er_loss", er_loss),
];

fn curves(case: &Case) -> Result<Curves> {
    let tasks = case.tensor("acc")?.size2()?.1;
    Curves::new(&case.f64s("acc")?, tasks as usize)
}

fn trace(case: &Case) -> Result<Trace> {
    Trace::new(curves(case)?, &case.i64s("task")?)
}

/// A count parameter; negative numbers are refused here, 0 by the function that takes it.
fn count(case: &Case, key: &str) -> Result<usize> {
    let value = case.i64(key)?;
    ensure!(value >= 0, "parameter {key} = {value} must not be negative");
    Ok(value as usize)
}

fn acc_forg(case: &Case) -> Result<Outputs> {
    let trace = trace(case)?;
    Ok(Outputs::new().with("acc", trace.accuracy()).with("forg", trace.forgetting()))
}

fn min_acc(case: &Case) -> Result<Outputs> {
    let trace = trace(case)?;
    Ok(Outputs::new().with("per_task", trace.minima()).with("min_acc", trace.min_acc()))
}

fn wc_acc(case: &Case) -> Result<Outputs> {
    Ok(Outputs::new().with("wc_acc", trace(case)?.worst_case()))
}

fn windowed(case: &Case) -> Result<Outputs> {
    let windowed = curves(case)?.windowed(count(case, "window")?)?;
    Ok(Outputs::new()
        .with("wf_per_task", windowed.fall_per_task)
        .with("wp_per_task", windowed.rise_per_task)
        .with("wf", windowed.fall)
        .with("wp", windowed.rise))
}

fn lca(case: &Case) -> Result<Outputs> {
    Ok(Outputs::new().with("lca", trace(case)?.lca(count(case, "beta")?)?))
}

fn gem_project(case: &Case) -> Result<Outputs> {
    let (grad, memory_grads) = (case.tensor("grad")?, case.tensor("memory_grads")?);
    let projection = gem::project(&grad, &memory_grads, case.f64("gamma")?, case.f64("ridge")?)?;
    Ok(Outputs::new().with("grad", projection.grad).with("v", projection.v).with("projected", projection.projected))
}

fn agem_project(case: &Case) -> Result<Outputs> {
    let (grad, projected) = agem::project(&case.tensor("grad")?, &case.tensor("ref_grad")?);
    Ok(Outputs::new().with("grad", grad).with("projected", projected.to_kind(Kind::Int64)))
}

fn ewc_step(case: &Case) -> Result<Outputs> {
    let (theta, anchor, old) = (case.tensor("theta")?, case.tensor("theta_star")?, case.tensor("old_fisher")?);
    let batch_grads = case.tensor("batch_grads")?;
    ensure!(batch_grads.size2()?.0 > 0, "batch_grads has no rows: the Fisher information needs at least one batch");
    let mut sum = ewc::FisherSum::new(&old);
    batch_grads.unbind(0).iter().for_each(|grad| sum.add(grad));
    let fisher = ewc::merge(&old, &sum.mean(), count(case, "tasks_so_far")?);
    let lambda = case.f64("lambda")?;
    Ok(Outputs::new()
        .with("penalty", quadratic_penalty(&theta, &anchor, &fisher, lambda))
        .with("grad_theta", quadratic_penalty_grad(&theta, &anchor, &fisher, lambda))
        .with("fisher", fisher))
}

fn lwf_loss(case: &Case) -> Result<Outputs> {
    let logits = case.tensor("logits")?.set_requires_grad(true);
    let (temperature, alpha) = (case.f64("temperature")?, case.f64("alpha")?);
    ensure!(temperature > 0.0, "parameter temperature = {temperature} must be positive");
    let kd = lwf::distillation(&logits, &case.tensor("prev_logits")?, &case.tensor("active")?, temperature);
    let loss = kd * alpha;
    let grad = Tensor::run_backward(&[&loss], &[&logits], false, false).remove(0);
    Ok(Outputs::new().with("loss", loss).with("grad_logits", grad))
}

fn si_task(case: &Case) -> Result<Outputs> {
    let (start, omega, anchor) = (case.tensor("theta")?, case.tensor("omega")?, case.tensor("theta_star")?);
    let (xi, c) = (case.f64("xi")?, case.f64("c")?);
    ensure!(xi > 0.0, "parameter xi = {xi} must be positive");
    let (grads, steps) = (case.tensor("grads")?, case.tensor("steps")?);
    ensure!(grads.size() == steps.size(), "grads have shape {:?}, steps {:?}", grads.size(), steps.size());
    let (path, mut theta) = (start.zeros_like(), start.copy());
    for (grad, step) in grads.unbind(0).into_iter().zip(steps.unbind(0)) {
        si::follow(&[path.shallow_clone()], &[grad], &[step.shallow_clone()])?;
        theta += step;
    }
    Ok(Outputs::new()
        .with("omega", si::consolidate(&omega, &path, &(&theta - start), xi))
        .with("penalty", quadratic_penalty(&theta, &anchor, &omega, c))
        .with("grad_theta", quadratic_penalty_grad(&theta, &anchor, &omega, c))
        .with("path", path)
        .with("theta_end", theta))
}

fn er_loss(case: &Case) -> Result<Outputs> {
    let (new, memory) = (case.tensor("logits_new")?, case.tensor("logits_mem")?);
    let (new, memory) = (new.set_requires_grad(true), memory.set_requires_grad(true));
    let (labels_new, labels_memory) = (case.tensor("labels_new")?, case.tensor("labels_mem")?);
    let loss_new = cross_entropy(&new, &labels_new);
    let loss_memory = (labels_memory.numel() > 0).then(|| cross_entropy(&memory, &labels_memory));
    let [weighted_new, weighted_memory] = er::parts(&loss_new, loss_memory.as_ref(), case.f64("alpha")?);
    let loss = weighted_new + weighted_memory;
    // An empty batch is no part of the graph.
    let leaves = if memory.numel() > 0 { vec![&new, &memory] } else { vec![&new] };
    let mut grads = Tensor::run_backward(&[&loss], &leaves, false, false).into_iter();
    let mut grad_of = |logits: &Tensor| grads.next().unwrap_or_else(|| logits.zeros_like());
    Ok(Outputs::new()
        .with("grad_logits_new", grad_of(&new))
        .with("grad_logits_mem", grad_of(&memory))
        .with("loss", loss)
        .with("loss_mem", loss_memory.unwrap_or_else(|| loss_new.zeros_like()))
        .with("loss_new", loss_new))
}
