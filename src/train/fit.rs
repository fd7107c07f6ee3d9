//! The one training loop.

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tch::{Kind, Tensor, no_grad};

use super::window::Window;
use super::{Doors, Ema, EpochEnd, Optimizer, ParamGroup, Pass, Source, Step, Terms, TrainConfig};
use super::{clip_grad_norm, evaluate_pass};
use crate::data::{Batch, DeviceSet};
use crate::models::{Cx, Network, Taps};
use crate::native;
use crate::params::{ParamId, ParamStore, View};
use crate::rng;
use crate::run::{Checkpoint, Phase, Run, Stamp, State, Weights};

/// A phase of training: what, on what, how.
pub struct Fit<'a> {
    /// The phase's name in checkpoints and in the log.
    pub phase: &'a str,
    pub net: &'a Network,
    pub source: &'a mut dyn Source,
    /// Sets evaluated at the ends of epochs, by name: the first one's accuracy is the main metric.
    pub evaluate: &'a [(&'a str, &'a DeviceSet)],
    pub config: &'a TrainConfig,
    /// Parameter groups with their own learning rate and decay; `None`: all trainable tensors, the optimizer's decay.
    pub groups: Option<Vec<ParamGroup>>,
    /// Where the run's counters stand when the phase begins.
    pub start: Stamp,
}

/// How a phase ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The run's counters at the end.
    pub end: Stamp,
    /// The best value of each evaluation metric over the epochs (largest accuracy, smallest loss).
    pub best: BTreeMap<String, f64>,
}

/// Trains. On return `store` holds the last weights, and the end of the phase is on disk.
pub fn fit(job: Fit, doors: &mut [&mut dyn Doors], run: &mut Run) -> Result<Outcome> {
    let mut trainer = Trainer::new(job, doors, run.seed())?;
    match run.phase(trainer.job.phase)? {
        Phase::Fresh => {}
        Phase::Resumed(checkpoint) => trainer.load(&checkpoint, doors)?,
        Phase::Done(checkpoint) => {
            trainer.load(&checkpoint, doors)?;
            return Ok(trainer.outcome());
        }
    }
    run.progress.start(trainer.job.phase, trainer.step, trainer.steps());
    while trainer.step < trainer.steps() {
        trainer.train_step(doors)?;
        trainer.after_step(doors, run)?;
    }
    run.checkpoint(trainer.job.phase, trainer.stamp(), true, &trainer.weights()?, &trainer.state(doors))?;
    run.progress.finish();
    Ok(trainer.outcome())
}

/// The loop's state between two steps. [`fit`] drives it; `reglab bench` times its steps alone.
pub struct Trainer<'a> {
    job: Fit<'a>,
    optimizer: Optimizer,
    ema: Option<Ema>,
    window: Window,
    /// Optimizer steps done in this phase.
    step: u64,
    steps_per_epoch: u64,
    seed: u64,
    /// Whether the loop's own cross-entropy is a term: no door owns the loss.
    cross_entropy: bool,
    /// `ce` (unless a door owns the loss) and the doors' terms.
    terms: Vec<&'static str>,
    best: BTreeMap<String, f64>,
    /// Sum of the losses of this epoch's steps, as far as they have been logged.
    epoch_loss: f64,
}

