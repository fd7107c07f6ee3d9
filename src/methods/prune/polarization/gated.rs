//! Which blocks or channels of a network can have a gate, and what they cost.

use anyhow::{Result, ensure};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use tch::{Kind, Tensor, no_grad};

use super::config::{GateCost, GateKind, Method};
use super::consensus::check_costs;
use crate::metrics::cost::cost;
use crate::models::{Cx, Network, Taps};
use crate::params::View;
use crate::params::channels::ChannelGroup;

/// The place of one gate module.
pub struct GatedSite {
    /// The site whose activation it multiplies.
    pub site: String,
    /// The channel group it decides about.
    pub group: usize,
    /// Channels of its input.
    pub inputs: i64,
    /// Gates: 1, or one a channel.
    pub outputs: i64,
    /// Multiply-accumulates that all its gates together control.
    pub macs: i64,
    /// cost_l of each of its gates.
    pub cost: f64,
}

impl GatedSite {
    /// The stage that a block belongs to.
    pub fn stage(&self) -> &str {
        self.site.split('.').next().unwrap_or(&self.site)
    }
}

/// All gates of a network.
pub struct GatedSites {
    pub groups: Vec<ChannelGroup>,
    pub modules: Vec<GatedSite>,
    /// The sites of channels inside a block: not what a gate reads.
    pub inside: BTreeSet<String>,
}

/// The sites of a forward pass and the shapes there.
struct Sites(RefCell<Vec<(String, Vec<i64>)>>);

impl Taps for Sites {
    fn tap(&self, site: &str, activation: Tensor) -> Tensor {
        self.0.borrow_mut().push((site.to_owned(), activation.size()));
        activation
    }
}

/// Whether a gate reads what passes this site: not inside a block.
pub fn is_input(site: &str, inside: &BTreeSet<String>) -> bool {
    !site.ends_with(".branch") && !inside.contains(site)
}

impl GatedSites {
    /// Fails where the network has nothing that such gates can close.
    pub fn new(net: &Network, method: &Method, sample: &[i64]) -> Result<GatedSites> {
        let groups = net.model.channel_groups(&net.store);
        let sites = Sites(RefCell::default());
        let zeros = Tensor::zeros([&[1], sample].concat(), (Kind::Float, net.store.device()));
        let view = View::plain(&net.store);
        let _ = no_grad(|| net.model.forward(&Cx::eval(&view).with_taps(&sites), &zeros));
        let sites = sites.0.into_inner();
        let blocks = sites.iter().any(|(site, _)| site.ends_with(".branch"));
        let named = |site: &str| groups.iter().position(|g| g.inner && g.name == site);
        // In a network without blocks each layer's output is the next one's input.
        let inside = groups.iter().filter(|g| g.inner && blocks).map(|g| g.name.clone()).collect();
        let macs: HashMap<String, i64> =
            cost(&*net.model, &net.store, sample).layers.into_iter().map(|l| (l.layer, l.macs)).collect();
        let layer_macs = |param| macs.get(net.store.name(param).trim_end_matches(".weight")).copied().unwrap_or(0);
        let mut modules = Vec::new();
        let mut input: Option<&Vec<i64>> = None;
        for (site, shape) in &sites {
            let group = match method.gates {
                GateKind::Channel => named(site),
                GateKind::Layer => site.strip_suffix(".branch").filter(|_| input == Some(shape)).and_then(|block| {
                    groups.iter().position(|g| !g.branch.is_empty() && g.name == format!("{block}.conv1"))
                }),
            };
            if let (Some(group), Some(input)) = (group, input) {
                let members = groups[group].members.iter().map(|m| m.param);
                let controlled: BTreeSet<_> = members.chain(groups[group].branch.iter().copied()).collect();
                let macs: i64 = controlled.into_iter().map(layer_macs).sum();
                let outputs = if method.gates == GateKind::Channel { groups[group].channels as i64 } else { 1 };
                let cost = match method.cost {
                    GateCost::Macs => macs as f64 / outputs as f64,
                    GateCost::Equal => 1.0,
                };
                modules.push(GatedSite { site: site.clone(), group, inputs: input[1], outputs, macs, cost });
            }
            if is_input(site, &inside) {
                input = Some(shape);
            }
        }
        match method.gates {
            GateKind::Layer => ensure!(
                !modules.is_empty(),
                "the model has no removable block with an identity shortcut: method.gates = \"layer\" has nothing to close; \
                 choose method.gates = \"channel\""
            ),
            GateKind::Channel => ensure!(!modules.is_empty(), "the model has no inner channels that gates can close"),
        }
        let gated = GatedSites { groups, modules, inside };
        check_costs(&gated.costs())?;
        Ok(gated)
    }

