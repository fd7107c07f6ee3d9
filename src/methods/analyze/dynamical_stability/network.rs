//! Probes of a network: the sharpness of its minimum beside what its rate and batch size can hold.

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;
use std::path::Path;
use std::time::Instant;
use tch::Device;

use super::config::{Config, Method};
use super::measure::{CROSS_ENTROPY, SQUARED};
use super::pictures;
use super::run::NOT_SMALL;
use crate::data::DeviceSplits;
use crate::metrics::curvature::{Loss, NetworkCurvature, hutchinson, lanczos, rademacher};
use crate::models::{Network, checkpoint};
use crate::native::synchronize;
use crate::params::{View, file};
use crate::rng;
use crate::run::{Run, Stamp, Summary};
use crate::train::{Doors, Pass, Step, Supervised, Terms, build_network, evaluate, load_data, load_weights};

/// A row of sharpness.csv: one estimator.
#[derive(Serialize)]
struct EstimateRow {
    estimator: &'static str,
    matrix: String,
    convention: &'static str,
    eta: f64,
    batch: usize,
    /// Mean over the set.
    loss: f64,
    trace: Option<f64>,
    trace_se: Option<f64>,
    /// ||A||_F; its error is that of the square divided by 2 ||A||_F.
    frob: Option<f64>,
    frob_se: Option<f64>,
    top: Option<f64>,
    bottom: Option<f64>,
    /// 2/eta.
    top_bound: f64,
    /// 2 B C/eta for C outputs: each example's part of G then has rank C.
    trace_bound: f64,
}

pub fn run(config: &Config, run: &mut Run) -> Result<Summary> {
    let method = &config.method;
    let data = load_data(run, &config.data)?;
    let (net, at) = match &method.weights {
        Some(path) => (load(path, config, &data, run)?, Stamp::default()),
        None => {
            let net = build_network(run, &config.model, &data)?;
            let end = train(config, &net, &data, run)?;
            (net, end)
        }
    };
    let (loss, matrix, chunk) = (method.loss, method.matrix, method.chunk);
    let curvature = NetworkCurvature { net: &net, set: &data.train, loss, matrix, chunk };
    let mut summary = probe(config, &curvature, at, run)?;
    let view = View::plain(&net.store);
    summary.insert("accuracy".into(), json!(evaluate(&*net.model, &view, &data.test).accuracy));
    summary.insert("train_accuracy".into(), json!(evaluate(&*net.model, &view, &data.train).accuracy));
    summary.insert("parameters".into(), json!(curvature.dimension()));
    Ok(summary)
}

/// The network of a checkpoint: as the file describes it, else as `[model]` does.
fn load(path: &Path, config: &Config, data: &DeviceSplits, run: &Run) -> Result<Network> {
    if !file::read(path)?.metadata.contains_key("arch") {
        let net = build_network(run, &config.model, data)?;
        load_weights(&net, path)?;
        return Ok(net);
    }
    let net = checkpoint::load(path, run.device)?;
    let (shape, classes) = (data.train.sample_shape(), data.train.classes().len() as i64);
    net.arch
        .clone()
        .fit_data(shape, classes)
        .with_context(|| format!("{} and the set {} do not go together", path.display(), config.data.name))?;
    Ok(net)
}

/// Ordinary training, on the loss that is measured.
fn train(config: &Config, net: &Network, data: &DeviceSplits, run: &mut Run) -> Result<Stamp> {
    let start = Stamp::default();
    let phase = Supervised { phase: "train", net, data, config: &config.train, groups: None, start };
    let mut squared = SquaredLoss;
    let mut doors: Vec<&mut dyn Doors> = match config.method.loss {
        Loss::Squared => vec![&mut squared],
        Loss::CrossEntropy => Vec::new(),
    };
    let end = phase.fit(&mut doors, run)?.end;
    pictures::training(run)?;
    Ok(end)
}

/// 1/(2B) sum |f - y|^2 with one-hot y in place of the cross-entropy.
struct SquaredLoss;

impl Doors for SquaredLoss {
    fn name(&self) -> &'static str {
        "squared-loss"
    }

    fn terms(&self) -> Vec<&'static str> {
        vec!["squared"]
    }

    fn owns_loss(&self) -> bool {
        true
    }

    fn loss(&mut self, _step: &Step, pass: &Pass, terms: &mut Terms) -> Result<()> {
        let loss = Loss::Squared.sum(pass.logits, &pass.batch.y) / pass.batch.y.size()[0] as f64;
        terms.add("squared", loss);
        Ok(())
    }
}

