//! Penalties on the scales gamma of normalization layers, as they are usually run: their gradient is added between the
//! backward pass and the optimizer's step, to the scales only.

use anyhow::Result;
use tch::{Tensor, no_grad};

use crate::native::foreach;
use crate::params::{ParamId, ParamStore};
use crate::train::{Doors, Step};

/// The gradient of a penalty at gamma (all scales, one after the other, `[C]`), at the current learning rate.
type Gradient<'a> = Box<dyn Fn(&Tensor, f64) -> Tensor + 'a>;

/// A penalty on some scales; its gradient sees them as one vector.
pub struct GammaPenalty<'a> {
    ids: Vec<ParamId>,
    sizes: Vec<i64>,
    gradient: Gradient<'a>,
}

impl<'a> GammaPenalty<'a> {
    pub fn new(store: &ParamStore, ids: Vec<ParamId>, gradient: impl Fn(&Tensor, f64) -> Tensor + 'a) -> Self {
        let sizes = ids.iter().map(|&id| store.get(id).numel() as i64).collect();
        GammaPenalty { ids, sizes, gradient: Box::new(gradient) }
    }

    /// Network slimming (Liu et al. 2017): lambda ||gamma||_1, whose gradient is lambda sign(gamma), with sign(0) = 0.
    pub fn slimming(store: &ParamStore, ids: Vec<ParamId>, lambda: f64) -> Self {
        GammaPenalty::new(store, ids, move |gamma, _| gamma.sign() * lambda)
    }
}

impl Doors for GammaPenalty<'_> {
    fn name(&self) -> &'static str {
        "gamma penalty"
    }

    fn grads(&mut self, step: &Step, leaves: &[ParamId], grads: &mut [Option<Tensor>]) -> Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let parts = no_grad(|| {
            let scales: Vec<Tensor> = self.ids.iter().map(|&id| step.store.get(id).detach()).collect();
            (self.gradient)(&Tensor::cat(&scales, 0), step.lr).split_with_sizes(&self.sizes, 0)
        });
        let (mut reached, mut added) = (Vec::new(), Vec::new());
        for (id, part) in self.ids.iter().zip(parts) {
            let grad = leaves.iter().position(|leaf| leaf == id).and_then(|i| grads[i].as_ref());
            if let Some(grad) = grad {
                reached.push(grad.shallow_clone());
                added.push(part);
            }
        }
        foreach::add_(&reached, &added, 1.0)
    }
}
