//! The L2 anchor: every weight is as important as any other. Penalty lambda sum (theta - theta*)^2.

use anyhow::Result;
use tch::Tensor;

use crate::continual::anchor::Importance;
use crate::continual::flat;
use crate::continual::protocol::Task;

pub struct Equal;

impl Importance for Equal {
    fn name(&self) -> &'static str {
        "l2"
    }

    fn measure(&mut self, task: &Task, _before: Option<&Tensor>) -> Result<Tensor> {
        Ok(flat::parameters(&task.net.store).ones_like())
    }
}
