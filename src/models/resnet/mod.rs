//! Residual networks for small images: a 3x3 stem, stages of two-convolution blocks (each stage but the first starts with
//! stride 2), global average pooling, one Linear layer. He et al. 2016 (CIFAR form and ResNet-18/34) and the pre-activation
//! form of the same authors' "Identity mappings in deep residual networks". ResNet-50 for larger images is beside them.

mod basic;
mod bottleneck;
mod cifar_resnet;
mod preact;
mod resnet18;
mod resnet50;
mod shortcut;

pub use basic::BasicBlock;
pub use cifar_resnet::CifarResnetArch;
pub use preact::PreactBlock;
pub use resnet18::ResnetArch;
pub use resnet50::{Resnet50, Resnet50Arch};
pub use shortcut::{Shortcut, ShortcutKind, ZeroPad};

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use tch::Tensor;

use super::arch::{kept, length, positive};
use super::layers::{BatchNorm, Conv, Conv2d, Linear, channels_last, global_average};
use super::{Arch, Cx, InitScheme, Model};
use crate::params::channels::{ChannelGroup, Part};
use crate::params::{Builder, ParamId, ParamStore};

/// The order of the layers in a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BlockKind {
    /// conv, BN, ReLU, conv, BN, addition, ReLU.
    #[default]
    Basic,
    /// BN, ReLU, conv, BN, ReLU, conv, addition; one more BN and ReLU before the pooling.
    Preact,
}

/// The shape of one block.
#[derive(Clone, Copy)]
pub struct BlockShape {
    pub inputs: i64,
    /// Channels between the two convolutions; 0: the residual branch is removed.
    pub inner: i64,
    pub outputs: i64,
    pub stride: i64,
}

/// One residual block.
trait Block {
    fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor;

    /// conv1's output channels; `None` when the residual branch is removed.
    fn inner_group(&self, store: &ParamStore) -> Option<ChannelGroup>;

    /// Adds what reads the block's input to the stream, whose channels `at` it carries.
    fn couple_input(&self, stream: &mut ChannelGroup, at: Range<usize>);

    /// Adds what makes the block's output to the stream, whose channels `at` it carries.
    fn couple_output(&self, stream: &mut ChannelGroup, at: Range<usize>);
}

/// What implementations call the projection of a shortcut and the classifier.
#[derive(Clone, Copy)]
pub(super) struct Names {
    projection: &'static str,
    classifier: &'static str,
}

/// torchvision's.
const TORCHVISION: Names = Names { projection: "downsample", classifier: "fc" };

/// Those of the CIFAR networks (akamaster/pytorch_resnet_cifar10) and of the PreAct ResNet (kuangliu/pytorch-cifar).
const CIFAR: Names = Names { projection: "shortcut", classifier: "linear" };

/// What both families of architectures boil down to.
pub(super) struct Layout {
    input: [i64; 3],
    classes: i64,
    /// Blocks per stage.
    blocks: Vec<usize>,
    /// Channels of each stage's residual stream; the stem has those of the first.
    widths: Vec<i64>,
    /// Inner width of each block, 0: removed. Empty: the stage's width.
    inner: Vec<i64>,
    block: BlockKind,
    shortcut: ShortcutKind,
    /// Option A: zero channels before those of the previous stage, for each stage but the first. Empty: half of the difference.
    pad_before: Vec<i64>,
    names: Names,
    init: InitScheme,
}

impl Layout {
    /// Refuses what cannot be built, and fills the lists that may be empty.
    fn complete(mut self) -> Result<Layout> {
        positive("input", &self.input)?;
        positive("classes", &[self.classes])?;
        length("widths", &self.widths, self.blocks.len())?;
        positive("widths", &self.widths)?;
        if self.inner.is_empty() {
            let stage = |(&blocks, &width)| std::iter::repeat_n(width, blocks);
            self.inner = self.blocks.iter().zip(&self.widths).flat_map(stage).collect();
        }
        length("inner", &self.inner, self.blocks.iter().sum())?;
        ensure!(self.inner.iter().all(|&n| n >= 0), "model.inner has negative widths: {:?}", self.inner);
        match self.shortcut {
            ShortcutKind::A => self.complete_padding()?,
            ShortcutKind::B => ensure!(self.pad_before.is_empty(), "model.pad_before is for shortcut = \"a\" only"),
        }
        Ok(self)
    }

    fn complete_padding(&mut self) -> Result<()> {
        let added: Vec<i64> = self.widths.windows(2).map(|w| w[1] - w[0]).collect();
        let grow = added.iter().all(|&n| n >= 0);
        ensure!(grow, "model.widths must not shrink from stage to stage with shortcut = \"a\", got {:?}", self.widths);
        if self.pad_before.is_empty() {
            self.pad_before = added.iter().map(|&n| n / 2).collect();
        }
        length("pad_before", &self.pad_before, added.len())?;
        let fits = self.pad_before.iter().zip(&added).all(|(before, added)| (0..=*added).contains(before));
        ensure!(fits, "model.pad_before = {:?} must lie between 0 and the added channels {added:?}", self.pad_before);
        Ok(())
    }
}

