//! The learners that protect nothing: cross entropy of the current batch alone. `joint` trains on all tasks so far, the upper
//! bound; `local` compares the current task's own columns only, so that old ones are not pushed down.

use anyhow::Result;

use crate::continual::heads::cross_entropy_among;
use crate::continual::protocol::{Learner, Task};
use crate::continual::tasks::Tasks;
use crate::train::{Doors, Pass, Step, Terms};

/// Over which columns, on which data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Finetune,
    Local,
    Joint,
}

pub struct Finetune<'a> {
    tasks: &'a Tasks,
    kind: Kind,
    task: usize,
}

impl<'a> Finetune<'a> {
    pub fn new(tasks: &'a Tasks, kind: Kind) -> Finetune<'a> {
        Finetune { tasks, kind, task: 0 }
    }
}

impl Doors for Finetune<'_> {
    fn name(&self) -> &'static str {
        "finetune"
    }

    fn terms(&self) -> Vec<&'static str> {
        vec!["ce"]
    }

    fn owns_loss(&self) -> bool {
        true
    }

    fn loss(&mut self, _step: &Step, pass: &Pass, terms: &mut Terms) -> Result<()> {
        let (output, labels) = (&self.tasks.output, &pass.batch.y);
        let ce = match self.kind {
            Kind::Local => cross_entropy_among(pass.logits, labels, output.own_columns(self.task)),
            _ => output.cross_entropy(pass.logits, labels, self.task + 1),
        };
        terms.add("ce", ce);
        Ok(())
    }
}

impl Learner for Finetune<'_> {
    fn task_start(&mut self, task: &Task) -> Result<()> {
        self.task = task.index;
        Ok(())
    }

    fn joint(&self) -> bool {
        self.kind == Kind::Joint
    }
}
