//! The run: put noise on the labels, train, say what was memorized and what was found.

use anyhow::{Context, Result};
use serde_json::json;
use std::path::PathBuf;
use tch::{Kind, Tensor};

use super::config::{Config, Variant};
use super::labels::{Corrupted, corrupt};
use super::measure::Measure;
use super::memory::TargetMemory;
use super::peers::{Peers, Turns};
use super::robust::RobustLoss;
use super::training::{CoTeachingTraining, ElrTraining, PlusTraining, RobustTraining};
use crate::data::noise::NoiseKind;
use crate::methods::AddOns;
use crate::metrics::classification::Classification;
use crate::models::{Arch, Network};
use crate::report::plot::{Chart, Curve, columns};
use crate::rng;
use crate::run::{Run, Stamp, Summary};
use crate::train::{
    Doors, Fit, Shuffled, Source, Supervised, TrainConfig, build_network, eval_view, evaluated, fit, load_data,
    load_pretrained, logits,
};

pub fn run(config: Config, run: &mut Run) -> Result<Summary> {
    let data = load_data(run, &config.data)?;
    let corrupted = corrupt(run, data, &config.noise, config.method.validation, config.data.split_seed)?;
    let job = Job { config: &config, corrupted: &corrupted };
    job.warn(run);
    let mut summary = match config.method.variant {
        Variant::Ce => job.alone(run, &mut [], &[], Stamp::default())?,
        Variant::Elr => job.elr(run)?,
        Variant::ElrPlus => job.elr_plus(run)?,
        Variant::CoTeaching => job.coteaching(run)?,
        _ => job.robust(run)?,
    };
    summary.insert("noise_rate".into(), json!(config.noise.rate));
    summary.insert("wrong_rate".into(), json!(corrupted.wrong_rate));
    pictures(run)?;
    Ok(summary)
}

struct Job<'a> {
    config: &'a Config,
    corrupted: &'a Corrupted,
}

