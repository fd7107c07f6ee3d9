//! The doors of the loop: the places where a method changes an ordinary training run.

use anyhow::Result;
use std::collections::HashMap;
use tch::Tensor;

use super::Precision;
use crate::data::Batch;
use crate::models::{Cx, Model, Network};
use crate::params::{ParamStore, View};
use crate::run::{Run, Stamp};

/// Where the loop is.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    /// This step's number in the phase, from 1.
    pub step: u64,
    /// The same counted over all phases of the run.
    pub run_step: u64,
    /// Finished epochs of the phase.
    pub epoch: u64,
    pub steps_per_epoch: u64,
    /// Steps of the whole phase.
    pub steps: u64,
    /// The current learning rate.
    pub lr: f64,
    pub model: &'a dyn Model,
    pub store: &'a ParamStore,
    pub seed: u64,
}

/// One training pass, as the loss door sees it.
pub struct Pass<'a> {
    pub view: &'a View<'a>,
    pub batch: &'a Batch,
    /// What the model made of the batch.
    pub logits: &'a Tensor,
    model: &'a dyn Model,
    precision: Precision,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        model: &'a dyn Model,
        view: &'a View<'a>,
        batch: &'a Batch,
        logits: &'a Tensor,
        precision: Precision,
    ) -> Pass<'a> {
        Pass { view, batch, logits, model, precision }
    }

    /// What another network (a teacher) makes of the same batch: in evaluation mode, without gradient, at the loop's precision.
    pub fn evaluate(&self, other: &Network) -> Result<Tensor> {
        self.precision.forward(other.store.device(), || other.evaluate(&self.batch.x))
    }

    /// What the last layer would read of other inputs: a training-mode pass through `view`, at the loop's precision.
    pub fn features(&self, view: &View, x: &Tensor) -> Result<Tensor> {
        self.precision.forward(x.device(), || self.model.features(&Cx::train(view), x))
    }

    /// Another training-mode pass through the same parameters (a memory batch, a second view of the input).
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.model.forward(&Cx::train(self.view), x)
    }
}

/// The named terms whose sum is the loss; each is a column of train.csv.
pub struct Terms(pub(super) Vec<(&'static str, Tensor)>);

impl Terms {
    /// Adds a scalar term under a name that `Doors::terms` announced.
    pub fn add(&mut self, name: &'static str, term: Tensor) {
        self.0.push((name, term));
    }

    /// Puts another scalar in the place of a term (`"ce"` is the loop's own cross-entropy).
    pub fn replace(&mut self, name: &'static str, term: Tensor) {
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some(place) => place.1 = term,
            None => self.add(name, term),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, t)| t)
    }
}

/// The end of an epoch (the last one may have been cut short by `train.steps`), before its evaluation.
pub struct EpochEnd<'a> {
    pub at: Stamp,
    /// Finished epochs of the phase, from 1.
    pub epoch: u64,
    /// Mean training loss of the epoch.
    pub loss: f64,
    pub step: Step<'a>,
    /// The parameters as an evaluation sees them.
    pub view: &'a View<'a>,
}

impl EpochEnd<'_> {
    /// Where the rows of an earlier step of this epoch belong.
    pub fn stamp_of(&self, run_step: u64) -> Stamp {
        let back = (self.at.step - run_step) as f64 / self.step.steps_per_epoch as f64;
        Stamp { step: run_step, epoch: self.at.epoch - back }
    }
}

/// What a method may do at each door; it implements the ones it needs. Nothing here may read a value back to the host,
/// but for `epoch_end`, `state` and `load_state`.
pub trait Doors {
    /// Prefix of this method's part of the checkpoint.
    fn name(&self) -> &'static str;

    /// Names of the loss terms `loss` adds, in their order.
    fn terms(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Replaces the loop's cross-entropy altogether: then it is not computed, and `loss` adds what stands in its place.
    fn owns_loss(&self) -> bool {
        false
    }

    /// Reparameterizes: sets the tensors the model shall use. Called for training and for evaluation.
    fn view(&self, _store: &ParamStore, _view: &mut View) {}

    /// Whether evaluations also show the folded network: what all views make, as plain weights (`test_accuracy_folded`).
    fn folds(&self) -> bool {
        false
    }

    /// The same for evaluation, where it does not use what training uses (averaged weights, say).
    fn eval_view(&self, store: &ParamStore, view: &mut View) {
        self.view(store, view);
    }

    /// Whether the network learns as it is evaluated: with its running statistics, which stay as they are, and without
    /// dropout. For learners on frozen features.
    fn eval_mode(&self) -> bool {
        false
    }

    /// Changes the batch: mixes, noises, augments.
    fn batch(&mut self, _step: &Step, _batch: &mut Batch) {}

    /// Whether `tap` wants to be called.
    fn taps(&self) -> bool {
        false
    }

    /// Whether `tap` acts in evaluations, too: for what belongs to the network itself.
    fn taps_evaluation(&self) -> bool {
        false
    }

    /// Reads or replaces the activation at a site.
    fn tap(&self, _site: &str, activation: Tensor) -> Tensor {
        activation
    }

    /// Adds or replaces terms of the loss.
    fn loss(&mut self, _step: &Step, _pass: &Pass, _terms: &mut Terms) -> Result<()> {
        Ok(())
    }

    /// Changes the gradients, which are in the order of `leaves` (None: the loss does not depend on that leaf).
    fn grads(&mut self, _step: &Step, _leaves: &[crate::params::ParamId], _grads: &mut [Option<Tensor>]) -> Result<()> {
        Ok(())
    }

    /// After the optimizer's step: prox, clip, average, reset.
    fn update(&mut self, _step: &Step) -> Result<()> {
        Ok(())
    }

    /// Whether `observe` wants to be called after this step.
    fn observes(&self, _step: &Step) -> bool {
        false
    }

    /// The step is over: measure the network. `view` is what all doors together make of the store. Changes nothing.
    fn observe(&mut self, _step: &Step, _view: &View) -> Result<()> {
        Ok(())
    }

    fn epoch_end(&mut self, _end: &EpochEnd, _run: &mut Run) -> Result<()> {
        Ok(())
    }

    /// Everything that must survive a restart, as named tensors.
    fn state(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }

    fn load_state(&mut self, _state: &HashMap<String, Tensor>) -> Result<()> {
        Ok(())
    }
}
