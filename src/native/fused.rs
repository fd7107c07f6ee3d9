//! Optimizer steps over all parameters at once, in place and outside autograd.
//!
//! All lists are in the order of `params`, which share one device and one floating type; state tensors have the layout of
//! their parameter, gradients may have any. `lr` is a one-value tensor on the parameters' device or on the host: a step
//! captured as a graph is replayed with whatever rate it holds by then.

use anyhow::{Result, ensure};
use tch::Tensor;

use super::{Message, RawTensor, check, raw, raw_list};

unsafe extern "C" {
    fn reglab_fused_sgd(
        params: *const RawTensor,
        grads: *const RawTensor,
        momentum_buffers: *const RawTensor,
        count: usize,
        lr: RawTensor,
        weight_decay: f64,
        momentum: f64,
        dampening: f64,
        nesterov: bool,
        is_first_step: bool,
    ) -> Message;
    fn reglab_fused_adam(
        params: *const RawTensor,
        grads: *const RawTensor,
        exp_avgs: *const RawTensor,
        exp_avg_sqs: *const RawTensor,
        steps: *const RawTensor,
        count: usize,
        lr: RawTensor,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        eps: f64,
        decoupled: bool,
    ) -> Message;
    fn reglab_rmsprop(
        params: *const RawTensor,
        grads: *const RawTensor,
        square_avgs: *const RawTensor,
        grad_avgs: *const RawTensor,
        momentum_buffers: *const RawTensor,
        count: usize,
        lr: RawTensor,
        alpha: f64,
        eps: f64,
        weight_decay: f64,
        momentum: f64,
    ) -> Message;
}

/// torch.optim.SGD.
#[derive(Clone, Copy, Debug)]
pub struct Sgd {
    pub weight_decay: f64,
    pub momentum: f64,
    pub dampening: f64,
    pub nesterov: bool,
}

/// torch.optim.Adam, or with `decoupled` weight decay torch.optim.AdamW.
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
    pub decoupled: bool,
}

/// torch.optim.RMSprop.
#[derive(Clone, Copy, Debug)]
pub struct Rmsprop {
    pub alpha: f64,
    pub eps: f64,
    pub weight_decay: f64,
    pub momentum: f64,
    pub centered: bool,
}

/// g = grad + weight_decay w; b = momentum b + (1 - dampening) g; w -= lr (g + momentum b with nesterov, else b).
/// On the first step b = g. Without momentum there are no buffers and w -= lr g.
pub fn sgd(
    params: &[&Tensor],
    grads: &[&Tensor],
    momentum_buffers: &[&Tensor],
    lr: &Tensor,
    rule: Sgd,
    is_first_step: bool,
) -> Result<()> {
    same_length(params, &[("gradients", grads)])?;
    let buffers = optional(params, rule.momentum != 0.0, "momentum buffers", momentum_buffers)?;
    // SAFETY: every list has `params.len()` pointers to live tensors.
    unsafe {
        check(reglab_fused_sgd(
            raw_list(params).as_ptr(),
            raw_list(grads).as_ptr(),
            start(&buffers),
            params.len(),
            raw(lr),
            rule.weight_decay,
            rule.momentum,
            rule.dampening,
            rule.nesterov,
            is_first_step,
        ))
    }
}

/// t += 1; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
/// w -= lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps), where weight decay is part of g (Adam) or
/// w *= 1 - lr weight_decay comes first (AdamW). `steps` hold t, one float32 value a parameter, on its device.
pub fn adam(
    params: &[&Tensor],
    grads: &[&Tensor],
    exp_avgs: &[&Tensor],
    exp_avg_sqs: &[&Tensor],
    steps: &[&Tensor],
    lr: &Tensor,
    rule: Adam,
) -> Result<()> {
    let lists = [("gradients", grads), ("first moments", exp_avgs), ("second moments", exp_avg_sqs), ("steps", steps)];
    same_length(params, &lists)?;
    // SAFETY: every list has `params.len()` pointers to live tensors.
    unsafe {
        check(reglab_fused_adam(
            raw_list(params).as_ptr(),
            raw_list(grads).as_ptr(),
            raw_list(exp_avgs).as_ptr(),
            raw_list(exp_avg_sqs).as_ptr(),
            raw_list(steps).as_ptr(),
            params.len(),
            raw(lr),
            rule.beta1,
            rule.beta2,
            rule.weight_decay,
            rule.eps,
            rule.decoupled,
        ))
    }
}

