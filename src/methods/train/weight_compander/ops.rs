//! The named core functions of the weight compander.

use anyhow::{Result, ensure};
use tch::Tensor;

use super::psi::Compander;
use super::rivals::powerprop;
use super::statistics::WeightStatistics;
use crate::ops::gradient::{leaf, pullback};
use crate::ops::{Case, Op, Outputs, check};

pub const OPS: &[Op] = &[
    Op::new("weight-compander.forward", forward),
    Op::new("weight-compander.inverse", inverse),
    Op::new("weight-compander.init", init),
    Op::new("weight-compander.linear", linear),
    Op::new("weight-compander.conv2d", conv2d),
    Op::new("weight-compander.sgd_steps", sgd_steps),
    Op::new("weight-compander.stats", stats),
    Op::new("weight-compander.powerprop", power_propagation),
];

fn forward(case: &Case) -> Result<Outputs> {
    let (v, psi) = leaves(case, "v")?;
    let w = psi.psi(&v);
    let gradients = pullback(&w, "grad_w", &case.tensor("grad_w")?, &[&v, &psi.a, &psi.b])?;
    Ok(Outputs::new()
        .with("w", w)
        .with("grad_v", &gradients[0])
        .with("grad_a", &gradients[1])
        .with("grad_b", &gradients[2]))
}

fn inverse(case: &Case) -> Result<Outputs> {
    let (w, psi) = leaves(case, "w")?;
    let inverse = psi.inverse(&w, clip(case)?);
    Ok(Outputs::new().with("v", inverse.v).with("w", inverse.w))
}

fn init(case: &Case) -> Result<Outputs> {
    let (w0, sigma) = (case.tensor("w0")?, case.tensor("sigma")?);
    check::positive("sigma", &sigma)?;
    one_or_per_filter("sigma", &sigma, &w0)?;
    let (bound_sigmas, slope) = (positive(case, "bound_sigmas")?, positive(case, "slope")?);
    let psi = Compander::from_sigma(&sigma, bound_sigmas, slope);
    let v = psi.inverse(&w0, clip(case)?).v;
    let w = psi.psi(&v);
    Ok(Outputs::new().with("a", psi.a).with("b", psi.b).with("v", v).with("w", w))
}

fn linear(case: &Case) -> Result<Outputs> {
    let (v, psi) = leaves(case, "v")?;
    let (outputs, inputs) = check::matrix("v", &v)?;
    let x = leaf("x", &case.tensor("x")?)?;
    ensure!(x.size().last() == Some(&inputs), "x has shape {:?}, its last size must be {inputs}", x.size());
    let bias = leaf("bias", &case.tensor("bias")?)?;
    check::shape("bias", &bias, &[outputs])?;
    let y = x.linear(&psi.psi(&v), Some(&bias));
    let gradients = pullback(&y, "grad_y", &case.tensor("grad_y")?, &[&x, &v, &bias, &psi.a, &psi.b])?;
    let names = ["grad_x", "grad_v", "grad_bias", "grad_a", "grad_b"];
    Ok(names.iter().zip(gradients).fold(Outputs::new().with("y", y), |out, (name, gradient)| out.with(name, gradient)))
}

fn conv2d(case: &Case) -> Result<Outputs> {
    let (v, psi) = leaves(case, "v")?;
    let x = leaf("x", &case.tensor("x")?)?;
    let (stride, padding) = (case.i64("stride")?, case.i64("padding")?);
    ensure!(stride >= 1, "stride = {stride} must be at least 1");
    ensure!(padding >= 0, "padding = {padding} must not be negative");
    let fits = match (x.size()[..].as_ref(), v.size()[..].as_ref()) {
        (&[_, channels, height, width], &[_, inputs, kernel_height, kernel_width]) => {
            channels == inputs && height + 2 * padding >= kernel_height && width + 2 * padding >= kernel_width
        }
        _ => false,
    };
    ensure!(fits, "x of shape {:?} does not fit v of shape {:?} with padding {padding}", x.size(), v.size());
    let y = x.conv2d(&psi.psi(&v), None::<&Tensor>, [stride, stride], [padding, padding], [1, 1], 1);
    let gradients = pullback(&y, "grad_y", &case.tensor("grad_y")?, &[&x, &v, &psi.a, &psi.b])?;
    let names = ["grad_x", "grad_v", "grad_a", "grad_b"];
    Ok(names.iter().zip(gradients).fold(Outputs::new().with("y", y), |out, (name, gradient)| out.with(name, gradient)))
}

