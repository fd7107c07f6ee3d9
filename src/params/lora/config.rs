//! `adapter_config.json`.

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;
use serde_json::{Map, Value, json};
use std::path::Path;

use crate::params::{ParamId, ParamStore, Role};

/// Which modules are adapted.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// Those whose dotted name is one of these or ends in `.` and one of these.
    Endings(Vec<String>),
    /// Those whose whole name the expression matches.
    Expression(String),
    /// Every Linear layer but the last.
    AllLinear,
}

/// The shape of an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    pub r: i64,
    pub lora_alpha: f64,
    /// Share of a layer's input that the adapter does not see in training.
    pub lora_dropout: f64,
    pub target_modules: Targets,
    /// Other ranks, by the end of a module's name.
    pub rank_pattern: Vec<(String, i64)>,
    /// Other alphas, by the end of a module's name.
    pub alpha_pattern: Vec<(String, f64)>,
    /// s = alpha / sqrt(r) instead of alpha / r.
    pub use_rslora: bool,
    pub task_type: String,
}

impl Default for LoraConfig {
    fn default() -> LoraConfig {
        LoraConfig {
            r: 8,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            target_modules: Targets::AllLinear,
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            use_rslora: false,
            task_type: "CAUSAL_LM".into(),
        }
    }
}

impl LoraConfig {
    pub fn read(folder: &Path) -> Result<LoraConfig> {
        let path = folder.join("adapter_config.json");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
        LoraConfig::parse(&value, &path.display().to_string())
    }

    /// `file` is how errors call it.
    pub fn parse(value: &Value, file: &str) -> Result<LoraConfig> {
        let object = value.as_object().with_context(|| format!("{file} is not a JSON object"))?;
        let get = |key: &str| object.get(key).filter(|v| !v.is_null());
        let flag = |key: &str| get(key).is_some_and(|v| v == &json!(true));
        for key in ["use_dora", "fan_in_fan_out"] {
            ensure!(!flag(key), "{file}: {key} = true is not supported");
        }
        for key in ["modules_to_save", "layers_to_transform", "layers_pattern", "exclude_modules"] {
            let empty = get(key).is_none_or(|v| v.as_array().is_some_and(Vec::is_empty));
            ensure!(empty, "{file}: {key} is not supported");
        }
        if let Some(kind) = get("peft_type").filter(|v| *v != "LORA") {
            bail!("{file}: peft_type = {kind} is not supported, only \"LORA\"");
        }
        if let Some(bias) = get("bias").filter(|v| *v != "none") {
            bail!("{file}: bias = {bias} is not supported, only \"none\"");
        }
        let number = |key: &str, default: f64| match get(key) {
            None => Ok(default),
            Some(v) => v.as_f64().with_context(|| format!("{file}: {key} = {v} is not a number")),
        };
        let pattern = |key: &str| -> Result<Vec<(String, f64)>> {
            let Some(v) = get(key) else { return Ok(Vec::new()) };
            let table = v.as_object().with_context(|| format!("{file}: {key} = {v} is not a table"))?;
            let entry = |(name, v): (&String, &Value)| Some((name.clone(), v.as_f64()?));
            let entries: Option<Vec<_>> = table.iter().map(entry).collect();
            entries.with_context(|| format!("{file}: {key} = {v} is not a table of numbers"))
        };
        let config = LoraConfig {
            r: number("r", 8.0)? as i64,
            lora_alpha: number("lora_alpha", 8.0)?,
            lora_dropout: number("lora_dropout", 0.0)?,
            target_modules: targets(get("target_modules"), file)?,
            rank_pattern: pattern("rank_pattern")?.into_iter().map(|(name, r)| (name, r as i64)).collect(),
            alpha_pattern: pattern("alpha_pattern")?,
            use_rslora: flag("use_rslora"),
            task_type: get("task_type").and_then(Value::as_str).unwrap_or_default().to_owned(),
        };
        config.check().with_context(|| file.to_owned())?;
        Ok(config)
    }

    pub fn check(&self) -> Result<()> {
        let ranks = self.rank_pattern.iter().map(|(_, r)| r).chain([&self.r]);
        for r in ranks {
            ensure!(*r >= 1, "r = {r} must be at least 1");
        }
        let p = self.lora_dropout;
        ensure!((0.0..1.0).contains(&p), "lora_dropout = {p} must be from 0 to below 1");
        Ok(())
    }

