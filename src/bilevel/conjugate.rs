//! Conjugate gradients for H q = b, H symmetric positive definite and known by its products.

use anyhow::{Result, bail};
use tch::{Kind, Tensor};

use super::inner;

/// Where conjugate gradients stopped.
pub struct Conjugate {
    pub q: Tensor,
    /// Products with H.
    pub iterations: usize,
    /// ||b - H q||, by the recursion.
    pub residual: f64,
}

/// From q = 0 until the absolute residual ||b - H q|| <= `tolerance` or `max_iterations` products; a right-hand side already
/// below the tolerance gives q = 0. A direction p with p^T H p <= 0 or NaN is an error: H is not positive definite.
pub fn conjugate_gradients(
    hessian: impl Fn(&Tensor) -> Tensor,
    b: &Tensor,
    tolerance: f64,
    max_iterations: usize,
) -> Result<Conjugate> {
    let mut q = b.zeros_like();
    let mut r = b.copy();
    let mut p = b.copy();
    let mut rr = inner(&r, &r);
    let mut residual = rr.double_value(&[]).sqrt();
    let mut iterations = 0;
    while residual > tolerance && iterations < max_iterations {
        let hp = hessian(&p);
        iterations += 1;
        let php = inner(&p, &hp);
        let step = &rr / &php;
        q += &p * &step;
        r -= &hp * &step;
        let rr_new = inner(&r, &r);
        // One transfer an iteration: the curvature and the residual together.
        let [curvature, square] = host([&php, &rr_new]);
        if curvature.is_nan() || curvature <= 0.0 {
            bail!(
                "conjugate gradients met a direction with p^T H p = {curvature:e} at iteration {iterations}: the lower Hessian is not positive definite"
            );
        }
        p = &r + p * (&rr_new / &rr);
        rr = rr_new;
        residual = square.sqrt();
    }
    Ok(Conjugate { q, iterations, residual })
}

fn host(scalars: [&Tensor; 2]) -> [f64; 2] {
    let both = Tensor::stack(&scalars, 0).to_kind(Kind::Double);
    Vec::<f64>::try_from(both).expect("a float64 vector").try_into().expect("two numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(matrix: Tensor) -> impl Fn(&Tensor) -> Tensor {
        move |v| matrix.mv(v)
    }

    #[test]
    fn two_distinct_eigenvalues_take_two_iterations() {
        let h = product(Tensor::from_slice(&[2.0, 2.0, 5.0]).diag(0));
        let b = Tensor::from_slice(&[2.0, 4.0, 10.0]);
        let solved = conjugate_gradients(h, &b, 1e-12, 100).unwrap();
        assert_eq!(solved.iterations, 2);
        let q = Vec::<f64>::try_from(solved.q).unwrap();
        assert!(q.iter().zip([1.0, 2.0, 2.0]).all(|(a, e)| (a - e).abs() < 1e-12), "{q:?}");
        assert!(solved.residual <= 1e-12);
    }

    #[test]
    fn a_small_right_hand_side_gives_zero() {
        let solved = conjugate_gradients(
            product(Tensor::eye(2, tch::kind::DOUBLE_CPU)),
            &Tensor::from_slice(&[3.0, 4.0]),
            5.0,
            9,
        );
        let solved = solved.unwrap();
        assert_eq!((solved.iterations, solved.residual), (0, 5.0));
        assert_eq!(Vec::<f64>::try_from(solved.q).unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn an_indefinite_matrix_is_named() {
        let h = product(Tensor::from_slice(&[1.0, -2.0]).diag(0));
        let error = conjugate_gradients(h, &Tensor::from_slice(&[1.0, 1.0]), 1e-9, 9).err().unwrap();
        assert!(error.to_string().contains("p^T H p = -1e0 at iteration 1"), "{error}");
    }
}
