//! Which layers of a network are regularized, with what, and what can be said of each before training.

use anyhow::{Context, Result, bail, ensure};
use tch::{Kind, Tensor};

use super::config::{Method, OnImpossible, Regulariser, Start};
use super::exists::{Borders, Existence, delta_kernel, existence, refusal};
use super::kernel_orth::{distance, dso, nearest_orthogonal, so, srip};
use super::lorth::{Shape, deviation, lorth, target};
use crate::models::layers::Conv2d;
use crate::models::{Arch, Network};
use crate::params::{ParamId, ParamStore, Role};

/// The term of one layer.
pub enum Penalty {
    /// Not regularized.
    None,
    /// L_orth, with its I0.
    Lorth {
        target: Tensor,
    },
    So,
    Dso,
    Srip {
        iterations: u64,
    },
    /// ||G - I0||_F with padding 1.
    WangConv {
        target: Tensor,
    },
    /// ||m m^t - I||_F on the smaller side.
    WangMatrix,
}

/// The padding of the first public implementation, whatever kernel and stride are.
const WANG_PADDING: i64 = 1;

/// A convolution of the network.
pub struct Layer {
    pub name: String,
    pub weight: ParamId,
    pub shape: Shape,
    pub borders: Borders,
    pub existence: Existence,
    pub penalty: Penalty,
}

impl Layer {
    /// The layer's term for its kernel, without lambda.
    pub fn penalty(&self, kernel: &Tensor) -> Option<Tensor> {
        Some(match &self.penalty {
            Penalty::None => return None,
            Penalty::Lorth { target } => lorth(kernel, self.shape, target),
            Penalty::So => so(kernel),
            Penalty::Dso => dso(kernel),
            Penalty::Srip { iterations } => {
                let v0 = Tensor::randn([self.shape.taps()], (kernel.kind(), kernel.device()));
                srip(kernel, &v0, *iterations)
            }
            Penalty::WangConv { target } => deviation(kernel, self.shape.stride, WANG_PADDING, target).norm(),
            Penalty::WangMatrix => distance(kernel),
        })
    }

    pub fn is_regularized(&self) -> bool {
        !matches!(self.penalty, Penalty::None)
    }

    /// The layer in one line: what the method takes it for.
    pub fn describe(&self) -> String {
        let Shape { m, c, k, stride, .. } = self.shape;
        let case = if self.shape.is_row() { "rows" } else { "columns" };
        let what = match &self.penalty {
            Penalty::None => "not regularized",
            Penalty::Lorth { .. } => "L_orth",
            Penalty::So => "so",
            Penalty::Dso => "dso",
            Penalty::Srip { .. } => "srip",
            Penalty::WangConv { .. } => "wang, padding 1",
            Penalty::WangMatrix => "wang, reshaped kernel",
        };
        format!(
            "{}: M={m} C={c} k={k} S={stride}, orthogonal {case}, P={}, delta={}, alpha={}: {what}",
            self.name,
            self.shape.padding(),
            self.shape.delta(),
            self.shape.alpha()
        )
    }
}

/// The convolutions of a network, each with its penalty; errors name the layer that cannot be orthogonal.
pub fn convolutions(config: &Method, net: &Network) -> Result<Vec<Layer>> {
    let layers = net.model.convolutions().into_iter().enumerate().map(|(i, conv)| {
        let shape = check(conv, &net.store).with_context(|| format!("layer {}", conv.name))?;
        let borders = match (conv.circular, conv.padding) {
            (true, _) => Borders::Circular,
            (false, 0) => Borders::Valid,
            (false, _) => Borders::Same,
        };
        let existence = existence(shape, borders);
        let left_out = !config.regularizes() || (i == 0 && !config.first_layer);
        let penalty = if left_out {
            Penalty::None
        } else {
            let weight = net.store.get(conv.weight);
            choose(config, net, &conv.name, weight, shape, i, borders)
                .with_context(|| format!("layer {}", conv.name))?
        };
        Ok(Layer { name: conv.name.clone(), weight: conv.weight, shape, borders, existence, penalty })
    });
    let layers = layers.collect::<Result<Vec<_>>>()?;
    ensure!(!layers.is_empty(), "orth-conv regularizes convolutions, and the model has none");
    Ok(layers)
}

fn check(conv: &Conv2d, store: &ParamStore) -> Result<Shape> {
    ensure!(
        conv.groups == 1,
        "L_orth is defined for dense, undilated convolutions; this one has {} groups",
        conv.groups
    );
    Shape::of(store.get(conv.weight), conv.stride)
}

fn choose(
    config: &Method,
    net: &Network,
    name: &str,
    weight: &Tensor,
    shape: Shape,
    place: usize,
    borders: Borders,
) -> Result<Penalty> {
    let of = |padding| target(&weight.detach(), shape, padding);
    Ok(match config.regulariser {
        Regulariser::None => Penalty::None,
        Regulariser::So => Penalty::So,
        Regulariser::Dso => Penalty::Dso,
        Regulariser::Srip => Penalty::Srip { iterations: config.iters },
        Regulariser::Wang if place == 0 || is_second_of_basic_block(&net.arch, name) => Penalty::None,
        Regulariser::Wang if shape.k == 1 => Penalty::WangMatrix,
        Regulariser::Wang => Penalty::WangConv { target: of(WANG_PADDING) },
        Regulariser::Lorth => {
            // Zeros around the image rule an orthogonal layer out, but not the loss, which is the circular layer's.
            let circular = if borders == Borders::Same { Borders::Circular } else { borders };
            match (existence(shape, circular), config.on_impossible) {
                (Existence::No, OnImpossible::RowOrth) => Penalty::So,
                (Existence::No, OnImpossible::Refuse) => bail!(
                    "{}; method.on_impossible = \"row_orth\" takes the reshaped kernel's loss there",
                    refusal(shape, circular)
                ),
                _ => Penalty::Lorth { target: of(shape.padding()) },
            }
        }
    })
}

