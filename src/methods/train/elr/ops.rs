//! The named core functions of early-learning regularization and of what it is compared with.

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use tch::{Kind, Tensor};

use super::coteaching::{CoTeaching, keep, small_loss};
use super::loss::{Elr, Terms, check_beta};
use super::memorization::Memorization;
use super::memory::TargetMemory;
use super::plus::{Averaging, AveragingMode, Plus, average, mixed_targets, ramp};
use super::robust::RobustLoss;
use crate::data::mixup::{larger_share, mix, one_hot};
use crate::data::noise::{Draws, LabelNoise};
use crate::ops::gradient::{gradients, leaf};
use crate::ops::{Case, Op, Outputs, check};

pub const OPS: &[Op] = &[
    Op::new("elr.loss", loss),
    Op::new("elr.loss_seq", loss_seq),
    Op::new("elr.plus_loss", plus_loss),
    Op::new("elr.plus_update", plus_update),
    Op::new("elr.ema", ema),
    Op::new("elr.mixup", mixup),
    Op::new("elr.noise", noise),
    Op::new("elr.robust_loss", robust_loss),
    Op::new("elr.coteach", coteach),
    Op::new("elr.memorization", memorization),
];

fn loss(case: &Case) -> Result<Outputs> {
    let elr = elr(case)?;
    let logits = leaf("logits", &case.tensor("logits")?)?;
    let (batch, classes) = check::matrix("logits", &logits)?;
    let target = case.tensor("target")?;
    let (samples, _) = check::matrix("target", &target)?;
    check::shape("target", &target, &[samples, classes])?;
    let index = index(case, "index", &[batch], samples)?;
    check::distinct("index", &index)?;
    let memory = TargetMemory::restore(&target);
    let terms = elr.loss(&logits, &self::index(case, "label", &[batch], classes)?, &index, &memory);
    Ok(with_gradient(&terms, &logits).with("target", memory.rows()))
}

fn loss_seq(case: &Case) -> Result<Outputs> {
    let elr = elr(case)?;
    let logits = case.tensor("logits")?;
    let [steps, batch, classes] = logits.size()[..] else {
        bail!("logits has shape {:?}, expected [steps, batch, classes]", logits.size())
    };
    ensure!(logits.numel() > 0, "logits is empty");
    let label = case.tensor("label")?;
    let samples = label.numel() as i64;
    let label = index(case, "label", &[samples], classes)?;
    let index = index(case, "index", &[steps, batch], samples)?;
    let memory = TargetMemory::restore(&Tensor::zeros([samples, classes], (logits.kind(), logits.device())));
    let mut losses = Vec::new();
    for step in 0..steps {
        let index = index.get(step);
        check::distinct("index", &index).with_context(|| format!("step {step}"))?;
        losses.push(elr.loss(&logits.get(step), &label.index_select(0, &index), &index, &memory).loss());
    }
    Ok(Outputs::new()
        .with("loss", Tensor::stack(&losses, 0))
        .with("target", memory.rows())
        .with("suspected_noisy", memory.suspected_noisy(&label).to_kind(Kind::Uint8)))
}

fn plus_loss(case: &Case) -> Result<Outputs> {
    let plus = Plus {
        lambda: case.f64("lambda")?,
        coef_step: case.i64("coef_step")?,
        reweight_labels: case.bool("reweight_labels")?,
        clamp: case.f64("clamp")?,
    };
    plus.check()?;
    let step = case.i64("step")?;
    let logits = leaf("logits", &case.tensor("logits")?)?;
    let (batch, classes) = check::matrix("logits", &logits)?;
    let (soft_label, q) = (case.tensor("soft_label")?, case.tensor("q")?);
    check::shape("soft_label", &soft_label, &[batch, classes])?;
    check::shape("q", &q, &[batch, classes])?;
    let terms = plus.loss(&logits, &soft_label, &q, step);
    Ok(with_gradient(&terms, &logits).with("ramp", ramp(step, plus.coef_step)))
}