/// g = grad + weight_decay w; v = alpha v + (1 - alpha) g^2; d = sqrt(v) + eps; w -= lr g/d, or with momentum
/// b = momentum b + g/d; w -= lr b. Centered: a = alpha a + (1 - alpha) g and d = sqrt(v - a^2) + eps.
pub fn rmsprop(
    params: &[&Tensor],
    grads: &[&Tensor],
    square_avgs: &[&Tensor],
    grad_avgs: &[&Tensor],
    momentum_buffers: &[&Tensor],
    lr: &Tensor,
    rule: Rmsprop,
) -> Result<()> {
    same_length(params, &[("gradients", grads), ("squared averages", square_avgs)])?;
    let averages = optional(params, rule.centered, "averages", grad_avgs)?;
    let buffers = optional(params, rule.momentum != 0.0, "momentum buffers", momentum_buffers)?;
    // SAFETY: every list has `params.len()` pointers to live tensors.
    unsafe {
        check(reglab_rmsprop(
            raw_list(params).as_ptr(),
            raw_list(grads).as_ptr(),
            raw_list(square_avgs).as_ptr(),
            start(&averages),
            start(&buffers),
            params.len(),
            raw(lr),
            rule.alpha,
            rule.eps,
            rule.weight_decay,
            rule.momentum,
        ))
    }
}

fn same_length(params: &[&Tensor], lists: &[(&str, &[&Tensor])]) -> Result<()> {
    for (what, list) in lists {
        ensure!(list.len() == params.len(), "{} {what} for {} parameters", list.len(), params.len());
    }
    Ok(())
}

/// The list that a rule reads only if it is `used`.
fn optional(params: &[&Tensor], used: bool, what: &str, list: &[&Tensor]) -> Result<Option<Vec<RawTensor>>> {
    if !used {
        return Ok(None);
    }
    same_length(params, &[(what, list)])?;
    Ok(Some(raw_list(list)))
}

fn start(list: &Option<Vec<RawTensor>>) -> *const RawTensor {
    list.as_ref().map_or(std::ptr::null(), |list| list.as_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    const PLAIN: Sgd = Sgd { weight_decay: 0.0, momentum: 0.0, dampening: 0.0, nesterov: false };

    #[test]
    fn gradients_of_any_layout_are_read_right() {
        let start = Tensor::arange(6, (Kind::Float, tch::Device::Cpu)).view([2, 3]);
        let transposed = Tensor::arange(6, (Kind::Float, tch::Device::Cpu)).view([3, 2]).tr();
        let expanded = Tensor::from(2f32).expand([2, 3], false);
        for grad in [transposed, expanded, start.to_kind(Kind::Double)] {
            let w = start.copy();
            sgd(&[&w], &[&grad], &[], &Tensor::from(0.5), PLAIN, false).expect("a step");
            assert_eq!(w, &start - grad.to_kind(Kind::Float) * 0.5);
        }
    }

    #[test]
    fn a_wrong_shape_or_number_is_an_error() {
        let (w, g) = (Tensor::zeros([2], (Kind::Float, tch::Device::Cpu)), Tensor::from_slice(&[1f32]));
        let lr = Tensor::from(0.5);
        let error = sgd(&[&w], &[&g], &[], &lr, PLAIN, false).expect_err("another shape").to_string();
        assert!(error.contains("a gradient of shape [1] for a parameter of shape [2]"), "{error}");
        assert!(sgd(&[&w], &[], &[], &lr, PLAIN, false).is_err());
        assert!(sgd(&[&w], &[&w], &[], &lr, Sgd { momentum: 0.9, ..PLAIN }, false).is_err());
    }
}
