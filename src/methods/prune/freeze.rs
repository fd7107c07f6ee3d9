//! Fine-tuning with single weights removed: what is zero at the start stays zero.

use anyhow::Result;
use tch::{Kind, Tensor, no_grad};

use crate::params::{ParamId, ParamStore};
use crate::train::{Doors, Step};

/// The zeros of some tensors, kept.
pub struct Frozen {
    masks: Vec<(ParamId, Tensor)>,
}

impl Frozen {
    pub fn zeros_of(store: &ParamStore, ids: &[ParamId]) -> Frozen {
        let mask = |&id: &ParamId| (id, no_grad(|| store.get(id).ne(0.0).to_kind(Kind::Float)));
        Frozen { masks: ids.iter().map(mask).collect() }
    }
}

impl Doors for Frozen {
    fn name(&self) -> &'static str {
        "frozen"
    }

    fn update(&mut self, step: &Step) -> Result<()> {
        no_grad(|| {
            for (id, mask) in &self.masks {
                let _ = step.store.get(*id).detach().g_mul_(mask);
            }
        });
        Ok(())
    }
}
