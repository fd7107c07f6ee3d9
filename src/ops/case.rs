//! One stored case: inputs, parameters, expected outputs and tolerances.

use anyhow::{Context, Result, anyhow, bail};
use safetensors::SafeTensors;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

use crate::params::file::tensor_from_view;

/// Inputs and parameters of one oracle case. Inputs are the file's `in.*` tensors (the prefix removed), on the device under test.
pub struct Case {
    pub path: PathBuf,
    pub op: String,
    pub note: String,
    pub rtol: f64,
    pub atol: f64,
    pub params: Map<String, Value>,
    pub(super) inputs: BTreeMap<String, Tensor>,
    pub expected: BTreeMap<String, Tensor>,
}

impl Case {
    /// Reads a case; `None` when the file's metadata names no `op` (a checkpoint beside the cases, say).
    pub fn read(path: &Path, device: Device) -> Result<Option<Case>> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let broken =
            |e: safetensors::SafeTensorError| anyhow!("{} is not a whole safetensors file: {e}", path.display());
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
        let Some(meta) = header.metadata().as_ref().filter(|m| m.contains_key("op")) else { return Ok(None) };
        let number = |key: &str| -> Result<f64> {
            let text = meta.get(key).with_context(|| format!("{}: no {key} in the metadata", path.display()))?;
            text.parse().with_context(|| format!("{}: {key} = {text:?} is not a number", path.display()))
        };
        let params = meta.get("params").map_or("{}", String::as_str);
        let mut case = Case {
            path: path.to_owned(),
            op: meta["op"].clone(),
            note: meta.get("note").cloned().unwrap_or_default(),
            rtol: number("rtol")?,
            atol: number("atol")?,
            params: serde_json::from_str(params)
                .with_context(|| format!("{}: params is not a JSON object", path.display()))?,
            inputs: BTreeMap::new(),
            expected: BTreeMap::new(),
        };
        let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
        for (name, view) in file.iter() {
            let tensor = tensor_from_view(name, &view)?;
            if let Some(name) = name.strip_prefix("in.") {
                case.inputs.insert(name.to_owned(), tensor.to_device(device));
            } else if let Some(name) = name.strip_prefix("out.") {
                case.expected.insert(name.to_owned(), tensor);
            }
        }
        Ok(Some(case))
    }

    /// The folder that holds the case: checkpoints named by `params` lie there.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// The file or folder beside the case that parameter `key` names.
    pub fn beside(&self, key: &str) -> Result<PathBuf> {
        let name = self.str(key)?;
        if name.is_empty() || name.contains(['/', '\\']) || name == ".." {
            bail!("{key} = {name:?} should be the name of a file or folder beside the case");
        }
        Ok(self.folder().join(name))
    }

    /// Input `name`, any shape.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        self.maybe(name).with_context(|| format!("input {name} is missing"))
    }

    pub fn maybe(&self, name: &str) -> Option<Tensor> {
        self.inputs.get(name).map(Tensor::shallow_clone)
    }

    /// The names of all inputs, sorted.
    pub fn input_names(&self) -> impl Iterator<Item = &str> {
        self.inputs.keys().map(String::as_str)
    }

    /// Input `name` flattened to host numbers.
    pub fn f64s(&self, name: &str) -> Result<Vec<f64>> {
        host(&self.tensor(name)?, Kind::Double)
    }

    pub fn i64s(&self, name: &str) -> Result<Vec<i64>> {
        host(&self.tensor(name)?, Kind::Int64)
    }

    fn param(&self, key: &str) -> Result<&Value> {
        self.params.get(key).with_context(|| format!("parameter {key} is missing"))
    }

    pub fn has(&self, key: &str) -> bool {
        self.params.get(key).is_some_and(|v| !v.is_null())
    }

    pub fn f64(&self, key: &str) -> Result<f64> {
        let value = self.param(key)?;
        value.as_f64().with_context(|| format!("parameter {key} = {value} is not a number"))
    }

    /// A whole number; `2.0` counts as one.
    pub fn i64(&self, key: &str) -> Result<i64> {
        let value = self.param(key)?;
        let whole = value.as_i64().or_else(|| value.as_f64().filter(|x| x.fract() == 0.0).map(|x| x as i64));
        whole.with_context(|| format!("parameter {key} = {value} is not a whole number"))
    }

    /// `true`, `false`, 1 or 0.
    pub fn bool(&self, key: &str) -> Result<bool> {
        let value = self.param(key)?;
        match value.as_bool().or_else(|| value.as_i64().filter(|n| (0..=1).contains(n)).map(|n| n == 1)) {
            Some(b) => Ok(b),
            None => bail!("parameter {key} = {value} is neither true nor false"),
        }
    }

    pub fn str(&self, key: &str) -> Result<&str> {
        let value = self.param(key)?;
        value.as_str().with_context(|| format!("parameter {key} = {value} is not a text"))
    }

    pub fn list_f64(&self, key: &str) -> Result<Vec<f64>> {
        self.list(key, Value::as_f64)
    }

    pub fn list_i64(&self, key: &str) -> Result<Vec<i64>> {
        self.list(key, Value::as_i64)
    }

    fn list<T>(&self, key: &str, item: fn(&Value) -> Option<T>) -> Result<Vec<T>> {
        let value = self.param(key)?;
        let list = value.as_array().and_then(|list| list.iter().map(item).collect());
        list.with_context(|| format!("parameter {key} = {value} is not a list of numbers"))
    }
}