    /// cost_l of all gates, one after the other.
    pub fn costs(&self) -> Vec<f64> {
        self.modules.iter().flat_map(|m| std::iter::repeat_n(m.cost, m.outputs as usize)).collect()
    }

    /// L.
    pub fn len(&self) -> usize {
        self.modules.iter().map(|m| m.outputs as usize).sum()
    }

    /// Multiply-accumulates of the gates themselves, for one sample.
    pub fn gate_macs(&self, hidden: i64) -> i64 {
        self.modules.iter().map(|m| hidden * (m.inputs + m.outputs)).sum()
    }

    /// The pieces of one value a gate that belong to each module.
    pub fn split<'a, T>(&self, flat: &'a [T]) -> Vec<&'a [T]> {
        let mut rest = flat;
        let piece = |module: &GatedSite| {
            let (piece, after) = rest.split_at(module.outputs as usize);
            rest = after;
            piece
        };
        self.modules.iter().map(piece).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::resnet::{BlockKind, ShortcutKind};
    use crate::models::testing::random_network;
    use crate::models::{Arch, CifarResnetArch, MlpArch, ResnetArch, Vgg16BnArch};

    fn of(arch: Arch, gates: GateKind, sample: &[i64]) -> Result<GatedSites> {
        GatedSites::new(&random_network(arch, 0), &Method { gates, ..Method::default() }, sample)
    }

    #[test]
    fn blocks_with_identity_shortcuts_have_layer_gates() {
        let (input, widths) = ([2, 8, 8], vec![4, 8]);
        for shortcut in [ShortcutKind::A, ShortcutKind::B] {
            let widths = widths.clone();
            let arch = CifarResnetArch { input, classes: 5, depth: 10, widths, shortcut, ..CifarResnetArch::default() };
            let sites = of(Arch::CifarResnet(arch.clone()), GateKind::Layer, &[2, 8, 8]).unwrap();
            let names: Vec<&str> = sites.modules.iter().map(|m| m.site.as_str()).collect();
            assert_eq!(names, ["layer1.0.branch", "layer1.1.branch", "layer2.1.branch"]);
            assert_eq!(sites.costs(), [18432.0; 3], "2 * 9 * 16 * 64 = 2 * 9 * 64 * 16");
            assert_eq!((sites.modules[2].inputs, sites.gate_macs(8)), (8, 8 * (4 + 4 + 8 + 3)));
            let channels = of(Arch::CifarResnet(arch), GateKind::Channel, &[2, 8, 8]).unwrap();
            assert_eq!(channels.len(), 4 + 4 + 8 + 8);
            assert_eq!(channels.modules[2].inputs, 4, "the stride block reads its stage before");
        }
        let block = BlockKind::Preact;
        let arch = ResnetArch { input, classes: 5, widths: vec![3, 4, 6, 8], block, ..ResnetArch::default() };
        assert_eq!(of(Arch::Resnet18(arch), GateKind::Layer, &[2, 8, 8]).unwrap().len(), 5);
    }

    #[test]
    fn a_plain_network_is_told_about_channel_gates() {
        let mlp = Arch::Mlp(MlpArch { inputs: 8, hidden: vec![5, 4], classes: 3, ..MlpArch::default() });
        let message = of(mlp.clone(), GateKind::Layer, &[8]).err().unwrap().to_string();
        assert!(message.contains("method.gates = \"channel\""), "{message}");
        let sites = of(mlp, GateKind::Channel, &[8]).unwrap();
        assert_eq!((sites.len(), sites.modules[0].inputs), (4, 5), "the first layer's input is no activation");
        let widths = vec![3, 4, 5, 4, 3, 4, 5, 4, 3, 4, 5, 4, 6];
        let vgg = Arch::Vgg16Bn(Vgg16BnArch { input: [1, 32, 32], classes: 5, widths, ..Vgg16BnArch::default() });
        assert_eq!(of(vgg, GateKind::Channel, &[1, 32, 32]).unwrap().modules.len(), 12);
    }
}
