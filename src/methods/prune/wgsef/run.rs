//! The run: train with the penalty, keep k groups, cut them out, fine-tune the small network.

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};

use super::build::{Regularized, penalty};
use super::config::{Config, GroupKind, Regularizer};
use super::training::Training;
use crate::data::DeviceSplits;
use crate::methods::prune::freeze::Frozen;
use crate::metrics::{cost::cost, sparsity::zero_fractions};
use crate::models::Network;
use crate::params::View;
use crate::params::channels::ChannelGroup;
use crate::pruning::plan::best;
use crate::pruning::report;
use crate::pruning::scores::{Normalizer, channel_scores};
use crate::report::plot::draw_column;
use crate::run::{Run, Stamp, Summary};
use crate::train::{Doors, Fit, ParamGroup, Shuffled, TrainConfig, build_network, evaluate, fit, load_data, load_weights};

pub fn run(config: Config, run: &mut Run) -> Result<Summary> {
    let data = load_data(run, &config.data)?;
    let net = build_network(run, &config.model, &data)?;
    if let Some(path) = &config.method.start {
        load_weights(&net, path)?;
    }
    let groups = net.model.channel_groups(&net.store);
    let regularized = penalty(&net, &groups, &config.method)?;
    if config.method.dry_run {
        return plan_only(&config, run, &net, &groups, &regularized, &data);
    }

    let mut at = Stamp { step: 0, epoch: 0.0 };
    if !config.method.from_scratch {
        at = train(&config, run, &net, &regularized, &data, at)?;
    }
    let mut summary = Summary::new();
    let trained = evaluate(&*net.model, &View::plain(&net.store), &data.test);
    let states = regularized.penalty.state(|id| net.store.get(id));
    let (nonzero, k) = (states.iter().map(|s| s.nonzero_groups).sum::<usize>(), regularized.penalty.layers().map(|l| l.k).sum::<i64>());
    summary.insert("accuracy_trained".into(), json!(trained.accuracy));
    summary.insert("loss_trained".into(), json!(trained.loss));
    summary.insert("k".into(), json!(k));
    summary.insert("nonzero_groups".into(), json!(nonzero));
    summary.insert("nonzero_over_k".into(), json!(nonzero as f64 / k as f64));
    let penalized = matches!(config.method.regularizer, Regularizer::Wgsef | Regularizer::Hspg);
    if penalized && nonzero as i64 > k {
        let lambda = config.method.lambda;
        run.progress.warn(&format!("{nonzero} groups are non-zero after training, k = {k}: lambda = {lambda} is too small to reach k by itself, and the projection costs accuracy"));
    }

    let finished = if config.method.groups == GroupKind::Channel {
        structured(&config, run, &net, &groups, &regularized, &data, at, &mut summary)?
    } else {
        masked(&config, run, net, &regularized, &data, at, &mut summary)?
    };
    pictures(run)?;
    summary.insert("steps".into(), json!(finished.step));
    Ok(summary)
}

fn train(config: &Config, run: &mut Run, net: &Network, regularized: &Regularized, data: &DeviceSplits, start: Stamp) -> Result<Stamp> {
    let mut training = Training::new(&config.method, &regularized.penalty);
    let groups = decay_groups(config, net, regularized);
    Ok(phase(run, "train", &config.train, net, data, Some(groups), start, &mut [&mut training])?)
}

/// The envelope decays its own weights (its ridge part); weight decay on top would count twice.
fn decay_groups(config: &Config, net: &Network, regularized: &Regularized) -> Vec<ParamGroup> {
    let own = matches!(config.method.regularizer, Regularizer::Wgsef | Regularizer::Hspg);
    let inside = |id: &_| own && regularized.penalty.table().params().any(|p| p == *id);
    let (regular, other) = net.store.trainable().into_iter().partition(inside);
    let group = |ids, weight_decay| ParamGroup { ids, lr_mult: 1.0, weight_decay };
    vec![group(regular, 0.0), group(other, config.train.optimizer.weight_decay)]
}

fn phase(
    run: &mut Run,
    name: &str,
    config: &TrainConfig,
    net: &Network,
    data: &DeviceSplits,
    groups: Option<Vec<ParamGroup>>,
    start: Stamp,
    doors: &mut [&mut dyn Doors],
) -> Result<Stamp> {
    let mut source = Shuffled::new(&data.train, config.batch, config.drop_last, run.seed());
    let mut sets = vec![("test", &data.test)];
    sets.extend(data.val.as_ref().map(|val| ("val", val)));
    let job = Fit { phase: name, net, source: &mut source, evaluate: &sets, config, groups, start };
    Ok(fit(job, doors, run)?.end)
}

/// Which channels stay: flags and scores for every channel group; groups that are not regularized stay whole.
fn plan(config: &Config, run: &Run, net: &Network, groups: &[ChannelGroup], regularized: &Regularized) -> Result<(Vec<Vec<bool>>, Vec<Option<Vec<f64>>>)> {
    let mut keep: Vec<Vec<bool>> = groups.iter().map(|g| vec![true; g.channels]).collect();
    let mut scores: Vec<Option<Vec<f64>>> = groups.iter().map(|_| None).collect();
    let chosen = regularized.penalty.kept(|id| net.store.get(id)).concat();
    let chosen = split(chosen, groups, regularized);
    let norms = split(regularized.penalty.norms(|id| net.store.get(id)), groups, regularized);
    for (layer, &index) in regularized.channels.iter().enumerate() {
        let group = &groups[index];
        (keep[index], scores[index]) = match config.method.selection {
            None => (chosen[layer].clone(), Some(norms[layer].clone())),
            Some(criterion) => {
                let ranked = channel_scores(&net.store, group, criterion, Normalizer::None, run.seed())?;
                let k = config.method.kept(&group.name, group.channels)? as usize;
                (best(&ranked, k), Some(ranked))
            }
        };
    }
    Ok((keep, scores))
}

