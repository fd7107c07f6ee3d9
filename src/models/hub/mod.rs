//! Checkpoint folders as public model hubs hold them: `config.json` and safetensors files, whole or in shards by an index.

mod fields;
mod folder;

pub use fields::Fields;
pub use folder::HubFolder;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use tch::{Device, Kind};

use super::decoder::DecoderConfig;
use super::encoder::{EncoderConfig, Head};
use super::{Arch, Network};
use crate::params::{Builder, ParamStore};

/// The architecture that a folder's `config.json` describes; `head` is what an encoder shall end in.
pub fn arch(config: &Value, head: Head) -> Result<Arch> {
    let fields = Fields::new(config, "config.json")?;
    let model_type = fields.text("model_type")?.context("config.json has no model_type")?;
    if let Some(decoder) = DecoderConfig::read(model_type, &fields)? {
        return Ok(Arch::Decoder(decoder));
    }
    if let Some(encoder) = EncoderConfig::read(model_type, &fields, head)? {
        return Ok(Arch::Encoder(encoder));
    }
    bail!(
        "config.json: model_type = {model_type:?} is not supported; supported are llama, qwen2, qwen3_moe, olmoe, deepseek, \
         bert, roberta"
    )
}

/// Loads a checkpoint folder, its tensors in `kind` (float32, or bfloat16 on CUDA): one tensor at a time, so that little more
/// memory is needed than the network takes.
pub fn load(path: &Path, head: Head, kind: Kind, device: Device) -> Result<Network> {
    let folder = HubFolder::open(path)?;
    let place = || path.display().to_string();
    let arch = arch(&folder.config, head).with_context(place)?;
    let mut store = ParamStore::new(device);
    let model = arch.build_part(Builder::blank(&mut store, kind)).with_context(place)?;
    match &arch {
        Arch::Encoder(encoder) => {
            folder.fill(&store, &|name| encoder.own_name(name), &|name| encoder.ignores(name))?;
        }
        _ => folder.fill(&store, &str::to_owned, &|name| name.ends_with("rotary_emb.inv_freq"))?,
    }
    Ok(Network { arch, store, model })
}

/// Writes a checkpoint folder that `transformers` loads: `config.json`, `model.safetensors` and, for decoders,
/// `generation_config.json`. The tensors are those of the network itself, without what a method added after them.
pub fn save(path: &Path, net: &Network) -> Result<()> {
    let (config, generation) = match &net.arch {
        Arch::Decoder(decoder) => (decoder.write(), Some(decoder.generation())),
        Arch::Encoder(encoder) => (encoder.write(), None),
        _ => bail!("only decoders and encoders are written as checkpoint folders"),
    };
    let plain = net.folded(&crate::params::View::plain(&net.store))?;
    let bytes = plain.store.to_bytes(HashMap::from([("format".to_owned(), "pt".to_owned())]))?;
    write(path, "model.safetensors", &bytes)?;
    write(path, "config.json", serde_json::to_string_pretty(&config)?.as_bytes())?;
    match generation {
        Some(generation) => {
            write(path, "generation_config.json", serde_json::to_string_pretty(&generation)?.as_bytes())
        }
        None => Ok(()),
    }
}

/// `{"key": id}` for the special tokens that are set (negative: not set).
pub(super) fn special_tokens(tokens: &[(&str, i64)]) -> serde_json::Map<String, Value> {
    let id = |id: i64| if id < 0 { Value::Null } else { json!(id) };
    tokens.iter().map(|(key, token)| ((*key).to_owned(), id(*token))).collect()
}

/// Writes one file of a folder, made if needed.
pub fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let path = folder.join(name);
    std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests;
