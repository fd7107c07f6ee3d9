//! What became of right and wrong labels: how many wrong ones the model has learned by heart, and how many it found. All
//! numbers are 0-d float64 on the device; a share of nothing is 0.

use tch::{Kind, Tensor};

/// Shares of the samples with a right label (`clean_*`) and of those with a wrong one (`wrong_*`); each group's sum to 1.
pub struct Memorization {
    /// Right label, prediction right.
    pub clean_correct: Tensor,
    /// Right label, prediction wrong.
    pub clean_wrong: Tensor,
    /// Wrong label, prediction is the true class.
    pub wrong_correct: Tensor,
    /// Wrong label, prediction is that label: memorized.
    pub wrong_memorized: Tensor,
    /// Wrong label, prediction is a third class.
    pub wrong_other: Tensor,
}

impl Memorization {
    /// Predicted, observed and true classes, whole numbers `[n]`.
    pub fn of(predicted: &Tensor, noisy: &Tensor, truth: &Tensor) -> Memorization {
        let clean = noisy.eq_tensor(truth);
        let wrong = clean.logical_not();
        let (correct, memorized) = (predicted.eq_tensor(truth), predicted.eq_tensor(noisy));
        let other = correct.logical_or(&memorized).logical_not();
        Memorization {
            clean_correct: share(&correct, &clean),
            clean_wrong: share(&correct.logical_not(), &clean),
            wrong_correct: share(&correct, &wrong),
            wrong_memorized: share(&memorized, &wrong),
            wrong_other: share(&other, &wrong),
        }
    }
}

/// How well the wrong labels were found.
pub struct Detection {
    /// Share of all samples judged rightly.
    pub accuracy: Tensor,
    /// Share of the suspected that are wrong.
    pub precision: Tensor,
    /// Share of the wrong that are suspected.
    pub recall: Tensor,
}

impl Detection {
    /// Whether each label is suspected and whether it is wrong, bool `[n]`.
    pub fn of(suspected: &Tensor, wrong: &Tensor) -> Detection {
        Detection {
            accuracy: share(&suspected.eq_tensor(wrong), &wrong.ones_like()),
            precision: share(wrong, suspected),
            recall: share(suspected, wrong),
        }
    }
}

/// The share of `group` that is `what`, both bool `[n]`.
fn share(what: &Tensor, group: &Tensor) -> Tensor {
    what.logical_and(group).sum(Kind::Double) / group.sum(Kind::Double).clamp_min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(tensor: &Tensor) -> f64 {
        f64::try_from(tensor).unwrap()
    }

    #[test]
    fn a_group_of_nobody_has_shares_of_zero() {
        let labels = Tensor::from_slice(&[0i64, 1, 2]);
        let m = Memorization::of(&Tensor::from_slice(&[0i64, 1, 1]), &labels, &labels);
        assert_eq!([&m.wrong_correct, &m.wrong_memorized, &m.wrong_other].map(value), [0.0; 3]);
        assert_eq!(value(&m.clean_correct) + value(&m.clean_wrong), 1.0);
        let all_wrong = Memorization::of(&labels, &Tensor::from_slice(&[1i64, 2, 0]), &labels);
        assert_eq!([&all_wrong.clean_correct, &all_wrong.clean_wrong].map(value), [0.0; 2]);
        assert_eq!(value(&all_wrong.wrong_correct), 1.0);
    }

    #[test]
    fn detection_counts_right_judgements_hits_and_misses() {
        let suspected = Tensor::from_slice(&[true, true, false, false, false]);
        let wrong = Tensor::from_slice(&[true, false, true, false, true]);
        let d = Detection::of(&suspected, &wrong);
        assert_eq!([&d.accuracy, &d.precision].map(value), [0.4, 0.5]);
        assert!((value(&d.recall) - 1.0 / 3.0).abs() < 1e-12);
    }
}
