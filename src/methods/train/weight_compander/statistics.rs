//! What is measured of a layer's weights once an epoch: on the device, in float64, read by nobody but the table's writer.

use tch::{Kind, Tensor};

use super::psi::{Compander, per_filter};

/// Numbers of one weight tensor, all 0-d float64.
pub struct WeightStatistics {
    /// The share with |w| < near rms, strictly; 1 for an all-zero tensor.
    pub near_zero: Tensor,
    /// sqrt(mean w^2).
    pub rms: Tensor,
    /// max |w|.
    pub max_abs: Tensor,
    /// max |w| / rms; 0 for an all-zero tensor.
    pub max_over_rms: Tensor,
    /// Fourth central moment over the squared variance (population moments; a normal distribution has 3); 0 if all are equal.
    pub kurtosis: Tensor,
}

impl WeightStatistics {
    /// `w` of any shape, not empty; `near` > 0 in units of the rms.
    pub fn of(w: &Tensor, near: f64) -> WeightStatistics {
        // float64: the fourth powers of small float32 weights underflow.
        let w = w.detach().to_kind(Kind::Double);
        let abs = w.abs();
        let rms = (&w * &w).mean(Kind::Double).sqrt();
        let max_abs = abs.max();
        let all_zero = max_abs.eq(0.0);
        let near_zero = abs.less_tensor(&(&rms * near)).to_kind(Kind::Double).mean(Kind::Double);
        WeightStatistics {
            near_zero: near_zero.masked_fill(&all_zero, 1.0),
            max_over_rms: (&max_abs / &rms).masked_fill(&all_zero, 0.0),
            kurtosis: kurtosis(&w),
            rms,
            max_abs,
        }
    }
}

/// m4 / m2^2 with m_k = mean (w - mean w)^k.
fn kurtosis(w: &Tensor) -> Tensor {
    let squared = (w - w.mean(Kind::Double)).square();
    let variance = squared.mean(Kind::Double);
    // Equal weights may differ from their rounded mean: ask the weights themselves.
    let no_variance = w.max().eq_tensor(&w.min()).logical_or(&variance.square().eq(0.0));
    (squared.square().mean(Kind::Double) / variance.square()).masked_fill(&no_variance, 0.0)
}

/// The share of the plain initial weights `w0` that the start clips, |w0| > clip B (0-d float64).
pub fn clipped_share(w0: &Tensor, compander: &Compander, clip: f64) -> Tensor {
    let limit = per_filter(&(compander.bound() * clip), w0);
    w0.detach().abs().greater_tensor(&limit).to_kind(Kind::Double).mean(Kind::Double)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn value(tensor: &Tensor) -> f64 {
        f64::try_from(tensor).unwrap()
    }

    #[test]
    fn an_all_zero_tensor_is_all_near_zero_and_has_no_other_number() {
        let s = WeightStatistics::of(&Tensor::zeros([3, 4], (Kind::Float, Device::Cpu)), 0.1);
        assert_eq!(
            [&s.near_zero, &s.rms, &s.max_abs, &s.max_over_rms, &s.kurtosis].map(value),
            [1.0, 0.0, 0.0, 0.0, 0.0]
        );
    }

    #[test]
    fn equal_weights_have_no_kurtosis_even_where_their_mean_is_rounded() {
        let s = WeightStatistics::of(&Tensor::full([7], 0.1, (Kind::Double, Device::Cpu)), 0.1);
        assert_eq!(value(&s.kurtosis), 0.0);
        assert!((value(&s.max_over_rms) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn near_zero_is_strict() {
        let s = WeightStatistics::of(&Tensor::from_slice(&[2.0, -14.0]), 0.2); // rms 10
        assert_eq!(value(&s.near_zero), 0.0);
        let s = WeightStatistics::of(&Tensor::from_slice(&[1.0, -1.0, 1.0, -1.0]), 1.0);
        assert_eq!(value(&s.near_zero), 0.0);
    }

    #[test]
    fn kurtosis_of_tiny_float32_normal_weights_is_three() {
        tch::manual_seed(1);
        let w = Tensor::randn([100_000], (Kind::Float, Device::Cpu)) * 1e-12 + 3e-12;
        let s = WeightStatistics::of(&w, 0.1);
        assert!((value(&s.kurtosis) - 3.0).abs() < 0.1, "{}", value(&s.kurtosis));
    }

    #[test]
    fn a_bound_of_one_sigma_clips_about_a_third_and_two_sigma_about_one_in_twenty() {
        tch::manual_seed(2);
        let w0 = Tensor::randn([20_000], (Kind::Float, Device::Cpu)) * 0.3;
        let share = |c| {
            let compander = Compander::from_sigma(&Tensor::from(0.3f32), c, 1.0);
            value(&clipped_share(&w0, &compander, 0.98))
        };
        assert!((share(1.0) - 0.327).abs() < 0.02, "{}", share(1.0));
        assert!((share(2.0) - 0.050).abs() < 0.01, "{}", share(2.0));
    }

    #[test]
    fn clipping_is_counted_filter_by_filter() {
        let compander = Compander::from_bound(&Tensor::from_slice(&[1.0, 10.0]), 1.0);
        let w0 = Tensor::from_slice(&[0.5, 2.0, 3.0, 2.0]).view([2, 2]);
        assert_eq!(value(&clipped_share(&w0, &compander, 0.98)), 0.25);
    }
}
