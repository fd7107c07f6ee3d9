//! Bad input, refused before the first step, each in one sentence that names the value and where it sits.

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

/// k as a count of groups: 0 <= k <= m.
pub fn k(k: i64, m: usize) -> Result<usize> {
    ensure!((0..=m as i64).contains(&k), "k = {k} must lie between 0 and the number of groups, {m}");
    Ok(k as usize)
}

/// lambda (or another factor that must be finite and not negative).
pub fn not_negative(name: &str, value: f64) -> Result<()> {
    ensure!(value.is_finite() && value >= 0.0, "{name} = {value} must be a finite number, zero or more");
    Ok(())
}

/// One positive finite weight for each of m groups.
pub fn weights(name: &str, weights: &[f64], m: usize) -> Result<()> {
    ensure!(weights.len() == m, "{name} has {} values for {m} groups", weights.len());
    let bad = weights.iter().position(|w| !(w.is_finite() && *w > 0.0));
    ensure!(
        bad.is_none(),
        "{name}[{0}] = {1} must be positive and finite",
        bad.unwrap_or(0),
        weights[bad.unwrap_or(0)]
    );
    Ok(())
}

/// `x` has `n` values and all are finite.
pub fn finite(name: &str, x: &Tensor, n: i64) -> Result<()> {
    ensure!(x.size() == [n], "{name} has shape {:?}, but groups has {n} values", x.size());
    let bad = x.isfinite().logical_not();
    if bad.any().int64_value(&[]) != 0 {
        let index = bad.to_kind(Kind::Int64).argmax(0, false).int64_value(&[]);
        let value = x.to_device(Device::Cpu).double_value(&[index]);
        anyhow::bail!("{name}[{index}] is {value}: every value must be finite");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_names_the_place_and_the_value() {
        let message = |r: Result<()>| r.unwrap_err().to_string();
        assert_eq!(message(k(5, 4).map(drop)), "k = 5 must lie between 0 and the number of groups, 4");
        assert!(k(-1, 4).is_err() && k(4, 4).is_ok() && k(0, 4).is_ok());
        assert_eq!(message(not_negative("lam", -0.5)), "lam = -0.5 must be a finite number, zero or more");
        assert!(not_negative("lam", f64::NAN).is_err());
        assert_eq!(message(weights("d", &[1.0, 0.0], 2)), "d[1] = 0 must be positive and finite");
        assert_eq!(message(weights("d", &[1.0], 2)), "d has 1 values for 2 groups");
        let theta = Tensor::from_slice(&[0.0, 1.0, f64::NAN, f64::INFINITY]);
        assert_eq!(message(finite("theta", &theta, 4)), "theta[2] is NaN: every value must be finite");
        assert_eq!(message(finite("theta", &theta, 5)), "theta has shape [4], but groups has 5 values");
    }
}
