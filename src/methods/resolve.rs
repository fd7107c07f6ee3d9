//! From the texts of an experiment (preset, file, arms, changes) to one resolved configuration an arm.

use anyhow::{Result, bail};
use toml::Value;

use super::Method;
use crate::config::{Layer, Resolved, Schema, hint, merge};

/// One configuration for each arm: files, then the arm, then what the command line changes; for a device of this machine.
pub fn resolve_arms(
    method: &Method,
    files: &[Layer],
    last: &[Layer],
    wanted: &[String],
    label: &str,
) -> Result<Vec<Resolved>> {
    let mut runs = lay_arms(method, files, last, wanted, label)?;
    for run in &mut runs {
        // Settled before any work starts, and recorded as what it is.
        if run.header.device == "auto" {
            run.header.device = if tch::Cuda::is_available() { "cuda:0" } else { "cpu" }.into();
        }
        crate::run::device(&run.header.device)?;
    }
    Ok(runs)
}

/// The same for a machine that is not this one: the device is left as it was given.
pub fn lay_arms(
    method: &Method,
    files: &[Layer],
    last: &[Layer],
    wanted: &[String],
    label: &str,
) -> Result<Vec<Resolved>> {
    let schema = (method.schema)();
    let arms = arms_of(files);
    if let Some(unknown) = wanted.iter().find(|name| !arms.iter().any(|(arm, _)| arm == *name)) {
        let names: Vec<&str> = arms.iter().map(|(arm, _)| arm.as_str()).collect();
        bail!("there is no arm {unknown:?}{}; there are {}", hint(unknown, names.iter().copied()), names.join(", "));
    }
    let chosen = arms.iter().filter(|(name, _)| wanted.is_empty() || wanted.contains(name));
    let mut runs = Vec::new();
    for (name, arm) in chosen {
        runs.push(resolve(method, &schema, files, Some((name, arm)), last, label)?);
    }
    if arms.is_empty() {
        runs.push(resolve(method, &schema, files, None, last, label)?);
    }
    Ok(runs)
}

fn resolve(
    method: &Method,
    schema: &Schema,
    files: &[Layer],
    arm: Option<(&String, &toml::Table)>,
    last: &[Layer],
    label: &str,
) -> Result<Resolved> {
    let mut layers = files.to_vec();
    if let Some((name, table)) = arm {
        layers.push(Layer::from_table(&format!("arm {name}"), table.clone())?);
        layers.push(Layer::key_value(&format!("arm={}", Value::from(name.as_str())))?);
    }
    layers.extend_from_slice(last);
    let mut resolved = Resolved::new(method.name, schema, &layers, method.check)?;
    if resolved.header.preset.is_empty() {
        resolved.header.preset = label.to_owned();
    }
    Ok(resolved)
}

/// The arms of the files, in order; a later file changes an earlier one's arm field by field.
fn arms_of(files: &[Layer]) -> Vec<(String, toml::Table)> {
    let mut arms: Vec<(String, toml::Table)> = Vec::new();
    for (name, fields) in files.iter().filter_map(|f| f.table().get("arms")?.as_table()).flatten() {
        let Some(fields) = fields.as_table() else { continue };
        match arms.iter_mut().find(|(n, _)| n == name) {
            Some((_, known)) => merge(known, fields, &Schema::default()),
            None => arms.push((name.clone(), fields.clone())),
        }
    }
    arms
}
