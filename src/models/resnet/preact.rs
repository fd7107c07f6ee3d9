//! The pre-activation block: a = relu(bn1(x)), y = shortcut + conv2(relu(bn2(conv1(a)))), where the shortcut is x itself or,
//! where the shape changes, a 1x1 convolution of a.

use std::ops::Range;
use tch::Tensor;

use super::{Block, BlockShape};
use crate::models::layers::{BatchNorm, Conv, Conv2d};
use crate::models::{Cx, InitScheme};
use crate::params::channels::{ChannelGroup, Part};
use crate::params::{Builder, ParamStore};

pub struct PreactBlock {
    name: String,
    bn1: BatchNorm,
    /// `None`: removed, y = shortcut.
    branch: Option<Branch>,
    projection: Option<Conv2d>,
}

struct Branch {
    site: String,
    conv1: Conv2d,
    bn2: BatchNorm,
    conv2: Conv2d,
}

impl PreactBlock {
    /// `projected`: the shape changes.
    pub fn new(b: &mut Builder, shape: BlockShape, projected: bool, init: InitScheme) -> PreactBlock {
        let BlockShape { inputs, inner, outputs, stride } = shape;
        let name = b.name().to_owned();
        let bn1 = BatchNorm::new(&mut b.part("bn1"), inputs);
        let first = Conv::new(inputs, inner, 3).stride(stride).padding(1);
        let branch = (inner > 0).then(|| Branch {
            site: format!("{name}.branch"),
            conv1: Conv2d::new(&mut b.part("conv1"), first, init),
            bn2: BatchNorm::new(&mut b.part("bn2"), inner),
            conv2: Conv2d::new(&mut b.part("conv2"), Conv::new(inner, outputs, 3).padding(1), init),
        });
        let conv = Conv::new(inputs, outputs, 1).stride(stride);
        let projection = projected.then(|| Conv2d::new(&mut b.part("shortcut.0"), conv, init));
        PreactBlock { name, bn1, branch, projection }
    }
}

impl Block for PreactBlock {
    fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let a = cx.tap(&self.bn1.name, self.bn1.forward(cx, x).relu());
        let shortcut = self.projection.as_ref().map_or_else(|| x.shallow_clone(), |conv| conv.forward(cx, &a));
        let Some(Branch { site, conv1, bn2, conv2 }) = &self.branch else { return cx.tap(&self.name, shortcut) };
        let h = cx.tap(&conv1.name, bn2.forward(cx, &conv1.forward(cx, &a)).relu());
        cx.tap(&self.name, shortcut + cx.tap(site, conv2.forward(cx, &h)))
    }

    fn convolutions(&self) -> Vec<&Conv2d> {
        let branch = self.branch.iter().flat_map(|branch| [&branch.conv1, &branch.conv2]);
        branch.chain(&self.projection).collect()
    }

    fn inner_group(&self, store: &ParamStore) -> Option<ChannelGroup> {
        let Branch { conv1, bn2, conv2, .. } = self.branch.as_ref()?;
        let group = ChannelGroup::inner(&conv1.name, conv1.outputs(store));
        let group = group.producer(conv1.params()).norm(bn2.per_channel()).consumer(conv2.weight, 1);
        Some(group.removable([conv1.weight, conv2.weight]))
    }

    fn couple_input(&self, stream: &mut ChannelGroup, at: Range<usize>) {
        stream.couple(Part::Norm, self.bn1.per_channel(), at.clone());
        let readers = self.branch.iter().map(|branch| &branch.conv1).chain(&self.projection);
        stream.couple(Part::Consumer, readers.map(|conv| conv.weight), at);
    }

    fn couple_output(&self, stream: &mut ChannelGroup, at: Range<usize>) {
        let makers = self.branch.iter().map(|branch| &branch.conv2).chain(&self.projection);
        stream.couple(Part::Producer, makers.map(|conv| conv.weight), at);
    }
}
