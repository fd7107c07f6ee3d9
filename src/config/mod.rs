//! Experiment files: TOML texts laid over each other (preset, file, arm, KEY=VALUE), checked against the method's schema with
//! the line and the nearest name in every complaint, then turned into typed values.

mod header;
mod layer;
mod schema;

pub use header::{CheckpointConfig, Header};
pub use layer::{Layer, get, merge, set};
pub use schema::{Field, Schema};

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use toml::Table;

/// The part of an experiment file that belongs to one method: its sections (`[data]`, `[model]`, `[train]`, `[method]`...),
/// every field documented with unit, range and default.
pub trait Experiment: Serialize + DeserializeOwned + JsonSchema + Default {
    /// Whatever the field ranges cannot say. Called before any work starts.
    fn validate(&self) -> Result<()> {
        Ok(())
    }
}

/// The fully resolved configuration of one run: what `config.toml` holds.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub method: String,
    pub header: Header,
    /// All sections of the method, defaults filled in.
    pub sections: Table,
}

impl Resolved {
    /// Merges `layers` (lowest first), checking each, and fills in defaults. `check` turns the method's sections into its
    /// typed form and back, so that defaults are filled in and its own rules are applied.
    pub fn new(
        method: &str,
        schema: &Schema,
        layers: &[Layer],
        check: fn(&Table) -> Result<Table>,
    ) -> Result<Resolved> {
        let mut merged = Table::new();
        for layer in layers {
            merge(&mut merged, layer.table(), schema);
            // Against what is known so far: a later layer may choose another variant of a section.
            schema.check(layer, &merged)?;
        }
        if let Some(given) = get(&merged, "method.name").and_then(|v| v.as_str()).filter(|name| *name != method) {
            bail!("the file is for the method {given}, not for {method}");
        }
        merged.remove("arms");
        if let Some(section) = merged.get_mut("method").and_then(|m| m.as_table_mut()) {
            section.remove("name");
        }
        let (header, sections): (Table, Table) = merged.into_iter().partition(|(key, _)| Header::owns(key));
        let header: Header = header.try_into()?;
        Ok(Resolved { method: method.to_owned(), header, sections: check(&sections)? })
    }

    /// The file that repeats this run.
    pub fn to_toml(&self) -> Result<String> {
        let mut table = Table::try_from(&self.header)?;
        table.extend(self.sections.clone());
        set(&mut table, "method.name", self.method.clone().into());
        Ok(toml::to_string(&table)?)
    }
}

/// The section of the methods that are added to this one (`[with.NAME]`): theirs, not the method's own.
pub const ADD_ONS: &str = "with";

/// The typed sections of method `E`, checked.
pub fn typed<E: Experiment>(sections: &Table) -> Result<E> {
    let mut own = sections.clone();
    own.remove(ADD_ONS);
    let experiment: E = own.try_into()?;
    experiment.validate()?;
    Ok(experiment)
}

/// `; did you mean X?`, or nothing.
pub use schema::hint;