fn plus_update(case: &Case) -> Result<Outputs> {
    let (beta, l) = (case.f64("beta")?, case.f64("mixup_l")?);
    check_beta(beta)?;
    ensure!((0.0..=1.0).contains(&l), "mixup_l = {l} is outside [0, 1]");
    let (peer_logits, hist) = (case.tensor("peer_logits")?, case.tensor("hist")?);
    let (batch, classes) = check::matrix("peer_logits", &peer_logits)?;
    let (samples, _) = check::matrix("hist", &hist)?;
    check::shape("hist", &hist, &[samples, classes])?;
    let index = index(case, "index", &[batch], samples)?;
    check::distinct("index", &index)?;
    let mix_index = self::index(case, "mix_index", &[batch], batch)?;
    let memory = TargetMemory::restore(&hist);
    let q = mixed_targets(&memory, &index, &peer_logits, beta, &mix_index, &Tensor::from(l));
    Ok(Outputs::new().with("hist", memory.rows()).with("q", q))
}

/// The averaged parameters after all rows of `params`, and the decay of each.
fn ema(case: &Case) -> Result<Outputs> {
    let mode = choice(case, "mode", "\"rampup\" or \"debias\"")?;
    let ema_step = if mode == AveragingMode::Rampup { case.i64("ema_step")? } else { 0 };
    let averaging = Averaging { mode, gamma: case.f64("alpha")?, ema_step };
    averaging.check()?;
    let start = case.i64("start_step")?;
    ensure!(start >= 0, "start_step = {start} must not be negative");
    let (averaged, params) = (case.tensor("ema")?.copy(), case.tensor("params")?);
    let steps = params.size().first().copied().unwrap_or(0);
    check::shape("params", &params, &[&[steps], &averaged.size()[..]].concat())?;
    let decays: Vec<f64> = (0..steps).map(|s| averaging.decay(start + 1 + s)).collect();
    for (s, &decay) in decays.iter().enumerate() {
        average(&[&averaged], &[&params.get(s as i64)], decay)?;
    }
    Ok(Outputs::new().with("ema", averaged).with("alpha", decays))
}

fn mixup(case: &Case) -> Result<Outputs> {
    let (draw, classes) = (case.f64("beta_draw")?, case.i64("num_classes")?);
    ensure!((0.0..=1.0).contains(&draw), "beta_draw = {draw} is outside [0, 1]");
    ensure!(classes >= 1, "num_classes = {classes} must be at least 1");
    let x = leaf("x", &case.tensor("x")?)?.detach();
    let batch = x.size().first().copied().unwrap_or(0);
    let perm = index(case, "perm", &[batch], batch)?;
    let y = one_hot(&index(case, "label", &[batch], classes)?, classes, x.kind());
    let l = larger_share(&Tensor::from(draw));
    let mixed = |tensor: &Tensor| mix(tensor, &tensor.index_select(0, &perm), &l);
    Ok(Outputs::new().with("x", mixed(&x)).with("soft_label", mixed(&y)).with("l", &l))
}

fn noise(case: &Case) -> Result<Outputs> {
    let mut noise = LabelNoise {
        kind: choice(case, "kind", "one of sym, sym_exclusive, asym_cifar10, pair_in_group")?,
        rate: case.f64("rate")?,
        ..LabelNoise::default()
    };
    if case.has("group") {
        noise.group = choice(case, "group", "a block length or \"superclass\"")?;
    }
    let numbers = |name: &str| if case.maybe(name).is_some() { case.i64s(name) } else { Ok(Vec::new()) };
    let u = if case.maybe("u").is_some() { case.f64s("u")? } else { Vec::new() };
    let draws = Draws { perm: numbers("perm")?, draw: numbers("draw")?, u };
    let noisy = noise.apply(&case.i64s("label")?, case.i64("num_classes")?, &draws)?;
    let changed: Vec<u8> = noisy.changed.iter().map(|&changed| u8::from(changed)).collect();
    Ok(Outputs::new().with("label", noisy.labels).with("changed", Tensor::from_slice(&changed)))
}

