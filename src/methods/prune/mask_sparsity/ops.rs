//! The core functions under their public names.

use anyhow::{Context, Result, ensure};
use tch::{Tensor, no_grad};

use super::masks::{Consensus, energy_threshold, global_quantile_mask, mask_iou, threshold_mask};
use super::regularizer::Regularizer;
use crate::ops::{Case, Op, Outputs, check};

pub const OPS: &[Op] = &[
    Op::new("mask-sparsity.reg_grad", reg_grad),
    Op::new("mask-sparsity.threshold_mask", threshold_mask_op),
    Op::new("mask-sparsity.energy_threshold", energy_threshold_op),
    Op::new("mask-sparsity.global_quantile_mask", global_quantile_mask_op),
    Op::new("mask-sparsity.consensus", consensus),
    Op::new("mask-sparsity.train_steps", train_steps),
    Op::new("mask-sparsity.prune_block", prune_block),
    Op::new("mask-sparsity.mask_iou", mask_iou_op),
];

/// The official names of R.
fn regularizer(case: &Case) -> Result<Regularizer> {
    Ok(match case.str("method")? {
        "L1" => Regularizer::L1,
        "L2" => Regularizer::L2,
        "smoothL1" => Regularizer::SmoothL1,
        other => anyhow::bail!("method = {other:?} is no regularizer; there are L1, L2 and smoothL1"),
    })
}

/// Input `name`, one flag a channel.
fn flags(case: &Case, name: &str) -> Result<Vec<bool>> {
    Ok(case.i64s(name)?.into_iter().map(|flag| flag != 0).collect())
}

fn bytes(keep: &[bool]) -> Tensor {
    Tensor::from_slice(&keep.iter().map(|&k| u8::from(k)).collect::<Vec<_>>())
}

/// 1 - keep, of the type and length of `gamma`.
fn masked(case: &Case, gamma: &Tensor) -> Result<Tensor> {
    let keep = case.tensor("keep")?;
    check::shape("keep", &keep, &gamma.size())?;
    Ok(keep.eq(0).to_kind(gamma.kind()))
}

fn min_channels(case: &Case) -> Result<usize> {
    let count = case.i64("min_channels")?;
    count.try_into().with_context(|| format!("min_channels = {count} must not be negative"))
}

fn reg_grad(case: &Case) -> Result<Outputs> {
    let (gamma, grad) = (case.tensor("gamma")?, case.tensor("grad")?);
    check::shape("grad", &grad, &gamma.size())?;
    let penalty = regularizer(case)?.gradient(&gamma, &masked(case, &gamma)?, case.f64("s")?, case.f64("lr")?);
    Ok(Outputs::new().with("grad", grad + penalty))
}

fn threshold_mask_op(case: &Case) -> Result<Outputs> {
    let keep = threshold_mask(&case.f64s("gamma")?, case.f64("threshold")?, min_channels(case)?);
    Ok(Outputs::new().with("keep", bytes(&keep)))
}

fn energy_threshold_op(case: &Case) -> Result<Outputs> {
    let gamma = case.f64s("gamma")?;
    let tau = energy_threshold(&gamma, case.f64("percent")?);
    Ok(Outputs::new().with("threshold", tau).with("keep", bytes(&threshold_mask(&gamma, tau, min_channels(case)?))))
}

fn global_quantile_mask_op(case: &Case) -> Result<Outputs> {
    let (gamma, sizes) = (case.f64s("gamma")?, case.i64s("sizes")?);
    let fits = sizes.iter().all(|&n| n >= 0) && sizes.iter().sum::<i64>() == gamma.len() as i64;
    ensure!(fits, "sizes {sizes:?} do not add up to the {} values of gamma", gamma.len());
    let mut rest = gamma.as_slice();
    let layer = |&size: &i64| {
        let (layer, after) = rest.split_at(size as usize);
        rest = after;
        layer.to_vec()
    };
    let layers: Vec<Vec<f64>> = sizes.iter().map(layer).collect();
    let keep = global_quantile_mask(&layers, case.f64("prune_fraction")?, min_channels(case)?)?;
    Ok(Outputs::new().with("keep", bytes(&keep.concat())))
}