impl<'a> Trainer<'a> {
    pub fn new(job: Fit<'a>, doors: &[&mut dyn Doors], seed: u64) -> Result<Trainer<'a>> {
        let config = job.config;
        let steps_per_epoch = job.source.batches_per_epoch() / config.accumulate;
        ensure!(
            steps_per_epoch > 0 || config.epochs + config.steps == 0,
            "train.batch = {} times train.accumulate = {} is more than the training set has",
            config.batch,
            config.accumulate
        );
        let all = || {
            vec![ParamGroup {
                ids: job.net.store.trainable(),
                lr_mult: 1.0,
                weight_decay: config.optimizer.weight_decay,
            }]
        };
        let groups = job.groups.clone().unwrap_or_else(all);
        let optimizer = Optimizer::new(&config.optimizer, groups, &job.net.store)?;
        let cross_entropy = !doors.iter().any(|d| d.owns_loss());
        let own = cross_entropy.then_some("ce");
        let terms = own.into_iter().chain(doors.iter().flat_map(|d| d.terms())).collect();
        let ema = (config.ema > 0.0).then(|| Ema::new(&job.net.store));
        Ok(Trainer {
            job,
            optimizer,
            ema,
            window: Window::default(),
            step: 0,
            steps_per_epoch,
            seed,
            cross_entropy,
            terms,
            best: BTreeMap::new(),
            epoch_loss: 0.0,
        })
    }

    fn steps(&self) -> u64 {
        match self.job.config.steps {
            0 => self.steps_per_epoch * self.job.config.epochs,
            steps => steps,
        }
    }

    fn stamp(&self) -> Stamp {
        let epochs = if self.steps_per_epoch == 0 { 0.0 } else { self.step as f64 / self.steps_per_epoch as f64 };
        Stamp { step: self.job.start.step + self.step, epoch: self.job.start.epoch + epochs }
    }

    /// The step after `self.step` finished ones.
    fn at(&self) -> Step<'a> {
        let config = self.job.config;
        Step {
            step: self.step + 1,
            run_step: self.job.start.step + self.step + 1,
            epoch: self.step / self.steps_per_epoch.max(1),
            steps_per_epoch: self.steps_per_epoch,
            steps: self.steps(),
            lr: config.schedule.lr(config.optimizer.lr, self.step, self.steps_per_epoch, self.steps()),
            model: &*self.job.net.model,
            store: &self.job.net.store,
            seed: self.seed,
        }
    }

    /// One optimizer step.
    pub fn train_step(&mut self, doors: &mut [&mut dyn Doors]) -> Result<()> {
        let at = self.at();
        // Whatever the device draws in this step (dropout, augmentation) depends on the seed and the step alone.
        tch::manual_seed(rng::step_seed(self.seed, at.run_step));
        let leaves = self.optimizer.ids();
        let accumulate = self.job.config.accumulate;
        let mut grads: Vec<Option<Tensor>> = Vec::new();
        for part in 0..accumulate {
            let index = (self.step % self.steps_per_epoch) * accumulate + part;
            let mut batch = self.job.source.batch(at.epoch, index);
            doors.iter_mut().for_each(|d| d.batch(&at, &mut batch));
            let fresh = self.backward(&at, &batch, &leaves, doors)?;
            grads = if part == 0 { fresh } else { add(grads, fresh) };
        }
        if accumulate > 1 {
            grads.iter_mut().flatten().for_each(|g| *g /= accumulate as f64);
        }
        for door in doors.iter_mut() {
            door.grads(&at, &leaves, &mut grads)?;
        }
        if self.job.config.clip_norm > 0.0 {
            clip_grad_norm(&mut grads, self.job.config.clip_norm)?;
        }
        self.optimizer.step(&self.job.net.store, &grads, at.lr)?;
        for door in doors.iter_mut() {
            door.update(&at)?;
        }
        if let Some(ema) = &mut self.ema {
            ema.update(&self.job.net.store, self.job.config.ema)?;
        }
        if doors.iter().any(|d| d.observes(&at)) {
            let view = no_grad(|| view(&self.job.net.store, doors));
            for door in doors.iter_mut().filter(|d| d.observes(&at)) {
                door.observe(&at, &view)?;
            }
        }
        self.step += 1;
        Ok(())
    }

    /// Drops what the steps since the last row left to log.
    pub fn discard_window(&mut self) {
        self.window = Window::default();
    }

