//! The description a network is built from: the `[model]` table of a configuration and the `arch` entry of a checkpoint.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Model, mlp::Mlp};
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

/// A multi-layer perceptron with ReLU between its layers; inputs are flattened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MlpArch {
    /// Values per sample (0: taken from the data set).
    pub inputs: i64,
    /// Width of each hidden layer.
    pub hidden: Vec<i64>,
    /// Outputs (0: taken from the data set).
    pub classes: i64,
    pub init: InitScheme,
}

impl Default for MlpArch {
    fn default() -> MlpArch {
        MlpArch { inputs: 0, hidden: vec![256], classes: 0, init: InitScheme::default() }
    }
}

/// A network by name and shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Arch {
    Mlp(MlpArch),
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
        match self {
            Arch::Mlp(mlp) => {
                fill("model.inputs", &mut mlp.inputs, sample.iter().product())?;
                fill("model.classes", &mut mlp.classes, classes)
            }
        }
    }

    /// Registers the parameters in `store` (initial values from `seed`) and returns the network.
    pub fn build(&self, store: &mut ParamStore, seed: u64) -> Result<Box<dyn Model>> {
        let mut b = Builder::new(store, seed);
        match self {
            Arch::Mlp(mlp) => Ok(Box::new(Mlp::new(&mut b, mlp)?)),
        }
    }
}

fn fill(key: &str, field: &mut i64, from_data: i64) -> Result<()> {
    ensure!(*field == 0 || *field == from_data, "{key} = {field}, but the data has {from_data}");
    *field = from_data;
    Ok(())
}
