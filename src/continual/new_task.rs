//! The new task's own loss: the cross entropy of the current batch, over the columns that the scenario gives it. It is the
//! term `ce` of every learner, which adds to it, weighs it or puts another in its place.

use anyhow::Result;

use super::heads::cross_entropy_among;
use super::output::Output;
use crate::train::{Doors, Pass, Step, Terms};

/// Comes before the learner among the doors.
pub struct NewTask<'a> {
    pub output: &'a Output,
    /// The task being learnt.
    pub task: usize,
    /// Compare the task's own columns only (local softmax), not all that are in use (global softmax).
    pub local: bool,
}

impl Doors for NewTask<'_> {
    fn name(&self) -> &'static str {
        "new-task"
    }

    fn terms(&self) -> Vec<&'static str> {
        vec!["ce"]
    }

    fn owns_loss(&self) -> bool {
        true
    }

    fn loss(&mut self, _step: &Step, pass: &Pass, terms: &mut Terms) -> Result<()> {
        let (logits, labels) = (pass.logits, &pass.batch.y);
        let ce = match self.local {
            true => cross_entropy_among(logits, labels, self.output.own_columns(self.task)),
            false => self.output.cross_entropy(logits, labels, self.task + 1),
        };
        terms.add("ce", ce);
        Ok(())
    }
}
