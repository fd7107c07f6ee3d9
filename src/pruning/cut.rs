//! Structural removal: from a network and the channels to keep, a smaller dense network.

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

use crate::metrics::cost::cost;
use crate::models::{Cx, Model, Network};
use crate::params::channels::{check_keep, cut_tensors, mask_tensors};
use crate::params::{ParamStore, View};

/// The largest difference of the outputs of the masked full network and the cut network that is still rounding (float32).
pub const TOLERANCE: f64 = 1e-4;

/// The network without the channels whose flag in `keep` is false: `keep[g]` has one flag for each channel of
/// `model.channel_groups(store)[g]`. A residual block that keeps no inner channel is removed. An error names the group and
/// both sizes, or the tensor that would be left empty.
pub fn cut(model: &dyn Model, store: &ParamStore, keep: &[Vec<bool>]) -> Result<Network> {
    let groups = model.channel_groups(store);
    check_keep(store, &groups, keep)?;
    let mut net = Network::build(model.cut(keep), 0, store.device())?;
    transfer(store, &cut_tensors(store, &groups, keep), &mut net.store)?;
    Ok(net)
}

/// MACs, for one sample of shape `sample`, of the network that `keep` leaves of `model`: its price before it is cut.
pub fn macs_of(model: &dyn Model, keep: &[Vec<bool>], sample: &[i64]) -> Result<i64> {
    let small = Network::build(model.cut(keep), 0, Device::Cpu)?;
    Ok(cost(&*small.model, &small.store, sample).macs())
}

/// Fills `new` with the (cut) `tensors` of the store `old`, by name; what `new` does not have is removed.
pub(super) fn transfer(old: &ParamStore, tensors: &[Tensor], new: &mut ParamStore) -> Result<()> {
    for id in new.ids() {
        let source = old.find(new.name(id))?;
        new.set_trainable(id, old.param(source).trainable);
        new.replace(id, &tensors[source.0])?;
    }
    Ok(())
}

