//! Which normalization layers are in scope, and the mask over their channels.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use tch::{Device, Kind, Tensor};

use super::config::{Method, Rule, Scope};
use super::masks::{at_least, energy_threshold, global_quantile_mask, threshold_mask};
use crate::models::Network;
use crate::params::channels::ChannelGroup;
use crate::params::{ParamId, ParamStore, Role, file};
use crate::pruning::budget::fraction_for_macs;
use crate::pruning::cut::macs_of;
use crate::pruning::plan::{self, PlanRule};
use crate::pruning::removal::Plan;
use crate::pruning::scores::{Criterion, Normalizer, channel_scores};

/// A normalization layer whose scales may be penalized.
pub struct NormLayer {
    /// Its name in the network, `layer1.0.bn1`.
    pub name: String,
    /// The number of the channel group it carries, whole.
    pub group: usize,
    pub gamma: ParamId,
    pub beta: Option<ParamId>,
}

/// The channel groups of a network and the normalization layers in scope, in the order of the network.
pub struct InScope {
    pub groups: Vec<ChannelGroup>,
    pub layers: Vec<NormLayer>,
}

impl InScope {
    pub fn new(net: &Network, scope: Scope) -> Result<InScope> {
        let groups = net.model.channel_groups(&net.store);
        let mut layers = Vec::new();
        for (index, group) in groups.iter().enumerate().filter(|(_, g)| g.inner || scope == Scope::All) {
            let before = layers.len();
            for member in group.members.iter().filter(|m| net.store.role(m.param) == Role::NormScale) {
                ensure!(
                    member.len == group.channels,
                    "method.scope = \"all\": the layers of {} carry different channels (shortcut \"a\") and cannot vote; \
                     choose method.scope = \"inner\" or model.shortcut = \"b\"",
                    group.name
                );
                let name = net.store.name(member.param).trim_end_matches(".weight").to_owned();
                let beta = net.store.id(&format!("{name}.bias"));
                layers.push(NormLayer { name, group: index, gamma: member.param, beta });
            }
            ensure!(layers.len() > before, "{} has no normalization: mask-sparsity shrinks its scales", group.name);
        }
        ensure!(!layers.is_empty(), "the model has no channels in scope \"{}\"", scope_name(scope));
        Ok(InScope { groups, layers })
    }

    /// |gamma| of each layer, on the host.
    pub fn gammas(&self, store: &ParamStore) -> Result<Vec<Vec<f64>>> {
        let host = |layer: &NormLayer| {
            let gamma = store.get(layer.gamma).detach().abs().to_kind(Kind::Double).to_device(Device::Cpu);
            Ok(Vec::<f64>::try_from(gamma)?)
        };
        self.layers.iter().map(host).collect()
    }

    /// 1 - keep of all layers, one after the other, `[C]`.
    pub fn masked(&self, keep: &[Vec<bool>], device: Device) -> Tensor {
        let flags = self.layers.iter().flat_map(|layer| keep[layer.group].iter().map(|&k| f32::from(u8::from(!k))));
        Tensor::from_slice(&flags.collect::<Vec<_>>()).to_device(device)
    }

    /// The mask that the weights in `net` give. Groups that are not in scope stay whole.
    pub fn plan(&self, net: &Network, method: &Method, sample: &[i64], seed: u64) -> Result<Plan> {
        let normalizer = if method.criterion == Criterion::Bn { Normalizer::None } else { method.normalizer };
        let scores = self.per_group(|group| {
            channel_scores(&net.store, &self.groups[group], method.criterion, normalizer, seed).map(Some)
        })?;
        let keep = match method.macs {
            None => self.masks(net, method, method.fraction, &scores)?,
            Some(share) => {
                let price = |keep: &[Vec<bool>]| macs_of(&*net.model, keep, sample);
                let whole: Vec<Vec<bool>> = self.groups.iter().map(|g| vec![true; g.channels]).collect();
                let target = (share * price(&whole)? as f64) as i64;
                let at = |fraction| price(&self.masks(net, method, fraction, &scores)?);
                let budget = fraction_for_macs(target, at).with_context(|| format!("method.macs = {share}"))?;
                self.masks(net, method, budget.fraction, &scores)?
            }
        };
        Ok(Plan { keep, scores, reason: "mask" })
    }

