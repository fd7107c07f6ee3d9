//! The named core functions of AdaMixUp.

use anyhow::{Result, ensure};
use tch::{Kind, Reduction, Tensor, no_grad};

use super::policy::{Region, generator_input, intruded, intrusion_loss, nearest, truncated_normal};
use crate::data::mixup::{mix, one_hot};
use crate::ops::gradient::{gradients, leaf};
use crate::ops::{Case, Op, Outputs, check};

pub const OPS: &[Op] = &[
    Op::new("adamixup.policy", policy),
    Op::new("adamixup.mix", mixture),
    Op::new("adamixup.soft_ce", soft_cross_entropy),
    Op::new("adamixup.intrusion_loss", intrusion),
    Op::new("adamixup.total_loss", total_loss),
    Op::new("adamixup.train_steps", train_steps),
    Op::new("adamixup.truncated_normal", normal),
    Op::new("adamixup.mixup", mixup),
    Op::new("adamixup.intrusion_rate", intrusion_rate),
];

/// Cross-entropy with soft targets, as the training loop has it.
fn soft_ce(logits: &Tensor, targets: &Tensor, reduction: Reduction) -> Tensor {
    logits.cross_entropy_loss::<Tensor>(targets, None, reduction, -100, 0.0)
}

fn policy(case: &Case) -> Result<Outputs> {
    let logits = leaf("logits", &case.tensor("logits")?)?;
    let (rows, columns) = check::matrix("logits", &logits)?;
    ensure!(columns == 3, "logits has {columns} columns, there are 3: alpha, delta, slack");
    let (u, gl) = (case.tensor("u")?, case.tensor("gl")?);
    check::shape("u", &u, &[rows])?;
    check::shape("gl", &gl, &[rows])?;
    let region = Region::of(&logits);
    let lam = region.draw(&u);
    let gradient = gradients(&(&lam * gl).sum(Kind::Double), &[&logits]).remove(0);
    Ok(Outputs::new()
        .with("alpha", region.alpha.detach())
        .with("delta", region.delta.detach())
        .with("slack", region.slack.detach())
        .with("lam", lam.detach())
        .with("grad_logits", gradient))
}

fn mixture(case: &Case) -> Result<Outputs> {
    let lam = leaf("lam", &case.tensor("lam")?)?;
    let pair = |a: &str, b: &str| -> Result<Tensor> {
        let (first, second) = (case.tensor(a)?, case.tensor(b)?);
        check::shape(b, &second, &first.size())?;
        ensure!(first.size().first() == Some(&(lam.numel() as i64)), "lam needs one weight a row of {a}");
        Ok(mix(&first, &second, &lam))
    };
    let (x, y) = (pair("x1", "x2")?, pair("y1", "y2")?);
    let (gx, gy) = (case.tensor("gx")?, case.tensor("gy")?);
    check::shape("gx", &gx, &x.size())?;
    check::shape("gy", &gy, &y.size())?;
    let sum = (&x * gx).sum(Kind::Double) + (&y * gy).sum(Kind::Double);
    let gradient = gradients(&sum, &[&lam]).remove(0);
    Ok(Outputs::new().with("x", x.detach()).with("y", y.detach()).with("grad_lam", gradient))
}

fn soft_cross_entropy(case: &Case) -> Result<Outputs> {
    let (logits, targets) = (leaf("logits", &case.tensor("logits")?)?, leaf("targets", &case.tensor("targets")?)?);
    check::matrix("logits", &logits)?;
    check::shape("targets", &targets, &logits.size())?;
    let loss = soft_ce(&logits, &targets, Reduction::Mean);
    let both = gradients(&loss, &[&logits, &targets]);
    let each = no_grad(|| soft_ce(&logits, &targets, Reduction::None));
    Ok(Outputs::new()
        .with("loss", loss.detach())
        .with("per_example", each)
        .with("grad_logits", &both[0])
        .with("grad_targets", &both[1]))
}