/// max |masked full network - cut network| over the logits of the batch `x`, in evaluation mode. The masked network is the
/// full one with producers and normalizations of the cut channels set to zero. More than [`TOLERANCE`] is an error.
pub fn check_equivalence(
    model: &dyn Model,
    store: &ParamStore,
    keep: &[Vec<bool>],
    cut: &Network,
    x: &Tensor,
) -> Result<f64> {
    let groups = model.channel_groups(store);
    check_keep(store, &groups, keep)?;
    let masked = store.deep_clone();
    mask_tensors(&masked, &groups, keep);
    let full = tch::no_grad(|| model.forward(&Cx::eval(&View::plain(&masked)), x));
    let difference = (full - cut.evaluate(x)).abs().max().to_kind(Kind::Double).double_value(&[]);
    ensure!(
        difference <= TOLERANCE,
        "the cut network differs from the masked one by {difference:.2e} (at most {TOLERANCE:.0e} is rounding)"
    );
    Ok(difference)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::resnet::{BlockKind, ShortcutKind};
    use crate::models::testing::{images, random_network};
    use crate::models::{
        Arch, CifarResnetArch, Lenet5Arch, MlpArch, MobilenetV1Arch, Resnet50Arch, ResnetArch, Vgg16BnArch,
    };
    use crate::params::channels::ChannelGroup;
    use crate::rng::stream;
    use rand::{Rng, RngExt};

    /// Every architecture, small; the sample's shape with it.
    fn architectures() -> Vec<(Arch, [i64; 3])> {
        let (small, classes) = ([2, 8, 8], 5);
        let cifar = |depth, widths: &[i64], shortcut| {
            let (input, widths) = (small, widths.to_vec());
            Arch::CifarResnet(CifarResnetArch { input, classes, depth, widths, shortcut, ..CifarResnetArch::default() })
        };
        let resnet =
            |block| ResnetArch { input: small, classes, widths: vec![3, 4, 6, 8], block, ..ResnetArch::default() };
        let (conv, hidden, lenet) = (vec![3, 4], vec![7, 6], [1, 20, 24]);
        let (widths, big) = (vec![3, 4, 5, 4, 3, 4, 5, 4, 3, 4, 5, 4, 6], [1, 32, 32]);
        let mobile = vec![4, 5, 3, 4, 5, 3, 4, 5, 3, 4, 5, 3, 4, 5];
        vec![
            (Arch::Mlp(MlpArch { inputs: 128, hidden: vec![9, 7], classes, ..MlpArch::default() }), small),
            (Arch::Lenet5(Lenet5Arch { input: lenet, classes, conv, hidden, ..Lenet5Arch::default() }), lenet),
            (cifar(14, &[4, 8, 12], ShortcutKind::A), small),
            (cifar(14, &[4, 7, 7], ShortcutKind::A), small),
            (cifar(8, &[4, 6, 5], ShortcutKind::B), small),
            (cifar(8, &[6], ShortcutKind::A), small),
            (Arch::Resnet18(resnet(BlockKind::Basic)), small),
            (Arch::Resnet18(resnet(BlockKind::Preact)), small),
            (Arch::Resnet34(resnet(BlockKind::Basic)), small),
            (
                Arch::Resnet50(Resnet50Arch {
                    input: big,
                    classes,
                    stem: 3,
                    widths: vec![8, 12, 8, 16],
                    ..Default::default()
                }),
                big,
            ),
            (Arch::Vgg16Bn(Vgg16BnArch { input: big, classes, widths, ..Vgg16BnArch::default() }), big),
            (Arch::MobilenetV1(MobilenetV1Arch { input: small, classes, widths: mobile, ..Default::default() }), small),
        ]
    }

    /// Random flags that leave something of everything, apart from blocks that may go and then sometimes do.
    fn random_keep(groups: &[ChannelGroup], residual: bool, rng: &mut impl Rng) -> Vec<Vec<bool>> {
        let flags = |group: &ChannelGroup| {
            if !group.inner && !residual {
                return vec![true; group.channels];
            }
            if !group.branch.is_empty() && rng.random_bool(0.25) {
                return vec![false; group.channels];
            }
            let mut keep: Vec<bool> = (0..group.channels).map(|_| rng.random_bool(0.5)).collect();
            for member in &group.members {
                keep[member.first + member.len / 2] = true;
            }
            keep
        };
        groups.iter().map(flags).collect()
    }

    #[test]
    fn a_cut_network_equals_the_masked_one() {
        for (arch, sample) in architectures() {
            for seed in 0..3 {
                let net = random_network(arch.clone(), seed);
                let x = images(seed, &[&[2], &sample[..]].concat());
                let groups = net.model.channel_groups(&net.store);
                let keep = random_keep(&groups, seed % 2 == 1, &mut stream(seed, "keep"));
                let cut = cut(net.model.as_ref(), &net.store, &keep).unwrap();
                check_equivalence(net.model.as_ref(), &net.store, &keep, &cut, &x).unwrap();
                assert!(cut.store.parameters() < net.store.parameters());
                // Once more: a cut network declares its own groups.
                let groups = cut.model.channel_groups(&cut.store);
                let keep = random_keep(&groups, true, &mut stream(seed, "again"));
                let again = super::cut(cut.model.as_ref(), &cut.store, &keep).unwrap();
                check_equivalence(cut.model.as_ref(), &cut.store, &keep, &again, &x).unwrap();
            }
        }
    }

    #[test]
    fn a_wrong_cut_is_noticed() {
        let (arch, sample) = architectures().swap_remove(2);
        let net = random_network(arch, 0);
        let groups = net.model.channel_groups(&net.store);
        let mut keep: Vec<Vec<bool>> = groups.iter().map(|g| vec![true; g.channels]).collect();
        keep[0][0] = false;
        let cut = cut(net.model.as_ref(), &net.store, &keep).unwrap();
        keep[0].swap(0, 1);
        let x = images(0, &[&[2], &sample[..]].concat());
        let error = check_equivalence(net.model.as_ref(), &net.store, &keep, &cut, &x).unwrap_err();
        assert!(error.to_string().contains("differs"), "{error}");
    }

    #[test]
    fn plans_that_do_not_fit_are_refused() {
        let (arch, _) = architectures().swap_remove(2);
        let net = random_network(arch, 0);
        let groups = net.model.channel_groups(&net.store);
        let keep: Vec<Vec<bool>> = groups.iter().map(|g| vec![true; g.channels]).collect();
        let refused = |keep: &[Vec<bool>], part: &str| {
            let message = cut(net.model.as_ref(), &net.store, keep).err().unwrap().to_string();
            assert!(message.contains(part), "{message}");
        };
        refused(&keep[1..], "has 6 channel groups, the network has 7");
        let mut short = keep.clone();
        short[2].pop();
        refused(&short, "the plan for layer2.0.conv1 has 7 entries, the layer has 8 channels");
        let mut empty = keep;
        empty[6][4..8].fill(false);
        refused(&empty, "the plan for stream leaves no channel of conv1.weight");
    }

    #[test]
    fn a_channel_enters_every_tensor_that_carries_it() {
        for (arch, _) in architectures() {
            let net = random_network(arch, 0);
            for group in net.model.channel_groups(&net.store) {
                for member in &group.members {
                    let size = net.store.get(member.param).size()[member.dim as usize] as usize;
                    let name = net.store.name(member.param);
                    assert_eq!(size, member.len * member.span, "{name} in {}", group.name);
                    assert!(member.first + member.len <= group.channels, "{name} in {}", group.name);
                }
            }
        }
    }
}
