//! The description a network is built from: the `[model]` table of a configuration and the `arch` entry of a checkpoint.

use anyhow::{Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Model;
use super::conv_net::{ConvNet, ConvNetArch};
use super::decoder::{Decoder, DecoderConfig};
use super::encoder::{Encoder, EncoderConfig};
use super::lenet5::{Lenet5, Lenet5Arch};
use super::mlp::{Mlp, MlpArch};
use super::mobilenet_v1::{MobilenetV1, MobilenetV1Arch};
use super::resnet::{CifarResnetArch, Resnet, Resnet50, Resnet50Arch, ResnetArch};
use super::vgg16_bn::{Vgg16Bn, Vgg16BnArch};
use crate::params::{Builder, Init, ParamStore};

/// How weights start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InitScheme {
    /// PyTorch's layer default: weights and biases uniform in +-1/sqrt(fan_in).
    #[default]
    Pytorch,
    /// He et al. 2015: weights normal with std sqrt(2/fan_in), biases zero.
    HeNormal,
}

impl InitScheme {
    pub fn weight(self, fan_in: i64) -> Init {
        match self {
            InitScheme::Pytorch => Init::Uniform(1.0 / (fan_in as f64).sqrt()),
            InitScheme::HeNormal => Init::Normal((2.0 / fan_in as f64).sqrt()),
        }
    }

    pub fn bias(self, fan_in: i64) -> Init {
        match self {
            InitScheme::Pytorch => Init::Uniform(1.0 / (fan_in as f64).sqrt()),
            InitScheme::HeNormal => Init::Constant(0.0),
        }
    }
}

/// A network by name and shape. It describes cut networks too: their widths are listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Arch {
    Mlp(MlpArch),
    Lenet5(Lenet5Arch),
    ConvNet(ConvNetArch),
    CifarResnet(CifarResnetArch),
    Resnet18(ResnetArch),
    Resnet34(ResnetArch),
    Resnet50(Resnet50Arch),
    Vgg16Bn(Vgg16BnArch),
    MobilenetV1(MobilenetV1Arch),
    Decoder(DecoderConfig),
    Encoder(EncoderConfig),
}

impl Default for Arch {
    fn default() -> Arch {
        Arch::Mlp(MlpArch::default())
    }
}

impl Arch {
    /// Fills what the data decides: the sample's shape `[C, H, W]` and the number of classes. A size that is given and
    /// differs is an error.
    pub fn fit_data(&mut self, sample: &[i64], classes: i64) -> Result<()> {
        let (input, own_classes) = match self {
            Arch::Mlp(mlp) => {
                fill("model.inputs", &mut mlp.inputs, sample.iter().product())?;
                return fill("model.classes", &mut mlp.classes, classes);
            }
            Arch::Lenet5(a) => (&mut a.input, &mut a.classes),
            Arch::ConvNet(a) => (&mut a.input, &mut a.classes),
            Arch::CifarResnet(a) => (&mut a.input, &mut a.classes),
            Arch::Resnet18(a) | Arch::Resnet34(a) => (&mut a.input, &mut a.classes),
            Arch::Resnet50(a) => (&mut a.input, &mut a.classes),
            Arch::Vgg16Bn(a) => (&mut a.input, &mut a.classes),
            Arch::MobilenetV1(a) => (&mut a.input, &mut a.classes),
            // Its classes are tokens.
            Arch::Decoder(a) => return fill("model.vocab_size", &mut a.vocab_size, classes),
            Arch::Encoder(a) => return fill("model.num_labels", &mut a.num_labels, classes),
        };
        let &[channels, height, width] = sample else {
            bail!("the model needs images [channels, height, width], the data has samples of shape {sample:?}")
        };
        fill("model.input (channels)", &mut input[0], channels)?;
        fill("model.input (height)", &mut input[1], height)?;
        fill("model.input (width)", &mut input[2], width)?;
        fill("model.classes", own_classes, classes)
    }

    /// The same network with another number of outputs.
    pub fn with_classes(mut self, classes: i64) -> Arch {
        let own = match &mut self {
            Arch::Mlp(a) => &mut a.classes,
            Arch::Lenet5(a) => &mut a.classes,
            Arch::ConvNet(a) => &mut a.classes,
            Arch::CifarResnet(a) => &mut a.classes,
            Arch::Resnet18(a) | Arch::Resnet34(a) => &mut a.classes,
            Arch::Resnet50(a) => &mut a.classes,
            Arch::Vgg16Bn(a) => &mut a.classes,
            Arch::MobilenetV1(a) => &mut a.classes,
            Arch::Decoder(a) => &mut a.vocab_size,
            Arch::Encoder(a) => &mut a.num_labels,
        };
        *own = classes;
        self
    }

    /// The shape of one sample, without the batch dimension. Networks that read tokens have none.
    pub fn sample_shape(&self) -> Result<Vec<i64>> {
        Ok(match self {
            Arch::Mlp(a) => vec![a.inputs],
            Arch::Lenet5(a) => a.input.to_vec(),
            Arch::ConvNet(a) => a.input.to_vec(),
            Arch::CifarResnet(a) => a.input.to_vec(),
            Arch::Resnet18(a) | Arch::Resnet34(a) => a.input.to_vec(),
            Arch::Resnet50(a) => a.input.to_vec(),
            Arch::Vgg16Bn(a) => a.input.to_vec(),
            Arch::MobilenetV1(a) => a.input.to_vec(),
            Arch::Decoder(_) | Arch::Encoder(_) => {
                bail!("the network reads tokens; one that reads images or vectors is needed")
            }
        })
    }

