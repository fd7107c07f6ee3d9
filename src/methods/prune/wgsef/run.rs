//! The run: train with the penalty, keep k groups, cut them out, fine-tune the small network.

use anyhow::{Result, ensure};
use serde_json::json;

use super::build::{Regularized, penalty};
use super::config::{Config, GroupKind, Regularizer};
use super::training::Training;
use crate::data::DeviceSplits;
use crate::methods::prune::freeze::Frozen;
use crate::metrics::sparsity::zero_fractions;
use crate::models::Network;
use crate::params::channels::ChannelGroup;
use crate::params::{ParamId, Role, View};
use crate::pruning::gamma_penalty::GammaPenalty;
use crate::pruning::plan::best;
use crate::pruning::removal::{Plan, Removal, dry_run, final_numbers};
use crate::pruning::scores::{Normalizer, channel_scores};
use crate::report::plot::draw_column;
use crate::run::{Run, Stamp, Summary};
use crate::train::{ParamGroup, Supervised, build_network, evaluate, load_data, load_weights};

pub fn run(config: Config, run: &mut Run) -> Result<Summary> {
    let data = load_data(run, &config.data)?;
    let net = build_network(run, &config.model, &data)?;
    if let Some(path) = &config.method.start {
        load_weights(&net, path)?;
    }
    let groups = net.model.channel_groups(&net.store);
    let regularized = penalty(&net, &groups, &config.method)?;
    let job = Job { config: &config, data: &data, net: &net, groups: &groups, regularized: &regularized };
    if config.method.dry_run {
        return job.plan_only(run);
    }
    // The rival from new weights needs only the shape of the cut network.
    let at = if config.method.from_scratch { Stamp::default() } else { job.train(run)? };
    let mut summary = job.trained(run)?;
    let end = match config.method.groups {
        GroupKind::Channel => job.structured(run, at, &mut summary)?,
        _ => job.masked(run, at, &mut summary)?,
    };
    pictures(run)?;
    summary.insert("steps".into(), json!(end.step));
    Ok(summary)
}

struct Job<'a> {
    config: &'a Config,
    data: &'a DeviceSplits,
    net: &'a Network,
    groups: &'a [ChannelGroup],
    regularized: &'a Regularized,
}