fn host<T: Clone>(tensor: &Tensor, kind: Kind) -> Result<Vec<T>>
where
    Vec<T>: TryFrom<Tensor, Error = tch::TchError>,
{
    Ok(Vec::<T>::try_from(tensor.to_device(Device::Cpu).to_kind(kind).contiguous().view(-1))?)
}

/// What an op returns: named tensors, scalars as 0-d tensors.
#[derive(Default)]
pub struct Outputs {
    pub values: Vec<(String, Tensor)>,
    /// Outputs of which only the entries count whose mask is 1 (padding has no right value).
    pub masks: Vec<(String, Tensor)>,
}

impl Outputs {
    pub fn new() -> Outputs {
        Outputs::default()
    }

    /// Adds output `name`; numbers and vectors are made into float64 or int64 tensors.
    pub fn with(mut self, name: &str, value: impl IntoOutput) -> Outputs {
        self.values.push((name.to_owned(), value.into_output()));
        self
    }

    /// Adds output `name` that is compared only where `mask` (broadcast over it) is 1.
    pub fn with_where(mut self, name: &str, value: impl IntoOutput, mask: &Tensor) -> Outputs {
        self.masks.push((name.to_owned(), mask.shallow_clone()));
        self.with(name, value)
    }
}

pub trait IntoOutput {
    fn into_output(self) -> Tensor;
}

impl IntoOutput for Tensor {
    fn into_output(self) -> Tensor {
        self
    }
}

impl IntoOutput for &Tensor {
    fn into_output(self) -> Tensor {
        self.shallow_clone()
    }
}

macro_rules! scalar_output {
    ($($t:ty => $as:ty),*) => {$(
        impl IntoOutput for $t {
            fn into_output(self) -> Tensor {
                Tensor::from(self as $as)
            }
        }
    )*};
}
scalar_output!(f64 => f64, i64 => i64, usize => i64, i32 => i64, bool => i64);

impl IntoOutput for &[f64] {
    fn into_output(self) -> Tensor {
        Tensor::from_slice(self)
    }
}

impl IntoOutput for Vec<f64> {
    fn into_output(self) -> Tensor {
        Tensor::from_slice(&self)
    }
}

impl IntoOutput for Vec<i64> {
    fn into_output(self) -> Tensor {
        Tensor::from_slice(&self)
    }
}

impl IntoOutput for Vec<usize> {
    fn into_output(self) -> Tensor {
        self.into_iter().map(|i| i as i64).collect::<Vec<i64>>().into_output()
    }
}

impl IntoOutput for Vec<bool> {
    fn into_output(self) -> Tensor {
        self.into_iter().map(i64::from).collect::<Vec<i64>>().into_output()
    }
}