    /// The rank of a fresh adapter of this module.
    pub fn rank(&self, module: &str) -> i64 {
        of_pattern(&self.rank_pattern, module).unwrap_or(self.r)
    }

    /// s of a module whose adapter has this rank.
    pub fn scale(&self, module: &str, rank: i64) -> f64 {
        let alpha = of_pattern(&self.alpha_pattern, module).unwrap_or(self.lora_alpha);
        let rank = rank as f64;
        alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }

    /// The names of the Linear layers that are adapted, in the order of the store. None at all is an error.
    pub fn targets(&self, store: &ParamStore, head: &[ParamId]) -> Result<Vec<String>> {
        let linear = store.iter().filter(|(_, p)| p.role == Role::Weight && p.tensor.dim() == 2);
        let module = |(id, p): (ParamId, &crate::params::Param)| Some((id, p.name.strip_suffix(".weight")?.to_owned()));
        let modules = linear.filter_map(module);
        let names: Vec<String> = match &self.target_modules {
            Targets::Endings(endings) => {
                modules.filter(|(_, name)| endings.iter().any(|e| ends_in(name, e))).map(|(_, name)| name).collect()
            }
            Targets::Expression(expression) => {
                let whole = Regex::new(&format!("^(?:{expression})$"))
                    .with_context(|| format!("target_modules = {expression:?} is no regular expression"))?;
                modules.filter(|(_, name)| whole.is_match(name)).map(|(_, name)| name).collect()
            }
            Targets::AllLinear => modules.filter(|(id, _)| !head.contains(id)).map(|(_, name)| name).collect(),
        };
        ensure!(!names.is_empty(), "no Linear layer of the model is a target of target_modules = {}", self.shown());
        Ok(names)
    }

    fn shown(&self) -> Value {
        match &self.target_modules {
            Targets::Endings(endings) => json!(endings),
            Targets::Expression(expression) => json!(expression),
            Targets::AllLinear => json!("all-linear"),
        }
    }

    /// The JSON that `peft` reads.
    pub(super) fn write(&self, base: &str) -> Value {
        let ranks: Map<String, Value> = self.rank_pattern.iter().map(|(n, r)| (n.clone(), json!(r))).collect();
        let alphas: Map<String, Value> = self.alpha_pattern.iter().map(|(n, a)| (n.clone(), json!(a))).collect();
        json!({
            "peft_type": "LORA",
            "task_type": if self.task_type.is_empty() { Value::Null } else { json!(self.task_type) },
            "base_model_name_or_path": base,
            "r": self.r,
            "lora_alpha": self.lora_alpha,
            "lora_dropout": self.lora_dropout,
            "target_modules": self.shown(),
            "rank_pattern": ranks,
            "alpha_pattern": alphas,
            "use_rslora": self.use_rslora,
            "use_dora": false,
            "fan_in_fan_out": false,
            "bias": "none",
            "modules_to_save": null,
            "init_lora_weights": true,
            "inference_mode": true,
        })
    }
}

fn targets(value: Option<&Value>, file: &str) -> Result<Targets> {
    match value {
        Some(Value::String(word)) if word.eq_ignore_ascii_case("all-linear") => Ok(Targets::AllLinear),
        Some(Value::String(expression)) => Ok(Targets::Expression(expression.clone())),
        Some(Value::Array(list)) => {
            let endings: Option<Vec<String>> = list.iter().map(|v| Some(v.as_str()?.to_owned())).collect();
            Ok(Targets::Endings(endings.with_context(|| format!("{file}: target_modules is not a list of names"))?))
        }
        Some(other) => bail!("{file}: target_modules = {other} is neither a list of names nor a text"),
        None => bail!("{file} has no target_modules"),
    }
}

fn ends_in(name: &str, ending: &str) -> bool {
    name.strip_suffix(ending).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The entry of a pattern table whose key is the end of the name, or a regular expression that matches an end of it.
fn of_pattern<T: Copy>(pattern: &[(String, T)], module: &str) -> Option<T> {
    let fits = |key: &str| {
        ends_in(module, key) || Regex::new(&format!(r"^(?:.*\.)?(?:{key})$")).is_ok_and(|whole| whole.is_match(module))
    };
    pattern.iter().find(|(key, _)| fits(key)).map(|(_, value)| *value)
}
