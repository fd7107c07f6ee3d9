//! The learners that protect nothing: the new task's cross entropy alone.

use crate::continual::protocol::Learner;
use crate::models::Network;
use crate::train::{Doors, ParamGroup, TrainConfig};

/// What sets them apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Finetune {
    /// Over all columns in use.
    Global,
    /// Over the current task's own columns, so that old ones are not pushed down (finetune++).
    Local,
    /// Every task is trained on the data of all tasks so far: the upper bound.
    Joint,
    /// Only the classifier learns, on the features of the network as it came: the linear probe.
    Probe,
}

impl Doors for Finetune {
    fn name(&self) -> &'static str {
        "finetune"
    }

    fn eval_mode(&self) -> bool {
        *self == Finetune::Probe
    }
}

impl Learner for Finetune {
    fn local(&self) -> bool {
        *self == Finetune::Local
    }

    fn joint(&self) -> bool {
        *self == Finetune::Joint
    }

    fn groups(&self, net: &Network, train: &TrainConfig) -> Option<Vec<ParamGroup>> {
        let ids = net.model.classifier();
        let classifier = || ParamGroup { ids, lr_mult: 1.0, weight_decay: train.optimizer.weight_decay };
        (*self == Finetune::Probe).then(|| vec![classifier()])
    }
}