    /// One value a group: `value` of those in scope, `None` of the others.
    fn per_group<T>(&self, value: impl Fn(usize) -> Result<Option<T>>) -> Result<Vec<Option<T>>> {
        let in_scope = |group: usize| self.layers.iter().any(|layer| layer.group == group);
        (0..self.groups.len()).map(|group| if in_scope(group) { value(group) } else { Ok(None) }).collect()
    }

    fn masks(
        &self,
        net: &Network,
        method: &Method,
        fraction: f64,
        scores: &[Option<Vec<f64>>],
    ) -> Result<Vec<Vec<bool>>> {
        let scope = match method.rule {
            Rule::Uniform => plan::Scope::Uniform,
            Rule::Quantile if method.criterion != Criterion::Bn => plan::Scope::Global,
            _ => return self.agree(method, &self.layer_masks(net, method, fraction)?, scores),
        };
        let rule = PlanRule { scope, fraction, min_channels: method.min_channels, round_to: 1 };
        let ranked: Vec<Vec<f64>> = scores.iter().flatten().cloned().collect();
        let mut chosen = rule.keep(&ranked)?.into_iter();
        let whole = |group: &ChannelGroup| vec![true; group.channels];
        let groups = self.groups.iter().zip(scores);
        Ok(groups.map(|(g, s)| s.as_ref().and_then(|_| chosen.next()).unwrap_or_else(|| whole(g))).collect())
    }

    /// A mask of each layer's own.
    fn layer_masks(&self, net: &Network, method: &Method, fraction: f64) -> Result<Vec<Vec<bool>>> {
        let gammas = self.gammas(&net.store)?;
        let each = |tau: &dyn Fn(&[f64]) -> f64| {
            gammas.iter().map(|gamma| threshold_mask(gamma, tau(gamma), method.min_channels)).collect()
        };
        match method.rule {
            Rule::Energy => Ok(each(&|gamma| energy_threshold(gamma, method.energy))),
            Rule::Quantile => global_quantile_mask(&gammas, fraction, method.min_channels),
            Rule::Threshold | Rule::Uniform => Ok(each(&|_| method.threshold)),
        }
    }

    /// What the scales of `net` give by `method.threshold`.
    pub fn by_threshold(&self, net: &Network, method: &Method) -> Result<Vec<Vec<bool>>> {
        let by_threshold = Method { rule: Rule::Threshold, ..method.clone() };
        let scores = self.per_group(|group| {
            channel_scores(&net.store, &self.groups[group], Criterion::Bn, Normalizer::None, 0).map(Some)
        })?;
        self.agree(method, &self.layer_masks(net, &by_threshold, 0.0)?, &scores)
    }

    /// The layers of each group agree on one mask; `min_channels` is applied again, since votes may drop everything.
    fn agree(&self, method: &Method, masks: &[Vec<bool>], scores: &[Option<Vec<f64>>]) -> Result<Vec<Vec<bool>>> {
        let of_group = |(index, group): (usize, &ChannelGroup)| {
            let Some(scores) = &scores[index] else { return Ok(vec![true; group.channels]) };
            let own = self.layers.iter().zip(masks).filter(|(layer, _)| layer.group == index);
            let own: Vec<Vec<bool>> = own.map(|(_, mask)| mask.clone()).collect();
            Ok(at_least(method.consensus.mask(&own)?, scores, method.min_channels))
        };
        self.groups.iter().enumerate().map(of_group).collect()
    }

    /// The mask of a file: one uint8 tensor a normalization layer, 1 = the channel stays.
    pub fn read_mask(&self, net: &Network, method: &Method, path: &Path) -> Result<Plan> {
        let given = file::read(path)?;
        let mut masks = Vec::new();
        for layer in &self.layers {
            let channels = self.groups[layer.group].channels;
            let found = given.tensors.iter().find(|(name, _)| *name == layer.name);
            masks.push(match found {
                Some((name, tensor)) => {
                    let entries = tensor.numel();
                    ensure!(
                        entries == channels,
                        "{}: mask for {name} has {entries} entries, the layer has {channels}",
                        path.display()
                    );
                    let flags = Vec::<i64>::try_from(tensor.to_kind(Kind::Int64).reshape(-1))?;
                    flags.into_iter().map(|flag| flag != 0).collect()
                }
                None => {
                    ensure!(
                        method.allow_missing,
                        "{} has no mask for {} (method.allow_missing = true leaves it whole)",
                        path.display(),
                        layer.name
                    );
                    vec![true; channels]
                }
            });
        }
        let scores = self.per_group(|group| {
            channel_scores(&net.store, &self.groups[group], Criterion::Bn, Normalizer::None, 0).map(Some)
        })?;
        Ok(Plan { keep: self.agree(method, &masks, &scores)?, scores, reason: "mask file" })
    }

