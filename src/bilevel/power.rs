//! Power iteration.

use tch::Tensor;

use super::norm;

/// The largest eigenvalue of a symmetric positive semi-definite operator from `start` (not zero) by `iterations` products: an
/// estimate from below.
pub fn largest_eigenvalue(product: impl Fn(&Tensor) -> Tensor, start: &Tensor, iterations: usize) -> f64 {
    let mut v = start / start.norm();
    let mut eigenvalue = 0.0;
    for _ in 0..iterations {
        let w = product(&v);
        eigenvalue = norm(&w);
        if eigenvalue == 0.0 {
            break;
        }
        v = w / eigenvalue;
    }
    eigenvalue
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_largest_and_stops_at_zero() {
        let matrix = Tensor::from_slice(&[1.0, 9.0, 4.0]).diag(0);
        let found = largest_eigenvalue(|v| matrix.mv(v), &Tensor::from_slice(&[1.0, 1.0, 1.0]), 30);
        assert!((found - 9.0).abs() < 1e-9 && found <= 9.0 + 1e-12, "{found}");
        assert_eq!(largest_eigenvalue(|v| v.zeros_like(), &Tensor::from_slice(&[1.0]), 30), 0.0);
    }
}
