//! What the run writes about right and wrong labels: memorization.csv over the epochs, noisy.csv at the end.

use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tch::{Device, Kind, Tensor, no_grad};

use super::labels::Corrupted;
use super::memorization::{Detection, Memorization};
use super::memory::TargetMemory;
use crate::models::Model;
use crate::params::View;
use crate::run::{Run, Stamp, Summary};
use crate::train::{Doors, EpochEnd, logits};

/// Watches the training set, un-augmented and in evaluation mode.
pub struct Measure<'a> {
    pub corrupted: &'a Corrupted,
    /// The target memories; none: predictions stand in for them.
    pub memories: &'a [TargetMemory],
    /// Epochs between two rows.
    pub every: u64,
    /// Epochs of the phase.
    pub epochs: u64,
}

/// What there is to say about each training sample, on the device.
struct Findings {
    /// Predicted class, int64 `[n]`.
    predicted: Tensor,
    /// Class the label is compared with, int64 `[n]`.
    target: Tensor,
    /// Whether the label is suspected to be wrong, bool `[n]`.
    suspected: Tensor,
}

/// A row of noisy.csv: one training sample.
#[derive(Serialize)]
struct NoisyRow<'a> {
    /// Row in the training set.
    index: usize,
    label: i64,
    label_name: &'a str,
    suspected: bool,
    /// What the target memory (or the prediction) says instead.
    target: i64,
    target_name: &'a str,
    predicted: i64,
    true_label: i64,
    wrong: bool,
}

impl Measure<'_> {
    fn find(&self, model: &dyn Model, view: &View) -> Findings {
        let train = &self.corrupted.data.train;
        no_grad(|| {
            let predicted = logits(model, view, train).argmax(-1, false);
            // Two memories speak with one voice: argmax of their sum. Without one, the prediction has to do.
            let target = match self.memories {
                [] => predicted.shallow_clone(),
                [first, rest @ ..] => {
                    let sum = rest.iter().fold(first.rows().shallow_clone(), |sum, memory| sum + memory.rows());
                    sum.argmax(-1, false)
                }
            };
            let suspected = target.ne_tensor(train.labels());
            Findings { predicted, target, suspected }
        })
    }

    /// The columns of memorization.csv, fetched in one transfer.
    fn numbers(&self, found: &Findings) -> Result<Map<String, Value>> {
        let Corrupted { data, truth, wrong, .. } = self.corrupted;
        let m = Memorization::of(&found.predicted, data.train.labels(), truth);
        let d = Detection::of(&found.suspected, wrong);
        let columns = [
            ("clean_correct", m.clean_correct),
            ("clean_wrong", m.clean_wrong),
            ("wrong_correct", m.wrong_correct),
            ("memorized", m.wrong_memorized),
            ("wrong_other", m.wrong_other),
            ("detection_accuracy", d.accuracy),
            ("detection_precision", d.precision),
            ("detection_recall", d.recall),
        ];
        let values = Vec::<f64>::try_from(Tensor::stack(&columns.each_ref().map(|(_, value)| value), 0))?;
        Ok(columns.iter().zip(values).map(|((name, _), value)| (name.to_string(), json!(value))).collect())
    }

    /// The final numbers and noisy.csv.
    pub fn finish(&self, run: &mut Run, at: Stamp, model: &dyn Model, view: &View) -> Result<Summary> {
        let found = self.find(model, view);
        let Corrupted { data, truth, .. } = self.corrupted;
        let host = |tensor: &Tensor| Vec::<i64>::try_from(tensor.to_device(Device::Cpu).to_kind(Kind::Int64));
        let (labels, truths) = (host(data.train.labels())?, host(truth)?);
        let (suspected, target, predicted) = (host(&found.suspected)?, host(&found.target)?, host(&found.predicted)?);
        let names = data.train.classes();
        for index in 0..labels.len() {
            let row = NoisyRow {
                index,
                label: labels[index],
                label_name: &names[labels[index] as usize],
                suspected: suspected[index] != 0,
                target: target[index],
                target_name: &names[target[index] as usize],
                predicted: predicted[index],
                true_label: truths[index],
                wrong: labels[index] != truths[index],
            };
            run.row("noisy", at, &row)?;
        }
        self.numbers(&found)
    }
}

impl Doors for Measure<'_> {
    fn name(&self) -> &'static str {
        "measure"
    }

    fn epoch_end(&mut self, end: &EpochEnd, run: &mut Run) -> Result<()> {
        if !end.epoch.is_multiple_of(self.every) && end.epoch != self.epochs {
            return Ok(());
        }
        let row = self.numbers(&self.find(end.step.model, end.view))?;
        run.append("memorization", end.at, row)
    }
}
