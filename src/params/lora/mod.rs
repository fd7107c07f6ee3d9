//! LoRA as a view: y = W x + s B (A dropout(x)), with W frozen. Adapters are read and written in PEFT's format.

mod config;

pub use config::{LoraConfig, Targets};

use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;
use std::path::Path;
use tch::{Kind, Tensor};

use super::file::{self, TensorFile};
use super::{Builder, Init, LowRank, ParamId, ParamStore, Role, View};

/// The adapted matrices of one store. A and B are tensors of that store, after the network's own.
pub struct Lora {
    pub config: LoraConfig,
    pub modules: Vec<LoraModule>,
}

/// One adapted Linear layer.
pub struct LoraModule {
    /// Its dotted name, `model.layers.0.self_attn.q_proj`.
    pub name: String,
    pub weight: ParamId,
    /// A `[r, in]`.
    pub a: ParamId,
    /// B `[out, r]`.
    pub b: ParamId,
    /// s = alpha / r, or alpha / sqrt(r).
    pub scale: f64,
}

/// Before the module path in a PEFT file.
const PREFIX: &str = "base_model.model.";

impl Lora {
    /// Fresh adapters on the Linear layers that the configuration targets: A uniform in +-1/sqrt(in), B zero. `head` is the last
    /// layer's parameters, which "all-linear" leaves out. Only the adapters stay trainable.
    pub fn attach(store: &mut ParamStore, head: &[ParamId], config: LoraConfig, seed: u64) -> Result<Lora> {
        config.check()?;
        let names = config.targets(store, head)?;
        let ranks = names.iter().map(|name| (name.clone(), config.rank(name))).collect();
        Lora::build(store, config, ranks, seed)
    }

    /// An adapter folder: `adapter_config.json` and `adapter_model.safetensors`. The rank of each module is that of its
    /// lora_A. An adapter that does not fit the store is an error that names the tensor.
    pub fn load(store: &mut ParamStore, head: &[ParamId], folder: &Path) -> Result<Lora> {
        let config = LoraConfig::read(folder)?;
        let path = folder.join("adapter_model.safetensors");
        if !path.exists() && folder.join("adapter_model.bin").exists() {
            bail!("{} has only adapter_model.bin, a pickle that reglab does not read", folder.display());
        }
        let file = file::read(&path)?;
        let file = TensorFile { tensors: own_names(file.tensors, &path)?, metadata: file.metadata };
        let ranks: Vec<(String, i64)> = file
            .tensors
            .iter()
            .filter_map(|(name, a)| Some((name.strip_suffix(".lora_A.weight")?.to_owned(), a.size()[0])))
            .collect();
        let targets = config.targets(store, head)?;
        if let Some((name, _)) = ranks.iter().find(|(name, _)| !targets.contains(name)) {
            bail!("{} adapts {name}, which is no target of adapter_config.json in this model", path.display());
        }
        if let Some(name) = targets.iter().find(|name| !ranks.iter().any(|(n, _)| n == *name)) {
            bail!("{} has no tensor {PREFIX}{name}.lora_A.weight", path.display());
        }
        let lora = Lora::build(store, config, ranks, 0)?;
        let given: HashMap<&str, &Tensor> = file.tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
        for id in lora.parameters() {
            let name = store.name(id);
            let tensor = given.get(name).with_context(|| format!("{} has no tensor {PREFIX}{name}", path.display()))?;
            let (shape, needed) = (tensor.size(), store.get(id).size());
            ensure!(
                shape == needed,
                "{}: {PREFIX}{name} has shape {shape:?}, the model needs {needed:?}",
                path.display()
            );
            store.assign(id, tensor);
        }
        let known = |name: &str| lora.parameters().any(|id| store.name(id) == name);
        if let Some((name, _)) = file.tensors.iter().find(|(name, _)| !known(name)) {
            bail!("{} has a tensor {PREFIX}{name} that is no part of the adapter", path.display());
        }
        Ok(lora)
    }

    fn build(store: &mut ParamStore, config: LoraConfig, ranks: Vec<(String, i64)>, seed: u64) -> Result<Lora> {
        for id in store.trainable() {
            store.set_trainable(id, false);
        }
        let mut modules = Vec::with_capacity(ranks.len());
        for (name, rank) in ranks {
            let weight = store.find(&format!("{name}.weight"))?;
            let (out, input) = store.get(weight).size2()?;
            let mut builder = Builder::new(store, seed);
            let mut part = builder.part(&name);
            let bound = Init::Uniform(1.0 / (input as f64).sqrt());
            let a = part.tensor("lora_A.weight", Role::Reparameterization, &[rank, input], bound);
            let b = part.tensor("lora_B.weight", Role::Reparameterization, &[out, rank], Init::Constant(0.0));
            let scale = config.scale(&name, rank);
            modules.push(LoraModule { name, weight, a, b, scale });
        }
        Ok(Lora { config, modules })
    }

