//! The run of the network model: a fresh network a step, each a phase of training with its predecessor as teacher.

use anyhow::{Context, Result};
use serde_json::json;
use tch::{Kind, Tensor, no_grad};

use super::chain::OptimalAlpha;
use super::config::{Alpha, Config, Method, Rule};
use super::loss::{data_loss, penalty};
use super::problem::one_hot;
use super::record::{Chain, Parts, StepRow, Targets, pictures, summary, wrong_rates};
use crate::data::{DeviceSet, DeviceSplits, noise::noisy_splits};
use crate::methods::AddOns;
use crate::models::Network;
use crate::params::{ParamId, View};
use crate::report::plot::draw_each;
use crate::rng;
use crate::run::{Run, Stamp, Summary};
use crate::train::{Doors, Pass, Step, Supervised, Terms, build_network_with, load_data, logits};

pub fn run(config: &Config, run: &mut Run) -> Result<Summary> {
    let (data, wrong) = noisy_splits(load_data(run, &config.data)?, &config.noise, run.seed())?;
    let targets = one_hot(&data);
    let mut job = Job { config, data: &data, targets, at: Stamp::default(), added: Summary::new() };
    let first = job.train(0, "step0", None, run)?;
    let labels = job.measure("labels", 0, None, &first, run)?;
    let mut chains = Vec::new();
    match &config.method.alpha {
        Alpha::Constant(alpha) => chains.push(job.constant("", *alpha, &first, &labels, run)?),
        Alpha::PerStep(alphas) => chains.push(job.chain("steps", "", alphas, &first, &labels, run)?),
        Alpha::Rule(Rule::Optimal) => chains.push(job.estimated(&first, &labels, run)?),
        Alpha::Rule(Rule::Grid) => {
            for alpha in &config.method.grid {
                chains.push(job.constant(&format!("alpha{alpha}-"), *alpha, &first, &labels, run)?);
            }
        }
    }
    let mut summary = summary(&chains);
    summary.extend(wrong_rates(wrong));
    summary.insert("steps".into(), json!(job.at.step));
    summary.extend(job.added);
    summary.insert("work_s".into(), json!(run.seconds()));
    pictures(run, &chains)?;
    draw_each(run, "loss", "train", "loss", "phase")?;
    Ok(summary)
}

/// What a student learns from beside the labels.
#[derive(Clone, Copy)]
struct Teaching<'a> {
    teacher: &'a Network,
    /// The weight of the labels.
    alpha: f64,
}

/// A trained network and its outputs on all parts of the data, in float64.
struct Trained {
    net: Network,
    outputs: Parts<Tensor>,
}

struct Job<'a> {
    config: &'a Config,
    data: &'a DeviceSplits,
    targets: Targets,
    at: Stamp,
    /// What `--with` says of the network trained last.
    added: Summary,
}