    /// Gradients of the loss of one batch with respect to `leaves`.
    fn backward(
        &mut self,
        at: &Step,
        batch: &Batch,
        leaves: &[ParamId],
        doors: &mut [&mut dyn Doors],
    ) -> Result<Vec<Option<Tensor>>> {
        let view = view(&self.job.net.store, doors);
        let logits = self.forward(&view, &batch.x, doors)?;
        let mut terms = Terms(Vec::with_capacity(self.terms.len()));
        if self.cross_entropy {
            terms.add("ce", cross_entropy(&logits, batch, self.job.config.label_smoothing));
        }
        let pass = Pass::new(&*self.job.net.model, &view, batch, &logits, self.job.config.precision);
        for door in doors.iter_mut() {
            door.loss(at, &pass, &mut terms)?;
        }
        ensure!(
            terms.0.iter().map(|(n, _)| *n).eq(self.terms.iter().copied()),
            "a method's loss terms are not those it announced"
        );
        let values: Vec<&Tensor> = terms.0.iter().map(|(_, t)| t).collect();
        let loss =
            if let [only] = values[..] { only.shallow_clone() } else { Tensor::stack(&values, 0).sum(None::<Kind>) };
        self.window.push(values.iter().map(|t| t.detach()).collect(), &logits, batch);
        let tensors: Vec<&Tensor> = leaves.iter().map(|&id| self.job.net.store.get(id)).collect();
        native::grad(&loss, &tensors, false, false)
    }

    fn forward(&self, view: &View, x: &Tensor, doors: &[&mut dyn Doors]) -> Result<Tensor> {
        let taps = DoorTaps { doors, evaluation: false };
        let mut cx = if doors.iter().any(|d| d.eval_mode()) { Cx::eval(view) } else { Cx::train(view) };
        if doors.iter().any(|d| d.taps()) {
            cx = cx.with_taps(&taps);
        }
        self.job.config.precision.forward(self.job.net.store.device(), || self.job.net.model.forward(&cx, x))
    }

    /// Rows, evaluation, checkpoint, signals: everything that is due after a step.
    fn after_step(&mut self, doors: &mut [&mut dyn Doors], run: &mut Run) -> Result<()> {
        run.progress.step(self.step);
        let epoch_over = self.step.is_multiple_of(self.steps_per_epoch) || self.step == self.steps();
        if epoch_over || self.step.is_multiple_of(self.job.config.log_every) {
            self.log(run)?;
        }
        if epoch_over {
            self.end_epoch(doors, run)?;
        }
        let signal = run.signalled();
        if self.step < self.steps() && (signal.is_some() || run.checkpoint_due(self.stamp().step)) {
            run.checkpoint(self.job.phase, self.stamp(), false, &self.weights()?, &self.state(doors))?;
        }
        match signal {
            Some(signal) if self.step < self.steps() => Err(signal.into()),
            _ => Ok(()),
        }
    }

    fn log(&mut self, run: &mut Run) -> Result<()> {
        let window = self.window.len() as u64 / self.job.config.accumulate;
        let means = match self.window.close() {
            Ok(Some(means)) => means,
            Ok(None) => return Ok(()),
            Err((step, term)) => {
                let step = self.stamp().step - window + 1 + step as u64 / self.job.config.accumulate;
                return Err(run.non_finite(&format!("loss term {}", self.terms[term]), step));
            }
        };
        let lr = {
            let done = self.step;
            self.step -= 1;
            let lr = self.at().lr;
            self.step = done;
            lr
        };
        let mut row = Map::new();
        let loss: f64 = means.values.iter().sum();
        self.epoch_loss += loss * window as f64;
        row.insert("phase".into(), self.job.phase.into());
        row.insert("loss".into(), json!(loss));
        row.extend(self.terms.iter().zip(&means.values).map(|(name, value)| (name.to_string(), json!(value))));
        row.insert("accuracy".into(), json!(means.accuracy));
        row.insert("lr".into(), json!(lr));
        run.append("train", self.stamp(), row)?;
        let accuracy = means.accuracy.map_or(String::new(), |a| format!(" acc {:.1}%", 100.0 * a));
        run.progress.numbers(&format!("epoch {:.1} loss {loss:.4}{accuracy}", self.stamp().epoch));
        Ok(())
    }

