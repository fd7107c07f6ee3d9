//! The run: train with gates, take the vote, delete gates and closed blocks. The rivals differ in how they find what goes.

use anyhow::Result;
use rand::seq::SliceRandom;
use serde_json::json;
use std::collections::BTreeMap;

use super::bn_polar;
use super::config::{Approach, Config, GateKind};
use super::consensus::Consensus;
use super::gated::GatedSites;
use super::gating::{Gating, add_gates};
use super::pictures;
use crate::data::DeviceSplits;
use crate::metrics::cost::cost;
use crate::models::Network;
use crate::params::channels::ChannelGroup;
use crate::params::{ParamId, Role, View};
use crate::pruning::budget::fraction_for_macs;
use crate::pruning::cut::macs_of;
use crate::pruning::gamma_penalty::GammaPenalty;
use crate::pruning::plan::{PlanRule, Scope, best};
use crate::pruning::removal::{Plan, Removal};
use crate::pruning::scores::{Criterion, Normalizer, channel_scores};
use crate::rng;
use crate::run::{Run, Stamp, Summary};
use crate::train::{Doors, Supervised, build_network, evaluate, evaluate_pass, load_data};

pub fn run(config: Config, run: &mut Run) -> Result<Summary> {
    let data = load_data(run, &config.data)?;
    let net = build_network(run, &config.model, &data)?;
    let job = Job { config: &config, data: &data };
    let mut summary = Summary::new();
    let (net, plan, at) = match config.method.approach {
        Approach::Gates => job.gates(run, net, &mut summary)?,
        Approach::Dense => {
            let at = job.train(run, &net, &mut [])?;
            let plan = whole(net.model.channel_groups(&net.store));
            (net, plan, at)
        }
        Approach::RandomBlocks => {
            let plan = job.random_blocks(run, &net)?;
            (net, plan, Stamp::default())
        }
        Approach::Criterion => job.criterion(run, net)?,
        Approach::BnPolar => job.bn_polar(run, net)?,
    };
    let from_scratch = config.method.from_scratch || config.method.approach == Approach::RandomBlocks;
    let removal = Removal {
        net: &net,
        data: &data,
        plan: &plan,
        training: if from_scratch { &config.train } else { &config.finetune },
        from_scratch,
        latency_runs: config.method.latency_runs,
    };
    let end = removal.run(run, at, &mut summary)?;
    if let (Some(fixed), Some(moving)) = (number(&summary, "accuracy_pruned"), number(&summary, "accuracy_dynamic")) {
        summary.insert("static_minus_dynamic".into(), json!(fixed - moving));
        let agreed = number(&summary, "agreement") == Some(1.0) && fixed == moving;
        summary.insert("consensus".into(), json!(f64::from(u8::from(agreed))));
    }
    pictures::curves(run)?;
    summary.insert("steps".into(), json!(end.step));
    Ok(summary)
}

fn number(summary: &Summary, key: &str) -> Option<f64> {
    summary.get(key).and_then(serde_json::Value::as_f64)
}

/// Everything stays.
fn whole(groups: Vec<ChannelGroup>) -> Plan {
    let keep: Vec<Vec<bool>> = groups.iter().map(|g| vec![true; g.channels]).collect();
    Plan { scores: keep.iter().map(|_| None).collect(), keep, reason: "dense" }
}

struct Job<'a> {
    config: &'a Config,
    data: &'a DeviceSplits,
}