fn robust_loss(case: &Case) -> Result<Outputs> {
    let number = |key: &str, default: f64| if case.has(key) { case.f64(key) } else { Ok(default) };
    let rival = match case.str("kind")? {
        "ce" => RobustLoss::Ce,
        "bootstrap_soft" => RobustLoss::BootstrapSoft { beta: number("beta", 0.95)? },
        "bootstrap_hard" => RobustLoss::BootstrapHard { beta: number("beta", 0.8)? },
        "forward" => RobustLoss::Forward { transition: case.tensor("transition")? },
        "gce" => RobustLoss::Gce { q: number("q", 0.7)? },
        "sce" => RobustLoss::Sce {
            alpha: number("alpha", 0.1)?,
            beta: number("beta", 1.0)?,
            log0: number("log0", RobustLoss::SCE_LOG0)?,
        },
        other => bail!("kind = {other:?} must be one of ce, bootstrap_soft, bootstrap_hard, forward, gce, sce"),
    };
    let logits = leaf("logits", &case.tensor("logits")?)?;
    let (batch, classes) = check::matrix("logits", &logits)?;
    rival.check(classes)?;
    let loss = rival.loss(&logits, &index(case, "label", &[batch], classes)?);
    let gradient = gradients(&loss, &[&logits]).remove(0);
    Ok(Outputs::new().with("loss", loss).with("grad_logits", gradient))
}

fn coteach(case: &Case) -> Result<Outputs> {
    let coteaching = CoTeaching { tau: case.f64("tau")?, t_k: case.f64("t_k")? };
    coteaching.check()?;
    let epoch = case.f64("epoch")?;
    ensure!(epoch >= 0.0, "epoch = {epoch} must not be negative");
    let (loss1, loss2) = (case.tensor("loss1")?, case.tensor("loss2")?);
    let batch = loss1.numel() as i64;
    check::shape("loss1", &loss1, &[batch])?;
    check::shape("loss2", &loss2, &[batch])?;
    let forget = coteaching.forget(epoch);
    let keep = keep(forget, batch);
    Ok(Outputs::new()
        .with("forget", forget)
        .with("index_for_net2", small_loss(&loss1, keep))
        .with("index_for_net1", small_loss(&loss2, keep)))
}

fn memorization(case: &Case) -> Result<Outputs> {
    let classes = case.i64("num_classes")?;
    let samples = case.tensor("pred")?.numel() as i64;
    let classes_of = |name| index(case, name, &[samples], classes);
    let m = Memorization::of(&classes_of("pred")?, &classes_of("noisy")?, &classes_of("true")?);
    Ok(Outputs::new()
        .with("clean_correct", m.clean_correct)
        .with("clean_wrong", m.clean_wrong)
        .with("wrong_correct", m.wrong_correct)
        .with("wrong_memorized", m.wrong_memorized)
        .with("wrong_other", m.wrong_other))
}

fn elr(case: &Case) -> Result<Elr> {
    let elr = Elr { beta: case.f64("beta")?, lambda: case.f64("lambda")?, clamp: case.f64("clamp")? };
    elr.check()?;
    Ok(elr)
}

/// Parameter `key`, written as in a configuration.
fn choice<T: DeserializeOwned>(case: &Case, key: &str, choices: &str) -> Result<T> {
    let value = case.params.get(key).with_context(|| format!("parameter {key} is missing"))?;
    serde_json::from_value(value.clone()).ok().with_context(|| format!("parameter {key} = {value} must be {choices}"))
}

/// Input `name` of this shape, whole numbers in 0..limit.
fn index(case: &Case, name: &str, shape: &[i64], limit: i64) -> Result<Tensor> {
    let tensor = case.tensor(name)?;
    check::shape(name, &tensor, shape)?;
    check::below(name, &tensor, limit)
}

fn with_gradient(terms: &Terms, logits: &Tensor) -> Outputs {
    let loss = terms.loss();
    let gradient = gradients(&loss, &[logits]).remove(0);
    Outputs::new().with("loss", loss).with("ce", &terms.ce).with("reg", &terms.reg).with("grad_logits", gradient)
}
