//! w = a atan(v / b) in one pass over v, and dw/dv with it.

use anyhow::{Result, ensure};
use std::ffi::c_void;
use tch::Tensor;

use super::{Message, RawTensor, check, owned, raw};

unsafe extern "C" {
    fn reglab_compand(v: RawTensor, a: RawTensor, b: RawTensor, w: *mut *mut c_void) -> Message;
}

/// a atan(v / b), differentiable in v, once. `a` and `b` are numbers of v's kind without gradient, both 0-d, or both `[O]` for
/// v `[O, ..]`.
pub fn compand(v: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (size, given, other) = (v.size(), a.size(), b.size());
    let rows = given.is_empty() || given == size[..1.min(size.len())];
    ensure!(rows && given == other, "a {given:?} and b {other:?} do not fit v {size:?}");
    let mut w = std::ptr::null_mut();
    // SAFETY: pointers to live tensors; the answer is a fresh tensor.
    unsafe {
        check(reglab_compand(raw(v), raw(a), raw(b), &mut w))?;
        owned(w).ok_or_else(|| anyhow::anyhow!("no tensor came back"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::grad;
    use tch::{Device, Kind};

    /// The values of float32 v and their gradients, in float64, and what they should be.
    fn both(v: &Tensor, a: &Tensor, b: &Tensor, g: &Tensor) -> [(Tensor, Tensor); 2] {
        let of = |kind: Kind| {
            let [v, a, b, g] = [v, a, b, g].map(|t| t.to_kind(kind));
            let v = v.set_requires_grad(true);
            let w = compand(&v, &a, &b).unwrap();
            let gradient = grad(&(&w * g).sum(kind), &[&v], false, false).unwrap().remove(0).unwrap();
            (w.detach().to_kind(Kind::Double), gradient.to_kind(Kind::Double))
        };
        [of(Kind::Float), of(Kind::Double)]
    }

    #[test]
    fn the_fused_pass_agrees_with_float64_from_tiny_to_saturated() {
        let v = (Tensor::arange(40_001, (Kind::Float, Device::Cpu)) / 1000.0 - 20.0).exp() * 3e-3;
        let v = Tensor::cat(&[&v, &-&v, &Tensor::from_slice(&[0.0f32, 1e30, -1e30, 1.0, -1.0, 1.001, 0.999, 0.3])], 0);
        let v = v.narrow(0, 0, 80_010).view([10, 8001]);
        let (a, b) = (Tensor::from(0.7f32), Tensor::from(0.3f32));
        let g = v.ones_like();
        let [(w, gradient), (exact, slope)] = both(&v, &a, &b, &g);
        let relative = |x: &Tensor, y: &Tensor| ((x - y).abs() / (y.abs() + 1e-30)).max().double_value(&[]);
        assert!(relative(&w, &exact) < 5e-7, "{}", relative(&w, &exact));
        assert!((&gradient - &slope).abs().max().double_value(&[]) < 1e-6);
        assert!(w.abs().max().double_value(&[]) <= 0.7 * std::f64::consts::FRAC_PI_2 * (1.0 + 1e-7));
        let plain = (&v.to_kind(Kind::Double) / 0.3f32 as f64).atan() * 0.7f32 as f64;
        assert!(relative(&exact, &plain) < 1e-6);
    }

    #[test]
    fn numbers_may_be_one_a_row() {
        let v = Tensor::from_slice(&[0.5f32, -2.0, 3.0, 0.1]).view([2, 2]);
        let (a, b) = (Tensor::from_slice(&[1.0f32, 2.0]), Tensor::from_slice(&[0.5f32, 4.0]));
        let [(w, _), (exact, _)] = both(&v, &a, &b, &v.ones_like());
        assert!((&w - &exact).abs().max().double_value(&[]) < 1e-6);
        assert!((w.double_value(&[1, 0]) - 2.0 * (0.75f64).atan()).abs() < 1e-6);
        assert!(compand(&v, &Tensor::from_slice(&[1.0f32; 3]), &Tensor::from_slice(&[1.0f32; 3])).is_err());
    }

    #[test]
    fn a_second_derivative_is_refused() {
        let v = Tensor::from_slice(&[0.5f32]).set_requires_grad(true);
        let w = compand(&v, &Tensor::from(1.0f32), &Tensor::from(1.0f32)).unwrap();
        assert!(grad(&w.sum(Kind::Float), &[&v], false, true).unwrap_err().to_string().contains("once"));
    }
}
