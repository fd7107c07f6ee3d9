//! The tuned method: its configuration, and how a trial's values are laid over it.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value as Json;
use toml::{Table, Value};

use super::config::Method as Settings;
use crate::config::{Layer, Resolved, Schema, set};
use crate::methods::{self, Definition, Method, resolve_arms};
use crate::search::{Params, Space};

pub struct Objective {
    method: &'static Method,
    schema: Schema,
    base: Resolved,
}

impl Objective {
    /// `last` is laid over everything the study says of its objective. Errors name what is unknown or missing.
    pub fn new(settings: &Settings, last: &[Layer]) -> Result<Objective> {
        ensure!(!settings.objective.is_empty(), "method.objective is empty: name the method to tune (`reglab list`)");
        let method = methods::find(&settings.objective).context("method.objective")?;
        ensure!(
            method.name != super::Search::NAME,
            "method.objective: a study cannot tune a study; name another method"
        );
        let mut files = Vec::new();
        let preset = if settings.preset.is_empty() && settings.file.is_none() { "quick" } else { &settings.preset };
        if !preset.is_empty() {
            let text = method.preset(preset).context("method.preset")?;
            files.push(Layer::text(&format!("{} preset {preset}", method.name), text)?);
        }
        if let Some(path) = &settings.file {
            files.push(Layer::file(path).context("method.file")?);
        }
        let mut over = settings
            .overrides
            .iter()
            .map(|o| Layer::key_value(o))
            .collect::<Result<Vec<_>>>()
            .context("method.overrides")?;
        over.extend_from_slice(last);
        let wanted: Vec<String> = Some(settings.arm.clone()).filter(|arm| !arm.is_empty()).into_iter().collect();
        let mut arms = resolve_arms(method, &files, &over, &wanted, preset).context("the objective")?;
        if arms.len() > 1 {
            let names: Vec<&str> = arms.iter().map(|a| a.header.arm.as_str()).collect();
            bail!("method.arm is empty, but {} has the arms {}: choose one", method.name, names.join(", "));
        }
        let base = arms.pop().context("the objective has no arm")?;
        Ok(Objective { method, schema: (method.schema)(), base })
    }

    /// The keys must be the objective's, and the ends of each range (or all choices) allowed there.
    pub fn check(&self, space: &Space) -> Result<()> {
        let base: Table = self.base.to_toml()?.parse()?;
        for (key, dimension) in space.iter() {
            for value in dimension.extremes() {
                let layer = layer(&format!("[space.{key}]"), [(key, &value)])?;
                let mut merged = base.clone();
                crate::config::merge(&mut merged, layer.table(), &self.schema);
                self.schema.check(&layer, &merged)?;
            }
        }
        Ok(())
    }

    /// The configuration of the trial with these values.
    pub fn trial(&self, params: &Params) -> Result<Resolved> {
        let base = Layer::text("the objective", &self.base.to_toml()?)?;
        let values = layer("the trial's values", params.iter().map(|(key, value)| (key.as_str(), value)))?;
        Resolved::new(self.method.name, &self.schema, &[base, values], self.method.check)
    }

    /// What the study is bound to besides its space.
    pub fn text(&self) -> Result<String> {
        self.base.to_toml()
    }
}

fn layer<'a>(origin: &str, values: impl IntoIterator<Item = (&'a str, &'a Json)>) -> Result<Layer> {
    let mut table = Table::new();
    for (key, value) in values {
        set(&mut table, key, Value::try_from(value).with_context(|| format!("{key} = {value}"))?);
    }
    Layer::from_table(origin, table)
}
