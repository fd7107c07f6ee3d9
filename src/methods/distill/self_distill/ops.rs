//! The numeric core of self-distillation under public names.

use anyhow::{Result, anyhow, bail};
use tch::Tensor;

use super::chain::{OptimalAlpha, Ridge, Spectral, limit, spectral_limit};
use super::kernel::Kernel;
use super::loss::{Form, RegForm, data_loss, penalty};
use crate::bilevel::gradients;
use crate::ops::{Case, Op, Outputs};

pub const OPS: &[Op] = &[
    Op::new("self-distill.rbf_kernel", op_rbf_kernel),
    Op::new("self-distill.krr_chain", op_krr_chain),
    Op::new("self-distill.spectral", op_spectral),
    Op::new("self-distill.limit", op_limit),
    Op::new("self-distill.optimal_alpha", op_optimal_alpha),
    Op::new("self-distill.alpha_chain", op_alpha_chain),
    Op::new("self-distill.loss", op_loss),
];

fn op_rbf_kernel(case: &Case) -> Result<Outputs> {
    let kernel = Kernel::Rbf { gamma: case.f64("gamma")? };
    Ok(Outputs::new().with("k", kernel.matrix(&case.tensor("x")?, &case.tensor("z")?)?))
}

fn op_krr_chain(case: &Case) -> Result<Outputs> {
    let ridge = Ridge::new(&case.tensor("k")?, case.f64("lambda")?)?;
    let (y, kx) = (case.tensor("y")?, case.tensor("kx")?);
    let steps = ridge.chain(&y, &case.list_f64("alphas")?);
    let stack = |tensors: Vec<Tensor>| Tensor::stack(&tensors, 0);
    Ok(Outputs::new()
        .with("pred", stack(steps.iter().map(|step| kx.matmul(&step.coef)).collect()))
        .with("fit", stack(steps.iter().map(|step| step.fit.shallow_clone()).collect()))
        .with("coef", stack(steps.into_iter().map(|step| step.coef).collect())))
}

fn op_spectral(case: &Case) -> Result<Outputs> {
    let (d, alphas, lambda) = (case.tensor("d")?, case.list_f64("alphas")?, case.f64("lambda")?);
    let &first = alphas.first().ok_or_else(|| anyhow!("parameter alphas = [] needs at least one weight"))?;
    let spectral = Spectral::new(&d, &alphas, lambda);
    let out = Outputs::new().with("ratio", spectral.ratios()).with("limit", spectral_limit(&d, first, lambda));
    Ok(out.with("a", spectral.a).with("b", spectral.b))
}

fn op_limit(case: &Case) -> Result<Outputs> {
    let limit = limit(&case.tensor("k")?, &case.tensor("y")?, case.f64("alpha")?, case.f64("lambda")?)?;
    let pred = case.tensor("kx")?.matmul(&limit.coef);
    Ok(Outputs::new().with("pred", pred).with("coef", limit.coef).with("fit", limit.fit))
}

fn op_optimal_alpha(case: &Case) -> Result<Outputs> {
    let [target, first, teacher] = ["target", "f_first", "f_teacher_only"].map(|name| case.tensor(name));
    let best = OptimalAlpha::new(&target?, &first?, &teacher?);
    let out = Outputs::new().with("alpha", best.alpha).with("alpha_clipped", best.alpha_clipped);
    Ok(out.with("loss", best.loss).with("loss_clipped", best.loss_clipped))
}

fn op_alpha_chain(case: &Case) -> Result<Outputs> {
    let ridge = Ridge::new(&case.tensor("k")?, case.f64("lambda")?)?;
    let (y, kx, target) = (case.tensor("y")?, case.tensor("kx")?, case.tensor("target")?);
    let steps = case.i64("steps")?;
    let steps = usize::try_from(steps).map_err(|_| anyhow!("steps = {steps} must be at least 1"))?;
    let chain = ridge.alpha_chain(&y, &kx, &target, steps, case.bool("clip")?)?;
    let pred = chain.steps.last().map(|step| kx.matmul(&step.coef)).expect("at least one step");
    Ok(Outputs::new().with("alphas", chain.alphas).with("losses", chain.losses).with("pred", pred))
}

fn op_loss(case: &Case) -> Result<Outputs> {
    let form = match case.str("form")? {
        "mse_softmax" => Form::MseSoftmax,
        "mse_logits" => Form::MseLogits,
        other => bail!("parameter form = {other:?} is neither mse_softmax nor mse_logits"),
    };
    let reg_form = match case.str("reg_form")? {
        "squared" => RegForm::Squared,
        "norm" => RegForm::Norm,
        other => bail!("parameter reg_form = {other:?} is neither squared nor norm"),
    };
    let [logits, p0, p1] = ["logits", "p0", "p1"].map(|name| case.tensor(name).map(|t| t.set_requires_grad(true)));
    let (logits, p0, p1) = (logits?, p0?, p1?);
    let teacher = case.tensor("teacher_logits")?;
    let data = data_loss(&logits, &case.tensor("labels")?, Some(&teacher), case.f64("alpha")?, form);
    let parameters = [p0.shallow_clone(), p1.shallow_clone()];
    let total = &data + penalty(&parameters, reg_form) * case.f64("reg")?;
    let out = Outputs::new().with("total", &total).with("data_loss", &data);
    let [grad_logits, grad_p0, grad_p1]: [Tensor; 3] =
        gradients(&total, &[&logits, &p0, &p1], false).try_into().expect("three leaves");
    Ok(out.with("grad_logits", grad_logits).with("grad_p0", grad_p0).with("grad_p1", grad_p1))
}
