//! The files of a checkpoint folder: which tensor lies where, and filling a store from them.

use anyhow::{Context, Result, bail, ensure};
use memmap2::MmapOptions;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorView};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::params::ParamStore;
use crate::params::file::tensor_from_view;

/// Where one tensor's bytes are.
struct Place {
    file: PathBuf,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Bytes from the start of the file.
    offset: u64,
    len: usize,
}

/// An open checkpoint folder. No tensor has been read yet.
pub struct HubFolder {
    path: PathBuf,
    pub config: Value,
    tensors: BTreeMap<String, Place>,
}

impl HubFolder {
    /// Reads `config.json`, the index if there is one, and the headers of the weight files.
    pub fn open(path: &Path) -> Result<HubFolder> {
        let config = json(&path.join("config.json"))?;
        let mut tensors = BTreeMap::new();
        let index = path.join("model.safetensors.index.json");
        if index.exists() {
            let weight_map = weight_map(&index)?;
            let files: BTreeSet<&String> = weight_map.values().collect();
            for file in files {
                tensors.extend(places(&path.join(file))?);
            }
            for (name, file) in &weight_map {
                let found = tensors.get(name).is_some_and(|place: &Place| place.file.ends_with(file));
                ensure!(found, "{} says that {name} lies in {file}, but it does not", index.display());
            }
        } else if path.join("model.safetensors").exists() {
            tensors = places(&path.join("model.safetensors"))?;
        } else if path.join("pytorch_model.bin").exists() || path.join("pytorch_model.bin.index.json").exists() {
            bail!(
                "{} has only pytorch_model.bin, a pickle that reglab does not read: convert it to model.safetensors first",
                path.display()
            );
        } else {
            bail!("{} has neither model.safetensors nor model.safetensors.index.json", path.display());
        }
        Ok(HubFolder { path: path.to_owned(), config, tensors })
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Fills every tensor of the store (converted to the store's kind). `own` turns a name, of the file or of the store, into
    /// the one both are compared by; tensors of the file that `ignored` names, and that the store lacks, are left alone.
    pub fn fill(&self, store: &ParamStore, own: &dyn Fn(&str) -> String, ignored: &dyn Fn(&str) -> bool) -> Result<()> {
        let wanted: HashMap<String, &str> = store.iter().map(|(_, p)| (own(&p.name), p.name.as_str())).collect();
        let mut given: Vec<(&str, &Place)> = Vec::new();
        for (name, place) in &self.tensors {
            match wanted.get(&own(name)) {
                Some(here) => given.push((here, place)),
                None if ignored(name) => {}
                None => given.push((name, place)),
            }
        }
        let shape = |place: &Place| place.shape.iter().map(|&n| n as i64).collect();
        store.check(given.iter().map(|(name, place)| (*name, shape(place))), &self.path)?;
        for (name, place) in given {
            place.read_into(store, name)?;
        }
        Ok(())
    }
}

impl Place {
    /// Maps this one tensor, copies it, and lets the mapping go.
    fn read_into(&self, store: &ParamStore, name: &str) -> Result<()> {
        let id = store.find(name)?;
        if self.len == 0 {
            return Ok(());
        }
        let whose = || format!("cannot read {name} of {}", self.file.display());
        let file = File::open(&self.file).with_context(whose)?;
        // SAFETY: the mapping is read-only and private to this function; a file that another program shortens meanwhile would
        // end the process, as for every program that maps its checkpoints.
        let map = unsafe { MmapOptions::new().offset(self.offset).len(self.len).map(&file) }.with_context(whose)?;
        let view = TensorView::new(self.dtype, self.shape.clone(), &map).with_context(whose)?;
        store.assign(id, &tensor_from_view(name, &view).with_context(whose)?);
        Ok(())
    }
}

fn json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// Tensor name to file name.
fn weight_map(index: &Path) -> Result<BTreeMap<String, String>> {
    let map = json(index)?.get_mut("weight_map").map(Value::take);
    let map = map.with_context(|| format!("{} has no weight_map", index.display()))?;
    let map: BTreeMap<String, String> = serde_json::from_value(map)
        .with_context(|| format!("{}: weight_map is not a table of file names", index.display()))?;
    let outside = |file: &&String| Path::new(file).components().count() != 1 || file.contains("..");
    if let Some(file) = map.values().find(outside) {
        bail!("{}: {file} is not the name of a file beside it", index.display());
    }
    Ok(map)
}

/// The tensors that a safetensors file's header lists.
fn places(path: &Path) -> Result<BTreeMap<String, Place>> {
    let name = path.display();
    let mut file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    let size = file.metadata().with_context(|| format!("cannot read {name}"))?.len();
    let broken = || format!("{name} is not a whole safetensors file; is it truncated or of another format?");
    let mut header = vec![0u8; 8];
    file.read_exact(&mut header).with_context(broken)?;
    let length = u64::from_le_bytes(header[..8].try_into().expect("eight bytes"));
    ensure!(length <= size.saturating_sub(8), broken());
    header.resize(8 + length as usize, 0);
    file.read_exact(&mut header[8..]).with_context(broken)?;
    let metadata: Metadata = serde_json::from_slice(&header[8..]).with_context(broken)?;
    let start = 8 + length;
    ensure!(start + metadata.data_len() as u64 == size, broken());
    let place = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
        let (from, to) = info.data_offsets;
        let (dtype, shape) = (info.dtype, info.shape.clone());
        (name, Place { file: path.to_owned(), dtype, shape, offset: start + from as u64, len: to - from })
    };
    Ok(metadata.tensors().into_iter().map(place).collect())
}
