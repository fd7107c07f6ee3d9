//! One elementwise operation over a list of tensors, outside autograd: a few kernel launches on CUDA whatever the number of
//! tensors. A name that ends in `_` works in place. Lists of one call have equal lengths and shapes.

use anyhow::{Result, ensure};
use std::borrow::Borrow;
use std::ffi::c_void;
use tch::Tensor;

use super::{Message, RawTensor, check, owned, raw, raw_list};

unsafe extern "C" {
    fn reglab_foreach_add(a: *const RawTensor, b: *const RawTensor, count: usize, alpha: f64) -> Message;
    fn reglab_foreach_mul(a: *const RawTensor, count: usize, factor: f64) -> Message;
    fn reglab_foreach_lerp(a: *const RawTensor, b: *const RawTensor, count: usize, weight: f64) -> Message;
    fn reglab_foreach_addcmul(
        a: *const RawTensor,
        b: *const RawTensor,
        c: *const RawTensor,
        count: usize,
        value: f64,
    ) -> Message;
    fn reglab_foreach_addcdiv(
        a: *const RawTensor,
        b: *const RawTensor,
        c: *const RawTensor,
        count: usize,
        value: f64,
    ) -> Message;
    fn reglab_foreach_sqrt(a: *const RawTensor, count: usize) -> Message;
    fn reglab_foreach_scaled(a: *const RawTensor, count: usize, factor: RawTensor, scaled: *mut *mut c_void)
    -> Message;
    fn reglab_foreach_clamped(
        a: *const RawTensor,
        count: usize,
        low: f64,
        high: f64,
        clamped: *mut *mut c_void,
    ) -> Message;
    fn reglab_foreach_norm(a: *const RawTensor, count: usize, order: f64, norms: *mut *mut c_void) -> Message;
}

// SAFETY of every call below: the pointers are to live tensors, and each list has the length that is passed along.

/// a += alpha b.
pub fn add_<A: Borrow<Tensor>, B: Borrow<Tensor>>(a: &[A], b: &[B], alpha: f64) -> Result<()> {
    same_length(a.len(), b.len())?;
    unsafe { check(reglab_foreach_add(raw_list(a).as_ptr(), raw_list(b).as_ptr(), a.len(), alpha)) }
}

/// a *= factor.
pub fn mul_<A: Borrow<Tensor>>(a: &[A], factor: f64) -> Result<()> {
    unsafe { check(reglab_foreach_mul(raw_list(a).as_ptr(), a.len(), factor)) }
}

/// a += weight (b - a).
pub fn lerp_<A: Borrow<Tensor>, B: Borrow<Tensor>>(a: &[A], b: &[B], weight: f64) -> Result<()> {
    same_length(a.len(), b.len())?;
    unsafe { check(reglab_foreach_lerp(raw_list(a).as_ptr(), raw_list(b).as_ptr(), a.len(), weight)) }
}

/// a += value b c.
pub fn addcmul_<A: Borrow<Tensor>, B: Borrow<Tensor>, C: Borrow<Tensor>>(
    a: &[A],
    b: &[B],
    c: &[C],
    value: f64,
) -> Result<()> {
    same_length(a.len(), b.len())?;
    same_length(a.len(), c.len())?;
    let (b, c) = (raw_list(b), raw_list(c));
    unsafe { check(reglab_foreach_addcmul(raw_list(a).as_ptr(), b.as_ptr(), c.as_ptr(), a.len(), value)) }
}

/// a += value b / c.
pub fn addcdiv_<A: Borrow<Tensor>, B: Borrow<Tensor>, C: Borrow<Tensor>>(
    a: &[A],
    b: &[B],
    c: &[C],
    value: f64,
) -> Result<()> {
    same_length(a.len(), b.len())?;
    same_length(a.len(), c.len())?;
    let (b, c) = (raw_list(b), raw_list(c));
    unsafe { check(reglab_foreach_addcdiv(raw_list(a).as_ptr(), b.as_ptr(), c.as_ptr(), a.len(), value)) }
}

/// a = sqrt(a).
pub fn sqrt_<A: Borrow<Tensor>>(a: &[A]) -> Result<()> {
    unsafe { check(reglab_foreach_sqrt(raw_list(a).as_ptr(), a.len())) }
}

