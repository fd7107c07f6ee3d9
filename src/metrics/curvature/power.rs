//! Power iteration on a symmetric operator, indefinite ones included.

use anyhow::{Result, ensure};
use tch::{Kind, Tensor};

/// What the iteration came to: the eigenvalue of largest magnitude (shift the operator to reach another end).
pub struct PowerIteration {
    /// v^T A v before each update.
    pub rayleigh: Vec<f64>,
    /// v^T A v of the last v.
    pub value: f64,
    /// |A v - value v| of the last v.
    pub residual: f64,
}

/// v <- A v / |A v| from `start` (not zero), `iterations` times; v stays where A v = 0. All float64.
pub fn power_iteration(
    mut product: impl FnMut(&Tensor) -> Result<Tensor>,
    start: &Tensor,
    iterations: usize,
) -> Result<PowerIteration> {
    let norm = start.norm().double_value(&[]);
    ensure!(norm > 0.0 && norm.is_finite(), "the start of power iteration has the norm {norm}, which must be above 0");
    let mut v = start / norm;
    let mut rayleigh = Vec::new();
    loop {
        let av = product(&v)?;
        let value = (&v * &av).sum(Kind::Double).double_value(&[]);
        if rayleigh.len() == iterations {
            let residual = (&av - &v * value).norm().double_value(&[]);
            return Ok(PowerIteration { rayleigh, value, residual });
        }
        rayleigh.push(value);
        let length = av.norm().double_value(&[]);
        if length > 0.0 {
            v = av / length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_magnitude_is_found_with_its_sign() {
        let diagonal = Tensor::from_slice(&[1.0, -9.0, 4.0]);
        let found = power_iteration(|v| Ok(&diagonal * v), &Tensor::from_slice(&[1.0, 1.0, 1.0]), 40).unwrap();
        assert!((found.value + 9.0).abs() < 1e-9 && found.residual < 1e-9);
        assert!((found.rayleigh[0] + 4.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_zero_operator_keeps_its_vector() {
        let found = power_iteration(|v| Ok(v.zeros_like()), &Tensor::from_slice(&[2.0]), 3).unwrap();
        assert_eq!((found.rayleigh, found.value, found.residual), (vec![0.0; 3], 0.0, 0.0));
    }
}
