//! What follows once it is known which channels stay: cut them out, train the small network on, measure.

use anyhow::Result;
use serde_json::{Value, json};

use super::cut::cut;
use super::report;
use crate::data::DeviceSplits;
use crate::metrics::cost::cost;
use crate::models::Network;
use crate::params::View;
use crate::run::{Run, Stamp, Summary};
use crate::train::{Supervised, TrainConfig, evaluate};

/// For each channel group whether each channel stays, and what it was ranked by (`None`: the group is not in scope).
pub struct Plan {
    pub keep: Vec<Vec<bool>>,
    pub scores: Vec<Option<Vec<f64>>>,
    /// Why the channels of the groups in scope stay or go, for keep.csv.
    pub reason: &'static str,
}

impl Plan {
    pub fn kept(&self) -> usize {
        self.keep.iter().flatten().filter(|&&k| k).count()
    }

    pub fn channels(&self) -> usize {
        self.keep.iter().flatten().count()
    }
}

/// A network, the plan, and what to do with what is left.
pub struct Removal<'a> {
    pub net: &'a Network,
    pub data: &'a DeviceSplits,
    pub plan: &'a Plan,
    /// Training of the small network, with a fresh optimizer: the old one's buffers have the old shapes.
    pub training: &'a TrainConfig,
    /// The honest rival: the same small network with new weights.
    pub from_scratch: bool,
    /// Timed passes for each batch size and network (0: none).
    pub latency_runs: usize,
}

impl Removal<'_> {
    /// Writes keep.csv and prune.csv, cuts (and checks the cut network against the masked one), trains in the phase
    /// `finetune`, and fills the summary: `accuracy_masked`, `accuracy_pruned` (before training on; not for new weights), `accuracy`, cost
    /// and latency.
    pub fn run(&self, run: &mut Run, at: Stamp, summary: &mut Summary) -> Result<Stamp> {
        let Removal { net, data, plan, .. } = *self;
        let groups = net.model.channel_groups(&net.store);
        report::write_keep(run, at, &groups, &plan.keep, &plan.scores, plan.reason)?;
        let (cut, numbers) = report::remove(run, at, net, &plan.keep, &data.test)?;
        summary.extend(numbers);
        summary.insert("sparsity".into(), json!(1.0 - plan.kept() as f64 / plan.channels() as f64));
        let small = if self.from_scratch {
            Network::build(cut.arch.clone(), run.seed(), run.device)?
        } else {
            let pruned = evaluate(&*cut.model, &View::plain(&cut.store), &data.test);
            summary.insert("accuracy_pruned".into(), json!(pruned.accuracy));
            cut
        };
        run.progress.say(&format!("kept {} of {} channels", plan.kept(), plan.channels()));
        let phase = Supervised { phase: "finetune", net: &small, data, config: self.training, groups: None, start: at };
        let end = phase.fit(&mut [], run)?.end;
        final_numbers(&small, data, summary);
        summary.extend(report::time(net, &small, &data.test, self.latency_runs)?);
        Ok(end)
    }
}

/// Accuracy and loss of the network the run ends with.
pub fn final_numbers(net: &Network, data: &DeviceSplits, summary: &mut Summary) {
    let view = View::plain(&net.store);
    let last = evaluate(&*net.model, &view, &data.test);
    summary.insert("accuracy".into(), json!(last.accuracy));
    summary.insert("loss".into(), json!(last.loss));
    // What may be tuned: choosing by the test images would make their accuracy mean nothing.
    if let Some(val) = &data.val {
        let last = evaluate(&*net.model, &view, val);
        summary.insert("val_accuracy".into(), json!(last.accuracy));
        summary.insert("val_loss".into(), json!(last.loss));
    }
}

/// The dry run: keep.csv, MACs and parameters of the plan for the weights as they are; nothing is trained.
pub fn dry_run(run: &mut Run, net: &Network, plan: &Plan, sample: &[i64]) -> Result<Summary> {
    let groups = net.model.channel_groups(&net.store);
    report::write_keep(run, Stamp::default(), &groups, &plan.keep, &plan.scores, "dry run")?;
    let small = cut(&*net.model, &net.store, &plan.keep)?;
    for (group, keep) in groups.iter().zip(&plan.keep) {
        let kept = keep.iter().filter(|&&k| k).count();
        run.progress.say(&format!("{}: {kept} of {} channels stay", group.name, keep.len()));
    }
    let mut summary = Summary::new();
    for (suffix, net) in [("_before", net), ("", &small)] {
        let cost = cost(&*net.model, &net.store, sample);
        summary.insert(format!("macs{suffix}"), json!(cost.macs()));
        summary.insert(format!("params{suffix}"), json!(cost.params()));
    }
    summary.insert("dry_run".into(), Value::Bool(true));
    Ok(summary)
}
