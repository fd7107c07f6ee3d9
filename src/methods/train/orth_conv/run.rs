//! The run of a classifier: train with the regularizer, measure the layers, attack the network.

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;
use tch::no_grad;

use super::config::{Config, Task};
use super::synthetic;
use super::training::Regularizing;
use crate::data::{DataName, DeviceSplits, Normalize};
use crate::methods::{AddOn, AddOns};
use crate::metrics::attack::L2Attack;
use crate::models::Network;
use crate::params::View;
use crate::report::plot::{Chart, Curve, columns, draw_column, draw_each};
use crate::run::{Run, Stamp, Summary};
use crate::train::{Doors, Supervised, batch_size, build_network, eval_view, evaluate, load_data};

pub fn run(config: Config, run: &mut Run) -> Result<Summary> {
    match config.method.task {
        Task::Synthetic => synthetic::run(&config, run),
        Task::Classify => classify(&config, run),
    }
}

fn classify(config: &Config, run: &mut Run) -> Result<Summary> {
    let data = load_data(run, &config.data)?;
    let mut net = build_network(run, &config.model, &data)?;
    let mut regularizing = Regularizing::new(&config.method, &net)?;
    let mut others = AddOns::attach(run, &mut net, &config.train.optimizer)?;
    warn(config, run);
    let mut summary = regularizing.begin(&net, Stamp::default(), run)?;
    others.begin(&net, Stamp::default(), run)?;
    let phase = Supervised {
        phase: "train",
        net: &net,
        data: &data,
        config: &config.train,
        groups: Some(regularizing.regroup(others.groups(&net))),
        start: Stamp::default(),
    };
    let mut doors: Vec<&mut dyn Doors> = vec![&mut regularizing];
    doors.extend(others.doors());
    let end = phase.fit(&mut doors, run)?.end;
    let view = no_grad(|| eval_view(&net.store, &doors));
    drop(doors);
    let test = evaluate(&*net.model, &view, &data.test);
    summary.insert("accuracy".into(), json!(test.accuracy));
    summary.insert("loss".into(), json!(test.loss));
    summary.extend(regularizing.numbers(&view)?);
    attack(config, &net, &view, &data, end, run, &mut summary)?;
    pictures(run)?;
    summary.extend(others.end(&net, end, run)?);
    summary.insert("steps".into(), json!(end.step));
    Ok(summary)
}

fn warn(config: &Config, run: &mut Run) {
    let pixels = config.data.name == DataName::Digits || config.data.normalize == Normalize::Unit;
    if !config.method.attack.eps.is_empty() && !pixels {
        run.progress.warn(
            "method.attack.eps are in units of the normalized input; data.normalize = \"unit\" makes them those of pixel values in [0, 1]",
        );
    }
}

/// A row of attack.csv.
#[derive(Serialize)]
struct AttackRow {
    eps: f64,
    accuracy: f64,
}

/// Accuracy under attack, for each radius, as `pgd.<radius>`.
fn attack(
    config: &Config,
    net: &Network,
    view: &View,
    data: &DeviceSplits,
    at: Stamp,
    run: &mut Run,
    summary: &mut Summary,
) -> Result<()> {
    let attack = &config.method.attack;
    for &radius in &attack.eps {
        let l2 = L2Attack { radius, steps: attack.steps, step: attack.step };
        // The gradient keeps a layer's activations: smaller batches than an evaluation's.
        let batch = batch_size(&data.test).min(512);
        let accuracy = l2.accuracy(&*net.model, view, &data.test, batch).context("attack")?;
        run.row("attack", at, &AttackRow { eps: radius, accuracy })?;
        summary.insert(format!("pgd.{}", (radius * 1e4).round() / 1e4), json!(accuracy));
    }
    Ok(())
}

/// Accuracy and losses over the epochs, the layers' singular values, and what the attack leaves.
fn pictures(run: &Run) -> Result<()> {
    draw_column(run, "accuracy", "eval", "test_accuracy", None)?;
    draw_column(run, "loss", "train", "ce", None)?;
    for column in ["lorth", "sigma_max", "sigma_min"] {
        draw_each(run, column, "spectrum", column, "layer")?;
    }
    if !run.folder().join("attack.csv").exists() {
        return Ok(());
    }
    let clean = columns(run.folder(), "eval", "epoch", "test_accuracy", None)?;
    let clean = clean.last().map(|&(_, accuracy)| (0.0, accuracy));
    let attacked = columns(run.folder(), "attack", "eps", "accuracy", None)?;
    let points = clean.into_iter().chain(attacked).collect();
    let chart = Chart {
        title: "accuracy under attack",
        x: "L2 radius",
        y: "accuracy",
        curves: &[Curve { name: "accuracy".into(), points }],
        dots: true,
        marks: &[],
    };
    run.write("plots/attack.svg", chart.svg()?.as_bytes())
}
