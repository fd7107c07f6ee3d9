//! Keeps the experts of a decoder's mixture layers equally busy.

use anyhow::Result;
use std::cell::RefCell;
use tch::Tensor;

use super::{Doors, Pass, Step, Terms};
use crate::models::DecoderConfig;
use crate::models::decoder::load_balance;

/// Adds `router_aux_loss_coef` times the load-balancing loss of the training pass.
pub struct Balance {
    weight: f64,
    top_k: i64,
    /// Router logits of the pass under way, layer by layer.
    router_logits: RefCell<Vec<Tensor>>,
}

impl Balance {
    /// None for a decoder that needs none.
    pub fn of(config: &DecoderConfig) -> Option<Balance> {
        let weight = config.router_aux_loss_coef;
        let mixture = (0..config.num_hidden_layers).any(|i| config.is_moe(i));
        let fresh = Balance { weight, top_k: config.num_experts_per_tok, router_logits: RefCell::default() };
        (mixture && weight > 0.0).then_some(fresh)
    }
}

impl Doors for Balance {
    fn name(&self) -> &'static str {
        "balance"
    }

    fn terms(&self) -> Vec<&'static str> {
        vec!["balance"]
    }

    fn taps(&self) -> bool {
        true
    }

    fn tap(&self, site: &str, activation: Tensor) -> Tensor {
        if site.ends_with(".mlp.gate") {
            self.router_logits.borrow_mut().push(activation.shallow_clone());
        }
        activation
    }

    fn loss(&mut self, _step: &Step, _pass: &Pass, terms: &mut Terms) -> Result<()> {
        let layers = std::mem::take(&mut *self.router_logits.borrow_mut());
        let balance = load_balance(&Tensor::stack(&layers, 0), None, self.top_k);
        terms.add("balance", balance.loss * self.weight);
        Ok(())
    }
}
