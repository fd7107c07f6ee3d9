//! ResNet-50 (He et al. 2016, table 1) as torchvision has it: 7x7 stem with stride 2, max pooling, four stages of bottleneck
//! blocks, names and shapes of its state dict.

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::bottleneck::{Bottleneck, BottleneckShape};
use crate::models::arch::{kept, length, positive};
use crate::models::layers::{BatchNorm, Conv, Conv2d, Linear, channels_last, global_average};
use crate::models::{Arch, Cx, InitScheme, Model};
use crate::params::channels::{ChannelGroup, Part};
use crate::params::{Builder, ParamId, ParamStore};

/// Blocks of each stage.
const BLOCKS: [usize; 4] = [3, 4, 6, 3];

/// ResNet-50 for images of some 200 pixels (of any size from 32 on).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resnet50Arch {
    /// Channels, height and width of an image (0: taken from the data set).
    pub input: [i64; 3],
    /// Outputs (0: taken from the data set).
    pub classes: i64,
    /// Channels of the stem.
    pub stem: i64,
    /// Channels of each of the four stages' residual streams.
    pub widths: Vec<i64>,
    /// Output channels of the first and the second convolution of each of the 16 blocks, in order. Empty: a quarter of the
    /// stage's width.
    pub inner: Vec<[i64; 2]>,
    pub init: InitScheme,
}

impl Default for Resnet50Arch {
    fn default() -> Resnet50Arch {
        Resnet50Arch {
            input: [0; 3],
            classes: 0,
            stem: 64,
            widths: vec![256, 512, 1024, 2048],
            inner: Vec::new(),
            init: InitScheme::Pytorch,
        }
    }
}

impl Resnet50Arch {
    /// Refuses what cannot be built; the inner widths of all blocks.
    fn complete(&self) -> Result<Vec<[i64; 2]>> {
        positive("input", &self.input)?;
        positive("classes", &[self.classes])?;
        positive("stem", &[self.stem])?;
        length("widths", &self.widths, BLOCKS.len())?;
        positive("widths", &self.widths)?;
        let quarter = |(&width, &count): (&i64, &usize)| std::iter::repeat_n([(width / 4).max(1); 2], count);
        let inner = match self.inner.is_empty() {
            true => self.widths.iter().zip(&BLOCKS).flat_map(quarter).collect(),
            false => self.inner.clone(),
        };
        length("inner", &inner.concat(), 2 * BLOCKS.iter().sum::<usize>())?;
        positive("inner", &inner.concat())?;
        Ok(inner)
    }
}

pub struct Resnet50 {
    arch: Resnet50Arch,
    conv1: Conv2d,
    bn1: BatchNorm,
    stages: Vec<Vec<Bottleneck>>,
    fc: Linear,
}

impl Resnet50 {
    pub fn new(b: &mut Builder, arch: &Resnet50Arch) -> Result<Resnet50> {
        let mut inner = arch.complete()?.into_iter();
        let init = arch.init;
        let stem = Conv::new(arch.input[0], arch.stem, 7).stride(2).padding(3);
        let conv1 = Conv2d::new(&mut b.part("conv1"), stem, init);
        let bn1 = BatchNorm::new(&mut b.part("bn1"), arch.stem);
        let mut inputs = arch.stem;
        let mut stages = Vec::new();
        for (s, (&outputs, &count)) in arch.widths.iter().zip(&BLOCKS).enumerate() {
            let mut blocks = Vec::new();
            for (i, inner) in inner.by_ref().take(count).enumerate() {
                let stride = if s > 0 && i == 0 { 2 } else { 1 };
                let shape = BottleneckShape { inputs, inner, outputs, stride, projected: i == 0 };
                blocks.push(Bottleneck::new(&mut b.part(format!("layer{}.{i}", s + 1)), shape, init));
                inputs = outputs;
            }
            stages.push(blocks);
        }
        let fc = Linear::new(&mut b.part("fc"), inputs, arch.classes, true, init);
        Ok(Resnet50 { arch: arch.clone(), conv1, bn1, stages, fc })
    }

    fn blocks(&self) -> impl Iterator<Item = &Bottleneck> {
        self.stages.iter().flatten()
    }
}