impl Job<'_> {
    /// A fresh network trained to its end. Its initial values depend on the seed and the step alone: all students of a step, in
    /// every arm, start alike.
    fn train(&mut self, tau: usize, phase: &str, teaching: Option<Teaching>, run: &mut Run) -> Result<Trained> {
        let seed = rng::mix(run.seed(), &format!("network of step {tau}"));
        let mut net = build_network_with(seed, run, &self.config.model, self.data)?;
        let mut distill = Distill { method: &self.config.method, teaching, weights: net.store.trainable() };
        let config = &self.config.train;
        let mut add_ons = AddOns::attach(run, &mut net, &config.optimizer)?;
        add_ons.begin(&net, self.at, run)?;
        let groups = Some(add_ons.groups(&net));
        let supervised = Supervised { phase, net: &net, data: self.data, config, groups, start: self.at };
        let mut doors: Vec<&mut dyn Doors> = vec![&mut distill];
        doors.extend(add_ons.doors());
        self.at = supervised.fit(&mut doors, run)?.end;
        self.added = add_ons.end(&net, self.at, run)?;
        let net = add_ons.folded(net)?;
        let view = View::plain(&net.store);
        let form = self.config.method.form;
        let outputs =
            |set: &&DeviceSet| no_grad(|| form.output(&logits(&*net.model, &view, set)).to_kind(Kind::Double));
        let parts = Parts { train: &self.data.train, val: self.data.val.as_ref(), test: &self.data.test };
        let outputs = parts.map(outputs);
        drop(view);
        Ok(Trained { net, outputs })
    }

    fn measure(
        &self,
        chain: &str,
        tau: usize,
        alpha: Option<f64>,
        trained: &Trained,
        run: &mut Run,
    ) -> Result<StepRow> {
        let row = StepRow::new(chain, Some(tau), alpha, &trained.outputs, &self.targets);
        row.write(self.at, run)?;
        Ok(row)
    }

    fn constant(
        &mut self,
        prefix: &str,
        alpha: f64,
        first: &Trained,
        labels: &StepRow,
        run: &mut Run,
    ) -> Result<Chain> {
        let alphas = vec![alpha; self.config.method.steps];
        self.chain(&format!("alpha {alpha}"), prefix, &alphas, first, labels, run)
    }

    /// The chain with the given weight of each step; `prefix` tells its phases from those of other chains.
    fn chain(
        &mut self,
        name: &str,
        prefix: &str,
        alphas: &[f64],
        first: &Trained,
        labels: &StepRow,
        run: &mut Run,
    ) -> Result<Chain> {
        let mut rows = vec![labels.clone()];
        let mut before: Option<Trained> = None;
        for (tau, &alpha) in (1..).zip(alphas) {
            let teacher = &before.as_ref().unwrap_or(first).net;
            let student = self.train(tau, &format!("{prefix}step{tau}"), Some(Teaching { teacher, alpha }), run)?;
            rows.push(self.measure(name, tau, Some(alpha), &student, run)?);
            before = Some(student);
        }
        Ok(Chain { name: name.to_owned(), rows, limit: None })
    }

    /// The chain whose weights come from the kernel's closed form, with step 0 in the place of f^(1) and a student of the
    /// teacher alone as g: networks are not affine in alpha, so this is an estimate.
    fn estimated(&mut self, first: &Trained, labels: &StepRow, run: &mut Run) -> Result<Chain> {
        let mut rows = vec![labels.clone()];
        let mut before: Option<Trained> = None;
        for tau in 1..=self.config.method.steps {
            let teacher = &before.as_ref().unwrap_or(first).net;
            let probe = self.train(tau, &format!("step{tau}a"), Some(Teaching { teacher, alpha: 0.0 }), run)?;
            self.measure("probe", tau, Some(0.0), &probe, run)?;
            let alpha = self.estimate(first, &probe)?;
            // The weight 0 asks for the very student that is there already.
            let student = if alpha == 0.0 {
                probe
            } else {
                self.train(tau, &format!("step{tau}"), Some(Teaching { teacher, alpha }), run)?
            };
            rows.push(self.measure("optimal", tau, Some(alpha), &student, run)?);
            before = Some(student);
        }
        Ok(Chain { name: "optimal".to_owned(), rows, limit: None })
    }

    /// alpha-hat on the validation set.
    fn estimate(&self, first: &Trained, probe: &Trained) -> Result<f64> {
        let parts = (&self.targets.y.val, &first.outputs.val, &probe.outputs.val);
        let (Some(target), Some(first), Some(probe)) = parts else {
            anyhow::bail!("method.alpha = \"optimal\" needs validation data: data.val = 0 should be larger");
        };
        let best = OptimalAlpha::new(target, first, probe);
        Ok(if self.config.method.clip { best.alpha_clipped } else { best.alpha })
    }
}

/// The loss of a step.
struct Distill<'a> {
    method: &'a Method,
    teaching: Option<Teaching<'a>>,
    weights: Vec<ParamId>,
}

impl Doors for Distill<'_> {
    fn name(&self) -> &'static str {
        "self-distill"
    }

    fn owns_loss(&self) -> bool {
        true
    }

    fn terms(&self) -> Vec<&'static str> {
        if self.method.reg > 0.0 { vec!["data", "penalty"] } else { vec!["data"] }
    }

    /// alpha MSE(s, onehot) + (1-alpha) MSE(s, t) + reg R(w); the teacher sees the same (augmented) batch.
    fn loss(&mut self, _step: &Step, pass: &Pass, terms: &mut Terms) -> Result<()> {
        let Distill { method, teaching, weights } = self;
        let teacher = teaching.map(|teaching| pass.evaluate(teaching.teacher)).transpose().context("teacher")?;
        let alpha = teaching.map_or(1.0, |teaching| teaching.alpha);
        terms.add("data", data_loss(pass.logits, &pass.batch.y, teacher.as_ref(), alpha, method.form));
        if method.reg > 0.0 {
            let weights: Vec<Tensor> = weights.iter().map(|&id| pass.view.get(id).shallow_clone()).collect();
            terms.add("penalty", penalty(&weights, method.reg_form) * method.reg);
        }
        Ok(())
    }
}
