//! Rows of numbers measured on the device, one a step, fetched together: measuring costs no wait in a step.

use anyhow::{Context, Result};
use std::collections::HashMap;
use tch::{Device, Kind, Tensor};

/// Rows that wait on the device before they are fetched.
const WAITING: usize = 512;

/// A row: the run's step, and the numbers.
pub type Row = (u64, Vec<f64>);

/// Rows of one width that have not been written yet.
#[derive(Default)]
pub struct Series {
    fetched: Vec<Row>,
    waiting: Vec<(u64, Tensor)>,
}

impl Series {
    /// Adds the row `[width]` of a step.
    pub fn push(&mut self, step: u64, row: Tensor) {
        self.waiting.push((step, row));
        if self.waiting.len() >= WAITING {
            self.fetched = self.rows();
            self.waiting.clear();
        }
    }

    /// All rows, those that wait fetched in one transfer.
    fn rows(&self) -> Vec<Row> {
        let mut rows = self.fetched.clone();
        if !self.waiting.is_empty() {
            let stacked = Tensor::stack(&self.waiting.iter().map(|(_, row)| row).collect::<Vec<_>>(), 0);
            let host = stacked.to_device(Device::Cpu).to_kind(Kind::Double);
            let values = Vec::<Vec<f64>>::try_from(host).expect("rows on the host");
            rows.extend(self.waiting.iter().map(|(step, _)| *step).zip(values));
        }
        rows
    }

    /// Hands out all rows and forgets them.
    pub fn take(&mut self) -> Vec<Row> {
        let rows = self.rows();
        *self = Series::default();
        rows
    }

    /// The rows not yet taken, for a checkpoint.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let rows = self.rows();
        let Some(width) = rows.first().map(|(_, row)| row.len() as i64) else { return Vec::new() };
        let steps: Vec<i64> = rows.iter().map(|(step, _)| *step as i64).collect();
        let values: Vec<f64> = rows.into_iter().flat_map(|(_, row)| row).collect();
        vec![
            ("steps".into(), Tensor::from_slice(&steps)),
            ("rows".into(), Tensor::from_slice(&values).view([-1, width])),
        ]
    }

    pub fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        *self = Series::default();
        if let Some(steps) = state.get("steps") {
            let rows = state.get("rows").context("a series has steps but no rows")?;
            let steps = Vec::<i64>::try_from(steps)?.into_iter().map(|step| step as u64);
            self.fetched = steps.zip(Vec::<Vec<f64>>::try_from(rows)?).collect();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_fetching_and_a_checkpoint() {
        let mut series = Series::default();
        let count = WAITING as u64 + 3;
        (1..=count).for_each(|n| series.push(n, Tensor::from_slice(&[n as f32, -0.5])));
        let mut restored = Series::default();
        restored.load_state(&series.state().into_iter().collect()).unwrap();
        let rows = series.take();
        assert_eq!(rows.len(), count as usize);
        assert!(rows.iter().zip(1..).all(|(row, n)| *row == (n, vec![n as f64, -0.5])));
        assert_eq!(restored.take(), rows);
        assert!(series.take().is_empty() && series.state().is_empty());
    }
}
