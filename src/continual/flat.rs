//! One vector for a list of tensors: methods that project gradients work on all parameters at once.

use tch::Tensor;

/// The tensors one after the other, each in row-major order: `[P]`.
pub fn flatten(tensors: &[Tensor]) -> Tensor {
    Tensor::cat(&tensors.iter().map(|t| t.reshape([-1])).collect::<Vec<_>>(), 0)
}

/// The pieces of `flat` in the shapes of `like`; views, not copies. `flat` must have as many values as `like` together.
pub fn unflatten(flat: &Tensor, like: &[Tensor]) -> Vec<Tensor> {
    let sizes: Vec<i64> = like.iter().map(|t| t.numel() as i64).collect();
    flat.split_with_sizes(&sizes, 0).iter().zip(like).map(|(piece, t)| piece.view(t.size().as_slice())).collect()
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