fn probe(config: &Config, curvature: &NetworkCurvature, at: Stamp, run: &mut Run) -> Result<Summary> {
    let method = &config.method;
    let (p, device) = (curvature.dimension(), run.device);
    let loss = curvature.value();
    anyhow::ensure!(loss.is_finite(), "the network's loss on the set is {loss}: there is nothing to measure");
    announce(method, loss, run);
    let (eta, batch) = (config.train.optimizer.lr, config.train.batch);
    let classes = curvature.set.classes().len();
    let row = |estimator, matrix: String| EstimateRow {
        estimator,
        matrix,
        convention: if method.loss == Loss::Squared { SQUARED } else { CROSS_ENTROPY },
        eta,
        batch,
        loss,
        trace: None,
        trace_se: None,
        frob: None,
        frob_se: None,
        top: None,
        bottom: None,
        top_bound: 2.0 / eta,
        trace_bound: 2.0 * (batch * classes) as f64 / eta,
    };
    let matrix = format!("{:?}", method.matrix).to_lowercase();
    let mut summary = Summary::new();
    summary.insert("train_loss".into(), json!(loss));
    if method.loss == Loss::Squared {
        // Mean of e^2 over examples and outputs: what torch's MSE shows.
        summary.insert("train_mse".into(), json!(2.0 * loss / classes as f64));
    }

    run.progress.start("probes", 0, method.probes as u64 + method.lanczos as u64);
    let mut done = 0;
    let mut product = |v: &tch::Tensor| {
        if let Some(signal) = run.signalled() {
            return Err(signal.into());
        }
        done += 1;
        run.progress.step(done);
        curvature.product(v)
    };
    let probes = rademacher(method.probes, p, rng::mix(run.config.header.seed, "probes"), device);
    let found = hutchinson(&mut product, &probes)?;
    let start = rademacher(1, p, rng::mix(run.config.header.seed, "lanczos"), device).get(0);
    let spectrum = lanczos(&mut product, &start, method.lanczos)?;

    let frob = found.frob2.sqrt();
    let frob_se = if frob > 0.0 { found.frob2_se / (2.0 * frob) } else { 0.0 };
    let (top, bottom) = (spectrum.ritz[0], spectrum.ritz[spectrum.ritz.len() - 1]);
    let hutchinson_row = EstimateRow {
        trace: Some(found.trace),
        trace_se: Some(found.trace_se),
        frob: Some(frob),
        frob_se: Some(frob_se),
        ..row("hutchinson", matrix.clone())
    };
    run.row("sharpness", at, &hutchinson_row)?;
    let lanczos_row = EstimateRow { top: Some(top), bottom: Some(bottom), ..row("lanczos", matrix) };
    run.row("sharpness", at, &lanczos_row)?;
    for (name, value) in [
        ("trace", found.trace),
        ("trace_se", found.trace_se),
        ("frob", frob),
        ("frob_se", frob_se),
        ("top", top),
        ("bottom", bottom),
        ("trace_over_bound", found.trace / lanczos_row.trace_bound),
        ("top_over_bound", top / lanczos_row.top_bound),
    ] {
        summary.insert(name.into(), json!(value));
    }
    if method.exact {
        let rows = curvature.rows()?;
        let n = curvature.set.len() as f64;
        // The Gram matrix has the same non-zero spectrum; its products are cheaper than all its eigenvalues.
        let gram = rows.matmul(&rows.tr()) / n;
        let trace = gram.trace().double_value(&[]);
        let start = rademacher(1, gram.size()[0], rng::mix(run.seed(), "gram"), device).get(0);
        let top = lanczos(|v| Ok(gram.mv(v)), &start, method.lanczos)?.ritz[0];
        let exact = EstimateRow {
            trace: Some(trace),
            frob: Some(gram.norm().double_value(&[])),
            top: Some(top),
            ..row("exact", "gn".to_owned())
        };
        run.row("sharpness", at, &exact)?;
        summary.insert("trace_exact".into(), json!(trace));
        summary.insert("frob_exact".into(), json!(exact.frob));
        summary.insert("top_exact".into(), json!(top));
        summary.insert("trace_gap_se".into(), json!((found.trace - trace).abs() / found.trace_se));
    }
    summary.insert("product_over_gradient".into(), json!(relative_cost(curvature, &start)?));
    pictures::probes(&found, &spectrum, run)?;
    Ok(summary)
}

fn announce(method: &Method, loss: f64, run: &mut Run) {
    if method.loss == Loss::Squared && loss > NOT_SMALL {
        run.progress
            .warn(&format!("the squared loss is {loss:.2}: G and H differ there, and the bounds are about minima"));
    }
    if method.loss == Loss::CrossEntropy {
        run.progress.say("cross-entropy: the bounds 2/eta and 2 B C/eta are local and heuristic");
    }
}

/// Time of a product over that of a gradient, both over the whole set.
fn relative_cost(curvature: &NetworkCurvature, v: &tch::Tensor) -> Result<f64> {
    let device: Device = v.device();
    let time = |work: &dyn Fn() -> Result<tch::Tensor>| -> Result<f64> {
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            synchronize(device)?;
            let begun = Instant::now();
            let _ = work()?;
            synchronize(device)?;
            best = best.min(begun.elapsed().as_secs_f64());
        }
        Ok(best)
    };
    Ok(time(&|| curvature.product(v))? / time(&|| curvature.gradient())?)
}
