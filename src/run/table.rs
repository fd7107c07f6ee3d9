//! A CSV table of a run: fixed columns, a row is on disk when `append` returns, and its length can be cut back.

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

pub struct Table {
    name: String,
    file: File,
    columns: Vec<String>,
    bytes: u64,
}

impl Table {
    /// Opens `<folder>/<name>.csv` to append to.
    pub fn open(folder: &Path, name: &str) -> Result<Table> {
        let path = folder.join(format!("{name}.csv"));
        let open = || File::options().create(true).append(true).read(true).open(&path);
        let file = open().map_err(|e| anyhow!("cannot write {}: {e}", path.display()))?;
        let mut header = String::new();
        BufReader::new(&file).read_line(&mut header)?;
        let columns = header.trim_end().split(',').filter(|c| !c.is_empty()).map(str::to_owned).collect();
        let bytes = file.metadata()?.len();
        Ok(Table { name: name.to_owned(), file, columns, bytes })
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The first row names the columns; later ones may leave some out.
    pub fn append(&mut self, row: &Map<String, Value>) -> Result<()> {
        let mut out = csv::Writer::from_writer(Vec::new());
        if self.columns.is_empty() {
            self.columns = row.keys().cloned().collect();
            out.write_record(&self.columns)?;
        } else if let Some(column) = row.keys().find(|column| !self.columns.contains(column)) {
            bail!("a row of {}.csv has a column {column}, the table has only {}", self.name, self.columns.join(", "));
        }
        // A later phase may have fewer terms than the first: its cells stay empty.
        out.write_record(self.columns.iter().map(|column| row.get(column).map_or_else(String::new, cell)))?;
        let line = out.into_inner().map_err(|e| anyhow!("{e}"))?;
        self.file.write_all(&line).map_err(|e| anyhow!("cannot write {}.csv: {e}", self.name))?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

/// Whole numbers as they are, floats in their shortest exact form, nothing for a missing value.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The tables of a run folder and their sizes in bytes.
pub fn sizes(folder: &Path) -> Result<BTreeMap<String, u64>> {
    let mut sizes = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_string_lossy().strip_suffix(".csv") {
            sizes.insert(name.to_owned(), entry.metadata()?.len());
        }
    }
    Ok(sizes)
}

/// Cuts every table back to the length it had at a checkpoint; a table that did not exist then goes.
pub fn cut_all(folder: &Path, lengths: &BTreeMap<String, u64>) -> Result<()> {
    for (name, bytes) in sizes(folder)? {
        let path = folder.join(format!("{name}.csv"));
        match lengths.get(&name) {
            None | Some(0) => fs::remove_file(&path)?,
            Some(length) if *length > bytes => {
                bail!("{} is shorter than it was at the checkpoint: rows were lost outside reglab", path.display())
            }
            Some(length) => File::options().write(true).open(&path)?.set_len(*length)?,
        }
    }
    Ok(())
}

pub fn discard_all(folder: &Path) -> Result<()> {
    cut_all(folder, &BTreeMap::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: i64, loss: Value) -> Map<String, Value> {
        [("step".to_owned(), Value::from(step)), ("loss".to_owned(), loss)].into_iter().collect()
    }

    #[test]
    fn rows_are_appended_and_cut_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut table = Table::open(folder.path(), "train").unwrap();
        table.append(&row(1, 0.5.into())).unwrap();
        let length = table.bytes();
        table.append(&row(2, Value::Null)).unwrap();
        let text = || fs::read_to_string(folder.path().join("train.csv")).unwrap();
        assert_eq!(text(), "step,loss\n1,0.5\n2,\n");
        cut_all(folder.path(), &[("train".to_owned(), length)].into()).unwrap();
        assert_eq!(text(), "step,loss\n1,0.5\n");
        let mut again = Table::open(folder.path(), "train").unwrap();
        again.append(&row(3, "a,b".into())).unwrap();
        assert_eq!(text(), "step,loss\n1,0.5\n3,\"a,b\"\n");
        let other: Map<String, Value> = [("epoch".to_owned(), Value::from(1))].into_iter().collect();
        assert!(again.append(&other).unwrap_err().to_string().contains("has a column epoch"));
        let fewer: Map<String, Value> = [("step".to_owned(), Value::from(4))].into_iter().collect();
        again.append(&fewer).unwrap();
        assert_eq!(text(), "step,loss\n1,0.5\n3,\"a,b\"\n4,\n");
        discard_all(folder.path()).unwrap();
        assert!(sizes(folder.path()).unwrap().is_empty());
    }
}
