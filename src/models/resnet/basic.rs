//! The basic block: y = relu(shortcut(x) + bn2(conv2(relu(bn1(conv1(x)))))).

use std::ops::Range;
use tch::Tensor;

use super::{Block, BlockShape, Shortcut};
use crate::models::layers::{BatchNorm, Conv, Conv2d};
use crate::models::{Cx, InitScheme};
use crate::params::channels::{ChannelGroup, Part};
use crate::params::{Builder, ParamId, ParamStore};

pub struct BasicBlock {
    name: String,
    /// `None`: removed, y = relu(shortcut(x)).
    branch: Option<Branch>,
    shortcut: Shortcut,
}

struct Branch {
    site: String,
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
}

impl Branch {
    fn new(b: &mut Builder, shape: BlockShape, init: InitScheme) -> Branch {
        let BlockShape { inputs, inner, outputs, stride } = shape;
        let first = Conv::new(inputs, inner, 3).stride(stride).padding(1);
        Branch {
            site: format!("{}.branch", b.name()),
            conv1: Conv2d::new(&mut b.part("conv1"), first, init),
            bn1: BatchNorm::new(&mut b.part("bn1"), inner),
            conv2: Conv2d::new(&mut b.part("conv2"), Conv::new(inner, outputs, 3).padding(1), init),
            bn2: BatchNorm::new(&mut b.part("bn2"), outputs),
        }
    }

    fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let h = cx.tap(&self.conv1.name, self.bn1.forward(cx, &self.conv1.forward(cx, x)).relu());
        cx.tap(&self.site, self.bn2.forward(cx, &self.conv2.forward(cx, &h)))
    }

    fn params(&self) -> impl Iterator<Item = ParamId> {
        let norms = [&self.bn1, &self.bn2].into_iter().flat_map(BatchNorm::per_channel);
        [self.conv1.weight, self.conv2.weight].into_iter().chain(norms)
    }
}

impl BasicBlock {
    /// A block whose shortcut has no parameters.
    pub fn new(b: &mut Builder, shape: BlockShape, shortcut: Shortcut, init: InitScheme) -> BasicBlock {
        let branch = (shape.inner > 0).then(|| Branch::new(b, shape, init));
        BasicBlock { name: b.name().to_owned(), branch, shortcut }
    }

    /// A block with the projection of option B, called `name`.
    pub fn projected(b: &mut Builder, shape: BlockShape, name: &str, init: InitScheme) -> BasicBlock {
        let block = BasicBlock::new(b, shape, Shortcut::Identity, init);
        let conv = Conv::new(shape.inputs, shape.outputs, 1).stride(shape.stride);
        let conv = Conv2d::new(&mut b.part(format!("{name}.0")), conv, init);
        let bn = BatchNorm::new(&mut b.part(format!("{name}.1")), shape.outputs);
        BasicBlock { shortcut: Shortcut::Projection { conv, bn }, ..block }
    }

    /// Sets the epsilon of both normalizations.
    pub fn set_eps(&mut self, eps: f64) {
        if let Some(branch) = &mut self.branch {
            branch.bn1.eps = eps;
            branch.bn2.eps = eps;
        }
    }

    /// `[N, inputs, H, W]` to `[N, outputs, H/stride, W/stride]`.
    pub fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let sum = match (&self.branch, &self.shortcut) {
            (None, shortcut) => shortcut.forward(cx, x),
            (Some(branch), shortcut) => branch.forward(cx, x) + shortcut.forward(cx, x),
        };
        cx.tap(&self.name, sum.relu())
    }

    /// conv1's output channels: rows of conv1, bn1, columns of conv2.
    pub fn inner_group(&self, store: &ParamStore) -> Option<ChannelGroup> {
        let branch = self.branch.as_ref()?;
        let group = ChannelGroup::inner(&branch.conv1.name, branch.conv1.outputs(store));
        let group = group.producer(branch.conv1.params()).norm(branch.bn1.per_channel());
        Some(group.consumer(branch.conv2.weight, 1).removable(branch.params()))
    }
}

impl Block for BasicBlock {
    fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        BasicBlock::forward(self, cx, x)
    }

    fn inner_group(&self, store: &ParamStore) -> Option<ChannelGroup> {
        BasicBlock::inner_group(self, store)
    }

    fn couple_input(&self, stream: &mut ChannelGroup, at: Range<usize>) {
        let conv1 = self.branch.as_ref().map(|branch| branch.conv1.weight);
        stream.couple(Part::Consumer, conv1, at.clone());
        if let Shortcut::Projection { conv, .. } = &self.shortcut {
            stream.couple(Part::Consumer, [conv.weight], at);
        }
    }

    fn couple_output(&self, stream: &mut ChannelGroup, at: Range<usize>) {
        if let Some(branch) = &self.branch {
            stream.couple(Part::Producer, branch.conv2.params(), at.clone());
            stream.couple(Part::Norm, branch.bn2.per_channel(), at.clone());
        }
        if let Shortcut::Projection { conv, bn } = &self.shortcut {
            stream.couple(Part::Producer, conv.params(), at.clone());
            stream.couple(Part::Norm, bn.per_channel(), at);
        }
    }
}