    fn end_epoch(&mut self, doors: &mut [&mut dyn Doors], run: &mut Run) -> Result<()> {
        let epoch = self.step.div_ceil(self.steps_per_epoch);
        let at = {
            self.step -= 1;
            let at = self.at();
            self.step += 1;
            at
        };
        let steps = self.step - (epoch - 1) * self.steps_per_epoch;
        let loss = std::mem::take(&mut self.epoch_loss) / steps as f64;
        let view = eval_view(&self.job.net.store, doors);
        let end = EpochEnd { at: self.stamp(), epoch, loss, step: at, view: &view };
        for door in doors.iter_mut() {
            door.epoch_end(&end, run)?;
        }
        let due = epoch.is_multiple_of(self.job.config.eval_every) || self.step == self.steps();
        if !due || self.job.evaluate.is_empty() {
            return Ok(());
        }
        let row = self.evaluate(doors);
        let best = run.config.header.checkpoint.best.clone();
        let offered = row.get(&best).and_then(Value::as_f64);
        let columns = || row.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        ensure!(
            best.is_empty() || offered.is_some(),
            "checkpoint.best = {best:?} is no metric of eval.csv; there are {}",
            columns()
        );
        if let Some(main) = self.job.evaluate.first().and_then(|(name, _)| row[&format!("{name}_accuracy")].as_f64()) {
            run.progress.numbers(&format!("epoch {epoch} {} accuracy {:.2}%", self.job.evaluate[0].0, 100.0 * main));
        }
        let mut fields = Map::from_iter([("phase".to_owned(), Value::from(self.job.phase))]);
        fields.extend(row);
        run.append("eval", self.stamp(), fields)?;
        if let Some(value) = offered.filter(|&v| run.offer_best(v)) {
            ensure!(value.is_finite(), "checkpoint.best = {best:?} is not finite");
            run.checkpoint(self.job.phase, self.stamp(), false, &self.weights()?, &self.state(doors))?;
            run.link_best()?;
        }
        Ok(())
    }

    fn evaluate(&mut self, doors: &[&mut dyn Doors]) -> Map<String, Value> {
        let mut row = Map::new();
        let averaged = self.ema.as_ref().map(|ema| ("_ema", &ema.store));
        for (suffix, store) in [Some(("", &self.job.net.store)), averaged].into_iter().flatten() {
            let view = eval_view(store, doors);
            self.evaluate_view(suffix, &view, doors, &mut row);
            if doors.iter().any(|d| d.folds()) {
                let folded = view.fold();
                self.evaluate_view(&format!("{suffix}_folded"), &View::plain(&folded), doors, &mut row);
            }
        }
        for (metric, value) in &row {
            let value = value.as_f64().unwrap_or(f64::NAN);
            let best = self.best.entry(metric.clone()).or_insert(value);
            *best = if metric.contains("loss") { best.min(value) } else { best.max(value) };
        }
        row
    }

    /// The columns of one network in a row of eval.csv, their names ending in `suffix`.
    fn evaluate_view(&self, suffix: &str, view: &View, doors: &[&mut dyn Doors], row: &mut Map<String, Value>) {
        let taps = DoorTaps { doors, evaluation: true };
        let tapped = doors.iter().any(|d| d.taps_evaluation());
        let cx = || if tapped { Cx::eval(view).with_taps(&taps) } else { Cx::eval(view) };
        for (name, set) in self.job.evaluate {
            let result = evaluate_pass(set, |x| self.job.net.model.forward(&cx(), x));
            row.insert(format!("{name}_accuracy{suffix}"), json!(result.accuracy));
            row.insert(format!("{name}_loss{suffix}"), json!(result.loss));
        }
    }

