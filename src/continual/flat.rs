//! One vector for a list of tensors: methods that project gradients work on all parameters at once.

use std::borrow::Borrow;
use tch::Tensor;

use crate::params::ParamStore;

/// The tensors one after the other, each in row-major order: `[P]`.
pub fn flatten(tensors: &[Tensor]) -> Tensor {
    Tensor::cat(&tensors.iter().map(|t| t.reshape([-1])).collect::<Vec<_>>(), 0)
}

/// Gradients in the order of `like` as one vector; a missing one is zeros.
pub fn gradient(grads: &[Option<Tensor>], like: &[&Tensor]) -> Tensor {
    let whole = |(grad, like): (&Option<Tensor>, &&Tensor)| match grad {
        Some(grad) => grad.shallow_clone(),
        None => like.detach().zeros_like(),
    };
    flatten(&grads.iter().zip(like).map(whole).collect::<Vec<_>>())
}

/// Puts a flat gradient in the place of the gradients of `like`.
pub fn put(flat: &Tensor, like: &[&Tensor], grads: &mut [Option<Tensor>]) {
    for (grad, piece) in grads.iter_mut().zip(unflatten(flat, like)) {
        *grad = Some(piece);
    }
}

/// The trainable tensors of a store as one vector, outside autograd.
pub fn parameters(store: &ParamStore) -> Tensor {
    let trainable: Vec<Tensor> = store.trainable().iter().map(|&id| store.get(id).detach()).collect();
    flatten(&trainable)
}

/// The pieces of `flat` in the shapes of `like`; views, not copies. `flat` must have as many values as `like` together.
pub fn unflatten<T: Borrow<Tensor>>(flat: &Tensor, like: &[T]) -> Vec<Tensor> {
    let sizes: Vec<i64> = like.iter().map(|t| t.borrow().numel() as i64).collect();
    flat.split_with_sizes(&sizes, 0)
        .iter()
        .zip(like)
        .map(|(piece, t)| piece.view(t.borrow().size().as_slice()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn there_and_back() {
        let shapes: [&[i64]; 3] = [&[2, 3], &[4], &[]];
        let tensors: Vec<Tensor> = shapes.iter().map(|s| Tensor::randn(*s, (Kind::Float, Device::Cpu))).collect();
        let flat = flatten(&tensors);
        assert_eq!(flat.size(), [11]);
        for (back, tensor) in unflatten(&flat, &tensors).iter().zip(&tensors) {
            assert_eq!(back, tensor);
        }
    }
}