impl Job<'_> {
    fn warn(&self, run: &mut Run) {
        let method = &self.config.method;
        if !method.variant.has_memory() {
            return;
        }
        if method.clamp == 0.0 {
            run.progress
                .warn("method.clamp = 0: in float32 1 - <t, p> reaches zero and the loss is no number any more");
        }
        if self.config.noise.kind == NoiseKind::AsymCifar10 && method.lambda >= 3.0 {
            run.progress.warn(&format!(
                "method.lambda = {} is the paper's value for symmetric noise; for asymmetric noise on CIFAR-10 it has lambda = 1, beta = 0.9",
                method.lambda
            ));
        }
    }

    fn memories(&self, count: usize) -> Vec<TargetMemory> {
        let train = &self.corrupted.data.train;
        let memory = |_| TargetMemory::new(train.len() as i64, train.classes().len() as i64, train.device());
        (0..count).map(memory).collect()
    }

    fn elr(&self, run: &mut Run) -> Result<Summary> {
        let memories = self.memories(1);
        let mut training = ElrTraining { elr: self.config.method.elr(), memory: &memories[0] };
        self.alone(run, &mut [&mut training], &memories, Stamp::default())
    }

    fn robust(&self, run: &mut Run) -> Result<Summary> {
        let classes = self.corrupted.data.train.classes().len() as i64;
        let method = &self.config.method;
        let mut start = Stamp::default();
        let mut transition = None;
        if method.variant == Variant::Forward {
            transition = method.transition.matrix(&self.config.noise, classes, run.device)?;
            if transition.is_none() {
                let (estimate, end) = self.estimate_transition(run)?;
                (transition, start) = (Some(estimate), end);
            }
        }
        let loss = method.robust(transition).context("a variant without a loss of its own")?;
        loss.check(classes).context("method")?;
        self.alone(run, &mut [&mut RobustTraining { loss }], &[], start)
    }

    /// T[i] = the prediction for the anchor point of class i, the sample that a net trained with cross-entropy is surest of
    /// (Patrini et al. 2017, eq. 12).
    fn estimate_transition(&self, run: &mut Run) -> Result<(Tensor, Stamp)> {
        let data = &self.corrupted.data;
        let mut net = build_network(run, &self.config.model, data)?;
        self.start(&net, &[String::new()])?;
        let config = TrainConfig { epochs: self.config.method.anchor_epochs, ..self.config.train.clone() };
        let mut add_ons = AddOns::attach(run, &mut net, &config.optimizer)?;
        add_ons.begin(&net, Stamp::default(), run)?;
        let groups = Some(add_ons.groups(&net));
        let phase = Supervised { phase: "anchors", net: &net, data, config: &config, groups, start: Stamp::default() };
        // As a loss of the same name as the next phase's: both phases write the same columns.
        let mut loss = RobustTraining { loss: RobustLoss::Ce };
        let mut doors: Vec<&mut dyn Doors> = vec![&mut loss];
        doors.extend(add_ons.doors());
        let end = phase.fit(&mut doors, run)?.end;
        let view = eval_view(&net.store, &doors);
        let p = logits(&*net.model, &view, &data.train).softmax(-1, Kind::Double);
        let transition = p.index_select(0, &p.argmax(0, false));
        // transition.csv: a row a true class, a column an observed one.
        for (class, row) in Vec::<Vec<f64>>::try_from(&transition)?.iter().enumerate() {
            let observed = row.iter().enumerate().map(|(j, p)| (format!("observed{j}"), json!(p)));
            let row = std::iter::once(("true_class".to_owned(), json!(class))).chain(observed).collect();
            run.append("transition", end, row)?;
        }
        Ok((transition, end))
    }

    /// Fills the nets that stand under the prefixes `parts` with the weights of `method.start`, if there are any.
    fn start(&self, net: &Network, parts: &[String]) -> Result<()> {
        let load = |path: &PathBuf| load_pretrained(net, parts, path).context("method.start");
        self.config.method.start.as_ref().map_or(Ok(()), load)
    }

    /// Trains one network in the usual order.
    fn alone(
        &self,
        run: &mut Run,
        doors: &mut [&mut dyn Doors],
        memories: &[TargetMemory],
        start: Stamp,
    ) -> Result<Summary> {
        let net = build_network(run, &self.config.model, &self.corrupted.data)?;
        self.start(&net, &[String::new()])?;
        let mut source = self.usual_order(run);
        self.train(run, net, &mut source, doors, memories, start)
    }

    fn usual_order(&self, run: &Run) -> Shuffled<'_> {
        let TrainConfig { batch, drop_last, .. } = self.config.train;
        Shuffled::new(&self.corrupted.data.train, batch, drop_last, run.seed())
    }

    fn coteaching(&self, run: &mut Run) -> Result<Summary> {
        let (net, peers) = Peers::build(&self.arch()?, self.config.method.nets(), run.seed(), run.device)?;
        self.start(&net, &peers.parts())?;
        let mut training = CoTeachingTraining::new(self.config.coteaching(), &peers);
        let mut source = self.usual_order(run);
        self.train(run, net, &mut source, &mut [&mut training], &[], Stamp::default())
    }

    fn elr_plus(&self, run: &mut Run) -> Result<Summary> {
        let (config, count, seed) = (&self.config.method, self.config.method.nets(), run.seed());
        let arch = self.arch()?;
        let (net, peers) = Peers::build(&arch, count, seed, run.device)?;
        let (mut averaged, _) = Peers::build(&arch, count, rng::mix(seed, "averaged nets"), run.device)?;
        self.start(&net, &peers.parts())?;
        self.start(&averaged, &peers.parts())?;
        let add_ons = AddOns::attach(run, &mut averaged, &self.config.train.optimizer)?;
        let memories = self.memories(count);
        let mut training = PlusTraining::new(config, peers, averaged.store, add_ons, &memories);
        let TrainConfig { batch, drop_last, .. } = self.config.train;
        let mut source = Turns::new(&self.corrupted.data.train, count, batch, drop_last, seed);
        self.train(run, net, &mut source, &mut [&mut training], &memories, Stamp::default())
    }

    fn arch(&self) -> Result<Arch> {
        let train = &self.corrupted.data.train;
        let mut arch = self.config.model.clone();
        arch.fit_data(train.sample_shape(), train.classes().len() as i64)?;
        Ok(arch)
    }

    fn train(
        &self,
        run: &mut Run,
        mut net: Network,
        source: &mut dyn Source,
        doors: &mut [&mut dyn Doors],
        memories: &[TargetMemory],
        start: Stamp,
    ) -> Result<Summary> {
        let (corrupted, config) = (self.corrupted, &self.config.train);
        let mut measure =
            Measure { corrupted, memories, every: self.config.method.measure_every, epochs: config.epochs };
        let mut add_ons = AddOns::attach(run, &mut net, &config.optimizer)?;
        add_ons.begin(&net, start, run)?;
        let groups = Some(add_ons.groups(&net));
        let mut doors: Vec<&mut dyn Doors> = doors.iter_mut().map(|door| &mut **door as &mut dyn Doors).collect();
        doors.extend(add_ons.doors());
        doors.push(&mut measure);
        let evaluate = &evaluated(&corrupted.data);
        let job = Fit { phase: "train", net: &net, source, evaluate, config, groups, start };
        let outcome = fit(job, &mut doors, run)?;
        let view = eval_view(&net.store, &doors);
        drop(doors);
        let mut summary = measure.finish(run, outcome.end, &*net.model, &view)?;
        let test = &corrupted.data.test;
        let top_k = if test.classes().len() > 5 { &[5][..] } else { &[] };
        let last = Classification::of(&logits(&*net.model, &view, test), test.labels(), top_k)?;
        summary.insert("accuracy".into(), json!(last.accuracy));
        summary.extend(last.top_k.iter().map(|(k, share)| (format!("accuracy_top{k}"), json!(share))));
        summary.insert("loss".into(), json!(last.cross_entropy));
        // The best epoch is chosen with the test labels: no method may claim it, but it shows what was lost since.
        summary.extend(outcome.best.get("test_accuracy").map(|best| ("accuracy_best".into(), json!(best))));
        summary.extend(outcome.best.get("val_accuracy").map(|best| ("accuracy_val_best".into(), json!(best))));
        summary.insert("steps".into(), json!(outcome.end.step));
        summary.extend(add_ons.end(&net, outcome.end, run)?);
        Ok(summary)
    }
}