fn intrusion(case: &Case) -> Result<Outputs> {
    let real = leaf("logits_real", &case.tensor("logits_real")?)?;
    let mixed = leaf("logits_mixed", &case.tensor("logits_mixed")?)?;
    for (name, logits) in [("logits_real", &real), ("logits_mixed", &mixed)] {
        let pairs = matches!(logits.size()[..], [_, 2]);
        ensure!(pairs, "{name} has shape {:?}, two logits a row are needed", logits.size());
    }
    ensure!(real.numel() + mixed.numel() > 0, "logits_real and logits_mixed are both empty");
    let (loss, accuracy) = intrusion_loss(&real, &mixed);
    let both = gradients(&loss, &[&real, &mixed]);
    Ok(Outputs::new()
        .with("loss", loss.detach())
        .with("accuracy", accuracy)
        .with("grad_real", &both[0])
        .with("grad_mixed", &both[1]))
}

/// The twelve tensors of the cases' three small networks.
const NAMES: [&str; 12] = ["w_t", "b_t", "w_c", "b_c", "w_i1", "b_i1", "w_i2", "b_i2", "w_p1", "b_p1", "w_p2", "b_p2"];

/// What one step is given.
const BATCH: [&str; 8] = ["x1", "x2", "xu", "y1", "y2", "m1", "m2", "u"];

struct Objective {
    ce: Tensor,
    intrusion: Tensor,
    lam: Tensor,
}

/// The objective of the networks trunk(x) = tanh(x w_t^T + b_t), class logits, intrusion logits through two layers, generator.
fn objective(weights: &[Tensor], batch: &[Tensor], detach_targets: bool) -> Objective {
    let linear = |x: &Tensor, place: usize| x.linear(&weights[place], Some(&weights[place + 1]));
    let trunk = |x: &Tensor| linear(x, 0).tanh();
    let discriminate = |x: &Tensor| linear(&linear(&trunk(x), 4), 6);
    let [x1, x2, xu, y1, y2, m1, m2, u] = batch else { unreachable!("eight tensors a batch") };
    let hidden = linear(&generator_input(x1, x2, Some((m1, m2))), 8).tanh();
    let lam = Region::of(&linear(&hidden, 10)).draw(u);
    let label_lam = if detach_targets { lam.detach() } else { lam.shallow_clone() };
    let (x, y) = (mix(x1, x2, &lam), mix(y1, y2, &label_lam));
    let logits = linear(&trunk(&Tensor::cat(&[&x, x1], 0)), 2);
    let ce = soft_ce(&logits, &Tensor::cat(&[&y, y1], 0), Reduction::Mean);
    let (intrusion, _) = intrusion_loss(&discriminate(&Tensor::cat(&[xu, x1], 0)), &discriminate(&x));
    Objective { ce, intrusion, lam }
}

fn weights(case: &Case) -> Result<Vec<Tensor>> {
    NAMES.iter().map(|name| leaf(name, &case.tensor(name)?)).collect()
}

fn total_loss(case: &Case) -> Result<Outputs> {
    let weights = weights(case)?;
    let batch = BATCH.iter().map(|name| case.tensor(name)).collect::<Result<Vec<_>>>()?;
    let Objective { ce, intrusion, lam } = objective(&weights, &batch, case.bool("detach_targets")?);
    let total = if case.bool("intrusion_loss")? { &ce + &intrusion } else { ce.shallow_clone() };
    let gradients = crate::native::grad(&total, &weights, false, false)?;
    let outputs = Outputs::new()
        .with("total", total.detach())
        .with("ce", ce.detach())
        .with("intrusion", intrusion.detach())
        .with("lam", lam.detach());
    Ok(NAMES.iter().zip(gradients).zip(&weights).fold(outputs, |outputs, ((name, gradient), weight)| {
        outputs.with(&format!("grad_{name}"), gradient.unwrap_or_else(|| weight.zeros_like().detach()))
    }))
}

