//! The gates at the loop's doors: they open and close the blocks, and their votes are two terms of the loss.

use anyhow::Result;
use serde::Serialize;
use std::cell::RefCell;
use std::collections::HashMap;
use tch::{Device, Kind, Tensor, no_grad};

use super::config::Method;
use super::gate::{Gate, gated, pool, straight_through};
use super::gated::{GatedSites, is_input};
use super::losses::{mean_gate, openness, polar};
use crate::data::DeviceSet;
use crate::models::{Cx, Network, Taps};
use crate::params::{Builder, Init, ParamStore, Role, View};
use crate::run::Run;
use crate::train::{Doors, EpochEnd, Pass, Step, Terms, batch_size};

/// The gates of a network, their parameters in its store under `gates.<module>.`.
pub struct Gating<'a> {
    sites: &'a GatedSites,
    method: &'a Method,
    /// `[L]`.
    costs: Tensor,
    /// W1, b1, W2, b2 of each module.
    params: Vec<[Tensor; 4]>,
    of_site: HashMap<&'a str, usize>,
    /// What the next gate reads.
    input: RefCell<Option<Tensor>>,
    /// (g, pi) of the modules of this forward pass, in order.
    votes: RefCell<Vec<(Tensor, Tensor)>>,
    sums: Sums,
}

/// Sums over the steps of the epoch so far, on the device: `[L]` and 0-d.
struct Sums {
    steps: i64,
    mean: Tensor,
    agreement: Tensor,
    slope: Tensor,
    polar: Tensor,
    activation: Tensor,
}

/// A row of gates.csv: one module at the end of an epoch (means over its steps); the gate `all` sums up.
#[derive(Serialize)]
struct GatesRow<'a> {
    gate: &'a str,
    /// Mean gbar of the module's gates; of all: A, weighted by cost.
    openness: f64,
    agreement: Option<f64>,
    /// Mean of pi (1 - pi), the factor of the gates' gradients: near 0 they are saturated.
    slope: Option<f64>,
    polar: Option<f64>,
    activation: Option<f64>,
    ramp: f64,
}

/// Adds the gates' parameters to the network: PyTorch's default for Linear layers, but b2 = 1: all or nearly all open.
pub fn add_gates(net: &mut Network, sites: &GatedSites, hidden: i64, seed: u64) {
    for (index, module) in sites.modules.iter().enumerate() {
        let mut root = Builder::new(&mut net.store, seed);
        let mut b = root.part(format!("gates.{index}"));
        let bound = |inputs: i64| Init::Uniform(1.0 / (inputs as f64).sqrt());
        let (inputs, outputs) = (module.inputs, module.outputs);
        b.tensor("w1", Role::Reparameterization, &[hidden, inputs], bound(inputs));
        b.tensor("b1", Role::Reparameterization, &[hidden], bound(inputs));
        b.tensor("w2", Role::Reparameterization, &[outputs, hidden], bound(hidden));
        b.tensor("b2", Role::Reparameterization, &[outputs], Init::Constant(1.0));
    }
}

impl<'a> Gating<'a> {
    /// For a store that [`add_gates`] has been at.
    pub fn new(store: &ParamStore, sites: &'a GatedSites, method: &'a Method) -> Result<Gating<'a>> {
        let tensor = |index: usize, name: &str| -> Result<Tensor> {
            Ok(store.get(store.find(&format!("gates.{index}.{name}"))?).shallow_clone())
        };
        let module = |index: usize| -> Result<[Tensor; 4]> {
            Ok([tensor(index, "w1")?, tensor(index, "b1")?, tensor(index, "w2")?, tensor(index, "b2")?])
        };
        let costs = Tensor::from_slice(&sites.costs()).to_kind(Kind::Float).to_device(store.device());
        Ok(Gating {
            sites,
            method,
            params: (0..sites.modules.len()).map(module).collect::<Result<_>>()?,
            of_site: sites.modules.iter().enumerate().map(|(i, m)| (m.site.as_str(), i)).collect(),
            input: RefCell::new(None),
            votes: RefCell::default(),
            sums: Sums::new(sites.len() as i64, store.device()),
            costs,
        })
    }

    /// The votes `[S, L]` (uint8) of the first `samples` samples of a set, in evaluation mode.
    pub fn votes(&self, net: &Network, set: &DeviceSet, samples: usize) -> Tensor {
        let samples = if samples == 0 { set.len() } else { samples.min(set.len()) };
        let size = batch_size(set);
        let batch = |first: usize| {
            self.votes.borrow_mut().clear();
            let _ = self.forward(net, &set.slice(first, size.min(samples - first)).x);
            self.taken().0.gt(0.5).to_kind(Kind::Uint8)
        };
        no_grad(|| Tensor::cat(&(0..samples).step_by(size).map(batch).collect::<Vec<_>>(), 0))
    }

    /// The gated network in evaluation mode.
    pub fn forward(&self, net: &Network, x: &Tensor) -> Tensor {
        net.model.forward(&Cx::eval(&View::plain(&net.store)).with_taps(self), x)
    }

    /// g and pi of all gates `[N, L]`, float32, and forgets them.
    fn taken(&self) -> (Tensor, Tensor) {
        let (gates, probs): (Vec<Tensor>, Vec<Tensor>) = self.votes.borrow_mut().drain(..).unzip();
        (Tensor::cat(&gates, 1).to_kind(Kind::Float), Tensor::cat(&probs, 1).to_kind(Kind::Float))
    }

    fn apply(&self, site: &str, activation: Tensor) -> Tensor {
        let activation = match (self.of_site.get(site), &*self.input.borrow()) {
            (Some(&index), Some(input)) => {
                let [w1, b1, w2, b2] = &self.params[index];
                let prob = Gate { w1, b1, w2, b2 }.probability(&pool(input));
                let gate = straight_through(&prob, self.method.threshold);
                let open = gated(&activation, &gate);
                self.votes.borrow_mut().push((gate, prob));
                open
            }
            _ => activation,
        };
        if is_input(site, &self.sites.inside) {
            self.input.replace(Some(activation.shallow_clone()));
        }
        activation
    }

    fn ramp(&self, step: &Step) -> f64 {
        self.method.ramp.at(step.step - 1, step.steps)
    }
}

