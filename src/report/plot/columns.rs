//! The numbers of a run's tables, and the pictures that a run draws of them itself.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

use super::{Chart, Curve};
use crate::config::hint;
use crate::run::Run;

/// A table of a run, read once.
pub struct Columns {
    path: PathBuf,
    header: Vec<String>,
    rows: Vec<csv::StringRecord>,
}

impl Columns {
    pub fn read(folder: &Path, table: &str) -> Result<Columns> {
        let path = folder.join(format!("{table}.csv"));
        ensure!(path.exists(), "{} has no table {table}{}", folder.display(), names_hint(folder, table));
        let mut reader = csv::Reader::from_path(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let header = reader.headers()?.iter().map(str::to_owned).collect();
        let rows = reader.records().collect::<Result<Vec<_>, _>>().with_context(|| path.display().to_string())?;
        Ok(Columns { path, header, rows })
    }

    pub fn header(&self) -> &[String] {
        &self.header
    }

    fn place(&self, name: &str) -> Result<usize> {
        let near = hint(name, self.header.iter().map(String::as_str));
        let place = self.header.iter().position(|c| c == name);
        place.with_context(|| format!("{} has no column {name}{near}", self.path.display()))
    }

    /// Keeps the rows where the column is `value`.
    pub fn keep(mut self, column: &str, value: &str) -> Result<Columns> {
        let place = self.place(column)?;
        self.rows.retain(|row| &row[place] == value);
        Ok(self)
    }

    /// A column as it was written.
    pub fn texts(&self, name: &str) -> Result<Vec<&str>> {
        let place = self.place(name)?;
        Ok(self.rows.iter().map(|row| &row[place]).collect())
    }

    /// A column of numbers; NaN where there is none.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        Ok(self.texts(name)?.into_iter().map(number).collect())
    }

    /// The values of a column, each once, in order of appearance.
    pub fn values(&self, name: &str) -> Result<Vec<String>> {
        let mut values: Vec<String> = Vec::new();
        for text in self.texts(name)? {
            if !values.iter().any(|value| value == text) {
                values.push(text.to_owned());
            }
        }
        Ok(values)
    }

    /// Two columns; rows without a number in either are left out, and so are rows where the column `only.0` is not `only.1`.
    pub fn points(&self, x: &str, y: &str, only: Option<(&str, &str)>) -> Result<Vec<(f64, f64)>> {
        let (x, y) = (self.place(x)?, self.place(y)?);
        let only = only.map(|(column, value)| Ok::<_, anyhow::Error>((self.place(column)?, value))).transpose()?;
        let kept = self.rows.iter().filter(|row| only.is_none_or(|(column, value)| &row[column] == value));
        let pairs = kept.map(|row| (number(&row[x]), number(&row[y])));
        Ok(pairs.filter(|(x, y)| !x.is_nan() && !y.is_nan()).collect())
    }
}

fn number(text: &str) -> f64 {
    match text {
        "true" => 1.0,
        "false" => 0.0,
        other => other.parse().unwrap_or(f64::NAN),
    }
}

/// What tables the folder has.
fn names_hint(folder: &Path, table: &str) -> String {
    let names = table_names(folder);
    let near = hint(table, names.iter().map(String::as_str));
    if near.is_empty() && !names.is_empty() { format!("; it has {}", names.join(", ")) } else { near }
}

/// The tables of a run folder: eval, train, then the others.
pub fn table_names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|e| Some(e.file_name().to_str()?.strip_suffix(".csv")?.to_owned())).collect();
    let rank = |name: &String| ["eval", "train"].iter().position(|first| first == name).unwrap_or(2);
    names.sort_by(|a, b| (rank(a), a).cmp(&(rank(b), b)));
    names
}

/// [`Columns::points`] of a table.
pub fn columns(folder: &Path, table: &str, x: &str, y: &str, only: Option<(&str, &str)>) -> Result<Vec<(f64, f64)>> {
    Columns::read(folder, table)?.points(x, y, only)
}

/// Draws a column of a table over the epochs, one curve for each value of the column `by` (the layers, say); a table that was
/// not written is left out.
pub fn draw_each(run: &Run, file: &str, table: &str, column: &str, by: &str) -> Result<()> {
    if !has(run, table) {
        return Ok(());
    }
    let rows = Columns::read(run.folder(), table)?;
    let curve = |name: String| Ok(Curve { points: rows.points("epoch", column, Some((by, &name)))?, name });
    over_epochs(run, file, column, &rows.values(by)?.into_iter().map(curve).collect::<Result<Vec<_>>>()?)
}

/// Draws one column of a table over the epochs into the run's plots folder; a table that was not written is left out.
pub fn draw_column(run: &Run, file: &str, table: &str, column: &str, only: Option<(&str, &str)>) -> Result<()> {
    if !has(run, table) {
        return Ok(());
    }
    let points = columns(run.folder(), table, "epoch", column, only)?;
    over_epochs(run, file, column, &[Curve { name: column.into(), points }])
}

fn has(run: &Run, table: &str) -> bool {
    run.folder().join(format!("{table}.csv")).exists()
}

fn over_epochs(run: &Run, file: &str, column: &str, curves: &[Curve]) -> Result<()> {
    if curves.iter().all(|curve| curve.points.is_empty()) {
        return Ok(());
    }
    let title = format!("{column} by epoch");
    let svg = Chart { title: &title, x: "epoch", y: column, curves, dots: false, marks: &[] }.svg()?;
    run.write(&format!("plots/{file}.svg"), svg.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_read_and_mistyped_names_answered() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("train.csv"), "step,layer,loss\n1,a,0.5\n1,b,\n2,a,true\n").unwrap();
        std::fs::write(folder.path().join("eval.csv"), "step\n1\n").unwrap();
        let table = Columns::read(folder.path(), "train").unwrap();
        assert_eq!(table.points("step", "loss", Some(("layer", "a"))).unwrap(), [(1.0, 0.5), (2.0, 1.0)]);
        assert_eq!(table.values("layer").unwrap(), ["a", "b"]);
        assert!(
            table.points("step", "los", None).unwrap_err().to_string().ends_with("no column los; did you mean loss?")
        );
        let missing = Columns::read(folder.path(), "groups").err().unwrap().to_string();
        assert!(missing.ends_with("has no table groups; it has eval, train"), "{missing}");
    }
}