/// SGD with momentum as PyTorch has it (first buffer = gradient) on v, log a and log b, all gradients taken before the step;
/// the gradient of w is given. Outputs are the values after each step.
fn sgd_steps(case: &Case) -> Result<Outputs> {
    let grads_w = case.tensor("grads_w")?;
    let v = leaf("v", &case.tensor("v")?)?;
    let logs = [leaf("log_a", &case.tensor("log_a")?)?, leaf("log_b", &case.tensor("log_b")?)?];
    let steps = grads_w.size().first().copied().unwrap_or(0);
    ensure!(steps > 0, "grads_w has shape {:?}, one gradient of v a step is needed", grads_w.size());
    check::shape("grads_w", &grads_w, &[&[steps], &v.size()[..]].concat())?;
    one_or_per_filter("log_a", &logs[0], &v)?;
    one_or_per_filter("log_b", &logs[1], &v)?;
    let (lr, momentum) = (not_negative(case, "lr")?, not_negative(case, "momentum")?);
    let wd = not_negative(case, "wd")?;
    let log_lr = if case.bool("learn")? { lr * not_negative(case, "ab_lr_mult")? } else { 0.0 };
    let leaves = [(v, lr, wd), (logs[0].shallow_clone(), log_lr, 0.0), (logs[1].shallow_clone(), log_lr, 0.0)];
    let mut momenta: [Option<Tensor>; 3] = [None, None, None];
    let mut history: [Vec<Tensor>; 4] = Default::default();
    for step in 0..steps {
        let [(v, ..), (log_a, ..), (log_b, ..)] = &leaves;
        let w = Compander::from_logs(log_a, log_b).psi(v);
        let gradients = pullback(&w, "grads_w", &grads_w.get(step), &[v, log_a, log_b])?;
        tch::no_grad(|| {
            for (((leaf, lr, wd), gradient), buffer) in leaves.iter().zip(gradients).zip(&mut momenta) {
                let gradient = gradient + leaf * *wd;
                let moved = buffer.take().map_or(gradient.shallow_clone(), |buffer| buffer * momentum + &gradient);
                let _ = leaf.detach().g_sub_(&(&moved * *lr));
                *buffer = Some(moved);
            }
            let after = [v.copy(), log_a.copy(), log_b.copy(), Compander::from_logs(log_a, log_b).psi(v)];
            history.iter_mut().zip(after).for_each(|(list, tensor)| list.push(tensor));
        });
    }
    let names = ["v", "log_a", "log_b", "w"];
    let stacked = history.iter().map(|list| Tensor::stack(list, 0).detach());
    Ok(names.iter().zip(stacked).fold(Outputs::new(), |out, (name, tensor)| out.with(name, tensor)))
}

fn stats(case: &Case) -> Result<Outputs> {
    let w = case.tensor("w")?;
    ensure!(w.numel() > 0, "w is empty");
    let s = WeightStatistics::of(&w, not_negative(case, "near")?);
    Ok(Outputs::new()
        .with("near_zero", s.near_zero)
        .with("rms", s.rms)
        .with("max_abs", s.max_abs)
        .with("max_over_rms", s.max_over_rms)
        .with("kurtosis", s.kurtosis))
}

fn power_propagation(case: &Case) -> Result<Outputs> {
    let alpha = case.f64("alpha")?;
    ensure!(alpha >= 1.0 && alpha.is_finite(), "alpha = {alpha} must be at least 1");
    let v = leaf("v", &case.tensor("v")?)?;
    let w = powerprop(&v, alpha);
    let gradients = pullback(&w, "grad_w", &case.tensor("grad_w")?, &[&v])?;
    Ok(Outputs::new().with("w", w).with("grad_v", &gradients[0]))
}

/// The weight-shaped input `name` and Psi with the inputs a and b, all of them autograd leaves.
fn leaves(case: &Case, name: &str) -> Result<(Tensor, Compander)> {
    let weight = leaf(name, &case.tensor(name)?)?;
    let number = |name: &str| -> Result<Tensor> {
        let number = leaf(name, &case.tensor(name)?)?;
        check::positive(name, &number)?;
        one_or_per_filter(name, &number, &weight)?;
        Ok(number)
    };
    let psi = Compander { a: number("a")?, b: number("b")? };
    Ok((weight, psi))
}

/// A number a layer, or `[O]` for a weight `[O, ..]`.
fn one_or_per_filter(name: &str, number: &Tensor, weight: &Tensor) -> Result<()> {
    let fits = match number.size()[..] {
        [] | [1] => true,
        [filters] => weight.size().first() == Some(&filters),
        _ => false,
    };
    ensure!(
        fits,
        "{name} has shape {:?}, expected [] or one number a filter of a weight of shape {:?}",
        number.size(),
        weight.size()
    );
    Ok(())
}

fn clip(case: &Case) -> Result<f64> {
    let clip = case.f64("clip")?;
    ensure!(clip > 0.0 && clip < 1.0, "clip = {clip} is outside (0, 1)");
    Ok(clip)
}

fn positive(case: &Case, key: &str) -> Result<f64> {
    let value = case.f64(key)?;
    ensure!(value > 0.0 && value.is_finite(), "{key} = {value} must be positive");
    Ok(value)
}

fn not_negative(case: &Case, key: &str) -> Result<f64> {
    let value = case.f64(key)?;
    ensure!(value >= 0.0 && value.is_finite(), "{key} = {value} must not be negative");
    Ok(value)
}