/// SGD on all twelve tensors jointly: g += weight_decay w; v = momentum v + g (v = g first); w -= lr v.
fn train_steps(case: &Case) -> Result<Outputs> {
    let weights = weights(case)?;
    let batches = BATCH.iter().map(|name| case.tensor(name)).collect::<Result<Vec<_>>>()?;
    let [lr, momentum, decay] = [case.f64("lr")?, case.f64("momentum")?, case.f64("weight_decay")?];
    let steps = batches[0].size().first().copied().unwrap_or(0);
    ensure!(steps > 0, "x1 has shape {:?}, its first axis should be the steps", batches[0].size());
    for (name, tensor) in BATCH.iter().zip(&batches) {
        ensure!(tensor.size().first() == Some(&steps), "{name} has shape {:?}, not {steps} steps", tensor.size());
    }
    let (mut moving, mut losses) = (Vec::<Tensor>::new(), Vec::new());
    for step in 0..steps {
        let batch: Vec<Tensor> = batches.iter().map(|tensor| tensor.get(step)).collect();
        let Objective { ce, intrusion, .. } = objective(&weights, &batch, true);
        let loss = ce + intrusion;
        losses.push(loss.detach());
        let gradients = gradients(&loss, &weights.iter().collect::<Vec<_>>());
        no_grad(|| {
            let decayed = gradients.iter().zip(&weights).map(|(g, w)| g + w * decay);
            moving = match moving.is_empty() {
                true => decayed.collect(),
                false => moving.iter().zip(decayed).map(|(v, g)| v * momentum + g).collect(),
            };
            for (weight, v) in weights.iter().zip(&moving) {
                let _ = weight.detach().g_sub_(&(v * lr));
            }
        });
    }
    let outputs = Outputs::new().with("losses", Tensor::stack(&losses, 0));
    Ok(NAMES.iter().zip(&weights).fold(outputs, |outputs, (name, weight)| outputs.with(name, weight.detach())))
}

fn normal(case: &Case) -> Result<Outputs> {
    Ok(Outputs::new().with("z", truncated_normal(&case.tensor("u")?)))
}

fn mixup(case: &Case) -> Result<Outputs> {
    let (x, logits) = (case.tensor("x")?, leaf("logits", &case.tensor("logits")?)?);
    let (rows, classes) = check::matrix("logits", &logits)?;
    ensure!(classes >= 2, "logits has {classes} column; mixing labels needs 2 classes at least");
    let labels = check::below("labels", &case.tensor("labels")?, classes)?;
    let permutation = check::below("perm", &case.tensor("perm")?, rows)?;
    let lam = case.tensor("lam")?;
    for (name, tensor) in [("labels", &labels), ("perm", &permutation), ("lam", &lam)] {
        check::shape(name, tensor, &[rows])?;
    }
    ensure!(x.size().first() == Some(&rows), "x has shape {:?}, logits has {rows} rows", x.size());
    let y = one_hot(&labels, classes, logits.kind());
    let of = |t: &Tensor| mix(t, &t.index_select(0, &permutation), &lam);
    let loss = soft_ce(&logits, &of(&y), Reduction::Mean);
    let gradient = gradients(&loss, &[&logits]).remove(0);
    Ok(Outputs::new().with("x_mixed", of(&x)).with("loss", loss.detach()).with("grad_logits", gradient))
}

fn intrusion_rate(case: &Case) -> Result<Outputs> {
    let x = case.tensor("x")?;
    let rows = x.size().first().copied().unwrap_or(0);
    let labels = check::below("labels", &case.tensor("labels")?, i64::MAX)?;
    check::shape("labels", &labels, &[rows])?;
    let (i, j) = (check::below("i", &case.tensor("i")?, rows)?, check::below("j", &case.tensor("j")?, rows)?);
    let lam = case.tensor("lam")?;
    check::shape("j", &j, &i.size())?;
    check::shape("lam", &lam, &i.size())?;
    ensure!(rows >= 3, "x has {rows} rows; beside the two parents there must be another");
    let mixed = mix(&x.index_select(0, &i), &x.index_select(0, &j), &lam);
    let nearest = nearest(&mixed, &x, &i, &j);
    let intruded = intruded(&labels, &nearest, &i, &j);
    let rate = intruded.to_kind(Kind::Double).mean(Kind::Double);
    Ok(Outputs::new().with("nearest", nearest).with("intruded", intruded.to_kind(Kind::Uint8)).with("rate", rate))
}