    /// All A and B, in order.
    pub fn parameters(&self) -> impl Iterator<Item = ParamId> + '_ {
        self.modules.iter().flat_map(|module| [module.a, module.b])
    }

    /// Puts the adapters into a view of the store they are in; with `train`, x is dropped out.
    pub fn apply(&self, view: &mut View, train: bool) {
        let store = view.store();
        let dropout = if train { self.config.lora_dropout } else { 0.0 };
        for module in &self.modules {
            let (a, b) = (store.get(module.a).shallow_clone(), store.get(module.b).shallow_clone());
            view.add_low_rank(module.weight, LowRank { a, b, scale: module.scale, dropout });
        }
    }

    /// W += s B A for every module, in place; B becomes zero, so that the view still shows the same function.
    pub fn merge(&self, store: &ParamStore) {
        let mut view = View::plain(store);
        self.apply(&mut view, false);
        for module in &self.modules {
            let merged = tch::no_grad(|| view.dense(module.weight));
            store.assign(module.weight, &merged);
            let _ = tch::no_grad(|| store.get(module.b).detach().zero_());
        }
    }

    /// Writes an adapter folder that `peft` loads; `base` is the base model's name or folder.
    pub fn save(&self, store: &ParamStore, folder: &Path, base: &str) -> Result<()> {
        let named: Vec<(String, Tensor)> = self
            .parameters()
            .map(|id| (format!("{PREFIX}{}", store.name(id)), store.get(id).detach().to_kind(Kind::Float)))
            .collect();
        let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let bytes = file::to_bytes(named.iter().map(|(name, tensor)| (name.as_str(), tensor)), format)?;
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let place = || format!("cannot write the adapter to {}", folder.display());
        std::fs::write(folder.join("adapter_model.safetensors"), bytes).with_context(place)?;
        let config = serde_json::to_string_pretty(&self.config.write(base))?;
        std::fs::write(folder.join("adapter_config.json"), config).with_context(place)
    }
}

/// PEFT names without their prefix, and without an adapter's own name between `lora_A` and `weight`.
fn own_names(tensors: Vec<(String, Tensor)>, path: &Path) -> Result<Vec<(String, Tensor)>> {
    let own = |(name, tensor): (String, Tensor)| {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            bail!("{} has a tensor {name}, whose name does not begin with {PREFIX}", path.display());
        };
        let mut parts: Vec<&str> = rest.split('.').collect();
        if let [.., "lora_A" | "lora_B", _, "weight"] = parts[..] {
            parts.remove(parts.len() - 2);
        }
        Ok((parts.join("."), tensor))
    };
    tensors.into_iter().map(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn store() -> ParamStore {
        let mut store = ParamStore::new(Device::Cpu);
        let mut b = Builder::new(&mut store, 1);
        for (name, shape) in [("q_proj", [4, 6]), ("v_proj", [3, 6]), ("head", [2, 6])] {
            b.part("layer").part(name).tensor("weight", Role::Weight, &shape, Init::Normal(1.0));
        }
        store
    }

    fn config(targets: serde_json::Value) -> LoraConfig {
        let text = serde_json::json!({"peft_type": "LORA", "r": 2, "lora_alpha": 8, "target_modules": targets});
        LoraConfig::parse(&text, "adapter_config.json").unwrap()
    }

    #[test]
    fn an_adapter_survives_its_files_and_a_fresh_one_changes_nothing() {
        let mut base = store();
        let head = [base.find("layer.head.weight").unwrap()];
        let lora = Lora::attach(&mut base, &head, config("all-linear".into()), 3).unwrap();
        assert_eq!(lora.modules.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["layer.q_proj", "layer.v_proj"]);
        assert_eq!(base.trainable(), lora.parameters().collect::<Vec<_>>());
        let mut view = View::plain(&base);
        lora.apply(&mut view, false);
        assert_eq!(view.dense(lora.modules[0].weight), base.get(lora.modules[0].weight).detach());
        base.assign(lora.modules[0].b, &Tensor::ones([4, 2], (Kind::Float, Device::Cpu)));
        let folder = tempfile::tempdir().unwrap();
        lora.save(&base, folder.path(), "base").unwrap();
        let mut again = store();
        let loaded = Lora::load(&mut again, &head, folder.path()).unwrap();
        let dense = |store: &ParamStore, lora: &Lora| {
            let mut view = View::plain(store);
            lora.apply(&mut view, false);
            view.dense(lora.modules[0].weight).detach()
        };
        assert_eq!(dense(&again, &loaded), dense(&base, &lora));
        assert_ne!(dense(&again, &loaded), base.get(lora.modules[0].weight).detach());
        loaded.merge(&again);
        assert!(again.get(loaded.modules[0].weight).allclose(&dense(&base, &lora), 1e-6, 1e-6, false));
        assert_eq!(dense(&again, &loaded), again.get(loaded.modules[0].weight).detach());
    }

    #[test]
    fn targets_are_endings_or_a_whole_expression() {
        let names = |targets: serde_json::Value| config(targets).targets(&store(), &[]);
        assert_eq!(names(serde_json::json!(["v_proj"])).unwrap(), ["layer.v_proj"]);
        assert_eq!(names(r"layer\.(q|v)_proj".into()).unwrap(), ["layer.q_proj", "layer.v_proj"]);
        assert!(names("q_proj".into()).unwrap_err().to_string().contains("q_proj"));
    }
}