fn is_second_of_basic_block(arch: &Arch, name: &str) -> bool {
    matches!(arch, Arch::CifarResnet(_) | Arch::Resnet18(_) | Arch::Resnet34(_)) && name.ends_with(".conv2")
}

/// The weights of the Linear layers, with their names.
pub fn linear(net: &Network) -> Vec<(String, ParamId)> {
    let weights = net.store.iter().filter(|(_, p)| p.role == Role::Weight && p.tensor.dim() == 2);
    weights.map(|(id, p)| (p.name.trim_end_matches(".weight").to_owned(), id)).collect()
}

/// The kernel that training starts from, given the one the model drew.
pub fn start(kernel: &Tensor, shape: Shape, init: Start) -> Result<Tensor> {
    let drawn = kernel.detach();
    Ok(match init {
        Start::Model => drawn,
        Start::Delta => delta_kernel(shape)?.to_device(drawn.device()),
        Start::Orthogonal => nearest_orthogonal(&drawn),
        Start::Glorot => {
            let window = shape.k.pow(shape.dim);
            let std = (2.0 / ((shape.m + shape.c) * window) as f64).sqrt();
            &drawn * (std / drawn.square().mean(Kind::Float).sqrt())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Border, ConvNetArch, MlpArch, MobilenetV1Arch, ResnetArch};
    use tch::Device;

    fn net(arch: Arch) -> Network {
        Network::build(arch, 3, Device::Cpu).unwrap()
    }

    fn circular(widths: &[i64], strides: &[i64]) -> Network {
        let (widths, strides) = (widths.to_vec(), strides.to_vec());
        let arch = ConvNetArch { input: [1, 8, 8], classes: 10, widths, strides, ..ConvNetArch::default() };
        net(Arch::ConvNet(ConvNetArch { border: Border::Circular, ..arch }))
    }

    fn refusal(config: &Method, net: &Network) -> String {
        format!("{:#}", convolutions(config, net).err().unwrap())
    }

    #[test]
    fn impossible_layers_are_refused_by_name_or_fall_back() {
        let net = circular(&[10], &[4]);
        let text = refusal(&Method::default(), &net);
        assert!(text.contains("layer conv1") && text.contains("M=10, C=1, k=3, S=4"), "{text}");
        let config = Method { on_impossible: OnImpossible::RowOrth, ..Method::default() };
        assert!(matches!(convolutions(&config, &net).unwrap()[0].penalty, Penalty::So));
    }

    #[test]
    fn grouped_convolutions_and_networks_without_any_are_refused() {
        let mobile = net(Arch::MobilenetV1(MobilenetV1Arch { input: [3, 32, 32], classes: 2, ..Default::default() }));
        assert!(refusal(&Method::default(), &mobile).contains("dense, undilated convolutions"));
        let mlp = net(Arch::Mlp(MlpArch { inputs: 4, classes: 2, ..MlpArch::default() }));
        assert!(refusal(&Method::default(), &mlp).contains("the model has none"));
    }

    #[test]
    fn the_first_public_implementation_leaves_layers_out() {
        let arch = ResnetArch { input: [3, 8, 8], classes: 2, widths: vec![4, 8, 16, 32], ..ResnetArch::default() };
        let config = Method { regulariser: Regulariser::Wang, ..Method::default() };
        let layers = convolutions(&config, &net(Arch::Resnet18(arch))).unwrap();
        let of = |name: &str| &layers.iter().find(|layer| layer.name == name).unwrap().penalty;
        assert!(matches!(of("conv1"), Penalty::None));
        assert!(matches!(of("layer1.0.conv1"), Penalty::WangConv { .. }));
        assert!(matches!(of("layer1.0.conv2"), Penalty::None));
        assert!(matches!(of("layer2.0.downsample.0"), Penalty::WangMatrix));
    }

    #[test]
    fn lambda_zero_regularizes_nothing_and_the_first_layer_can_be_left_out() {
        let net = circular(&[4, 8], &[1, 2]);
        let on =
            |config: Method| convolutions(&config, &net).unwrap().iter().map(Layer::is_regularized).collect::<Vec<_>>();
        assert_eq!(on(Method { lambda: 0.0, ..Method::default() }), [false, false]);
        assert_eq!(on(Method { first_layer: false, ..Method::default() }), [false, true]);
    }

    #[test]
    fn kernels_start_orthogonal_or_with_glorots_deviation() {
        let net = circular(&[6, 8], &[1, 2]);
        let layers = convolutions(&Method::default(), &net).unwrap();
        for layer in &layers {
            let of = |init| start(net.store.get(layer.weight), layer.shape, init).unwrap().to_kind(Kind::Float);
            assert!(layer.penalty(&of(Start::Delta)).unwrap().double_value(&[]).abs() < 1e-6);
            assert!(so(&of(Start::Orthogonal)).double_value(&[]) < 1e-9);
            let std = of(Start::Glorot).square().mean(Kind::Float).sqrt().double_value(&[]);
            let Shape { m, c, .. } = layer.shape;
            assert!((std - (2.0 / (9 * (m + c)) as f64).sqrt()).abs() < 1e-6);
        }
    }
}