impl Job<'_> {
    fn train(&self, run: &mut Run, net: &Network, doors: &mut [&mut dyn Doors]) -> Result<Stamp> {
        let (data, config, start) = (self.data, &self.config.train, Stamp::default());
        Ok(Supervised { phase: "train", net, data, config, groups: None, start }.fit(doors, run)?.end)
    }

    fn sites(&self, net: &Network) -> Result<GatedSites> {
        GatedSites::new(net, &self.config.method, self.data.test.sample_shape())
    }

    /// The method: the network without its gates, and what all training samples together want to keep.
    fn gates(&self, run: &mut Run, mut net: Network, summary: &mut Summary) -> Result<(Network, Plan, Stamp)> {
        let method = &self.config.method;
        self.check_last_batch()?;
        let sites = self.sites(&net)?;
        add_gates(&mut net, &sites, method.gate_hidden, run.seed());
        let mut gating = Gating::new(&net.store, &sites, method)?;
        let at = self.train(run, &net, &mut [&mut gating])?;
        let votes = gating.votes(&net, &self.data.train, method.consensus_samples);
        let vote = Consensus::new(&votes, &sites.costs(), method.threshold)?;
        let plan = self.elected(run, &sites, &vote);
        let dynamic = |set| evaluate_pass(set, |x| gating.forward(&net, x)).accuracy;
        let kept: usize = match method.gates {
            GateKind::Layer => sites.modules.iter().filter(|m| plan.keep[m.group].contains(&true)).count(),
            GateKind::Channel => sites.modules.iter().map(|m| plan.keep[m.group].iter().filter(|&&k| k).count()).sum(),
        };
        let numbers = [
            ("accuracy_dynamic", json!(dynamic(&self.data.test))),
            ("accuracy_train_dynamic", json!(dynamic(&self.data.train))),
            ("agreement", json!(vote.agreement)),
            ("unanimous", json!(vote.unanimous)),
            ("kept_cost", json!(vote.kept_cost)),
            ("mean_cost", json!(vote.mean_cost)),
            ("target", json!(method.target)),
            ("gates", json!(sites.len())),
            ("gates_kept", json!(kept)),
            ("gate_macs", json!(sites.gate_macs(method.gate_hidden))),
        ];
        summary.extend(numbers.map(|(name, value)| (name.to_owned(), value)));
        pictures::consensus(run, &sites, &vote)?;
        let plain = net.folded(&View::plain(&net.store))?;
        let fixed = crate::pruning::cut::cut(&*plain.model, &plain.store, &plan.keep)?;
        let fixed = evaluate(&*fixed.model, &View::plain(&fixed.store), &self.data.train).accuracy;
        summary.insert("accuracy_train_static".into(), json!(fixed));
        Ok((plain, plan, at))
    }

    /// A last batch of a few samples would vote with them alone.
    fn check_last_batch(&self) -> Result<()> {
        let (train, set) = (&self.config.train, self.data.train.len());
        let rest = set % train.batch;
        anyhow::ensure!(
            train.drop_last || rest == 0 || rest >= 8,
            "train.batch = {} leaves a last batch of {rest} of the {set} training samples, too few for a vote; \
             set train.drop_last = true",
            train.batch
        );
        Ok(())
    }

    /// The plan of a vote: whole blocks, or channels of which every layer keeps one.
    fn elected(&self, run: &mut Run, sites: &GatedSites, vote: &Consensus) -> Plan {
        let mut plan = Plan { reason: "consensus", ..whole(sites.groups.clone()) };
        let pieces = sites.split(&vote.keep).into_iter().zip(sites.split(&vote.mean));
        for (module, (keep, mean)) in sites.modules.iter().zip(pieces) {
            let channels = sites.groups[module.group].channels;
            let of_channels =
                |values: &[f64]| if values.len() == 1 { vec![values[0]; channels] } else { values.to_vec() };
            plan.scores[module.group] = Some(of_channels(mean));
            plan.keep[module.group] = match self.config.method.gates {
                GateKind::Layer => vec![keep[0]; channels],
                GateKind::Channel if keep.contains(&true) => keep.to_vec(),
                GateKind::Channel => best(mean, 1),
            };
        }
        if self.config.method.gates == GateKind::Layer {
            self.restore_blocks(sites, vote, &mut plan);
        }
        if !vote.keep.contains(&true) {
            run.progress.warn("all gates are closed: what is left is the stem and the blocks that have none");
        }
        plan
    }

    /// `min_blocks`: each stage keeps its most open ones.
    fn restore_blocks(&self, sites: &GatedSites, vote: &Consensus, plan: &mut Plan) {
        let mut stages: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        sites.modules.iter().enumerate().for_each(|(i, m)| stages.entry(m.stage()).or_default().push(i));
        for members in stages.values() {
            let means: Vec<f64> = members.iter().map(|&i| vote.mean[i]).collect();
            let stay = best(&means, self.config.method.min_blocks.min(members.len()));
            for (&i, _) in members.iter().zip(stay).filter(|(_, stays)| *stays) {
                plan.keep[sites.modules[i].group].fill(true);
            }
        }
    }

    /// round(t L) of the L blocks that could have gates, by chance.
    fn random_blocks(&self, run: &Run, net: &Network) -> Result<Plan> {
        let sites = self.sites(net)?;
        let mut blocks: Vec<usize> = sites.modules.iter().map(|m| m.group).collect();
        let kept = (self.config.method.target * blocks.len() as f64).round() as usize;
        blocks.shuffle(&mut rng::stream(run.seed(), "random blocks"));
        let mut plan = whole(sites.groups);
        plan.reason = "chance";
        blocks[kept..].iter().for_each(|&group| plan.keep[group].fill(false));
        Ok(plan)
    }

    /// Scales of the channels inside the blocks.
    fn inner_scales(&self, net: &Network) -> Vec<ParamId> {
        let groups = net.model.channel_groups(&net.store);
        let members = groups.iter().filter(|g| g.inner).flat_map(|g| &g.members).map(|m| m.param);
        members.filter(|&id| net.store.role(id) == Role::NormScale).collect()
    }

    /// Channels by a score, as many as the blocks that `target` would close cost.
    fn criterion(&self, run: &mut Run, net: Network) -> Result<(Network, Plan, Stamp)> {
        let method = &self.config.method;
        let sample = self.data.test.sample_shape();
        let slimmed = if method.criterion == Criterion::Bn { self.inner_scales(&net) } else { Vec::new() };
        let mut slimming = GammaPenalty::slimming(&net.store, slimmed, method.gamma_weight);
        let at = self.train(run, &net, &mut [&mut slimming])?;
        let mut plan = whole(net.model.channel_groups(&net.store));
        let groups = net.model.channel_groups(&net.store);
        let inner: Vec<usize> = (0..groups.len()).filter(|&g| groups[g].inner).collect();
        let normalizer = if method.criterion == Criterion::Bn { Normalizer::None } else { Normalizer::Mean };
        let score = |&g: &usize| channel_scores(&net.store, &groups[g], method.criterion, normalizer, run.seed());
        let scores: Vec<Vec<f64>> = inner.iter().map(score).collect::<Result<_>>()?;
        let whole_macs = cost(&*net.model, &net.store, sample).macs();
        let gated: i64 = self.sites(&net)?.modules.iter().map(|m| m.macs).sum();
        let budget = whole_macs - ((1.0 - method.target) * gated as f64) as i64;
        let at_fraction = |fraction: f64, keep: &mut Vec<Vec<bool>>| -> Result<i64> {
            let rule = PlanRule { scope: Scope::Global, fraction, ..PlanRule::default() };
            for (&group, flags) in inner.iter().zip(rule.keep(&scores)?) {
                keep[group] = flags;
            }
            macs_of(&*net.model, keep, sample)
        };
        let chosen = fraction_for_macs(budget, |fraction| at_fraction(fraction, &mut plan.keep))?;
        at_fraction(chosen.fraction, &mut plan.keep)?;
        inner.iter().zip(scores).for_each(|(&group, scores)| plan.scores[group] = Some(scores));
        plan.reason = "score";
        Ok((net, plan, at))
    }

    /// Polarized scales, cut at their largest gap; every layer keeps a channel.
    fn bn_polar(&self, run: &mut Run, net: Network) -> Result<(Network, Plan, Stamp)> {
        let method = &self.config.method;
        let (weight, t) = (method.gamma_weight, method.gamma_t);
        let gradient = move |gamma: &tch::Tensor, _| bn_polar::gradient(gamma, t) * weight;
        let mut penalty = GammaPenalty::new(&net.store, self.inner_scales(&net), gradient);
        let at = self.train(run, &net, &mut [&mut penalty])?;
        let groups = net.model.channel_groups(&net.store);
        let mut plan = Plan { reason: "gap", ..whole(net.model.channel_groups(&net.store)) };
        for (index, group) in groups.iter().enumerate().filter(|(_, g)| g.inner) {
            plan.scores[index] = Some(channel_scores(&net.store, group, Criterion::Bn, Normalizer::None, run.seed())?);
        }
        let gap = bn_polar::gap(&plan.scores.iter().flatten().flatten().copied().collect::<Vec<_>>());
        for (keep, scores) in plan.keep.iter_mut().zip(&plan.scores) {
            let Some(scores) = scores else { continue };
            let above = scores.iter().filter(|&&score| score > gap).count();
            *keep = best(scores, above.max(1));
        }
        Ok((net, plan, at))
    }
}
