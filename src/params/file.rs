//! Safetensors in and out: PyTorch state-dict names, float64/32/16, bfloat16 and whole numbers.

use anyhow::{Context, Result, anyhow, bail};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

use super::{ParamStore, Role};

/// One tensor of an open file, copied to the host.
pub fn tensor_from_view(name: &str, view: &TensorView) -> Result<Tensor> {
    let kind = match view.dtype() {
        Dtype::F64 => Kind::Double,
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::I16 => Kind::Int16,
        Dtype::I8 => Kind::Int8,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        other => bail!("tensor {name} has type {other:?}, which reglab does not read"),
    };
    let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
    Ok(Tensor::from_data_size(view.data(), &shape, kind))
}

/// All tensors of a file and its metadata.
pub struct TensorFile {
    pub tensors: Vec<(String, Tensor)>,
    pub metadata: HashMap<String, String>,
}

/// Reads a whole safetensors file; the error names the file and what is wrong with it.
pub fn read(path: &Path) -> Result<TensorFile> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let broken = |e: safetensors::SafeTensorError| {
        anyhow!("{} is not a whole safetensors file ({e}); is it truncated or of another format?", path.display())
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let mut tensors = Vec::new();
    for (name, view) in file.iter() {
        let tensor = tensor_from_view(name, &view).with_context(|| path.display().to_string())?;
        tensors.push((name.to_owned(), tensor));
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(TensorFile { tensors, metadata })
}

/// Bytes of a safetensors file of these tensors.
pub fn to_bytes<'a>(
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>> {
    let mut parts = Vec::new();
    for (name, tensor) in tensors {
        let dtype = match tensor.kind() {
            Kind::Double => Dtype::F64,
            Kind::Float => Dtype::F32,
            Kind::Half => Dtype::F16,
            Kind::BFloat16 => Dtype::BF16,
            Kind::Int64 => Dtype::I64,
            Kind::Int => Dtype::I32,
            Kind::Int16 => Dtype::I16,
            Kind::Int8 => Dtype::I8,
            Kind::Uint8 => Dtype::U8,
            Kind::Bool => Dtype::BOOL,
            other => bail!("tensor {name} has type {other:?}, which safetensors cannot hold"),
        };
        let host = tensor.detach().to_device(Device::Cpu).contiguous();
        let mut data = vec![0u8; host.numel() * host.kind().elt_size_in_bytes()];
        host.copy_data_u8(&mut data, host.numel());
        let shape: Vec<usize> = host.size().iter().map(|&n| n as usize).collect();
        parts.push((name.to_owned(), dtype, shape, data));
    }
    let mut views = Vec::new();
    for (name, dtype, shape, data) in &parts {
        views.push((name.as_str(), TensorView::new(*dtype, shape.clone(), data).map_err(|e| anyhow!("{name}: {e}"))?));
    }
    safetensors::serialize(views, Some(metadata)).map_err(|e| anyhow!("cannot write safetensors: {e}"))
}

/// Parts of names that implementations of one network call differently.
const SYNONYMS: [(&str, &str); 2] = [("shortcut", "downsample"), ("linear", "fc")];

impl ParamStore {
    /// The name under which this store holds what another implementation calls `name`; `name` itself if it holds no such thing.
    pub fn own_name(&self, name: &str) -> String {
        if self.id(name).is_some() {
            return name.to_owned();
        }
        let swapped = |part: &str| {
            let found = SYNONYMS.iter().find_map(|&(a, b)| match part {
                p if p == a => Some(b),
                p if p == b => Some(a),
                _ => None,
            });
            found.unwrap_or(part).to_owned()
        };
        let other = name.split('.').map(swapped).collect::<Vec<_>>().join(".");
        if self.id(&other).is_some() { other } else { name.to_owned() }
    }

    /// Bytes of a safetensors file with all tensors under their state-dict names.
    pub fn to_bytes(&self, metadata: HashMap<String, String>) -> Result<Vec<u8>> {
        to_bytes(self.iter().map(|(_, p)| (p.name.as_str(), &p.tensor)), metadata)
    }

    /// Refuses a checkpoint whose tensors (name and shape) are not those of the store: a missing, extra or misshapen one is
    /// named, with both shapes. `num_batches_tracked` may be missing.
    pub fn check<'n>(&self, given: impl Iterator<Item = (&'n str, Vec<i64>)>, origin: &Path) -> Result<()> {
        let (origin, given) = (origin.display(), given.collect::<HashMap<_, _>>());
        for (_, param) in self.iter() {
            match given.get(param.name.as_str()) {
                None if param.role == Role::Counter => {}
                None => bail!("{origin} has no tensor {}: it is a checkpoint of another model", param.name),
                Some(shape) if *shape != param.tensor.size() => bail!(
                    "{origin}: tensor {} has shape {shape:?}, the model needs {:?}",
                    param.name,
                    param.tensor.size()
                ),
                Some(_) => {}
            }
        }
        let mut extra: Vec<&str> = given.into_keys().filter(|name| self.id(name).is_none()).collect();
        extra.sort_unstable();
        if let Some(name) = extra.first() {
            bail!("{origin} has a tensor {name} that the model does not have: it is a checkpoint of another model");
        }
        Ok(())
    }

    /// Fills every tensor from `file` (converted to the store's kind). A missing, extra or misshapen tensor is an error that
    /// names it and both shapes; `num_batches_tracked` may be missing. Names of other implementations count as the store's own.
    pub fn load(&self, file: &TensorFile, origin: &Path) -> Result<()> {
        let named: Vec<(String, &Tensor)> = file.tensors.iter().map(|(name, t)| (self.own_name(name), t)).collect();
        let given: HashMap<&str, &Tensor> = named.iter().map(|(n, t)| (n.as_str(), *t)).collect();
        self.check(given.iter().map(|(name, tensor)| (*name, tensor.size())), origin)?;
        for (id, param) in self.iter() {
            if let Some(tensor) = given.get(param.name.as_str()) {
                self.assign(id, tensor);
            }
        }
        Ok(())
    }
}