/// What became of the wrong labels, and test accuracy beside the accuracy on the observed training labels.
fn pictures(run: &Run) -> Result<()> {
    let chart = |file: &str, title: &str, y: &str, curves: &[(&str, &str, &str)]| -> Result<()> {
        let curve = |&(name, table, column): &(&str, &str, &str)| {
            // Not the net that a transition matrix was estimated with: its curve is another's.
            let only = (table != "memorization").then_some(("phase", "train"));
            let points = columns(run.folder(), table, "epoch", column, only)?;
            Ok(Curve { name: name.to_owned(), points })
        };
        let curves = curves.iter().map(curve).collect::<Result<Vec<_>>>()?;
        if curves.iter().all(|curve| curve.points.is_empty()) {
            return Ok(());
        }
        let svg = Chart { title, x: "epoch", y, curves: &curves, dots: false, marks: &[] }.svg()?;
        run.write(&format!("plots/{file}.svg"), svg.as_bytes())
    };
    if !run.folder().join("memorization.csv").exists() {
        return Ok(()); // train.epochs = 0
    }
    let wrong = [
        ("predicted right", "memorization", "wrong_correct"),
        ("memorized", "memorization", "memorized"),
        ("a third class", "memorization", "wrong_other"),
    ];
    chart("wrong_labels", "samples with a wrong label", "share", &wrong)?;
    let clean =
        [("predicted right", "memorization", "clean_correct"), ("predicted wrong", "memorization", "clean_wrong")];
    chart("clean_labels", "samples with a right label", "share", &clean)?;
    let found = [
        ("accuracy", "memorization", "detection_accuracy"),
        ("precision", "memorization", "detection_precision"),
        ("recall", "memorization", "detection_recall"),
    ];
    chart("detection", "finding the wrong labels", "share", &found)?;
    let accuracy = [("test", "eval", "test_accuracy"), ("training, observed labels", "train", "accuracy")];
    chart("accuracy", "accuracy by epoch", "accuracy", &accuracy)?;
    chart("loss", "training loss by epoch", "loss", &[("loss", "train", "loss")])
}