fn consensus(case: &Case) -> Result<Outputs> {
    let (_, channels) = check::matrix("keep", &case.tensor("keep")?)?;
    let all = flags(case, "keep")?;
    let masks: Vec<Vec<bool>> = all.chunks_exact(channels as usize).map(<[bool]>::to_vec).collect();
    let rule = match case.str("rule")? {
        "vote" => Consensus::Vote,
        "all" => Consensus::All,
        "any" => Consensus::Any,
        other => anyhow::bail!("rule = {other:?} is no rule; there are vote, all and any"),
    };
    Ok(Outputs::new().with("keep", bytes(&rule.mask(&masks)?)))
}

/// g = grad_ce + penalty + wd gamma; buf = mu buf + g (first buf = g); gamma -= lr (g + mu buf), or lr buf without Nesterov.
fn train_steps(case: &Case) -> Result<Outputs> {
    let mut gamma = case.tensor("gamma")?.copy();
    let (masked, rule, s, lr) = (masked(case, &gamma)?, regularizer(case)?, case.f64("s")?, case.f64("lr")?);
    let (momentum, weight_decay) = (case.f64("momentum")?, case.f64("wd")?);
    let nesterov = case.bool("nesterov")?;
    let (mut path, mut buffer) = (Vec::new(), gamma.zeros_like());
    for grad in case.tensor("grads")?.unbind(0) {
        check::shape("a row of grads", &grad, &gamma.size())?;
        let g = grad + rule.gradient(&gamma, &masked, s, lr) + &gamma * weight_decay;
        buffer = buffer * momentum + &g;
        let step = if nesterov { g + &buffer * momentum } else { buffer.shallow_clone() };
        gamma -= step * lr;
        path.push(gamma.copy());
    }
    Ok(Outputs::new().with("gamma", Tensor::stack(&path, 0)).with("momentum_buffer", buffer))
}

/// conv-BN-ReLU-conv in evaluation mode, whole and without the channels that `keep` drops.
fn prune_block(case: &Case) -> Result<Outputs> {
    let (x, eps, padding) = (case.tensor("x")?, case.f64("eps")?, case.i64("padding")?);
    let keep = flags(case, "keep")?;
    let channels = keep.len() as i64;
    let names = [("conv1", 0), ("gamma", 0), ("beta", 0), ("mean", 0), ("var", 0), ("conv2", 1)];
    let mut tensors = Vec::new();
    for (name, dim) in names {
        let tensor = case.tensor(name)?;
        let size = tensor.size();
        ensure!(
            size.get(dim) == Some(&channels),
            "{name} has shape {size:?}: dimension {dim} must hold the {channels} channels of keep"
        );
        tensors.push(tensor);
    }
    ensure!(keep.contains(&true), "keep leaves no channel");
    let index: Vec<i64> = (0..channels).filter(|&c| keep[c as usize]).collect();
    let index = Tensor::from_slice(&index).to_device(x.device());
    let cut: Vec<Tensor> = tensors.iter().zip(names).map(|(t, (_, dim))| t.index_select(dim as i64, &index)).collect();
    let forward = |t: &[Tensor]| {
        let [conv1, gamma, beta, mean, var, conv2] = t else { unreachable!("six tensors") };
        let conv = |x: &Tensor, w: &Tensor| x.conv2d(w, None::<Tensor>, 1, padding, 1, 1);
        let h = conv(&x, conv1).batch_norm(Some(gamma), Some(beta), Some(mean), Some(var), false, 0.0, eps, false);
        conv(&h.relu(), conv2)
    };
    let (full, pruned) = no_grad(|| (forward(&tensors), forward(&cut)));
    let outputs = Outputs::new().with("y_full", full).with("y_pruned", pruned);
    Ok(names.iter().zip(cut).fold(outputs, |outputs, ((name, _), tensor)| outputs.with(name, tensor)))
}

fn mask_iou_op(case: &Case) -> Result<Outputs> {
    let (counts, iou) = mask_iou(&flags(case, "keep_a")?, &flags(case, "keep_b")?)?;
    Ok(Outputs::new().with("counts", counts.to_vec()).with("iou", iou))
}