impl Job<'_> {
    fn train(&self, run: &mut Run) -> Result<Stamp> {
        let mut training = Training::new(&self.config.method, &self.regularized.penalty);
        let groups = Some(self.decay_groups());
        let (net, data, config) = (self.net, self.data, &self.config.train);
        let phase = Supervised { phase: "train", net, data, config, groups, start: Stamp::default() };
        let mut slimming = GammaPenalty::slimming(&net.store, self.slimmed(), self.config.method.lambda);
        Ok(phase.fit(&mut [&mut training, &mut slimming], run)?.end)
    }

    /// Network slimming acts on all normalization scales.
    fn slimmed(&self) -> Vec<ParamId> {
        let slimming = self.config.method.regularizer == Regularizer::Slimming;
        let scales = self.net.store.iter().filter(|(_, p)| slimming && p.role == Role::NormScale);
        scales.map(|(id, _)| id).collect()
    }

    /// The envelope decays its own weights (its ridge part); weight decay on top would count twice.
    fn decay_groups(&self) -> Vec<ParamGroup> {
        let regularized: Vec<ParamId> = match self.config.method.regularizer {
            Regularizer::Wgsef | Regularizer::Hspg => self.regularized.penalty.table().params().collect(),
            _ => Vec::new(),
        };
        let (own, other) = self.net.store.trainable().into_iter().partition(|id| regularized.contains(id));
        let group = |ids, weight_decay| ParamGroup { ids, lr_mult: 1.0, weight_decay };
        vec![group(own, 0.0), group(other, self.config.train.optimizer.weight_decay)]
    }

    /// What training came to, before anything is removed.
    fn trained(&self, run: &mut Run) -> Result<Summary> {
        let method = &self.config.method;
        let nonzero: usize =
            self.regularized.penalty.state(|id| self.net.store.get(id)).iter().map(|s| s.nonzero_groups).sum();
        let k: i64 = self.regularized.penalty.layers().map(|l| l.k).sum();
        let mut summary = Summary::new();
        if !method.from_scratch {
            let trained = evaluate(&*self.net.model, &View::plain(&self.net.store), &self.data.test);
            summary.insert("accuracy_trained".into(), json!(trained.accuracy));
            summary.insert("loss_trained".into(), json!(trained.loss));
            summary.insert("nonzero_groups".into(), json!(nonzero));
            summary.insert("nonzero_over_k".into(), json!(nonzero as f64 / k as f64));
            if matches!(method.regularizer, Regularizer::Wgsef | Regularizer::Hspg) && nonzero as i64 > k {
                run.progress.warn(&format!(
                    "{nonzero} groups are non-zero after training, k = {k}: lambda = {} is too small to reach k by itself, and the projection costs accuracy",
                    method.lambda
                ));
            }
        }
        summary.insert("k".into(), json!(k));
        Ok(summary)
    }

    /// Which channels stay; groups that are not regularized stay whole.
    fn plan(&self, run: &Run) -> Result<Plan> {
        let (groups, penalty) = (self.groups, &self.regularized.penalty);
        let mut keep: Vec<Vec<bool>> = groups.iter().map(|g| vec![true; g.channels]).collect();
        let mut scores: Vec<Option<Vec<f64>>> = groups.iter().map(|_| None).collect();
        let largest = self.split(penalty.kept(|id| self.net.store.get(id)).concat());
        let norms = self.split(penalty.norms(|id| self.net.store.get(id)));
        for (layer, &index) in self.regularized.channels.iter().enumerate() {
            let group = &groups[index];
            (keep[index], scores[index]) = match self.config.method.selection {
                None => (largest[layer].clone(), Some(norms[layer].clone())),
                Some(criterion) => {
                    let ranked = channel_scores(&self.net.store, group, criterion, Normalizer::None, run.seed())?;
                    let k = self.config.method.kept(&group.name, group.channels)? as usize;
                    (best(&ranked, k), Some(ranked))
                }
            };
        }
        Ok(Plan { keep, scores, reason: "score" })
    }

    /// One value a regularized group, cut into the pieces of the channel groups.
    fn split<T: Clone>(&self, flat: Vec<T>) -> Vec<Vec<T>> {
        let mut rest = flat.as_slice();
        let piece = |&index: &usize| {
            let (piece, left) = rest.split_at(self.groups[index].channels);
            rest = left;
            piece.to_vec()
        };
        self.regularized.channels.iter().map(piece).collect()
    }

    /// Cuts whole channels out; the rest of the run goes on with the small network.
    fn structured(&self, run: &mut Run, at: Stamp, summary: &mut Summary) -> Result<Stamp> {
        let plan = self.plan(run)?;
        let from_scratch = self.config.method.from_scratch;
        let mut training = self.config.finetune.clone();
        if from_scratch {
            // New weights get the whole budget.
            training = self.config.train.clone();
            training.epochs += self.config.finetune.epochs;
            training.steps += self.config.finetune.steps;
        }
        let latency_runs = self.config.method.latency_runs;
        let (net, data) = (self.net, self.data);
        Removal { net, data, plan: &plan, training: &training, from_scratch, latency_runs }.run(run, at, summary)
    }

    /// Groups that are not whole channels cannot be cut out: zero them and keep them zero while fine-tuning.
    fn masked(&self, run: &mut Run, at: Stamp, summary: &mut Summary) -> Result<Stamp> {
        let store = &self.net.store;
        self.regularized.penalty.project(|id| store.get(id));
        let pruned = evaluate(&*self.net.model, &View::plain(store), &self.data.test);
        summary.insert("accuracy_pruned".into(), json!(pruned.accuracy));
        let ids: Vec<ParamId> = self.regularized.penalty.table().params().collect();
        let mut frozen = Frozen::zeros_of(store, &ids);
        let (net, data, config) = (self.net, self.data, &self.config.finetune);
        let phase = Supervised { phase: "finetune", net, data, config, groups: None, start: at };
        let end = phase.fit(&mut [&mut frozen], run)?.end;
        final_numbers(self.net, self.data, summary);
        let weight =
            |name: &str| store.id(name).filter(|id| ids.contains(id)).map_or(0.0, |id| store.get(id).numel() as f64);
        let (zeros, all) = zero_fractions(&View::plain(store))
            .iter()
            .fold((0.0, 0.0), |(zeros, all), z| (zeros + z.zeros * weight(&z.tensor), all + weight(&z.tensor)));
        summary.insert("sparsity".into(), json!(zeros / all));
        Ok(end)
    }

    /// `method.dry_run`: the plan of the weights as they are, nothing trained.
    fn plan_only(&self, run: &mut Run) -> Result<Summary> {
        let channels = self.config.method.groups == GroupKind::Channel;
        ensure!(channels, "method.dry_run plans whole channels: method.groups should be channel");
        dry_run(run, self.net, &self.plan(run)?, self.data.test.sample_shape())
    }
}

/// Accuracy, loss, number of groups and penalty over the epochs.
fn pictures(run: &Run) -> Result<()> {
    draw_column(run, "accuracy", "eval", "test_accuracy", None)?;
    draw_column(run, "loss", "train", "loss", None)?;
    draw_column(run, "groups", "groups", "nonzero_groups", Some(("layer", "all")))?;
    draw_column(run, "envelope", "groups", "envelope", Some(("layer", "all")))
}
