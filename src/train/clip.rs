//! Gradient clipping, with torch.nn.utils' rules. Nothing is read back to the host.
//!
//! Clipped gradients are new tensors: autograd may hand out one tensor as the gradient of two parameters, or one whose
//! elements share memory, and scaling in place would scale such a one twice.

use anyhow::Result;
use tch::{Kind, Tensor};

use crate::native::foreach;

/// The norm of all gradients taken as one vector (`order` 2, or infinity for the largest magnitude): one value on the
/// device, None when there is no gradient. It is finite only if every gradient is.
pub fn total_norm(grads: &[Option<Tensor>], order: f64) -> Result<Option<Tensor>> {
    let present: Vec<&Tensor> = grads.iter().flatten().collect();
    if present.is_empty() {
        return Ok(None);
    }
    let norms = foreach::norm(&present, order)?;
    Ok(Some(Tensor::stack(&norms, 0).linalg_norm(order, None::<&[i64]>, false, None::<Kind>)))
}

/// Scales all gradients by min(1, max_norm / (norm + 1e-6)), where norm is their common 2-norm: clip_grad_norm_. Returns
/// the norm before clipping, on the device.
pub fn clip_grad_norm(grads: &mut [Option<Tensor>], max_norm: f64) -> Result<Option<Tensor>> {
    let Some(norm) = total_norm(grads, 2.0)? else {
        return Ok(None);
    };
    let factor = ((&norm + 1e-6).reciprocal() * max_norm).clamp_max(1.0);
    replace(grads, |present| foreach::scaled(present, &factor))?;
    Ok(Some(norm))
}

/// Moves every gradient value into [-limit, limit]: clip_grad_value_.
pub fn clip_grad_value(grads: &mut [Option<Tensor>], limit: f64) -> Result<()> {
    replace(grads, |present| foreach::clamped(present, -limit, limit))
}

fn replace(grads: &mut [Option<Tensor>], new: impl FnOnce(&[&Tensor]) -> Result<Vec<Tensor>>) -> Result<()> {
    let present: Vec<&Tensor> = grads.iter().flatten().collect();
    let new = new(&present)?;
    grads.iter_mut().flatten().zip(new).for_each(|(grad, new)| *grad = new);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: &Option<Tensor>) -> Vec<f64> {
        Vec::try_from(tensor.as_ref().expect("a gradient")).expect("values")
    }

    #[test]
    fn a_long_gradient_is_shortened_once_even_if_two_parameters_share_it() {
        let shared = Tensor::from(3.0).expand([8], false);
        let mut grads = [Some(shared.shallow_clone()), None, Some(shared)];
        let norm = clip_grad_norm(&mut grads, 6.0).expect("clipping").expect("a norm");
        assert!((norm.double_value(&[]) - 12.0).abs() < 1e-12);
        assert!(values(&grads[0]).iter().chain(&values(&grads[2])).all(|g| (g - 1.5).abs() < 1e-6));
        assert!(grads[1].is_none());
    }

    #[test]
    fn a_short_gradient_stays() {
        let mut grads = [Some(Tensor::from_slice(&[0.3, 0.4]))];
        clip_grad_norm(&mut grads, 1.0).expect("clipping");
        assert_eq!(values(&grads[0]), [0.3, 0.4]);
        assert!(clip_grad_norm(&mut [None], 1.0).expect("nothing to clip").is_none());
    }

    #[test]
    fn values_are_cut_to_the_limit() {
        let mut grads = [Some(Tensor::from_slice(&[-3.0, 0.5, 2.0])), None];
        clip_grad_value(&mut grads, 1.0).expect("clipping");
        assert_eq!(values(&grads[0]), [-1.0, 0.5, 1.0]);
    }

    #[test]
    fn the_norm_tells_of_a_value_that_is_not_finite() {
        let grads = [Some(Tensor::from_slice(&[1.0])), Some(Tensor::from_slice(&[1.0, f64::NAN]))];
        for order in [2.0, f64::INFINITY] {
            assert!(!total_norm(&grads, order).expect("a norm").expect("a norm").double_value(&[]).is_finite());
        }
    }
}
