//! The core functions under their public names; gradients through the very functions that training runs.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tch::{Kind, Tensor};

use super::bn_polar;
use super::consensus::{Consensus, check_costs};
use super::gate::{Gate, gated, pool, straight_through};
use super::losses::{Activation, Ramp, mean_gate, openness, polar};
use crate::ops::gradient::{gradients, leaf, pullback};
use crate::ops::{Case, Op, Outputs, check};

pub const OPS: &[Op] = &[
    Op::new("polarization.gate", gate),
    Op::new("polarization.polar_loss", polar_loss),
    Op::new("polarization.activation_loss", activation_loss),
    Op::new("polarization.penalty", penalty),
    Op::new("polarization.gated_residual", gated_residual),
    Op::new("polarization.consensus", consensus),
    Op::new("polarization.ramp", ramp),
    Op::new("polarization.bn_polar", bn_polar_op),
];

fn gate(case: &Case) -> Result<Outputs> {
    let input = |name: &str| leaf(name, &case.tensor(name)?);
    let (x, w1, b1, w2, b2) = (input("x")?, input("w1")?, input("b1")?, input("w2")?, input("b2")?);
    ensure!(x.dim() == 4, "x has shape {:?}, expected [N, C, H, W]", x.size());
    let ((hidden, inputs), (outputs, _)) = (check::matrix("w1", &w1)?, check::matrix("w2", &w2)?);
    ensure!(x.size()[1] == inputs, "w1 reads {inputs} channels, x has {}", x.size()[1]);
    check::shape("w2", &w2, &[outputs, hidden])?;
    check::shape("b1", &b1, &[hidden])?;
    check::shape("b2", &b2, &[outputs])?;
    let pooled = pool(&x);
    let prob = Gate { w1: &w1, b1: &b1, w2: &w2, b2: &b2 }.probability(&pooled);
    let gate = straight_through(&prob, case.f64("threshold")?);
    let grads = pullback(&gate, "grad_gate", &case.tensor("grad_gate")?, &[&x, &w1, &b1, &w2, &b2])?;
    let outputs =
        Outputs::new().with("pooled", pooled.detach()).with("prob", prob.detach()).with("gate", gate.detach());
    let names = ["grad_x", "grad_w1", "grad_b1", "grad_w2", "grad_b2"];
    Ok(names.iter().zip(grads).fold(outputs, |outputs, (name, grad)| outputs.with(name, grad)))
}

fn polar_loss(case: &Case) -> Result<Outputs> {
    let gates = leaf("gates", &case.tensor("gates")?)?;
    check::matrix("gates", &gates)?;
    let mean = mean_gate(&gates);
    let loss = polar(&mean);
    let grad = gradients(&loss, &[&gates]).remove(0);
    Ok(Outputs::new().with("loss", loss.detach()).with("mean", mean.detach()).with("grad_gates", grad))
}

/// One cost a gate, of the type of the gates.
fn costs(case: &Case, gates: &Tensor) -> Result<Tensor> {
    let (_, count) = check::matrix("gates", gates)?;
    let costs = case.tensor("costs")?;
    check::shape("costs", &costs, &[count])?;
    check_costs(&case.f64s("costs")?)?;
    Ok(costs.to_kind(gates.kind()))
}

/// L_act's kind and t, which kind l1 does without.
fn activation_kind(case: &Case) -> Result<(Activation, f64)> {
    let kind = case.str("kind")?;
    let kind: Activation = serde_json::from_value(Value::from(kind)).with_context(|| format!("kind = {kind}"))?;
    let target = if kind == Activation::L1 && !case.has("target") { 0.0 } else { case.f64("target")? };
    ensure!((0.0..=1.0).contains(&target), "target = {target} must lie between 0 and 1");
    Ok((kind, target))
}

