//! Gradients for ops: autograd through the very functions that training runs.

use anyhow::{Result, ensure};
use tch::{Kind, Tensor};

/// An autograd leaf with the values of `tensor`. `name` is what the error calls it when it holds whole numbers.
pub fn leaf(name: &str, tensor: &Tensor) -> Result<Tensor> {
    let floating = matches!(tensor.kind(), Kind::Double | Kind::Float | Kind::Half | Kind::BFloat16);
    ensure!(floating, "{name} has type {:?}, a floating-point type is needed", tensor.kind());
    Ok(tensor.detach().copy().set_requires_grad(true))
}

/// The gradients of a 0-d `loss` with respect to each of `leaves`, which it must depend on.
pub fn gradients(loss: &Tensor, leaves: &[&Tensor]) -> Vec<Tensor> {
    Tensor::run_backward(&[loss], leaves, false, false)
}

/// Vector-Jacobian products: the gradients of <y, grad_y>. `name` is what the error calls `grad_y` when its shape is not y's.
pub fn pullback(y: &Tensor, name: &str, grad_y: &Tensor, leaves: &[&Tensor]) -> Result<Vec<Tensor>> {
    ensure!(grad_y.size() == y.size(), "{name} has shape {:?}, expected {:?}", grad_y.size(), y.size());
    Ok(gradients(&(y * grad_y).sum(y.kind()), leaves))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pullback_weights_each_output_by_its_cotangent() {
        let x = leaf("x", &Tensor::from_slice(&[2.0, 3.0])).unwrap();
        let y = &x * &x;
        let gradient = pullback(&y, "grad_y", &Tensor::from_slice(&[1.0, -1.0]), &[&x]).unwrap().remove(0);
        assert_eq!(Vec::<f64>::try_from(gradient).unwrap(), [4.0, -6.0]);
        let wrong = pullback(&y, "grad_y", &Tensor::from(1.0), &[&x]).expect_err("must be refused");
        assert_eq!(wrong.to_string(), "grad_y has shape [], expected [2]");
    }

    #[test]
    fn whole_numbers_make_no_leaf() {
        assert!(leaf("v", &Tensor::from_slice(&[1i64])).is_err());
    }
}
