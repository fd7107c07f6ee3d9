//! Quality of classifier outputs: accuracy, cross-entropy, top-k, calibration.

use anyhow::{Result, bail, ensure};
use serde::Serialize;
use tch::{Device, Kind, Reduction, Tensor, no_grad};

/// Bins of the expected calibration error.
const BINS: i64 = 15;

/// Quality over a set of samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Classification {
    pub samples: usize,
    /// Fraction of samples whose largest logit is the label's.
    pub accuracy: f64,
    /// Mean -log softmax(logits)[label], in nats.
    pub cross_entropy: f64,
    /// (k, fraction of samples whose label is among the k largest logits).
    pub top_k: Vec<(i64, f64)>,
    /// Expected calibration error (Guo et al. 2017): sum over 15 equal bins (low, high] of the top probability of
    /// (bin's share of samples) * |accuracy in bin - mean top probability in bin|.
    pub calibration_error: f64,
}

impl Classification {
    /// Of one pair: `logits` `[N, classes]`, `labels` `[N]` int64.
    pub fn of(logits: &Tensor, labels: &Tensor, top_k: &[i64]) -> Result<Classification> {
        let mut meter = ClassificationMeter::new(logits.device(), top_k);
        meter.add(logits, labels)?;
        meter.finish()
    }
}

/// Adds batches up on the device; nothing comes to the host before [`ClassificationMeter::finish`].
pub struct ClassificationMeter {
    top_k: Vec<i64>,
    samples: usize,
    /// Float64 `[2 + top_k]`: correct samples, summed cross-entropy, samples correct within each k.
    sums: Tensor,
    /// Float64 `[15, 3]`: per bin samples, correct samples, summed top probability.
    bins: Tensor,
}

impl ClassificationMeter {
    pub fn new(device: Device, top_k: &[i64]) -> ClassificationMeter {
        ClassificationMeter {
            top_k: top_k.to_vec(),
            samples: 0,
            sums: Tensor::zeros([2 + top_k.len() as i64], (Kind::Double, device)),
            bins: Tensor::zeros([BINS, 3], (Kind::Double, device)),
        }
    }

    /// Adds `logits` `[N, classes]` with `labels` `[N]` int64.
    pub fn add(&mut self, logits: &Tensor, labels: &Tensor) -> Result<()> {
        let (&[samples, classes], &[count]) = (&logits.size()[..], &labels.size()[..]) else {
            bail!("logits must be [N, classes] and labels [N], got {:?} and {:?}", logits.size(), labels.size())
        };
        ensure!(samples == count, "{samples} rows of logits do not go with {count} labels");
        if let Some(k) = self.top_k.iter().find(|&&k| !(1..=classes).contains(&k)) {
            bail!("top-{k} accuracy needs k between 1 and the number of classes, {classes}");
        }
        self.samples += samples as usize;
        no_grad(|| {
            let logits = logits.detach().to_kind(Kind::Double);
            let (confidence, predicted) = logits.softmax(1, None).max_dim(1, false);
            let correct = predicted.eq_tensor(labels).to_kind(Kind::Double);
            let no_weights = None::<&Tensor>;
            let loss = logits.cross_entropy_loss(labels, no_weights, Reduction::Sum, -100, 0.0);
            let within = |&k: &i64| {
                let (_, best) = logits.topk(k, 1, true, false);
                best.eq_tensor(&labels.unsqueeze(1)).sum(Kind::Double)
            };
            let sums: Vec<Tensor> =
                [correct.sum(Kind::Double), loss].into_iter().chain(self.top_k.iter().map(within)).collect();
            let _ = self.sums.g_add_(&Tensor::stack(&sums, 0));

            let bin: Tensor = (&confidence * BINS as f64).ceil() - 1.0;
            let numbers = Tensor::arange(BINS, (Kind::Double, logits.device()));
            let member = bin.clamp(0, BINS - 1).unsqueeze(1).eq_tensor(&numbers).to_kind(Kind::Double);
            let values = Tensor::stack(&[confidence.ones_like(), correct, confidence], 1);
            // A product of matrices, not a scatter: its order of summation is fixed on every device.
            let _ = self.bins.g_add_(&member.tr().matmul(&values));
        });
        Ok(())
    }

    /// Fetches the sums once.
    pub fn finish(&self) -> Result<Classification> {
        ensure!(self.samples > 0, "no samples to evaluate");
        let all = Tensor::cat(&[self.sums.view(-1), self.bins.view(-1)], 0);
        let all = Vec::<f64>::try_from(all.to_device(Device::Cpu))?;
        let (sums, bins) = all.split_at(2 + self.top_k.len());
        let share = |sum: f64| sum / self.samples as f64;
        let gap = |bin: &[f64]| share((bin[1] - bin[2]).abs());
        Ok(Classification {
            samples: self.samples,
            accuracy: share(sums[0]),
            cross_entropy: share(sums[1]),
            top_k: self.top_k.iter().zip(&sums[2..]).map(|(&k, &sum)| (k, share(sum))).collect(),
            calibration_error: bins.chunks(3).map(gap).sum(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits whose softmax is the given probabilities.
    fn logits(rows: &[[f64; 3]]) -> Tensor {
        Tensor::from_slice2(rows).log()
    }

    #[test]
    fn measures_agree_with_hand_computed_ones() {
        let rows = [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.25, 0.65], [0.7, 0.1, 0.2]];
        let labels = Tensor::from_slice(&[0i64, 1, 2, 2]);
        let found = Classification::of(&logits(&rows), &labels, &[1, 2]).unwrap();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(found.accuracy, 0.5);
        assert_eq!(found.top_k, [(1, 0.5), (2, 1.0)]);
        close(found.cross_entropy, -(0.7f64.ln() + 0.3f64.ln() + 0.65f64.ln() + 0.2f64.ln()) / 4.0);
        // Bins of width 1/15: 0.7 (twice, one right) and 0.65 (right), 0.6 (wrong) fall into the bins
        // (10/15, 11/15], (9/15, 10/15] and (8/15, 9/15].
        close(found.calibration_error, (0.4 + 0.35 + 0.6) / 4.0);
    }

    #[test]
    fn batches_add_up() {
        let (x, y) = (
            Tensor::randn([50, 4], (Kind::Float, Device::Cpu)),
            Tensor::arange(50, (Kind::Int64, Device::Cpu)).remainder(4),
        );
        let mut meter = ClassificationMeter::new(Device::Cpu, &[2]);
        for (x, y) in x.split(20, 0).iter().zip(y.split(20, 0)) {
            meter.add(x, &y).unwrap();
        }
        let (parts, whole) = (meter.finish().unwrap(), Classification::of(&x, &y, &[2]).unwrap());
        assert_eq!((parts.samples, parts.accuracy, &parts.top_k), (whole.samples, whole.accuracy, &whole.top_k));
        assert!((parts.cross_entropy - whole.cross_entropy).abs() < 1e-12);
        assert!((parts.calibration_error - whole.calibration_error).abs() < 1e-12);
    }

    #[test]
    fn wrong_shapes_and_k_are_refused() {
        let (x, y) =
            (Tensor::zeros([3, 4], (Kind::Float, Device::Cpu)), Tensor::zeros([2], (Kind::Int64, Device::Cpu)));
        assert!(Classification::of(&x, &y, &[]).unwrap_err().to_string().contains("3 rows"));
        let message = Classification::of(&x.narrow(0, 0, 2), &y, &[5]).unwrap_err().to_string();
        assert!(message.contains("top-5") && message.contains('4'), "{message}");
        assert!(ClassificationMeter::new(Device::Cpu, &[]).finish().is_err());
    }
}
