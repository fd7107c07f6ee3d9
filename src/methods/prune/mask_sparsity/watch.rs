//! What becomes of the scales: gammas.csv, a row a layer at the end of each epoch, and the numbers of the summary.

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};
use tch::{Tensor, no_grad};

use super::config::Method;
use super::masks::{mask_iou, threshold_mask};
use super::plan::InScope;
use crate::data::DeviceSet;
use crate::params::{ParamId, ParamStore, View};
use crate::run::{Run, Summary};
use crate::train::{Doors, EpochEnd, evaluate};

/// |gamma| of kept and masked channels; the layer `all` sums up. Where no mask is known yet every channel counts as kept.
#[derive(Serialize)]
struct GammasRow<'a> {
    phase: &'a str,
    layer: &'a str,
    kept: usize,
    masked: usize,
    kept_mean: Option<f64>,
    kept_min: Option<f64>,
    masked_mean: Option<f64>,
    masked_max: Option<f64>,
    /// Channels with |gamma| at or below tau.
    below_threshold: usize,
    /// Overlap of what the mask drops and what tau would drop now.
    mask_iou: f64,
    /// Test accuracy if the masked channels were removed now, in the row `all`.
    accuracy_if_cut: Option<f64>,
}

impl<'a> GammasRow<'a> {
    fn new(phase: &'a str, layer: &'a str, gamma: &[f64], keep: &[bool], method: &Method) -> Result<GammasRow<'a>> {
        let of = |flag: bool| gamma.iter().zip(keep).filter(move |(_, k)| **k == flag).map(|(g, _)| *g);
        let mean = |flag| (of(flag).next().is_some()).then(|| of(flag).sum::<f64>() / of(flag).count() as f64);
        let by_threshold = threshold_mask(gamma, method.threshold, 0);
        Ok(GammasRow {
            phase,
            layer,
            kept: of(true).count(),
            masked: of(false).count(),
            kept_mean: mean(true),
            kept_min: of(true).reduce(f64::min),
            masked_mean: mean(false),
            masked_max: of(false).reduce(f64::max),
            below_threshold: by_threshold.iter().filter(|&&k| !k).count(),
            mask_iou: mask_iou(keep, &by_threshold)?.1,
            accuracy_if_cut: None,
        })
    }
}

/// Watches the scales of one phase.
pub struct Watch<'a> {
    pub phase: &'static str,
    pub scope: &'a InScope,
    pub method: &'a Method,
    /// The mask, where it is known.
    pub keep: Option<&'a [Vec<bool>]>,
    pub test: &'a DeviceSet,
}

impl Watch<'_> {
    /// The flags of each layer.
    fn flags(&self) -> Vec<Vec<bool>> {
        let whole = |group: usize| vec![true; self.scope.groups[group].channels];
        let flags = |group: usize| self.keep.map_or_else(|| whole(group), |keep| keep[group].clone());
        self.scope.layers.iter().map(|layer| flags(layer.group)).collect()
    }

    /// The row of all layers together.
    fn all(&self, store: &ParamStore) -> Result<GammasRow<'static>> {
        GammasRow::new(self.phase, "all", &self.scope.gammas(store)?.concat(), &self.flags().concat(), self.method)
    }

    /// `kept_gamma`, `kept_gamma_min`, `masked_gamma`, `masked_gamma_max` and `mask_iou` of the weights as they are.
    pub fn numbers(&self, store: &ParamStore) -> Result<Summary> {
        let all = self.all(store)?;
        let numbers = [
            ("kept_gamma", json!(all.kept_mean)),
            ("kept_gamma_min", json!(all.kept_min)),
            ("masked_gamma", json!(all.masked_mean)),
            ("masked_gamma_max", json!(all.masked_max)),
            ("mask_iou", json!(all.mask_iou)),
        ];
        Ok(numbers.into_iter().filter(|(_, v)| *v != Value::Null).map(|(k, v)| (k.to_owned(), v)).collect())
    }
}

/// `view` with scale and shift of the masked channels at zero: what the cut network computes.
pub fn silence(scope: &InScope, keep: &[Vec<bool>], store: &ParamStore, view: &mut View) {
    for layer in &scope.layers {
        let flags: Vec<f32> = keep[layer.group].iter().map(|&k| f32::from(u8::from(k))).collect();
        let flags = Tensor::from_slice(&flags).to_device(store.device());
        let masked = |id: ParamId| no_grad(|| store.get(id).detach() * &flags);
        view.set(layer.gamma, masked(layer.gamma));
        if let Some(beta) = layer.beta {
            view.set(beta, masked(beta));
        }
    }
}

impl Doors for Watch<'_> {
    fn name(&self) -> &'static str {
        "watch"
    }

    fn epoch_end(&mut self, end: &EpochEnd, run: &mut Run) -> Result<()> {
        let store = end.step.store;
        let (gammas, flags) = (self.scope.gammas(store)?, self.flags());
        for ((layer, gamma), keep) in self.scope.layers.iter().zip(&gammas).zip(&flags) {
            run.row("gammas", end.at, &GammasRow::new(self.phase, &layer.name, gamma, keep, self.method)?)?;
        }
        let mut all = self.all(store)?;
        if let Some(keep) = self.keep {
            let mut view = View::plain(store);
            silence(self.scope, keep, store, &mut view);
            all.accuracy_if_cut = Some(evaluate(end.step.model, &view, self.test).accuracy);
        }
        run.row("gammas", end.at, &all)
    }
}