/// New tensors a * factor, a one-value tensor on the same device: no value is read back to the host.
pub fn scaled<A: Borrow<Tensor>>(a: &[A], factor: &Tensor) -> Result<Vec<Tensor>> {
    new_list(a, |raw_a, out| unsafe { reglab_foreach_scaled(raw_a, a.len(), raw(factor), out) })
}

/// New tensors min(max(a, low), high).
pub fn clamped<A: Borrow<Tensor>>(a: &[A], low: f64, high: f64) -> Result<Vec<Tensor>> {
    new_list(a, |raw_a, out| unsafe { reglab_foreach_clamped(raw_a, a.len(), low, high, out) })
}

/// The `order`-norm of each tensor (infinity: the largest magnitude), as one-value tensors on its device.
pub fn norm<A: Borrow<Tensor>>(a: &[A], order: f64) -> Result<Vec<Tensor>> {
    new_list(a, |raw_a, out| unsafe { reglab_foreach_norm(raw_a, a.len(), order, out) })
}

/// Calls a function that makes one new tensor of each in `a`.
fn new_list<A: Borrow<Tensor>>(
    a: &[A],
    call: impl FnOnce(*const RawTensor, *mut *mut c_void) -> Message,
) -> Result<Vec<Tensor>> {
    let mut out = vec![std::ptr::null_mut(); a.len()];
    let message = call(raw_list(a).as_ptr(), out.as_mut_ptr());
    unsafe {
        check(message)?;
        Ok(out.into_iter().filter_map(|tensor| owned(tensor)).collect())
    }
}

fn same_length(a: usize, b: usize) -> Result<()> {
    ensure!(a == b, "lists of {a} and {b} tensors");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: &Tensor) -> Vec<f64> {
        Vec::try_from(tensor).expect("values")
    }

    #[test]
    fn every_operation_does_what_it_says() {
        let a = [Tensor::from_slice(&[1.0, -2.0]), Tensor::from_slice(&[3.0])];
        let b = [Tensor::from_slice(&[2.0, 4.0]), Tensor::from_slice(&[8.0])];
        let expect = |first: [f64; 2], second: f64| {
            assert_eq!((values(&a[0]), values(&a[1])), (first.to_vec(), vec![second]));
        };
        add_(&a, &b, 0.5).expect("add");
        expect([2.0, 0.0], 7.0);
        mul_(&a, 2.0).expect("mul");
        expect([4.0, 0.0], 14.0);
        mul_(&a, 0.5).expect("mul");
        expect([2.0, 0.0], 7.0);
        lerp_(&a, &b, 0.25).expect("lerp");
        expect([2.0, 1.0], 7.25);
        addcmul_(&a, &b, &b, 0.5).expect("addcmul");
        expect([4.0, 9.0], 39.25);
        addcdiv_(&a, &b, &b, -3.0).expect("addcdiv");
        expect([1.0, 6.0], 36.25);
        let new = clamped(&a, 2.0, 36.0).expect("clamped");
        assert_eq!((values(&new[0]), values(&new[1])), (vec![2.0, 6.0], vec![36.0]));
        let new = scaled(&a, &Tensor::from(2.0)).expect("scaled");
        assert_eq!((values(&new[0]), values(&new[1])), (vec![2.0, 12.0], vec![72.5]));
        sqrt_(&a).expect("sqrt");
        expect([1.0, 6f64.sqrt()], 36.25f64.sqrt());
        let norms = norm(&b, 2.0).expect("norms");
        assert_eq!(norms.iter().map(|norm| norm.double_value(&[])).collect::<Vec<_>>(), [20f64.sqrt(), 8.0]);
    }

    #[test]
    fn parameters_that_require_gradients_are_changed_outside_autograd() {
        let leaf = Tensor::from_slice(&[1.0]).set_requires_grad(true);
        mul_(&[&leaf], 2.0).expect("mul");
        assert_eq!(values(&leaf.detach()), [2.0]);
        assert!(leaf.is_leaf());
    }

    #[test]
    fn lists_of_unequal_length_are_an_error() {
        let a = Tensor::from_slice(&[1.0]);
        assert!(add_(&[&a], &[] as &[&Tensor], 1.0).is_err());
        assert!(add_(&[&a], &[&Tensor::from_slice(&[1.0, 2.0])], 1.0).is_err());
    }
}