impl Model for Resnet50 {
    fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        self.fc.forward(cx, &self.features(cx, x))
    }

    fn features(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let x = cx.tap(&self.conv1.name, self.bn1.forward(cx, &self.conv1.forward(cx, &channels_last(x))).relu());
        let x = x.max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false);
        global_average(&self.blocks().fold(x, |x, block| block.forward(cx, &x)))
    }

    fn classifier(&self) -> Vec<ParamId> {
        self.fc.params()
    }

    fn convolutions(&self) -> Vec<&Conv2d> {
        [&self.conv1].into_iter().chain(self.blocks().flat_map(Bottleneck::convolutions)).collect()
    }

    /// The stem's channels (no addition couples them: the first block projects its shortcut), two inner groups a block, then a
    /// stream a stage.
    fn channel_groups(&self, store: &ParamStore) -> Vec<ChannelGroup> {
        let stem = ChannelGroup::inner(&self.conv1.name, self.conv1.outputs(store));
        let mut stem = stem.producer(self.conv1.params()).norm(self.bn1.per_channel());
        self.stages[0][0].couple_input(&mut stem);
        let mut groups = vec![stem];
        groups.extend(self.blocks().flat_map(|block| block.inner_groups(store)));
        for (s, blocks) in self.stages.iter().enumerate() {
            let mut stream = ChannelGroup::stream(&format!("layer{}", s + 1), self.arch.widths[s] as usize);
            let next = self.stages.get(s + 1).map(|blocks| &blocks[0]);
            blocks.iter().skip(1).chain(next).for_each(|block| block.couple_input(&mut stream));
            blocks.iter().for_each(|block| block.couple_output(&mut stream));
            if next.is_none() {
                stream.couple(Part::Consumer, [self.fc.weight], 0..stream.channels);
            }
            groups.push(stream);
        }
        groups
    }

    fn cut(&self, keep: &[Vec<bool>]) -> Arch {
        let widths: Vec<i64> = keep.iter().map(|flags| kept(flags)).collect();
        let (inner, streams) = widths[1..].split_at(2 * BLOCKS.iter().sum::<usize>());
        let inner = inner.chunks(2).map(|pair| [pair[0], pair[1]]).collect();
        Arch::Resnet50(Resnet50Arch { stem: widths[0], inner, widths: streams.to_vec(), ..self.arch.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Network;
    use crate::models::testing::{images, parameters, random_network};
    use tch::Device;

    #[test]
    fn it_has_the_tensors_of_torchvisions() {
        let arch = Resnet50Arch { input: [3, 224, 224], classes: 1000, ..Resnet50Arch::default() };
        assert_eq!(parameters(Arch::Resnet50(arch.clone())), 25_557_032);
        let net = Network::build(Arch::Resnet50(arch), 0, Device::Cpu).unwrap();
        let listed = include_str!("../../../tests/fixtures/resnet50-state-dict.txt");
        let own = net.store.iter().map(|(_, p)| format!("{} {:?}", p.name, p.tensor.size())).collect::<Vec<_>>();
        assert_eq!(own, listed.lines().collect::<Vec<_>>());
    }

    #[test]
    fn its_map_is_a_32nd_of_the_image() {
        let arch =
            Resnet50Arch { input: [3, 64, 96], classes: 7, stem: 4, widths: vec![8, 8, 12, 16], ..Default::default() };
        let net = random_network(Arch::Resnet50(arch), 1);
        assert_eq!(net.evaluate(&images(0, &[2, 3, 64, 96])).size(), [2, 7]);
        assert_eq!(net.store.get(net.store.find("layer1.0.conv2.weight").unwrap()).size(), [2, 2, 3, 3]);
    }

    #[test]
    fn widths_that_cannot_be_are_refused() {
        let refused = |arch: Resnet50Arch| arch.complete().unwrap_err().to_string();
        let arch = Resnet50Arch { input: [3, 64, 64], classes: 7, ..Resnet50Arch::default() };
        assert!(refused(Resnet50Arch { widths: vec![8], ..arch.clone() }).contains("model.widths must have 4"));
        assert!(refused(Resnet50Arch { inner: vec![[1, 0]; 16], ..arch.clone() }).contains("model.inner"));
        assert!(refused(Resnet50Arch { stem: 0, ..arch }).contains("model.stem"));
    }
}