impl Taps for Gating<'_> {
    fn tap(&self, site: &str, activation: Tensor) -> Tensor {
        self.apply(site, activation)
    }
}

impl Doors for Gating<'_> {
    fn name(&self) -> &'static str {
        "gates"
    }

    fn terms(&self) -> Vec<&'static str> {
        vec!["activation", "polarization"]
    }

    fn taps(&self) -> bool {
        true
    }

    fn taps_evaluation(&self) -> bool {
        true
    }

    /// What evaluations left behind is no vote of this batch.
    fn batch(&mut self, _step: &Step, _batch: &mut crate::data::Batch) {
        self.votes.borrow_mut().clear();
    }

    fn tap(&self, site: &str, activation: Tensor) -> Tensor {
        self.apply(site, activation)
    }

    fn loss(&mut self, step: &Step, _pass: &Pass, terms: &mut Terms) -> Result<()> {
        let (gates, probs) = self.taken();
        let mean = mean_gate(if self.method.soft_penalty { &probs } else { &gates });
        let polar = polar(&mean);
        let activation = self.method.activation.loss(&openness(&mean, &self.costs), self.method.target);
        no_grad(|| self.sums.add(&gates.detach(), &probs.detach(), &polar.detach(), &activation.detach()));
        terms.add("activation", activation * self.method.lambda_act);
        terms.add("polarization", polar * (self.ramp(step) * self.method.lambda_polar));
        Ok(())
    }

    fn epoch_end(&mut self, end: &EpochEnd, run: &mut Run) -> Result<()> {
        let ramp = self.ramp(&end.step);
        let [agreement, slope, polar, activation] = self.sums.scalars()?;
        let mean = self.sums.mean()?;
        for (module, piece) in self.sites.modules.iter().zip(self.sites.split(&mean)) {
            let openness = piece.iter().sum::<f64>() / piece.len() as f64;
            let row = GatesRow {
                gate: module.site.trim_end_matches(".branch"),
                openness,
                agreement: None,
                slope: None,
                polar: None,
                activation: None,
                ramp,
            };
            run.row("gates", end.at, &row)?;
        }
        let costs = self.sites.costs();
        let open = mean.iter().zip(&costs).map(|(m, c)| m * c).sum::<f64>() / costs.iter().sum::<f64>();
        let row = GatesRow {
            gate: "all",
            openness: open,
            agreement: Some(agreement),
            slope: Some(slope),
            polar: Some(polar),
            activation: Some(activation),
            ramp,
        };
        self.sums = Sums::new(self.sites.len() as i64, self.costs.device());
        run.row("gates", end.at, &row)
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        let named = |(name, tensor): (&str, &Tensor)| (name.to_owned(), tensor.shallow_clone());
        let steps = ("steps".to_owned(), Tensor::from(self.sums.steps));
        self.sums.tensors().into_iter().map(named).chain([steps]).collect()
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        for (name, tensor) in self.sums.tensors() {
            if let Some(stored) = state.get(name) {
                no_grad(|| tensor.shallow_clone().copy_(stored));
            }
        }
        self.sums.steps = state.get("steps").map_or(0, |steps| steps.int64_value(&[]));
        Ok(())
    }
}

impl Sums {
    fn new(gates: i64, device: Device) -> Sums {
        let zero = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, device));
        let (mean, agreement, slope) = (zero(&[gates]), zero(&[]), zero(&[]));
        Sums { steps: 0, mean, agreement, slope, polar: zero(&[]), activation: zero(&[]) }
    }

    fn add(&mut self, gates: &Tensor, probs: &Tensor, polar: &Tensor, activation: &Tensor) {
        let mean = mean_gate(gates);
        self.steps += 1;
        self.agreement += mean.maximum(&(1.0 - &mean)).mean(Kind::Float);
        self.mean += mean;
        self.slope += (probs - probs.square()).mean(Kind::Float);
        self.polar += polar;
        self.activation += activation;
    }

    fn tensors(&self) -> [(&'static str, &Tensor); 5] {
        let Sums { mean, agreement, slope, polar, activation, .. } = self;
        [("mean", mean), ("agreement", agreement), ("slope", slope), ("polar", polar), ("activation", activation)]
    }

    fn mean(&self) -> Result<Vec<f64>> {
        let sums = self.mean.to_kind(Kind::Double) / self.steps as f64;
        Ok(Vec::<f64>::try_from(sums.to_device(Device::Cpu))?)
    }

    /// Agreement, slope, L_polar and L_act of the mean step.
    fn scalars(&self) -> Result<[f64; 4]> {
        let sums = Tensor::stack(&[&self.agreement, &self.slope, &self.polar, &self.activation], 0);
        let means = Vec::<f64>::try_from((sums.to_kind(Kind::Double) / self.steps as f64).to_device(Device::Cpu))?;
        Ok([means[0], means[1], means[2], means[3]])
    }
}