/// Where a stage's residual stream lies: the number of its group and the group channels it carries.
struct Place {
    group: usize,
    at: Range<usize>,
}

pub struct Resnet {
    arch: Arch,
    layout: Layout,
    conv1: Conv2d,
    /// After the stem; pre-activation networks have none.
    bn1: Option<BatchNorm>,
    stages: Vec<Vec<Box<dyn Block>>>,
    /// Before the pooling, in pre-activation networks.
    bn: Option<BatchNorm>,
    linear: Linear,
}

impl Resnet {
    /// `layout` is what `arch` boils down to.
    pub(super) fn new(b: &mut Builder, arch: Arch, layout: Layout) -> Result<Resnet> {
        let layout = layout.complete()?;
        let (widths, init) = (&layout.widths, layout.init);
        let preact = layout.block == BlockKind::Preact;
        let stem = Conv::new(layout.input[0], widths[0], 3).padding(1);
        let conv1 = Conv2d::new(&mut b.part("conv1"), stem, init);
        let bn1 = (!preact).then(|| BatchNorm::new(&mut b.part("bn1"), widths[0]));
        let mut inner = layout.inner.iter();
        let mut stages = Vec::new();
        for (s, (&width, &count)) in widths.iter().zip(&layout.blocks).enumerate() {
            let mut blocks: Vec<Box<dyn Block>> = Vec::new();
            for (i, &inner) in inner.by_ref().take(count).enumerate() {
                let entry = s > 0 && i == 0;
                let (inputs, stride) = if entry { (widths[s - 1], 2) } else { (width, 1) };
                if inner == 0 && !entry {
                    continue; // removed, and its shortcut is the identity
                }
                let shape = BlockShape { inputs, inner, outputs: width, stride };
                let mut b = b.part(format!("layer{}.{i}", s + 1));
                blocks.push(match (layout.block, entry, layout.shortcut) {
                    (BlockKind::Preact, ..) => Box::new(PreactBlock::new(&mut b, shape, entry, init)),
                    (BlockKind::Basic, false, _) => Box::new(BasicBlock::new(&mut b, shape, Shortcut::Identity, init)),
                    (BlockKind::Basic, true, ShortcutKind::A) => {
                        let pad = ZeroPad::new(inputs, width, layout.pad_before[s - 1], stride);
                        Box::new(BasicBlock::new(&mut b, shape, Shortcut::ZeroPad(pad), init))
                    }
                    (BlockKind::Basic, true, ShortcutKind::B) => {
                        Box::new(BasicBlock::projected(&mut b, shape, layout.names.projection, init))
                    }
                });
            }
            stages.push(blocks);
        }
        let features = widths[widths.len() - 1];
        let bn = preact.then(|| BatchNorm::new(&mut b.part("bn"), features));
        let linear = Linear::new(&mut b.part(layout.names.classifier), features, layout.classes, true, init);
        Ok(Resnet { arch, layout, conv1, bn1, stages, bn, linear })
    }

    /// Option A: one stream for all stages, later stages reach further to both sides. Option B: one stream a stage.
    fn places(&self) -> Vec<Place> {
        let widths = self.layout.widths.iter().map(|&w| w as usize);
        match self.layout.shortcut {
            ShortcutKind::B => widths.enumerate().map(|(group, width)| Place { group, at: 0..width }).collect(),
            ShortcutKind::A => {
                let first = |s: usize| self.layout.pad_before[s..].iter().sum::<i64>() as usize;
                widths.enumerate().map(|(s, width)| Place { group: 0, at: first(s)..first(s) + width }).collect()
            }
        }
    }

    fn streams(&self) -> Vec<ChannelGroup> {
        let places = self.places();
        let last = &places[places.len() - 1];
        let mut streams: Vec<ChannelGroup> = match self.layout.shortcut {
            ShortcutKind::A => vec![ChannelGroup::stream("stream", last.at.len())],
            ShortcutKind::B => {
                let stage =
                    |(s, place): (usize, &Place)| ChannelGroup::stream(&format!("layer{}", s + 1), place.at.len());
                places.iter().enumerate().map(stage).collect()
            }
        };
        streams[0].couple(Part::Producer, self.conv1.params(), places[0].at.clone());
        streams[0].couple(Part::Norm, self.bn1.iter().flat_map(BatchNorm::per_channel), places[0].at.clone());
        for (s, blocks) in self.stages.iter().enumerate() {
            for (i, block) in blocks.iter().enumerate() {
                let from = if i == 0 && s > 0 { &places[s - 1] } else { &places[s] };
                block.couple_input(&mut streams[from.group], from.at.clone());
                block.couple_output(&mut streams[places[s].group], places[s].at.clone());
            }
        }
        streams[last.group].couple(Part::Norm, self.bn.iter().flat_map(BatchNorm::per_channel), last.at.clone());
        streams[last.group].couple(Part::Consumer, [self.linear.weight], last.at.clone());
        streams
    }
}

