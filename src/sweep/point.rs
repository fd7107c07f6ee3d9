//! A point of a grid: one configuration, and the folder of the one run that it has.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

use super::grid::Setting;
use crate::config::{Layer, Resolved, get};
use crate::methods::{self, Method};
use crate::run::Status;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Point {
    /// Content hash of the configuration, 12 hexadecimal digits.
    pub id: String,
    /// The run folder's path below the results tree.
    pub run: PathBuf,
    /// What the grid chose, arm and seed among it.
    pub setting: Setting,
    /// The whole configuration, as in config.toml.
    pub config: String,
}

impl Point {
    /// `edition` tells apart runs of the same configuration that must not be taken for each other; empty: none.
    pub fn new(config: &Resolved, setting: Setting, edition: &str) -> Result<Point> {
        let text = config.to_toml()?;
        let digest = Sha256::new().chain_update(&text).chain_update(edition).finalize();
        let id: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let header = &config.header;
        let arm = if header.arm.is_empty() { String::new() } else { format!("{}-", header.arm) };
        let name = format!("{arm}{}-s{}-{id}", header.preset, header.seed);
        let method = methods::find(&config.method)?;
        let run = Path::new(method.verb.name()).join(method.name).join(name);
        Ok(Point { id, run, setting, config: text })
    }

    pub fn folder(&self, results: &Path) -> PathBuf {
        results.join(&self.run)
    }

    pub fn status(&self, results: &Path) -> Status {
        Status::of(&self.folder(results))
    }

    /// The last part of the run folder's path.
    pub fn name(&self) -> String {
        self.run.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The method and configuration that `Resolved::to_toml` wrote.
pub fn read_config(layer: Layer) -> Result<(&'static Method, Resolved)> {
    let name = get(layer.table(), "method.name").and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    let method = methods::find(&name)?;
    Ok((method, Resolved::new(method.name, &(method.schema)(), &[layer], method.check)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::resolve_arms;

    #[test]
    fn the_id_is_the_configuration() {
        let wgsef = methods::find("wgsef").unwrap();
        let file = [Layer::text("quick", wgsef.preset("quick").unwrap()).unwrap()];
        let point = |change: &str, edition: &str| {
            let over = [Layer::key_value(change).unwrap()];
            let config = resolve_arms(wgsef, &file, &over, &["hspg".into()], "quick").unwrap().remove(0);
            Point::new(&config, Vec::new(), edition).unwrap()
        };
        let first = point("seed=3", "");
        assert!(first.name().starts_with("hspg-quick-s3-") && first.name().ends_with(&first.id));
        assert_eq!(first.id, point("seed = 3", "").id);
        // A default that is spelled out is the same configuration.
        assert_eq!(point("seed=0", "").id, point("method.from_scratch=false", "").id);
        assert_ne!(first.id, point("seed=4", "").id);
        assert_ne!(first.id, point("seed=3", "another revision").id);
        let (method, read) = read_config(Layer::text("here", &first.config).unwrap()).unwrap();
        assert_eq!((method.name, read.to_toml().unwrap()), ("wgsef", first.config));
    }
}
