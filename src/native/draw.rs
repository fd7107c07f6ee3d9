//! Random values from a generator of their own: initial values must not depend on what other threads draw.

use anyhow::Result;
use tch::Tensor;

use super::{Message, RawTensor, check, raw};

unsafe extern "C" {
    fn reglab_draw_uniform(tensor: RawTensor, low: f64, high: f64, seed: u64) -> Message;
    fn reglab_draw_normal(tensor: RawTensor, mean: f64, std: f64, seed: u64) -> Message;
}

/// Fills a host tensor, in place, with what `torch.manual_seed(seed); tensor.uniform_(low, high)` gives.
pub fn draw_uniform(tensor: &Tensor, low: f64, high: f64, seed: u64) -> Result<()> {
    // SAFETY: the tensor is alive; libtorch checks that it is a floating one on the host.
    unsafe { check(reglab_draw_uniform(raw(tensor), low, high, seed)) }
}

/// The same for `tensor.normal_(mean, std)`.
pub fn draw_normal(tensor: &Tensor, mean: f64, std: f64, seed: u64) -> Result<()> {
    // SAFETY: as above.
    unsafe { check(reglab_draw_normal(raw(tensor), mean, std, seed)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn values_depend_on_the_seed_alone() {
        let drawn = |seed| {
            let tensor = Tensor::empty([100], (Kind::Float, Device::Cpu));
            draw_uniform(&tensor, -2.0, 2.0, seed).unwrap();
            tensor
        };
        assert_eq!(drawn(3), drawn(3));
        assert_ne!(drawn(3), drawn(4));
        assert!(drawn(3).abs().max().double_value(&[]) <= 2.0);
        assert!(draw_normal(&Tensor::from_slice(&[1i64]), 0.0, 1.0, 0).is_err());
    }
}