    /// The mask as such a file.
    pub fn to_file(&self, keep: &[Vec<bool>]) -> Result<Vec<u8>> {
        let flags = |layer: &NormLayer| {
            let flags: Vec<u8> = keep[layer.group].iter().map(|&k| u8::from(k)).collect();
            Tensor::from_slice(&flags)
        };
        let tensors: Vec<Tensor> = self.layers.iter().map(flags).collect();
        file::to_bytes(self.layers.iter().map(|layer| layer.name.as_str()).zip(&tensors), Default::default())
    }
}

fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Inner => "inner",
        Scope::All => "all",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::resnet::ShortcutKind;
    use crate::models::testing::random_network;
    use crate::models::{Arch, CifarResnetArch};

    fn net(shortcut: ShortcutKind) -> Network {
        let (input, widths) = ([2, 8, 8], vec![4, 8]);
        let small = CifarResnetArch { input, classes: 5, depth: 10, widths, shortcut, ..CifarResnetArch::default() };
        random_network(Arch::CifarResnet(small), 3)
    }

    fn by_share(fraction: f64) -> Method {
        Method { rule: Rule::Quantile, fraction, ..Method::default() }
    }

    #[test]
    fn streams_vote_and_option_a_cannot() {
        let net = net(ShortcutKind::B);
        let scope = InScope::new(&net, Scope::All).unwrap();
        assert_eq!(scope.layers.len(), 4 + 3 + 3, "four inner, stem and two blocks, projection and two blocks");
        let plan = scope.plan(&net, &Method { scope: Scope::All, ..by_share(0.5) }, &[2, 8, 8], 0).unwrap();
        assert!(plan.kept() < plan.channels() && plan.keep.iter().all(|keep| keep.contains(&true)));
        let refused = InScope::new(&super::tests::net(ShortcutKind::A), Scope::All).err().unwrap().to_string();
        assert!(refused.contains("stream") && refused.contains("shortcut"), "{refused}");
    }

    #[test]
    fn a_budget_is_met() {
        let net = net(ShortcutKind::A);
        let scope = InScope::new(&net, Scope::Inner).unwrap();
        let macs = |plan: &Plan| macs_of(&*net.model, &plan.keep, &[2, 8, 8]).unwrap() as f64;
        let whole = macs(&scope.plan(&net, &by_share(0.0), &[2, 8, 8], 0).unwrap());
        for criterion in [Criterion::Bn, Criterion::L1] {
            let method = Method { macs: Some(0.6), criterion, normalizer: Normalizer::Mean, ..by_share(0.0) };
            let share = macs(&scope.plan(&net, &method, &[2, 8, 8], 0).unwrap()) / whole;
            assert!((0.5..=0.6).contains(&share), "{share}");
        }
    }

    #[test]
    fn a_mask_file_goes_there_and_back_and_its_lengths_count() {
        let net = net(ShortcutKind::A);
        let scope = InScope::new(&net, Scope::Inner).unwrap();
        let plan = scope.plan(&net, &by_share(0.5), &[2, 8, 8], 0).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.safetensors");
        std::fs::write(&path, scope.to_file(&plan.keep).unwrap()).unwrap();
        assert_eq!(scope.read_mask(&net, &Method::default(), &path).unwrap().keep, plan.keep);
        let short = Tensor::from_slice(&[1u8, 0, 1]);
        std::fs::write(&path, file::to_bytes([("layer1.0.bn1", &short)], Default::default()).unwrap()).unwrap();
        let message = scope.read_mask(&net, &Method::default(), &path).err().unwrap().to_string();
        assert!(message.ends_with("mask for layer1.0.bn1 has 3 entries, the layer has 4"), "{message}");
        let whole = Tensor::from_slice(&[1u8, 0, 1, 1]);
        std::fs::write(&path, file::to_bytes([("layer1.0.bn1", &whole)], Default::default()).unwrap()).unwrap();
        let message = scope.read_mask(&net, &Method::default(), &path).err().unwrap().to_string();
        assert!(message.contains("no mask for layer1.1.bn1"), "{message}");
        let lenient = Method { allow_missing: true, ..Method::default() };
        assert_eq!(scope.read_mask(&net, &lenient, &path).unwrap().keep[0], [true, false, true, true]);
    }
}
