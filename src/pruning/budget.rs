//! From a budget of multiply-accumulates to the fraction of channels to cut.

use anyhow::{Result, ensure};

/// The smallest fraction found that meets a budget, and what it costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    pub fraction: f64,
    pub macs: i64,
}

/// Bisects the fraction in [0, 1) until the net that `macs_at(fraction)` prices costs at most `target` MACs. The cost must
/// not rise with the fraction. A target that even the smallest net exceeds is an error that names both numbers.
pub fn fraction_for_macs(target: i64, mut macs_at: impl FnMut(f64) -> Result<i64>) -> Result<Budget> {
    let mut price = |fraction: f64| -> Result<Budget> { Ok(Budget { fraction, macs: macs_at(fraction)? }) };
    let whole = price(0.0)?;
    if whole.macs <= target {
        return Ok(whole);
    }
    // 2^-30 is finer than one channel of any network.
    let resolution = 0.5f64.powi(30);
    let mut within = price(1.0 - resolution)?;
    ensure!(
        within.macs <= target,
        "no plan reaches {target} MACs: the smallest net that min_channels and round_to allow has {}",
        within.macs
    );
    let mut above = 0.0;
    while within.fraction - above > resolution {
        let middle = price(0.5 * (above + within.fraction))?;
        if middle.macs <= target {
            within = middle;
        } else {
            above = middle.fraction;
        }
    }
    Ok(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_plan_that_fits() {
        // 64 channels of 10 MACs each, at least one kept.
        let macs = |fraction: f64| Ok(10 * (64 - (fraction * 64.0).floor() as i64).max(1));
        let budget = fraction_for_macs(333, macs).unwrap();
        assert_eq!(budget.macs, 330);
        assert!((budget.fraction - 31.0 / 64.0).abs() < 1e-8 && budget.fraction >= 31.0 / 64.0);
        assert_eq!(fraction_for_macs(640, macs).unwrap(), Budget { fraction: 0.0, macs: 640 });
        assert_eq!(fraction_for_macs(10, macs).unwrap().macs, 10);
        let error = fraction_for_macs(9, macs).unwrap_err().to_string();
        assert!(error.contains("9 MACs") && error.ends_with("has 10"), "{error}");
    }
}
