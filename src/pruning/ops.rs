//! The shared pruning functions under their public names.

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tch::{Kind, Tensor};

use super::magnitude::magnitude_mask;
use super::plan::{PlanRule, Scope};
use super::schedule::CubicSchedule;
use super::scores::{FilterScore, Normalizer, filter_scores, member_scores};
use crate::ops::{Case, Op, Outputs};

pub const OPS: &[Op] = &[
    Op::new("pruning-common.filter_scores", filter_scores_op),
    Op::new("pruning-common.group_scores", group_scores),
    Op::new("pruning-common.plan", plan),
    Op::new("pruning-common.cubic_schedule", cubic_schedule),
    Op::new("pruning-common.magnitude_mask", magnitude_mask_op),
];

/// A parameter that names one of an enum's choices; another name is an error that lists them.
fn choice<T: DeserializeOwned>(case: &Case, key: &str) -> Result<T> {
    let name = case.str(key)?;
    serde_json::from_value(Value::from(name)).with_context(|| format!("{key} = {name}"))
}

/// A count that may be left out.
fn count(case: &Case, key: &str, default: usize) -> Result<usize> {
    if !case.has(key) {
        return Ok(default);
    }
    let count = case.i64(key)?;
    count.try_into().with_context(|| format!("parameter {key} = {count} must not be negative"))
}

fn filter_scores_op(case: &Case) -> Result<Outputs> {
    let scores = match case.str("kind")? {
        "bn" => case.tensor("gamma")?.abs(),
        _ => filter_scores(&case.tensor("w")?, choice::<FilterScore>(case, "kind")?),
    };
    Ok(Outputs::new().with("scores", scores))
}

/// Mean over conv_out rows, gamma and conv_in columns of sum |.|^p, then normalized.
fn group_scores(case: &Case) -> Result<Outputs> {
    let p = case.f64("p")?;
    let normalizer: Normalizer = choice(case, "normalizer")?;
    let conv_out = case.tensor("conv_out")?;
    let channels = conv_out.size()[0];
    let mut members = Vec::new();
    for (name, dim) in [("conv_out", 0), ("gamma", 0), ("conv_in", 1)] {
        let Some(tensor) = case.maybe(name) else { continue };
        let size = tensor.size();
        ensure!(
            size.get(dim) == Some(&channels),
            "{name} has shape {size:?}: dimension {dim} must hold the {channels} channels of conv_out"
        );
        members.push(member_scores(&tensor, dim as i64, channels, p));
    }
    let mean = Tensor::stack(&members, 0).mean_dim(0, false, Kind::Double);
    let scores = Vec::<f64>::try_from(mean.to_device(tch::Device::Cpu))?;
    Ok(Outputs::new().with("scores", normalizer.apply(&scores)))
}

fn plan(case: &Case) -> Result<Outputs> {
    let (scores, sizes) = (case.f64s("scores")?, case.i64s("sizes")?);
    let total: i64 = sizes.iter().sum();
    if sizes.iter().any(|size| *size < 0) || total != scores.len() as i64 {
        bail!("sizes {sizes:?} add up to {total}, but there are {} scores", scores.len());
    }
    let rule = PlanRule {
        scope: choice::<Scope>(case, "scope")?,
        fraction: case.f64("fraction")?,
        min_channels: count(case, "min_channels", 1)?,
        round_to: count(case, "round_to", 1)?,
    };
    let mut rest = scores.as_slice();
    let mut groups = Vec::new();
    for size in sizes {
        let (group, after) = rest.split_at(size as usize);
        groups.push(group.to_vec());
        rest = after;
    }
    let keep: Vec<u8> = rule.keep(&groups)?.into_iter().flatten().map(u8::from).collect();
    Ok(Outputs::new().with("keep", Tensor::from_slice(&keep)))
}

fn cubic_schedule(case: &Case) -> Result<Outputs> {
    let schedule = CubicSchedule {
        start: case.i64("start")?,
        end: case.i64("end")?,
        initial: case.f64("initial")?,
        last: case.f64("final")?,
    };
    schedule.check()?;
    let sparsity: Vec<f64> = case.i64s("step")?.into_iter().map(|step| schedule.at(step)).collect();
    let shape = case.tensor("step")?.size();
    Ok(Outputs::new().with("sparsity", Tensor::from_slice(&sparsity).view(shape.as_slice())))
}

fn magnitude_mask_op(case: &Case) -> Result<Outputs> {
    Ok(Outputs::new().with("keep", magnitude_mask(&case.tensor("w")?, case.f64("fraction")?)?))
}
