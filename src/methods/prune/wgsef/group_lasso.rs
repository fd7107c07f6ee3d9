//! The group-lasso baseline: prox of lambda sum_g w_g ||theta_g||.

use tch::Tensor;

/// max(0, 1 - t_g / ||y_g||) for norms `[m]` float64 and t = lambda w `[m]`: theta_g = factor_g y_g; 0 for zero groups.
pub fn factors(norms: &Tensor, threshold: &Tensor) -> Tensor {
    ((norms - threshold) / norms).clamp_min(0.0).where_scalarother(&norms.gt(0.0), 0.0)
}
