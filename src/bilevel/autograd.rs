//! Derivatives of a scalar function of explicit leaves, to second order (double backward).

use tch::Tensor;

use super::Products;
use crate::native::{grad, vjp};

/// d output / d leaves; `create_graph` keeps the result differentiable. A leaf the output does not depend on gets zeros.
pub fn gradients(output: &Tensor, leaves: &[&Tensor], create_graph: bool) -> Vec<Tensor> {
    or_zeros(grad(output, leaves, create_graph, create_graph).expect("the output is one value with a graph"), leaves)
}

fn or_zeros(gradients: Vec<Option<Tensor>>, leaves: &[&Tensor]) -> Vec<Tensor> {
    gradients.into_iter().zip(leaves).map(|(g, leaf)| g.unwrap_or_else(|| leaf.zeros_like())).collect()
}

/// Products with H and B of h at one point: the graph of grad h is built once and differentiated at each product.
pub struct AutogradProducts {
    x: Tensor,
    theta: Tensor,
    grad_x: Tensor,
    grad_theta: Tensor,
}

impl AutogradProducts {
    /// `h` maps (x, theta) to a 0-d tensor.
    pub fn new(h: impl Fn(&Tensor, &Tensor) -> Tensor, x: &Tensor, theta: &Tensor) -> AutogradProducts {
        tch::with_grad(|| {
            let [x, theta] = [x, theta].map(|leaf| leaf.detach().set_requires_grad(true));
            let mut both = gradients(&h(&x, &theta), &[&x, &theta], true);
            let (grad_theta, grad_x) = (both.remove(1), both.remove(0));
            AutogradProducts { x, theta, grad_x, grad_theta }
        })
    }
}

/// d <gradient, direction> / d leaf; zeros where the gradient does not depend on any leaf.
fn along(gradient: &Tensor, direction: &Tensor, leaf: &Tensor) -> Tensor {
    if !gradient.requires_grad() {
        return leaf.zeros_like();
    }
    let products = vjp(&[gradient], &[direction], &[leaf], true, false).expect("a direction shaped as the gradient");
    or_zeros(products, &[leaf]).remove(0)
}

impl Products for AutogradProducts {
    fn hessian(&self, v: &Tensor) -> Tensor {
        along(&self.grad_x, v, &self.x)
    }

    fn mixed_transposed(&self, q: &Tensor) -> Tensor {
        along(&self.grad_x, q, &self.theta)
    }

    fn mixed(&self, u: &Tensor) -> Tensor {
        along(&self.grad_theta, u, &self.x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn products_of_a_cubic_are_the_ones_on_paper() {
        // h = sum x^3 theta: H = diag(6 x theta), B = diag(3 x^2).
        let (x, theta) = (Tensor::from_slice(&[1.0, 2.0]), Tensor::from_slice(&[3.0, -1.0]));
        let products = AutogradProducts::new(|x, t| (x.pow_tensor_scalar(3) * t).sum(Kind::Double), &x, &theta);
        let v = Tensor::from_slice(&[1.0, 10.0]);
        assert_eq!(Vec::<f64>::try_from(products.hessian(&v)).unwrap(), [18.0, -120.0]);
        assert_eq!(Vec::<f64>::try_from(products.mixed(&v)).unwrap(), [3.0, 120.0]);
        assert_eq!(Vec::<f64>::try_from(products.mixed_transposed(&v)).unwrap(), [3.0, 120.0]);
    }

    #[test]
    fn an_unused_leaf_has_zero_products() {
        let (x, theta) = (Tensor::from_slice(&[1.0, 2.0]), Tensor::from_slice(&[3.0]));
        let products = AutogradProducts::new(|x, _| x.square().sum(Kind::Double), &x, &theta);
        assert_eq!(Vec::<f64>::try_from(products.mixed_transposed(&x)).unwrap(), [0.0]);
        assert_eq!(Vec::<f64>::try_from(products.mixed(&theta)).unwrap(), [0.0, 0.0]);
    }
}