    fn weights(&self) -> Result<Weights<'a>> {
        Ok(Weights { store: &self.job.net.store, arch: serde_json::to_string(&self.job.net.arch)? })
    }

    fn state(&self, doors: &[&mut dyn Doors]) -> State {
        let mut state = State::default();
        let loss = ("epoch_loss".into(), Tensor::from(self.epoch_loss));
        state.put("fit", vec![("step".into(), Tensor::from(self.step as i64)), loss]);
        state.put("best", self.best.iter().map(|(name, value)| (name.clone(), Tensor::from(*value))).collect());
        state.put("optimizer", self.optimizer.state());
        state.put("window", self.window.state());
        state.put("ema", self.ema.as_ref().map_or(Vec::new(), Ema::state));
        for door in doors {
            state.put(door.name(), door.state());
        }
        state
    }

    fn load(&mut self, checkpoint: &Checkpoint, doors: &mut [&mut dyn Doors]) -> Result<()> {
        self.job.net.store.load(&checkpoint.model, &checkpoint.path.join("model.safetensors"))?;
        let part = |name: &str| checkpoint.state.take(name);
        let list = |name: &str| part(name).into_iter().collect::<Vec<_>>();
        let place = || format!("{}", checkpoint.path.join("state.safetensors").display());
        let step =
            part("fit").get("step").map(|t| t.int64_value(&[])).with_context(|| format!("{} has no step", place()))?;
        self.step = step as u64;
        self.epoch_loss = part("fit").get("epoch_loss").map_or(0.0, |t| t.double_value(&[]));
        self.best = part("best").into_iter().map(|(name, t)| (name, t.double_value(&[]))).collect();
        self.optimizer.load_state(&list("optimizer")).with_context(place)?;
        self.window.load_state(&part("window"));
        if let Some(ema) = &mut self.ema {
            ema.load_state(&list("ema")).with_context(place)?;
        }
        for door in doors.iter_mut() {
            door.load_state(&part(door.name())).with_context(place)?;
        }
        Ok(())
    }

    fn outcome(&self) -> Outcome {
        Outcome { end: self.stamp(), best: self.best.clone() }
    }
}

/// The store as the doors show it to a training pass.
pub fn view<'s>(store: &'s ParamStore, doors: &[&mut dyn Doors]) -> View<'s> {
    let mut view = View::plain(store);
    doors.iter().for_each(|d| d.view(store, &mut view));
    view
}

/// The store as the doors show it to an evaluation.
pub fn eval_view<'s>(store: &'s ParamStore, doors: &[&mut dyn Doors]) -> View<'s> {
    let mut view = View::plain(store);
    doors.iter().for_each(|d| d.eval_view(store, &mut view));
    view
}

struct DoorTaps<'a, 'd> {
    doors: &'a [&'d mut dyn Doors],
    evaluation: bool,
}

impl Taps for DoorTaps<'_, '_> {
    fn tap(&self, site: &str, activation: Tensor) -> Tensor {
        let acting = self.doors.iter().filter(|door| !self.evaluation || door.taps_evaluation());
        acting.fold(activation, |x, door| door.tap(site, x))
    }
}

/// The loop's own loss: mean cross-entropy with the labels, or with the batch's soft labels; of token labels over all positions.
fn cross_entropy(logits: &Tensor, batch: &Batch, smoothing: f64) -> Tensor {
    let target = batch.soft.as_ref().unwrap_or(&batch.y);
    if logits.dim() > 2 {
        let (logits, target) = (logits.flatten(0, -2), target.reshape(-1));
        return logits.cross_entropy_loss::<Tensor>(&target, None, tch::Reduction::Mean, -100, smoothing);
    }
    logits.cross_entropy_loss::<Tensor>(target, None, tch::Reduction::Mean, -100, smoothing)
}

fn add(sum: Vec<Option<Tensor>>, more: Vec<Option<Tensor>>) -> Vec<Option<Tensor>> {
    let pair = |(a, b): (Option<Tensor>, Option<Tensor>)| match (a, b) {
        (Some(a), Some(b)) => Some(no_grad(|| a + b)),
        (a, b) => a.or(b),
    };
    sum.into_iter().zip(more).map(pair).collect()
}