/// One value a group, cut into the pieces of the channel groups.
fn split<T: Clone>(flat: Vec<T>, groups: &[ChannelGroup], regularized: &Regularized) -> Vec<Vec<T>> {
    let mut rest = flat.as_slice();
    let piece = |&index: &usize| {
        let (piece, left) = rest.split_at(groups[index].channels);
        rest = left;
        piece.to_vec()
    };
    regularized.channels.iter().map(piece).collect()
}

/// Cuts whole channels out; the rest of the run goes on with the small network.
fn structured(
    config: &Config,
    run: &mut Run,
    net: &Network,
    groups: &[ChannelGroup],
    regularized: &Regularized,
    data: &DeviceSplits,
    at: Stamp,
    summary: &mut Summary,
) -> Result<Stamp> {
    let (keep, scores) = plan(config, run, net, groups, regularized)?;
    report::write_keep(run, at, groups, &keep, &scores, "score")?;
    let (cut, numbers) = report::remove(run, at, net, &keep, &data.test)?;
    summary.extend(numbers);
    let (small, settings) = if config.method.from_scratch {
        // The honest rival: the same small network, new weights, the whole budget.
        let mut settings = config.train.clone();
        settings.epochs += config.finetune.epochs;
        (Network::build(cut.arch.clone(), run.seed(), run.device)?, settings)
    } else {
        (cut, config.finetune.clone())
    };
    let pruned = evaluate(&*small.model, &View::plain(&small.store), &data.test);
    summary.insert("accuracy_pruned".into(), json!(pruned.accuracy));
    run.progress.say(&format!(
        "kept {} of {} channels: accuracy {:.2}% trained, {:.2}% after cutting",
        keep.iter().flatten().filter(|&&k| k).count(),
        keep.iter().flatten().count(),
        100.0 * summary["accuracy_trained"].as_f64().unwrap_or(f64::NAN),
        100.0 * pruned.accuracy
    ));
    let end = phase(run, "finetune", &settings, &small, data, None, at, &mut [])?;
    let last = evaluate(&*small.model, &View::plain(&small.store), &data.test);
    summary.insert("accuracy".into(), json!(last.accuracy));
    summary.insert("loss".into(), json!(last.loss));
    summary.extend(report::time(net, &small, &data.test, config.method.latency_runs)?);
    Ok(end)
}

/// Groups that are not whole channels cannot be cut out: zero them and keep them zero while fine-tuning.
fn masked(config: &Config, run: &mut Run, net: Network, regularized: &Regularized, data: &DeviceSplits, at: Stamp, summary: &mut Summary) -> Result<Stamp> {
    regularized.penalty.project(|id| net.store.get(id));
    let pruned = evaluate(&*net.model, &View::plain(&net.store), &data.test);
    summary.insert("accuracy_pruned".into(), json!(pruned.accuracy));
    let ids: Vec<_> = regularized.penalty.table().params().collect();
    let mut frozen = Frozen::zeros_of(&net.store, &ids);
    let end = phase(run, "finetune", &config.finetune, &net, data, None, at, &mut [&mut frozen])?;
    let view = View::plain(&net.store);
    let last = evaluate(&*net.model, &view, &data.test);
    summary.insert("accuracy".into(), json!(last.accuracy));
    summary.insert("loss".into(), json!(last.loss));
    let values: f64 = ids.iter().map(|&id| net.store.get(id).numel() as f64).sum();
    let zero = |name: &str, zeros: f64| net.store.id(name).filter(|id| ids.contains(id)).map_or(0.0, |id| zeros * net.store.get(id).numel() as f64);
    let zeros: f64 = zero_fractions(&view).iter().map(|z| zero(&z.tensor, z.zeros)).sum();
    summary.insert("sparsity".into(), json!(zeros / values));
    Ok(end)
}

/// `method.dry_run`: the plan of the weights as they are, nothing trained.
fn plan_only(config: &Config, run: &mut Run, net: &Network, groups: &[ChannelGroup], regularized: &Regularized, data: &DeviceSplits) -> Result<Summary> {
    ensure!(config.method.groups == GroupKind::Channel, "method.dry_run plans whole channels: method.groups should be channel");
    let at = Stamp { step: 0, epoch: 0.0 };
    let (keep, scores) = plan(config, run, net, groups, regularized)?;
    report::write_keep(run, at, groups, &keep, &scores, "dry run")?;
    let small = crate::pruning::cut::cut(&*net.model, &net.store, &keep)?;
    let costs = [net, &small].map(|n| cost(&*n.model, &n.store, data.test.sample_shape()));
    for (group, keep) in groups.iter().zip(&keep) {
        run.progress.say(&format!("{}: {} of {} channels stay", group.name, keep.iter().filter(|&&k| k).count(), keep.len()));
    }
    let mut summary = Map::new();
    for (name, cost) in ["_before", ""].iter().zip(&costs) {
        summary.insert(format!("macs{name}"), json!(cost.macs()));
        summary.insert(format!("params{name}"), json!(cost.params()));
    }
    summary.insert("dry_run".into(), Value::Bool(true));
    Ok(summary)
}

/// Accuracy, loss, number of groups and penalty over the epochs.
fn pictures(run: &Run) -> Result<()> {
    draw_column(run, "accuracy", "eval", "test_accuracy", None)?;
    draw_column(run, "loss", "train", "loss", None)?;
    draw_column(run, "groups", "groups", "nonzero_groups", Some(("layer", "all")))?;
    draw_column(run, "envelope", "groups", "envelope", Some(("layer", "all")))
}
