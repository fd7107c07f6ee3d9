//! Learning without forgetting: L = CE + alpha KD, where the model after the last task teaches its answers on the
//! current batch. KD = (1/B) sum_b sum_{u in old units} q_u (ln q_u - ln p_u), q and p the softmax of (logits / tau) of
//! the old and the current model over all units of the head. There is no factor tau^2, and since the old units are
//! picked after the softmax the sum is not a divergence: it may be slightly negative.

use anyhow::Result;
use std::collections::HashMap;
use tch::{Kind, Tensor, no_grad};

use crate::continual::output::Output;
use crate::continual::protocol::{Learner, Task};
use crate::continual::stream::Scenario;
use crate::models::{Cx, Network};
use crate::params::{ParamStore, View};
use crate::train::{Doors, Pass, Step, Terms};

/// KD of logits and the old model's logits `[B, C]`; `active` `[U]` int64: the old units. 0-d; the gradient flows to
/// `logits`.
pub fn distillation(logits: &Tensor, old_logits: &Tensor, active: &Tensor, temperature: f64) -> Tensor {
    let units = |logits: &Tensor| (logits / temperature).log_softmax(-1, logits.kind()).index_select(1, active);
    let (log_p, log_q) = (units(logits), units(&old_logits.detach()));
    (log_q.exp() * (&log_q - log_p)).sum(logits.kind()) / logits.size()[0] as f64
}

/// Task-incremental: the sum over old heads of KD over each head alone. `edges` `[T+1]` of the old tasks: head t owns
/// the columns `edges[t]..edges[t+1]`.
pub fn distillation_of_heads(logits: &Tensor, old_logits: &Tensor, edges: &[i64], temperature: f64) -> Tensor {
    let head = |e: &[i64]| {
        let width = e[1] - e[0];
        let all = Tensor::arange(width, (Kind::Int64, logits.device()));
        distillation(&logits.narrow(1, e[0], width), &old_logits.narrow(1, e[0], width), &all, temperature)
    };
    edges.windows(2).map(head).fold(Tensor::zeros([], (logits.kind(), logits.device())), |sum, kd| sum + kd)
}

/// The learner.
pub struct Lwf<'a> {
    output: &'a Output,
    net: &'a Network,
    alpha: f64,
    temperature: f64,
    task: usize,
    /// The model after the last task.
    old: Option<ParamStore>,
}

impl<'a> Lwf<'a> {
    pub fn new(output: &'a Output, net: &'a Network, alpha: f64, temperature: f64) -> Lwf<'a> {
        Lwf { output, net, alpha, temperature, task: 0, old: None }
    }

    /// KD from the old model on the current batch.
    fn teach(&self, old: &ParamStore, pass: &Pass) -> Tensor {
        let (output, labels) = (self.output, &pass.batch.y);
        let old_logits = no_grad(|| self.net.model.forward(&Cx::eval(&View::plain(old)), &pass.batch.x));
        if output.scenario() == Scenario::TaskIncremental {
            return distillation_of_heads(pass.logits, &old_logits, &output.edges()[..=self.task], self.temperature);
        }
        let old_units = match output.scenario() {
            Scenario::DomainIncremental => output.width(),
            _ => output.edges()[self.task],
        };
        let active = Tensor::arange(old_units, (Kind::Int64, pass.logits.device()));
        let open = |logits: &Tensor| output.open(logits, labels, self.task + 1);
        distillation(&open(pass.logits), &open(&old_logits), &active, self.temperature)
    }
}

impl Doors for Lwf<'_> {
    fn name(&self) -> &'static str {
        "lwf"
    }

    fn terms(&self) -> Vec<&'static str> {
        vec!["kd"]
    }

    fn loss(&mut self, _step: &Step, pass: &Pass, terms: &mut Terms) -> Result<()> {
        let kd = match &self.old {
            Some(old) => self.teach(old, pass) * self.alpha,
            None => Tensor::zeros([], (Kind::Float, pass.logits.device())),
        };
        terms.add("kd", kd);
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        let named = |store: &ParamStore| store.iter().map(|(_, p)| (p.name.clone(), p.tensor.detach())).collect();
        self.old.as_ref().map_or(Vec::new(), named)
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        self.old = (!state.is_empty()).then(|| self.net.store.deep_clone());
        for (name, tensor) in state {
            let old = self.old.as_ref().expect("made above");
            old.assign(old.find(name)?, tensor);
        }
        Ok(())
    }
}

impl Learner for Lwf<'_> {
    fn task_start(&mut self, task: &Task) -> Result<()> {
        self.task = task.index;
        Ok(())
    }

    fn task_end(&mut self, task: &Task) -> Result<()> {
        self.old = Some(task.net.store.deep_clone());
        Ok(())
    }

    fn weights(&self) -> (f64, f64) {
        (1.0, self.alpha)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    const CPU: (Kind, Device) = (Kind::Double, Device::Cpu);

    fn units(units: &[i64]) -> Tensor {
        Tensor::from_slice(units)
    }

    #[test]
    fn a_model_that_has_not_moved_has_no_loss() {
        let logits = Tensor::randn([4, 6], CPU);
        assert_eq!(distillation(&logits, &logits, &units(&[0, 3]), 2.0).double_value(&[]), 0.0);
        assert_eq!(distillation(&logits, &Tensor::randn([4, 6], CPU), &units(&[]), 2.0).double_value(&[]), 0.0);
    }

    #[test]
    fn the_old_units_are_picked_after_the_softmax() {
        // p has moved towards the old unit: ln q - ln p < 0.
        let (old, new) = (Tensor::from_slice2(&[[0.0, 0.0]]), Tensor::from_slice2(&[[2.0, 0.0]]));
        assert!(distillation(&new, &old, &units(&[0]), 2.0).double_value(&[]) < 0.0);
        assert!(distillation(&new, &old, &units(&[0, 1]), 2.0).double_value(&[]) > 0.0);
    }

    #[test]
    fn heads_are_distilled_one_by_one() {
        let (old, new) = (Tensor::randn([3, 6], CPU), Tensor::randn([3, 6], CPU));
        let head = |first| distillation(&new.narrow(1, first, 2), &old.narrow(1, first, 2), &units(&[0, 1]), 2.0);
        let both = distillation_of_heads(&new, &old, &[0, 2, 4], 2.0);
        assert!((head(0) + head(2)).allclose(&both, 1e-12, 0.0, false));
        assert_eq!(distillation_of_heads(&new, &old, &[0], 2.0).double_value(&[]), 0.0);
    }
}