fn activation_loss(case: &Case) -> Result<Outputs> {
    let gates = leaf("gates", &case.tensor("gates")?)?;
    let (kind, target) = activation_kind(case)?;
    let open = openness(&mean_gate(&gates), &costs(case, &gates)?);
    let loss = kind.loss(&open, target);
    let grad = gradients(&loss, &[&gates]).remove(0);
    Ok(Outputs::new().with("loss", loss.detach()).with("openness", open.detach()).with("grad_gates", grad))
}

/// lambda_act L_act + lambda_polar L_polar of the gates of some logits, down to the logits.
fn penalty(case: &Case) -> Result<Outputs> {
    let logits = leaf("logits", &case.tensor("logits")?)?;
    let (kind, target) = activation_kind(case)?;
    let threshold = if case.has("threshold") { case.f64("threshold")? } else { 0.5 };
    let mean = mean_gate(&straight_through(&logits.sigmoid(), threshold));
    let open = openness(&mean, &costs(case, &logits)?);
    let (activation, polar) = (kind.loss(&open, target), polar(&mean));
    let loss = &activation * case.f64("lambda_act")? + &polar * case.f64("lambda_polar")?;
    let grad = gradients(&loss, &[&logits]).remove(0);
    let outputs = Outputs::new().with("loss", loss.detach()).with("activation", activation.detach());
    Ok(outputs.with("polar", polar.detach()).with("openness", open.detach()).with("grad_logits", grad))
}

/// y = x + g F, with a ReLU after the sum or without.
fn gated_residual(case: &Case) -> Result<Outputs> {
    let input = |name: &str| leaf(name, &case.tensor(name)?);
    let (x, f, gate) = (input("x")?, input("f")?, input("gate")?);
    check::shape("f", &f, &x.size())?;
    let (_, gates) = check::matrix("gate", &gate)?;
    let channels = x.size().get(1).copied().unwrap_or(0);
    ensure!(gates == 1 || gates == channels, "gate has {gates} columns, expected 1 or the {channels} channels of x");
    check::shape("gate", &gate, &[x.size()[0], gates])?;
    let sum = &x + gated(&f, &gate);
    let y = if case.bool("relu")? { sum.relu() } else { sum };
    let grads = pullback(&y, "grad_y", &case.tensor("grad_y")?, &[&x, &f, &gate])?;
    let outputs = Outputs::new().with("y", y.detach());
    Ok(["grad_x", "grad_f", "grad_gate"].iter().zip(grads).fold(outputs, |o, (name, grad)| o.with(name, grad)))
}

fn consensus(case: &Case) -> Result<Outputs> {
    let vote = Consensus::new(&case.tensor("gates")?, &case.f64s("costs")?, case.f64("threshold")?)?;
    let keep: Vec<u8> = vote.keep.iter().map(|&k| u8::from(k)).collect();
    let outputs = Outputs::new().with("keep", Tensor::from_slice(&keep)).with("mean", vote.mean);
    let outputs = outputs.with("agreement", vote.agreement).with("unanimous", vote.unanimous);
    Ok(outputs.with("kept_cost", vote.kept_cost).with("mean_cost", vote.mean_cost))
}

fn ramp(case: &Case) -> Result<Outputs> {
    let ramp = Ramp { start: case.f64("start")?, length: case.f64("length")? };
    ramp.check()?;
    let total = case.i64("total")?;
    ensure!(total > 0, "total = {total} must be positive");
    let at = |step: i64| {
        let step = u64::try_from(step).with_context(|| format!("step = {step} must not be negative"))?;
        Ok(ramp.at(step, total as u64))
    };
    let factors: Vec<f64> = case.i64s("step")?.into_iter().map(at).collect::<Result<_>>()?;
    Ok(Outputs::new().with("factor", Tensor::from_slice(&factors).view(case.tensor("step")?.size().as_slice())))
}

fn bn_polar_op(case: &Case) -> Result<Outputs> {
    let (gamma, t) = (case.tensor("gamma")?.to_kind(Kind::Double), case.f64("t")?);
    Ok(Outputs::new().with("value", bn_polar::value(&gamma, t)).with("grad_gamma", bn_polar::gradient(&gamma, t)))
}
