//! What a bilevel run has spent.

use serde::{Deserialize, Serialize};

/// Units of work, the axis bilevel methods are compared on, and the time they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Gradients of h.
    pub gradients: u64,
    /// Products with its Hessian.
    pub hessian_products: u64,
    /// Wall time, seconds.
    pub seconds: f64,
}

impl Work {
    /// Inner gradients and Hessian products together.
    pub fn units(&self) -> u64 {
        self.gradients + self.hessian_products
    }
}
