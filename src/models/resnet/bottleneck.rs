//! The bottleneck block: y = relu(shortcut(x) + bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x)))))))), conv1 and conv3 1x1, conv2
//! 3x3. The stride is conv2's, as in torchvision (the paper's is conv1's).

use tch::Tensor;

use crate::models::layers::{BatchNorm, Conv, Conv2d};
use crate::models::{Cx, InitScheme};
use crate::params::channels::{ChannelGroup, Part};
use crate::params::{Builder, ParamStore};

/// The shape of one block.
#[derive(Clone, Copy)]
pub struct BottleneckShape {
    pub inputs: i64,
    /// Output channels of conv1 and conv2.
    pub inner: [i64; 2],
    pub outputs: i64,
    pub stride: i64,
    /// Whether the shortcut is a 1x1 convolution and BN.
    pub projected: bool,
}

pub struct Bottleneck {
    name: String,
    convs: [Conv2d; 3],
    norms: [BatchNorm; 3],
    downsample: Option<(Conv2d, BatchNorm)>,
}

impl Bottleneck {
    pub fn new(b: &mut Builder, shape: BottleneckShape, init: InitScheme) -> Bottleneck {
        let BottleneckShape { inputs, inner: [first, second], outputs, stride, projected } = shape;
        let mut layer = |i: usize, conv: Conv| {
            let made = Conv2d::new(&mut b.part(format!("conv{i}")), conv, init);
            (made, BatchNorm::new(&mut b.part(format!("bn{i}")), conv.outputs))
        };
        let (conv1, bn1) = layer(1, Conv::new(inputs, first, 1));
        let (conv2, bn2) = layer(2, Conv::new(first, second, 3).stride(stride).padding(1));
        let (conv3, bn3) = layer(3, Conv::new(second, outputs, 1));
        let projection = Conv::new(inputs, outputs, 1).stride(stride);
        let downsample = projected.then(|| {
            let conv = Conv2d::new(&mut b.part("downsample.0"), projection, init);
            (conv, BatchNorm::new(&mut b.part("downsample.1"), outputs))
        });
        Bottleneck { name: b.name().to_owned(), convs: [conv1, conv2, conv3], norms: [bn1, bn2, bn3], downsample }
    }

    /// The branch's convolutions, then the shortcut's.
    pub fn convolutions(&self) -> impl Iterator<Item = &Conv2d> {
        self.convs.iter().chain(self.downsample.iter().map(|(conv, _)| conv))
    }

    /// `[N, inputs, H, W]` to `[N, outputs, H/stride, W/stride]`.
    pub fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let ([conv1, conv2, conv3], [bn1, bn2, bn3]) = (&self.convs, &self.norms);
        let h = cx.tap(&conv1.name, bn1.forward(cx, &conv1.forward(cx, x)).relu());
        let h = cx.tap(&conv2.name, bn2.forward(cx, &conv2.forward(cx, &h)).relu());
        let branch = cx.tap(&format!("{}.branch", self.name), bn3.forward(cx, &conv3.forward(cx, &h)));
        let shortcut = match &self.downsample {
            Some((conv, bn)) => bn.forward(cx, &conv.forward(cx, x)),
            None => x.shallow_clone(),
        };
        cx.tap(&self.name, (branch + shortcut).relu())
    }

    /// The output channels of conv1 and of conv2: rows, normalization, columns of the next convolution.
    pub fn inner_groups(&self, store: &ParamStore) -> [ChannelGroup; 2] {
        [0, 1].map(|i: usize| {
            let (conv, norm, next) = (&self.convs[i], &self.norms[i], &self.convs[i + 1]);
            let group = ChannelGroup::inner(&conv.name, conv.outputs(store));
            group.producer(conv.params()).norm(norm.per_channel()).consumer(next.weight, 1)
        })
    }

    /// Adds what reads the block's input to the group of its channels.
    pub fn couple_input(&self, group: &mut ChannelGroup) {
        let readers = [&self.convs[0]].into_iter().chain(self.downsample.iter().map(|(conv, _)| conv));
        group.couple(Part::Consumer, readers.map(|conv| conv.weight), 0..group.channels);
    }

    /// Adds what makes the block's output to the stream.
    pub fn couple_output(&self, stream: &mut ChannelGroup) {
        let last = [(&self.convs[2], &self.norms[2])].into_iter();
        for (conv, norm) in last.chain(self.downsample.iter().map(|(conv, norm)| (conv, norm))) {
            stream.couple(Part::Producer, conv.params(), 0..stream.channels);
            stream.couple(Part::Norm, norm.per_channel(), 0..stream.channels);
        }
    }
}
