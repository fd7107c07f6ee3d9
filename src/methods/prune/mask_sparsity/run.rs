//! The run: baseline, mask, training with the masked scales penalized, cut, fine-tune.

use anyhow::Result;
use serde_json::json;

use super::config::{Config, Penalized, PruneBy, Source};
use super::masks::mask_iou;
use super::pictures;
use super::plan::InScope;
use super::watch::Watch;
use crate::data::DeviceSplits;
use crate::models::Network;
use crate::params::{ParamStore, View};
use crate::pruning::cut::macs_of;
use crate::pruning::gamma_penalty::GammaPenalty;
use crate::pruning::removal::{Plan, Removal, dry_run};
use crate::run::{Run, Stamp, Summary};
use crate::train::{Supervised, build_network, evaluate, load_data, load_weights};

pub fn run(config: Config, run: &mut Run) -> Result<Summary> {
    let data = load_data(run, &config.data)?;
    let net = build_network(run, &config.model, &data)?;
    if let Some(path) = &config.method.start {
        load_weights(&net, path)?;
    }
    let scope = InScope::new(&net, config.method.scope)?;
    let job = Job { config: &config, data: &data, net: &net, scope: &scope };
    if config.method.dry_run {
        return dry_run(run, &net, &job.plan(run.seed())?, data.test.sample_shape());
    }
    job.run(run)
}

struct Job<'a> {
    config: &'a Config,
    data: &'a DeviceSplits,
    net: &'a Network,
    scope: &'a InScope,
}

impl Job<'_> {
    fn run(&self, run: &mut Run) -> Result<Summary> {
        let (method, store) = (&self.config.method, &self.net.store);
        let mut summary = Summary::new();
        let mut at = self.baseline(run)?;
        summary.insert("accuracy_baseline".into(), json!(self.accuracy()));
        let baseline = store.deep_clone();
        let mut shrunk = None;
        if self.needs_global() {
            at = self.shrink_all(run, at)?;
            summary.insert("accuracy_global".into(), json!(self.accuracy()));
            shrunk = Some(store.deep_clone());
        }
        let network_of = |source: Source| -> &ParamStore {
            match (source, &shrunk) {
                (Source::Global, Some(shrunk)) => shrunk,
                _ => &baseline,
            }
        };
        store.copy_from(network_of(method.source));
        let mut plan = self.plan(run.seed())?;
        run.write("mask.safetensors", &self.scope.to_file(&plan.keep)?)?;
        let sample = self.data.test.sample_shape();
        summary.insert("macs_planned".into(), json!(macs_of(&*self.net.model, &plan.keep, sample)?));
        match method.penalized {
            Penalized::All => store.copy_from(network_of(Source::Global)),
            Penalized::None => store.copy_from(&baseline),
            Penalized::Masked => {
                store.copy_from(network_of(method.init_from));
                at = self.shrink_masked(run, at, &plan)?;
            }
        }
        summary.insert("accuracy_trained".into(), json!(self.accuracy()));
        summary.extend(self.watch("sparse", Some(&plan.keep)).numbers(store)?);
        self.settle(run, &mut plan)?;
        pictures::after_training(run, self.scope, store, &plan.keep)?;
        let removal = Removal {
            net: self.net,
            data: self.data,
            plan: &plan,
            training: &self.config.finetune,
            from_scratch: method.from_scratch,
            latency_runs: method.latency_runs,
        };
        let end = removal.run(run, at, &mut summary)?;
        pictures::curves(run)?;
        summary.insert("steps".into(), json!(end.step));
        Ok(summary)
    }

    /// The phase `baseline`, unless there are weights to start from.
    fn baseline(&self, run: &mut Run) -> Result<Stamp> {
        let start = Stamp::default();
        if self.config.method.start.is_some() {
            return Ok(start);
        }
        let (net, data, config) = (self.net, self.data, &self.config.train);
        Ok(Supervised { phase: "baseline", net, data, config, groups: None, start }.fit(&mut [], run)?.end)
    }

    /// Whether any part of the run reads the network of the phase `global`.
    fn needs_global(&self) -> bool {
        let method = &self.config.method;
        let starts_there = method.penalized == Penalized::Masked && method.init_from == Source::Global;
        let mask_from_there = method.source == Source::Global && method.mask_file.is_none();
        mask_from_there || starts_there || method.penalized == Penalized::All
    }

    /// The phase `global`: network slimming of all scales in scope.
    fn shrink_all(&self, run: &mut Run, start: Stamp) -> Result<Stamp> {
        let ids = self.scope.layers.iter().map(|layer| layer.gamma).collect();
        let mut penalty = GammaPenalty::slimming(&self.net.store, ids, self.config.method.s);
        let mut watch = self.watch("global", None);
        let (net, data, config) = (self.net, self.data, &self.config.sparse);
        let phase = Supervised { phase: "global", net, data, config, groups: None, start };
        Ok(phase.fit(&mut [&mut penalty, &mut watch], run)?.end)
    }

    /// The phase `sparse`: only the scales of the channels that will go are penalized.
    fn shrink_masked(&self, run: &mut Run, start: Stamp, plan: &Plan) -> Result<Stamp> {
        let method = &self.config.method;
        let masked = self.scope.masked(&plan.keep, self.net.store.device());
        let ids = self.scope.layers.iter().map(|layer| layer.gamma).collect();
        let gradient = |gamma: &tch::Tensor, lr| method.regularizer.gradient(gamma, &masked, method.s, lr);
        let mut penalty = GammaPenalty::new(&self.net.store, ids, gradient);
        let mut watch = self.watch("sparse", Some(&plan.keep));
        let (net, data, config) = (self.net, self.data, &self.config.sparse);
        let phase = Supervised { phase: "sparse", net, data, config, groups: None, start };
        Ok(phase.fit(&mut [&mut penalty, &mut watch], run)?.end)
    }

    fn watch<'b>(&'b self, phase: &'static str, keep: Option<&'b [Vec<bool>]>) -> Watch<'b> {
        Watch { phase, scope: self.scope, method: &self.config.method, keep, test: &self.data.test }
    }

    fn plan(&self, seed: u64) -> Result<Plan> {
        match &self.config.method.mask_file {
            Some(path) => self.scope.read_mask(self.net, &self.config.method, path),
            None => self.scope.plan(self.net, &self.config.method, self.data.test.sample_shape(), seed),
        }
    }

    /// Cut by mask or by threshold, and a warning where the two differ although the mask was trained for.
    fn settle(&self, run: &mut Run, plan: &mut Plan) -> Result<()> {
        let method = &self.config.method;
        if method.penalized == Penalized::Masked {
            let by_threshold = self.scope.by_threshold(self.net, method)?;
            let ([planned, small, both, _], _) = mask_iou(&plan.keep.concat(), &by_threshold.concat())?;
            if planned != both || small != both {
                run.progress.warn(&format!(
                    "the mask drops {planned} channels, |gamma| <= {} drops {small}, {both} in common: method.s = {} did not shrink all masked scales, or others vanished too",
                    method.threshold, method.s
                ));
            }
        }
        if method.prune_by == PruneBy::Threshold {
            plan.keep = self.scope.by_threshold(self.net, method)?;
            plan.reason = "threshold";
        }
        Ok(())
    }

    fn accuracy(&self) -> f64 {
        evaluate(&*self.net.model, &View::plain(&self.net.store), &self.data.test).accuracy
    }
}
