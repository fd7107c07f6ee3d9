//! What happened since the last row of train.csv, kept on the device and fetched once.

use std::collections::HashMap;
use tch::{Device, Kind, Tensor};

use crate::data::Batch;

/// Loss terms and predictions of the steps since the last row.
#[derive(Default)]
pub struct Window {
    /// One `[terms]`-vector or several scalars a step, as they came.
    steps: Vec<Vec<Tensor>>,
    outputs: Vec<(Tensor, Tensor)>,
    /// Restored from a checkpoint that was written inside the window.
    earlier: Vec<Vec<f64>>,
    correct: f64,
    samples: f64,
}

/// Larger outputs (language models) would cost more memory to keep than their accuracy is worth.
const LARGEST_OUTPUT: usize = 1 << 20;

/// The means of a window.
pub struct Means {
    /// The sum of all terms, then each term.
    pub values: Vec<f64>,
    pub accuracy: Option<f64>,
}

impl Window {
    /// Remembers a step without touching its values.
    pub fn push(&mut self, terms: Vec<Tensor>, logits: &Tensor, batch: &Batch) {
        self.steps.push(terms);
        if logits.dim() == 2 && logits.numel() <= LARGEST_OUTPUT && batch.soft.is_none() {
            self.outputs.push((logits.detach(), batch.y.shallow_clone()));
        }
    }

    /// The rows of terms so far, fetched from the device in one transfer.
    fn rows(&self) -> Vec<Vec<f64>> {
        if self.steps.is_empty() {
            return self.earlier.clone();
        }
        let width = self.steps[0].len();
        let flat: Vec<&Tensor> = self.steps.iter().flatten().collect();
        let host = Tensor::stack(&flat, 0).to_device(Device::Cpu).to_kind(Kind::Double);
        let values = Vec::<f64>::try_from(host).expect("scalars on the host");
        let fresh = values.chunks(width).map(<[f64]>::to_vec);
        self.earlier.iter().cloned().chain(fresh).collect()
    }

    fn counts(&self) -> (f64, f64) {
        if self.outputs.is_empty() {
            return (self.correct, self.samples);
        }
        let logits: Vec<&Tensor> = self.outputs.iter().map(|(l, _)| l).collect();
        let labels: Vec<&Tensor> = self.outputs.iter().map(|(_, y)| y).collect();
        let labels = Tensor::cat(&labels, 0);
        let right = Tensor::cat(&logits, 0).argmax(1, false).eq_tensor(&labels).sum(Kind::Int64);
        (self.correct + right.int64_value(&[]) as f64, self.samples + labels.numel() as f64)
    }

    /// Closes the window: the means, or the index (from the window's start) of the first step with a non-finite term and
    /// that term's index.
    pub fn close(&mut self) -> Result<Option<Means>, (usize, usize)> {
        let rows = self.rows();
        let bad = |row: &Vec<f64>| row.iter().position(|x| !x.is_finite());
        if let Some((step, term)) = rows.iter().enumerate().find_map(|(i, row)| bad(row).map(|term| (i, term))) {
            return Err((step, term));
        }
        let (correct, samples) = self.counts();
        *self = Window::default();
        let Some(first) = rows.first() else { return Ok(None) };
        let mean = |term: usize| rows.iter().map(|row| row[term]).sum::<f64>() / rows.len() as f64;
        let values = (0..first.len()).map(mean).collect();
        Ok(Some(Means { values, accuracy: (samples > 0.0).then(|| correct / samples) }))
    }

    pub fn len(&self) -> usize {
        self.earlier.len() + self.steps.len()
    }

    pub fn state(&self) -> Vec<(String, Tensor)> {
        let rows = self.rows();
        let Some(width) = rows.first().map(Vec::len) else { return Vec::new() };
        let (correct, samples) = self.counts();
        let flat: Vec<f64> = rows.into_iter().flatten().collect();
        let terms = Tensor::from_slice(&flat).view([-1, width as i64]);
        vec![("terms".into(), terms), ("counts".into(), Tensor::from_slice(&[correct, samples]))]
    }

    pub fn load_state(&mut self, state: &HashMap<String, Tensor>) {
        *self = Window::default();
        if let (Some(terms), Some(counts)) = (state.get("terms"), state.get("counts")) {
            let width = terms.size()[1] as usize;
            let flat = Vec::<f64>::try_from(terms.contiguous().view(-1)).expect("float64 terms");
            self.earlier = flat.chunks(width).map(<[f64]>::to_vec).collect();
            (self.correct, self.samples) = (counts.double_value(&[0]), counts.double_value(&[1]));
        }
    }
}
