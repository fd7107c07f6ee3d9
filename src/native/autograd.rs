//! Gradients as values (torch.autograd.grad): nothing accumulates in the leaves.

use anyhow::{Result, ensure};
use std::borrow::Borrow;
use std::ffi::c_void;
use tch::Tensor;

use super::{Message, RawTensor, check, owned, raw_list};

unsafe extern "C" {
    fn reglab_grad(
        outputs: *const RawTensor,
        grad_outputs: *const RawTensor,
        output_count: usize,
        inputs: *const RawTensor,
        input_count: usize,
        retain_graph: bool,
        create_graph: bool,
        gradients: *mut *mut c_void,
    ) -> Message;
}

/// The gradient of a one-value `loss` with respect to each input, None where the loss does not depend on it.
/// `retain_graph` keeps the graph for another call; `create_graph` makes the gradients differentiable (and needs the graph
/// retained by its later use, so it retains it too).
pub fn grad<T: Borrow<Tensor>>(
    loss: &Tensor,
    inputs: &[T],
    retain_graph: bool,
    create_graph: bool,
) -> Result<Vec<Option<Tensor>>> {
    ensure!(loss.numel() == 1, "a loss to differentiate must be one value, got shape {:?}", loss.size());
    run(&raw_list(&[loss]), None, inputs, retain_graph, create_graph)
}

/// Vector-Jacobian products: the gradient of sum_k <grad_outputs[k], outputs[k]> with respect to each input, None where no
/// output depends on it. Each grad output has the shape of its output.
pub fn vjp<O: Borrow<Tensor>, G: Borrow<Tensor>, T: Borrow<Tensor>>(
    outputs: &[O],
    grad_outputs: &[G],
    inputs: &[T],
    retain_graph: bool,
    create_graph: bool,
) -> Result<Vec<Option<Tensor>>> {
    let (given, needed) = (grad_outputs.len(), outputs.len());
    ensure!(given == needed, "{given} vectors for the Jacobian of {needed} outputs");
    run(&raw_list(outputs), Some(&raw_list(grad_outputs)), inputs, retain_graph, create_graph)
}

fn run<T: Borrow<Tensor>>(
    outputs: &[RawTensor],
    grad_outputs: Option<&[RawTensor]>,
    inputs: &[T],
    retain_graph: bool,
    create_graph: bool,
) -> Result<Vec<Option<Tensor>>> {
    let inputs = raw_list(inputs);
    let mut gradients = vec![std::ptr::null_mut(); inputs.len()];
    // SAFETY: all pointers are to live tensors, counts are theirs; the gradients are fresh.
    unsafe {
        check(reglab_grad(
            outputs.as_ptr(),
            grad_outputs.map_or(std::ptr::null(), |vectors| vectors.as_ptr()),
            outputs.len(),
            inputs.as_ptr(),
            inputs.len(),
            retain_graph || create_graph,
            create_graph,
            gradients.as_mut_ptr(),
        ))?;
        Ok(gradients.into_iter().map(|gradient| owned(gradient)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(values: &[f64]) -> Tensor {
        Tensor::from_slice(values).set_requires_grad(true)
    }

    fn values(gradient: &Option<Tensor>) -> Vec<f64> {
        Vec::try_from(gradient.as_ref().expect("a gradient")).expect("values")
    }

    #[test]
    fn an_unused_input_has_no_gradient() {
        let (x, unused) = (leaf(&[1.0, 2.0]), leaf(&[3.0]));
        let gradients = grad(&(&x * &x).sum(tch::Kind::Double), &[&x, &unused], false, false).expect("gradients");
        assert_eq!(values(&gradients[0]), [2.0, 4.0]);
        assert!(gradients[1].is_none());
        assert!(!x.grad().defined());
    }

    #[test]
    fn a_created_graph_can_be_differentiated_again() {
        let x = leaf(&[2.0]);
        let first = grad(&x.pow_tensor_scalar(3).sum(tch::Kind::Double), &[&x], false, true).expect("gradients");
        let first = first[0].as_ref().expect("a gradient");
        let second = grad(&first.sum(tch::Kind::Double), &[&x], false, false).expect("gradients");
        assert_eq!(values(&second[0]), [12.0]);
    }

    #[test]
    fn a_vector_weighs_the_outputs() {
        let x = leaf(&[1.0, 2.0]);
        let y = &x * &x;
        let v = Tensor::from_slice(&[10.0, 100.0]);
        assert_eq!(values(&vjp(&[&y], &[&v], &[&x], true, false).expect("gradients")[0]), [20.0, 400.0]);
        assert!(vjp(&[&y], &[&v, &v], &[&x], false, false).is_err());
    }

    #[test]
    fn gradients_have_the_memory_order_of_their_inputs() {
        let images = Tensor::arange(2 * 3 * 4 * 4, (tch::Kind::Float, tch::Device::Cpu)).view([2, 3, 4, 4]);
        let innermost = images.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
        let weight = Tensor::ones([5, 3, 3, 3], (tch::Kind::Float, tch::Device::Cpu)).set_requires_grad(true);
        let of = |x: &Tensor| {
            let y = x.conv2d(&weight, None::<&Tensor>, [1, 1], [1, 1], [1, 1], 1);
            grad(&(&y * &y).sum(tch::Kind::Float), &[&weight], false, false).expect("gradients").remove(0).expect("one")
        };
        let (plain, last) = (of(&images), of(&innermost));
        assert!(last.is_contiguous());
        assert!(last.allclose(&plain, 1e-5, 1e-5, false));
    }

    #[test]
    fn mistakes_are_errors() {
        let x = leaf(&[1.0, 2.0]);
        let error = |loss: &Tensor| grad(loss, &[&x], false, false).expect_err("a mistake").to_string();
        assert!(error(&(&x * 2.0)).contains("one value"));
        assert!(error(&Tensor::from(1.0)).contains("does not require grad"));
        let loss = (&x * &x).sum(tch::Kind::Double);
        grad(&loss, &[&x], false, false).expect("gradients");
        assert!(error(&loss).contains("second time"));
    }
}
