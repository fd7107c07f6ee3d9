//! What a study reads of a trial's tables: the values its pruner judges by, and what the trial cost so far.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

use crate::config::hint;
use crate::search::Report;

/// A column of a table of the objective's runs, and the field that named it.
#[derive(Clone, Debug)]
pub struct Cell {
    field: &'static str,
    table: String,
    column: String,
}

impl Cell {
    pub fn new(field: &'static str, text: &str) -> Result<Cell> {
        match text.split_once('.') {
            Some((table, column)) if !table.is_empty() && !column.is_empty() && !table.contains('/') => {
                Ok(Cell { field, table: table.to_owned(), column: column.to_owned() })
            }
            _ => bail!("{field} = {text:?} should be TABLE.COLUMN of the objective's runs, eval.val_accuracy say"),
        }
    }

    /// (step, value) of the rows written so far, a missing value left out; `None` where there is no such table yet.
    fn rows(&self, folder: &Path) -> Result<Option<Vec<(u64, f64)>>> {
        let path = folder.join(format!("{}.csv", self.table));
        let Ok(bytes) = fs::read(&path) else { return Ok(None) };
        // The last line may be half written.
        let Some(end) = bytes.iter().rposition(|b| *b == b'\n') else { return Ok(None) };
        let mut reader = csv::Reader::from_reader(&bytes[..=end]);
        let header = reader.headers()?.clone();
        let find = |name: &str| header.iter().position(|column| column == name);
        let step = find("step").with_context(|| format!("{} has no column step", path.display()))?;
        let Some(column) = find(&self.column) else {
            bail!(
                "{} = \"{}.{}\", but {} has no such column{}; it has {}",
                self.field,
                self.table,
                self.column,
                path.display(),
                hint(&self.column, header.iter()),
                header.iter().collect::<Vec<_>>().join(", ")
            );
        };
        let mut rows = Vec::new();
        for row in reader.records() {
            let row = row.with_context(|| path.display().to_string())?;
            if let (Ok(step), Ok(value)) = (row[step].parse(), row[column].parse()) {
                rows.push((step, value));
            }
        }
        Ok(Some(rows))
    }

    /// [`Cell::rows`] of a trial that is done: without the table it is an error.
    fn all(&self, folder: &Path) -> Result<Vec<(u64, f64)>> {
        let Cell { field, table, column } = self;
        let missing = || format!("{field} = \"{table}.{column}\", but {} has no {table}.csv", folder.display());
        self.rows(folder)?.with_context(missing)
    }
}

/// What is read of every trial.
#[derive(Clone, Debug)]
pub struct Tables {
    /// What the pruner judges by, where there is one.
    pub report: Option<Cell>,
    /// The units of work; `None`: a trial is one.
    pub units: Option<Cell>,
}

impl Tables {
    /// The reports written since step `after`, in order of their steps.
    pub fn reports(&self, folder: &Path, after: Option<u64>) -> Result<Vec<Report>> {
        let Some(cell) = &self.report else { return Ok(Vec::new()) };
        let mut last = after;
        let mut fresh = cell.rows(folder)?.unwrap_or_default();
        fresh.retain(|(step, value)| {
            let is_fresh = value.is_finite() && last.is_none_or(|last| *step > last);
            last = if is_fresh { Some(*step) } else { last };
            is_fresh
        });
        if fresh.is_empty() {
            return Ok(Vec::new());
        }
        let units = self.units.as_ref().map(|cell| cell.rows(folder)).transpose()?.flatten();
        let until = |step: u64| match (&self.units, &units) {
            (None, _) => 1.0,
            (_, None) => 0.0,
            (_, Some(rows)) => rows.iter().rfind(|row| row.0 <= step).map_or(0.0, |row| row.1),
        };
        Ok(fresh.into_iter().map(|(step, value)| Report { step, value, units: until(step) }).collect())
    }

    /// What a trial cost that ended by itself; one that is `done` must have written its tables.
    pub fn units(&self, folder: &Path, done: bool) -> Result<f64> {
        if let (true, Some(cell)) = (done, &self.report) {
            cell.all(folder)?;
        }
        let Some(cell) = &self.units else { return Ok(1.0) };
        let rows = if done { cell.all(folder)? } else { cell.rows(folder)?.unwrap_or_default() };
        Ok(rows.last().map_or(0.0, |row| row.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(report: &str, units: &str) -> Tables {
        let cell = |text: &str| Some(Cell::new("method.report", text).unwrap());
        Tables { report: cell(report), units: cell(units) }
    }

    #[test]
    fn whole_new_rows_are_reports_with_their_cost() {
        let folder = tempfile::tempdir().unwrap();
        let text = "step,epoch,val_accuracy\n10,1,0.5\n20,2,\n30,3,0.7\n40,4,0.8\n50,5,0.";
        fs::write(folder.path().join("eval.csv"), text).unwrap();
        let tables = tables("eval.val_accuracy", "eval.epoch");
        let report = |step, value, units| Report { step, value, units };
        assert_eq!(
            tables.reports(folder.path(), None).unwrap(),
            [report(10, 0.5, 1.0), report(30, 0.7, 3.0), report(40, 0.8, 4.0)]
        );
        assert_eq!(tables.reports(folder.path(), Some(30)).unwrap(), [report(40, 0.8, 4.0)]);
        assert_eq!(tables.units(folder.path(), true).unwrap(), 4.0);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let tables = tables("eval.val_acuracy", "eval.epoch");
        assert!(tables.reports(folder.path(), None).unwrap().is_empty());
        let missing = tables.units(folder.path(), true).unwrap_err().to_string();
        assert!(missing.contains("has no eval.csv"), "{missing}");
        fs::write(folder.path().join("eval.csv"), "step,epoch,val_accuracy\n").unwrap();
        let error = tables.reports(folder.path(), None).unwrap_err().to_string();
        assert!(error.contains("did you mean val_accuracy"), "{error}");
        assert!(Cell::new("method.report", "accuracy").unwrap_err().to_string().contains("TABLE.COLUMN"));
    }
}