    /// How the weights of its Linear and convolution layers start.
    pub fn init(&self) -> InitScheme {
        match self {
            Arch::Mlp(a) => a.init,
            Arch::Lenet5(a) => a.init,
            Arch::ConvNet(a) => a.init,
            Arch::CifarResnet(a) => a.init,
            Arch::Resnet18(a) | Arch::Resnet34(a) => a.init,
            Arch::Resnet50(a) => a.init,
            Arch::Vgg16Bn(a) => a.init,
            Arch::MobilenetV1(a) => a.init,
            // Transformers start from their own `initializer_range`.
            Arch::Decoder(_) | Arch::Encoder(_) => InitScheme::Pytorch,
        }
    }

    /// Registers the parameters in `store` (initial values from `seed`) and returns the network.
    pub fn build(&self, store: &mut ParamStore, seed: u64) -> Result<Box<dyn Model>> {
        self.build_part(Builder::new(store, seed))
    }

    /// The same as a part of something larger, under the builder's prefix.
    pub fn build_part(&self, mut b: Builder) -> Result<Box<dyn Model>> {
        Ok(match self {
            Arch::Mlp(a) => Box::new(Mlp::new(&mut b, a)?),
            Arch::Lenet5(a) => Box::new(Lenet5::new(&mut b, a)?),
            Arch::ConvNet(a) => Box::new(ConvNet::new(&mut b, a)?),
            Arch::CifarResnet(a) => Box::new(Resnet::new(&mut b, self.clone(), a.layout()?)?),
            Arch::Resnet18(a) => Box::new(Resnet::new(&mut b, self.clone(), a.layout([2, 2, 2, 2]))?),
            Arch::Resnet34(a) => Box::new(Resnet::new(&mut b, self.clone(), a.layout([3, 4, 6, 3]))?),
            Arch::Resnet50(a) => Box::new(Resnet50::new(&mut b, a)?),
            Arch::Vgg16Bn(a) => Box::new(Vgg16Bn::new(&mut b, a)?),
            Arch::MobilenetV1(a) => Box::new(MobilenetV1::new(&mut b, a)?),
            Arch::Decoder(a) => Box::new(Decoder::new(&mut b, a)?),
            Arch::Encoder(a) => Box::new(Encoder::new(&mut b, a)?),
        })
    }
}

fn fill(key: &str, field: &mut i64, from_data: i64) -> Result<()> {
    ensure!(*field == 0 || *field == from_data, "{key} = {field}, but the data has {from_data}");
    *field = from_data;
    Ok(())
}

/// Refuses zero or negative sizes of field `model.<key>`.
pub(super) fn positive(key: &str, sizes: &[i64]) -> Result<()> {
    ensure!(sizes.iter().all(|&n| n > 0), "model.{key} must be positive everywhere, got {sizes:?}");
    Ok(())
}

/// Refuses a list `model.<key>` of another length.
pub(super) fn length(key: &str, list: &[i64], needed: usize) -> Result<()> {
    ensure!(list.len() == needed, "model.{key} must have {needed} entries, got {} ({list:?})", list.len());
    Ok(())
}

/// The number of flags that are true, as a width.
pub(super) fn kept(flags: &[bool]) -> i64 {
    flags.iter().filter(|&&keep| keep).count() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_fill_what_is_open_and_contradict_what_differs() {
        let mut arch: Arch = serde_json::from_str(r#"{"name": "lenet5"}"#).unwrap();
        arch.fit_data(&[1, 28, 28], 10).unwrap();
        let Arch::Lenet5(lenet) = &arch else { panic!("{arch:?}") };
        assert_eq!((lenet.input, lenet.classes), ([1, 28, 28], 10));
        let message = arch.fit_data(&[1, 32, 32], 10).unwrap_err().to_string();
        assert_eq!(message, "model.input (height) = 28, but the data has 32");
        assert!(arch.fit_data(&[64], 10).unwrap_err().to_string().contains("[64]"));
    }

    #[test]
    fn every_name_reads_back_and_refuses_unknown_fields() {
        let names = [
            "mlp",
            "lenet5",
            "conv-net",
            "cifar-resnet",
            "resnet18",
            "resnet34",
            "resnet50",
            "vgg16-bn",
            "mobilenet-v1",
            "decoder",
            "encoder",
        ];
        for name in names {
            let arch: Arch = serde_json::from_str(&format!(r#"{{"name": "{name}"}}"#)).unwrap();
            let text = serde_json::to_string(&arch).unwrap();
            assert_eq!(serde_json::from_str::<Arch>(&text).unwrap(), arch);
            let wrong = serde_json::from_str::<Arch>(&format!(r#"{{"name": "{name}", "widht": 3}}"#));
            assert!(wrong.unwrap_err().to_string().contains("widht"), "{name}");
        }
    }
}