impl Model for Resnet {
    fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        self.linear.forward(cx, &self.features(cx, x))
    }

    fn features(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let mut x = self.conv1.forward(cx, &channels_last(x));
        if let Some(bn1) = &self.bn1 {
            x = cx.tap(&self.conv1.name, bn1.forward(cx, &x).relu());
        }
        for block in self.stages.iter().flatten() {
            x = block.forward(cx, &x);
        }
        if let Some(bn) = &self.bn {
            x = cx.tap(&bn.name, bn.forward(cx, &x).relu());
        }
        global_average(&x)
    }

    fn classifier(&self) -> Vec<ParamId> {
        self.linear.params()
    }

    /// The inner group of each block that has a residual branch, then the residual streams: one of all stages with option A
    /// (a stage's channel c is channel c + padding of the next), one a stage with option B.
    fn channel_groups(&self, store: &ParamStore) -> Vec<ChannelGroup> {
        let inner = self.stages.iter().flatten().filter_map(|block| block.inner_group(store));
        inner.chain(self.streams()).collect()
    }

    fn cut(&self, keep: &[Vec<bool>]) -> Arch {
        let present = self.layout.inner.iter().filter(|&&n| n > 0).count();
        let (blocks, streams) = keep.split_at(present);
        let mut blocks = blocks.iter();
        let mut cut_block = |&n: &i64| if n == 0 { 0 } else { blocks.next().map_or(n, |flags| kept(flags)) };
        let inner = self.layout.inner.iter().map(&mut cut_block).collect();
        let places = self.places();
        let widths = places.iter().map(|p| kept(&streams[p.group][p.at.clone()])).collect();
        let pad_before = match self.layout.shortcut {
            ShortcutKind::A => places.windows(2).map(|p| kept(&streams[0][p[1].at.start..p[0].at.start])).collect(),
            ShortcutKind::B => Vec::new(),
        };
        match &self.arch {
            Arch::CifarResnet(a) => Arch::CifarResnet(CifarResnetArch { widths, inner, pad_before, ..a.clone() }),
            Arch::Resnet34(a) => Arch::Resnet34(ResnetArch { widths, inner, ..a.clone() }),
            Arch::Resnet18(a) => Arch::Resnet18(ResnetArch { widths, inner, ..a.clone() }),
            other => unreachable!("{other:?} is not a residual network"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Taps;
    use crate::models::testing::{images, random_network};
    use crate::params::View;
    use std::cell::RefCell;

    fn arch(inner: &[i64], shortcut: ShortcutKind) -> Arch {
        let (input, widths, inner) = ([3, 8, 8], vec![4, 8], inner.to_vec());
        let classes = 10;
        let default = CifarResnetArch::default();
        Arch::CifarResnet(CifarResnetArch { input, classes, depth: 10, widths, inner, shortcut, ..default })
    }

    /// Notes every site and closes the branches of the named blocks.
    struct Gates<'a> {
        closed: &'a [&'a str],
        sites: RefCell<Vec<String>>,
    }

    impl Taps for Gates<'_> {
        fn tap(&self, site: &str, activation: Tensor) -> Tensor {
            self.sites.borrow_mut().push(site.to_owned());
            let closed = site.strip_suffix(".branch").is_some_and(|block| self.closed.contains(&block));
            if closed { activation.zeros_like() } else { activation }
        }
    }

    #[test]
    fn a_block_whose_branch_is_gated_off_equals_one_that_is_removed() {
        for shortcut in [ShortcutKind::A, ShortcutKind::B] {
            let (full, removed) = (random_network(arch(&[], shortcut), 0), arch(&[4, 0, 0, 8], shortcut));
            let removed = random_network(removed, 1);
            for (id, param) in removed.store.iter() {
                removed.store.assign(id, full.store.get(full.store.find(&param.name).unwrap()));
            }
            let (x, view) = (images(0, &[2, 3, 8, 8]), View::plain(&full.store));
            let gates = Gates { closed: &["layer1.1", "layer2.0"], sites: RefCell::default() };
            let gated = tch::no_grad(|| full.model.forward(&Cx::eval(&view).with_taps(&gates), &x));
            assert!(gated.allclose(&removed.evaluate(&x), 1e-5, 1e-6, false));
            assert!(!gated.allclose(&full.evaluate(&x), 1e-2, 1e-2, false));
            let expected = "conv1 layer1.0.conv1 layer1.0.branch layer1.0 layer1.1.conv1 layer1.1.branch layer1.1 \
                layer2.0.conv1 layer2.0.branch layer2.0 layer2.1.conv1 layer2.1.branch layer2.1";
            assert_eq!(gates.sites.borrow().join(" "), expected);
        }
    }

    #[test]
    fn gradients_reach_every_trainable_tensor() {
        let net = random_network(arch(&[], ShortcutKind::A), 0);
        let view = View::plain(&net.store);
        let loss = net.model.forward(&Cx::train(&view), &images(0, &[4, 3, 8, 8])).square().mean(None);
        let leaves: Vec<&Tensor> = net.store.trainable().into_iter().map(|id| net.store.get(id)).collect();
        let grads = Tensor::run_backward(&[loss], &leaves, false, false);
        assert!(grads.iter().all(|grad| grad.abs().sum(None).double_value(&[]) > 0.0));
    }
}
