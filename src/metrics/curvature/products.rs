//! Products with second-order matrices of a function of leaves, by differentiating twice.

use anyhow::Result;
use tch::{Kind, Tensor};

use crate::native::{grad, vjp};

/// H v, H the Hessian of the 0-d `loss` (which has a graph) with respect to all `leaves`; v and the result shaped as they are.
/// A leaf the gradient does not depend on gets zeros.
pub fn hessian_product(loss: &Tensor, leaves: &[&Tensor], v: &[Tensor]) -> Result<Vec<Tensor>> {
    let gradients = grad(loss, leaves, true, true)?;
    // A leaf the loss does not reach, or reaches linearly, has no second derivative.
    let (outputs, along): (Vec<&Tensor>, Vec<&Tensor>) = gradients
        .iter()
        .zip(v)
        .filter_map(|(gradient, v)| Some((gradient.as_ref().filter(|g| g.requires_grad())?, v)))
        .unzip();
    if outputs.is_empty() {
        return Ok(leaves.iter().map(|leaf| leaf.zeros_like()).collect());
    }
    Ok(or_zeros(vjp(&outputs, &along, leaves, false, false)?, leaves))
}

/// J^T S J v, J the Jacobian of `outputs` `[...]` with respect to all `leaves` and S what `output_hessian` multiplies J v
/// (shaped as the outputs) with: the Gauss-Newton product. J v is had by differentiating u -> J^T u.
pub fn gauss_newton_product(
    outputs: &Tensor,
    leaves: &[&Tensor],
    v: &[Tensor],
    output_hessian: impl Fn(&Tensor) -> Tensor,
) -> Result<Vec<Tensor>> {
    let u = outputs.zeros_like().set_requires_grad(true);
    let pulled = vjp(&[outputs], &[&u], leaves, true, true)?;
    let (there, along): (Vec<&Tensor>, Vec<&Tensor>) =
        pulled.iter().zip(v).filter_map(|(g, v)| Some((g.as_ref()?, v))).unzip();
    let jv = or_zeros(vjp(&there, &along, &[&u], true, false)?, &[&u]).remove(0);
    Ok(or_zeros(vjp(&[outputs], &[&output_hessian(&jv.detach())], leaves, false, false)?, leaves))
}

/// Gradients of a 0-d `loss`, zeros for leaves it does not depend on.
pub fn gradients(loss: &Tensor, leaves: &[&Tensor]) -> Result<Vec<Tensor>> {
    Ok(or_zeros(grad(loss, leaves, false, false)?, leaves))
}

/// The tensors as one float64 vector.
pub fn flat(tensors: &[Tensor]) -> Tensor {
    let parts: Vec<Tensor> = tensors.iter().map(|t| t.detach().to_kind(Kind::Double).contiguous().view(-1)).collect();
    Tensor::cat(&parts, 0)
}

/// The vector cut into tensors shaped, and of the kind, as `leaves` are.
pub fn unflat(vector: &Tensor, leaves: &[&Tensor]) -> Vec<Tensor> {
    let mut first = 0;
    let cut = |leaf: &&Tensor| {
        let n = leaf.numel() as i64;
        let part = vector.narrow(0, first, n).view(leaf.size().as_slice()).to_kind(leaf.kind());
        first += n;
        part
    };
    leaves.iter().map(cut).collect()
}

fn or_zeros(gradients: Vec<Option<Tensor>>, leaves: &[&Tensor]) -> Vec<Tensor> {
    gradients.into_iter().zip(leaves).map(|(g, leaf)| g.unwrap_or_else(|| leaf.zeros_like())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(values: &[f64]) -> Tensor {
        Tensor::from_slice(values).set_requires_grad(true)
    }

    #[test]
    fn products_over_several_leaves_include_the_mixed_blocks() {
        // L = x^2 y: H = [[2y, 2x], [2x, 0]].
        let (x, y) = (leaf(&[3.0]), leaf(&[5.0]));
        let loss = (&x * &x * &y).sum(Kind::Double);
        let product = hessian_product(&loss, &[&x, &y], &[Tensor::from_slice(&[1.0]), Tensor::from_slice(&[10.0])]);
        assert_eq!(Vec::<f64>::try_from(flat(&product.unwrap())).unwrap(), [70.0, 6.0]);
    }

    #[test]
    fn a_linear_loss_has_no_curvature() {
        let x = leaf(&[3.0, 4.0]);
        let product = hessian_product(&x.sum(Kind::Double), &[&x], &[x.ones_like()]).unwrap();
        assert_eq!(Vec::<f64>::try_from(flat(&product)).unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn gauss_newton_is_jacobian_times_its_transpose() {
        // f = (x^2, 3x): J = (2x, 3).
        let x = leaf(&[2.0]);
        let outputs = Tensor::cat(&[&x * &x, &x * 3.0], 0);
        let product = gauss_newton_product(&outputs, &[&x], &[Tensor::from_slice(&[2.0])], Tensor::shallow_clone);
        assert_eq!(Vec::<f64>::try_from(flat(&product.unwrap())).unwrap(), [2.0 * (16.0 + 9.0)]);
    }
}
