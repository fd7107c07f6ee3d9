//! SGD, Adam, AdamW and RMSprop with PyTorch's update rules, state names and defaults, stepped over all parameters at once.

use anyhow::{Context, Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use tch::{Device, Kind, Tensor};

use crate::native::fused;
use crate::params::{ParamId, ParamStore};

/// The update rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Stochastic gradient descent, with momentum if `momentum` > 0.
    #[default]
    Sgd,
    /// Adam (Kingma & Ba 2015); weight decay is added to the gradient (L2).
    Adam,
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    AdamW,
    /// RMSprop (Hinton 2012); centered: Graves 2013.
    RmsProp,
}

/// The `[optimizer]` table. Each kind reads the fields that name it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// sgd, adam, adamw or rmsprop. Default sgd.
    pub kind: OptimizerKind,
    /// Learning rate before the schedule, > 0. Default 0.001.
    #[schemars(range(min = 0.0))]
    pub lr: f64,
    /// sgd, rmsprop: factor of the running sum of past steps, 0 to below 1. Default 0 (none).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub momentum: f64,
    /// sgd: how much of the gradient is kept out of the momentum, 0 to 1. Default 0.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub dampening: f64,
    /// sgd: Nesterov's momentum; needs momentum > 0 and dampening = 0. Default false.
    pub nesterov: bool,
    /// Weight decay per unit of learning rate, >= 0. Default 0 for every kind (PyTorch's AdamW has 0.01).
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// adam, adamw: decay of the mean of gradients, 0 to below 1. Default 0.9.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub beta1: f64,
    /// adam, adamw: decay of the mean of squared gradients, 0 to below 1. Default 0.999.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub beta2: f64,
    /// adam, adamw, rmsprop: added to the root in the denominator, >= 0. Default 1e-8.
    #[schemars(range(min = 0.0))]
    pub eps: f64,
    /// rmsprop: decay of the mean of squared gradients, 0 to below 1. Default 0.99.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: f64,
    /// rmsprop: divide by the standard deviation instead of the root mean square. Default false.
    pub centered: bool,
}

impl Default for OptimizerConfig {
    fn default() -> OptimizerConfig {
        OptimizerConfig {
            kind: OptimizerKind::Sgd,
            lr: 1e-3,
            momentum: 0.0,
            dampening: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            alpha: 0.99,
            centered: false,
        }
    }
}

impl OptimizerConfig {
    /// Says which value is out of its range.
    pub fn check(&self) -> Result<()> {
        ensure!(self.lr.is_finite() && self.lr > 0.0, "optimizer.lr = {}, but it must be above 0", self.lr);
        for (name, value) in [("weight_decay", self.weight_decay), ("eps", self.eps)] {
            ensure!(value.is_finite() && value >= 0.0, "optimizer.{name} = {value}, but it must be at least 0");
        }
        let fractions =
            [("momentum", self.momentum), ("beta1", self.beta1), ("beta2", self.beta2), ("alpha", self.alpha)];
        for (name, value) in fractions {
            ensure!((0.0..1.0).contains(&value), "optimizer.{name} = {value}, but it must be from 0 to below 1");
        }
        let dampening = self.dampening;
        ensure!((0.0..=1.0).contains(&dampening), "optimizer.dampening = {dampening}, but it must be from 0 to 1");
        ensure!(
            !self.nesterov || (self.momentum > 0.0 && dampening == 0.0),
            "optimizer.nesterov = true needs momentum > 0 and dampening = 0, but they are {} and {dampening}",
            self.momentum
        );
        Ok(())
    }

    fn rule(&self, weight_decay: f64) -> Rule {
        let OptimizerConfig { momentum, dampening, nesterov, beta1, beta2, eps, alpha, centered, .. } = *self;
        match self.kind {
            OptimizerKind::Sgd => Rule::Sgd(fused::Sgd { weight_decay, momentum, dampening, nesterov }),
            OptimizerKind::Adam => Rule::Adam(fused::Adam { beta1, beta2, eps, weight_decay, decoupled: false }),
            OptimizerKind::AdamW => Rule::Adam(fused::Adam { beta1, beta2, eps, weight_decay, decoupled: true }),
            OptimizerKind::RmsProp => Rule::Rmsprop(fused::Rmsprop { alpha, eps, weight_decay, momentum, centered }),
        }
    }
}

/// Parameters that share a learning rate and a weight decay.
#[derive(Clone, Debug)]
pub struct ParamGroup {
    pub ids: Vec<ParamId>,
    /// Factor of the learning rate.
    pub lr_mult: f64,
    pub weight_decay: f64,
}

impl ParamGroup {
    /// All trainable parameters with the configuration's weight decay: torch.optim's `model.parameters()`.
    pub fn all(store: &ParamStore, config: &OptimizerConfig) -> ParamGroup {
        ParamGroup { ids: store.trainable(), lr_mult: 1.0, weight_decay: config.weight_decay }
    }
}

#[derive(Clone, Copy)]
enum Rule {
    Sgd(fused::Sgd),
    Adam(fused::Adam),
    Rmsprop(fused::Rmsprop),
}

impl Rule {
    /// The names of the tensors kept for each parameter, each of the parameter's shape.
    fn buffers(&self) -> Vec<&'static str> {
        let momentum = |momentum: f64| (momentum > 0.0).then_some("momentum");
        match self {
            Rule::Sgd(sgd) => momentum(sgd.momentum).into_iter().collect(),
            Rule::Adam(_) => vec!["exp_avg", "exp_avg_sq"],
            Rule::Rmsprop(rule) => {
                let centered = rule.centered.then_some("grad_avg");
                ["square_avg"].into_iter().chain(centered).chain(momentum(rule.momentum)).collect()
            }
        }
    }
}

struct Group {
    rule: Rule,
    ids: Vec<ParamId>,
    lr_mult: f64,
    /// One value, on the device: a captured step reads the rate of its replay.
    lr: Tensor,
    /// `buffers[b][i]`: the tensor called `rule.buffers()[b]` of parameter `ids[i]`.
    buffers: Vec<Vec<Tensor>>,
    /// Adam's t of each parameter, one float32 value on the device, as its kernel wants it.
    steps: Vec<Tensor>,
    /// Whether each parameter has taken a step: SGD's first gradient enters the momentum undampened.
    begun: Vec<bool>,
}

/// The optimizer of one set of parameters and its state.
pub struct Optimizer {
    groups: Vec<Group>,
    names: HashMap<ParamId, String>,
}

impl Optimizer {
    /// Fails if a value is out of range, a parameter is in two groups, or parameters are of different types.
    pub fn new(config: &OptimizerConfig, groups: Vec<ParamGroup>, store: &ParamStore) -> Result<Optimizer> {
        config.check()?;
        let mut names = HashMap::new();
        let mut kind = None;
        for &id in groups.iter().flat_map(|group| &group.ids) {
            let (name, tensor) = (store.name(id), store.get(id));
            ensure!(names.insert(id, name.to_owned()).is_none(), "parameter {name} is in two groups of the optimizer");
            let first = *kind.get_or_insert(tensor.kind());
            ensure!(
                first == tensor.kind() && tensor.is_floating_point(),
                "an optimizer's parameters must all be of one floating type, but {name} is {:?} beside {first:?}",
                tensor.kind()
            );
        }
        let groups = groups.into_iter().map(|group| Group::new(config, group, store)).collect();
        Ok(Optimizer { groups, names })
    }

    /// The parameters in the order in which [`Optimizer::step`] wants their gradients.
    pub fn ids(&self) -> Vec<ParamId> {
        self.groups.iter().flat_map(|group| group.ids.iter().copied()).collect()
    }

    /// One step in place, outside autograd, at learning rate `lr` (times each group's factor). `grads` are in the order of
    /// [`Optimizer::ids`]; a parameter without a gradient stays, and so does its state.
    pub fn step(&mut self, store: &ParamStore, grads: &[Option<Tensor>], lr: f64) -> Result<()> {
        self.set_lr(lr);
        self.apply(store, grads)
    }

    /// The learning rate of the steps to come: with [`Optimizer::apply`] the two halves of a step, for one that is
    /// captured as a graph (`apply`) and replayed at other rates.
    pub fn set_lr(&mut self, lr: f64) {
        for group in &mut self.groups {
            let _ = group.lr.fill_(lr * group.lr_mult);
        }
    }

    /// One step at the learning rate set last.
    pub fn apply(&mut self, store: &ParamStore, grads: &[Option<Tensor>]) -> Result<()> {
        let parameters = self.names.len();
        ensure!(grads.len() == parameters, "{} gradients for the optimizer's {parameters} parameters", grads.len());
        let mut rest = grads;
        for group in &mut self.groups {
            let (own, others) = rest.split_at(group.ids.len());
            group.apply(store, own)?;
            rest = others;
        }
        Ok(())
    }

    /// All state by name: `momentum.<parameter>`, `exp_avg.<parameter>`, ..., and `step.<parameter>` or
    /// `begun.<parameter>`. The tensors are the optimizer's own: copy what must outlive the next step.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = Vec::new();
        for group in &self.groups {
            for (i, id) in group.ids.iter().enumerate() {
                let name = &self.names[id];
                for (buffer, tensors) in group.rule.buffers().iter().zip(&group.buffers) {
                    state.push((format!("{buffer}.{name}"), tensors[i].shallow_clone()));
                }
                match group.rule {
                    Rule::Adam(_) => state.push((format!("step.{name}"), group.steps[i].shallow_clone())),
                    Rule::Sgd(_) if !group.buffers.is_empty() => {
                        state.push((format!("begun.{name}"), Tensor::from(group.begun[i])));
                    }
                    Rule::Sgd(_) | Rule::Rmsprop(_) => {}
                }
            }
        }
        state
    }

    /// Puts back what [`Optimizer::state`] gave. A missing, extra or misshapen tensor is an error that names it, and then
    /// nothing has changed.
    pub fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        let own = self.state();
        let given: HashMap<&str, &Tensor> = state.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        for (name, tensor) in &own {
            let Some(found) = given.get(name.as_str()) else {
                bail!("the optimizer's state has no {name}: it is of another optimizer or another model")
            };
            let (found, needed) = (found.size(), tensor.size());
            ensure!(found == needed, "the optimizer's state has {name} of shape {found:?}, but it needs {needed:?}");
        }
        let known: HashMap<&str, &Tensor> = own.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        if let Some(extra) = given.keys().find(|name| !known.contains_key(**name)) {
            bail!(
                "the optimizer's state has {extra}, which this optimizer does not keep: it is of another configuration"
            );
        }
        tch::no_grad(|| own.iter().for_each(|(name, tensor)| tensor.shallow_clone().copy_(given[name.as_str()])));
        for group in &mut self.groups {
            for (i, id) in group.ids.iter().enumerate() {
                if let Some(begun) = given.get(format!("begun.{}", self.names[id]).as_str()) {
                    group.begun[i] = begun.f_int64_value(&[])? != 0;
                }
            }
        }
        Ok(())
    }

    /// Forgets one parameter's past: its state is as before its first step.
    pub fn reset(&mut self, id: ParamId) -> Result<()> {
        let place = self.groups.iter_mut().find_map(|group| {
            let i = group.ids.iter().position(|&own| own == id)?;
            Some((group, i))
        });
        let (group, i) = place.context("a parameter that the optimizer does not have")?;
        group.begun[i] = false;
        for tensors in group.buffers.iter_mut().chain([&mut group.steps]).filter(|tensors| !tensors.is_empty()) {
            let _ = tensors[i].zero_();
        }
        Ok(())
    }
}

impl Group {
    fn new(config: &OptimizerConfig, group: ParamGroup, store: &ParamStore) -> Group {
        let rule = config.rule(group.weight_decay);
        let zeros = || group.ids.iter().map(|&id| store.get(id).detach().zeros_like()).collect();
        let device = store.device();
        let steps = match rule {
            Rule::Adam(_) => Tensor::zeros([group.ids.len() as i64], (Kind::Float, device)).unbind(0),
            Rule::Sgd(_) | Rule::Rmsprop(_) => Vec::new(),
        };
        // The host's kernels read the rate as a double, the device's as a float32.
        let lr_kind = if device == Device::Cpu { Kind::Double } else { Kind::Float };
        Group {
            rule,
            lr_mult: group.lr_mult,
            lr: Tensor::zeros([], (lr_kind, device)),
            buffers: rule.buffers().iter().map(|_| zeros()).collect(),
            steps,
            begun: vec![false; group.ids.len()],
            ids: group.ids,
        }
    }

    fn apply(&mut self, store: &ParamStore, grads: &[Option<Tensor>]) -> Result<()> {
        let starts = |i: usize| matches!(self.rule, Rule::Sgd(_)) && !self.begun[i];
        let present = (0..self.ids.len()).filter(|&i| grads[i].is_some());
        let (starting, running): (Vec<usize>, Vec<usize>) = present.partition(|&i| starts(i));
        for (which, first) in [(running, false), (starting, true)] {
            if !which.is_empty() {
                self.update(&which, first, store, grads)?;
            }
            which.iter().for_each(|&i| self.begun[i] = true);
        }
        Ok(())
    }

    /// Steps the parameters at the places `which`; `first`: their momentum starts with this gradient.
    fn update(&self, which: &[usize], first: bool, store: &ParamStore, grads: &[Option<Tensor>]) -> Result<()> {
        let params: Vec<&Tensor> = which.iter().map(|&i| store.get(self.ids[i])).collect();
        let grads: Vec<&Tensor> = which.iter().filter_map(|&i| grads[i].as_ref()).collect();
        let names = self.rule.buffers();
        let buffer = |name: &str| -> Vec<&Tensor> {
            let tensors = names.iter().position(|own| *own == name).map(|b| &self.buffers[b]);
            tensors.map_or_else(Vec::new, |tensors| which.iter().map(|&i| &tensors[i]).collect())
        };
        match self.rule {
            Rule::Sgd(rule) => fused::sgd(&params, &grads, &buffer("momentum"), &self.lr, rule, first),
            Rule::Adam(rule) => {
                let steps: Vec<&Tensor> = which.iter().map(|&i| &self.steps[i]).collect();
                fused::adam(&params, &grads, &buffer("exp_avg"), &buffer("exp_avg_sq"), &steps, &self.lr, rule)
            }
            Rule::Rmsprop(rule) => {
                let (averages, momentum) = (buffer("grad_avg"), buffer("momentum"));
                fused::rmsprop(&params, &grads, &buffer("square_avg"), &averages, &momentum, &self.lr, rule)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Role;

    fn store(values: &[(&str, f32)]) -> ParamStore {
        let mut store = ParamStore::new(Device::Cpu);
        for (name, value) in values {
            store.add(name, Role::Weight, Tensor::from_slice(&[*value]));
        }
        store
    }

    fn value(store: &ParamStore, name: &str) -> f64 {
        store.get(store.id(name).expect(name)).double_value(&[0])
    }

    fn gradient(value: f32) -> Option<Tensor> {
        Some(Tensor::from_slice(&[value]))
    }

    fn momentum() -> OptimizerConfig {
        OptimizerConfig { lr: 0.5, momentum: 0.5, dampening: 0.5, ..OptimizerConfig::default() }
    }

    #[test]
    fn groups_have_their_own_rate_and_decay_and_a_missing_gradient_skips() {
        let store = store(&[("a", 1.0), ("b", 1.0), ("c", 1.0)]);
        let group = |ids: &[usize], lr_mult, weight_decay| ParamGroup {
            ids: ids.iter().map(|&i| ParamId(i)).collect(),
            lr_mult,
            weight_decay,
        };
        let groups = vec![group(&[2, 0], 1.0, 0.0), group(&[1], 0.5, 1.0)];
        let mut optimizer = Optimizer::new(&OptimizerConfig::default(), groups, &store).expect("an optimizer");
        assert_eq!(optimizer.ids(), [ParamId(2), ParamId(0), ParamId(1)]);
        optimizer.step(&store, &[None, gradient(1.0), gradient(1.0)], 0.5).expect("a step");
        // a: 1 - 0.5 * 1; b: 1 - 0.5 * 0.5 * (1 + 1 * 1); c stays.
        assert_eq!((value(&store, "a"), value(&store, "b"), value(&store, "c")), (0.5, 0.5, 1.0));
        assert!(optimizer.step(&store, &[None], 0.5).is_err());
    }

    #[test]
    fn state_makes_a_second_optimizer_go_on_as_the_first_and_a_reset_parameter_starts_anew() {
        let (one, two) = (store(&[("a", 1.0), ("b", 1.0)]), store(&[("a", 1.0), ("b", 1.0)]));
        let new = |store: &ParamStore| {
            Optimizer::new(&momentum(), vec![ParamGroup::all(store, &momentum())], store).expect("an optimizer")
        };
        let mut first = new(&one);
        first.step(&one, &[gradient(1.0), None], 0.5).expect("a step");
        let mut second = new(&two);
        second.load_state(&first.state()).expect("its own state");
        second.step(&two, &[gradient(1.0), gradient(1.0)], 0.5).expect("a step");
        // a goes on: b = 0.5 * 1 + 0.5 * 1; b begins undampened.
        assert_eq!((value(&two, "a"), value(&two, "b")), (0.5, 0.5));
        second.reset(ParamId(0)).expect("its own parameter");
        second.step(&two, &[gradient(0.5), None], 1.0).expect("a step");
        assert_eq!(value(&two, "a"), 0.0);
        assert!(second.reset(ParamId(7)).is_err());
    }

    #[test]
    fn foreign_state_names_what_is_wrong() {
        let store = store(&[("a", 1.0)]);
        let new = |config: &OptimizerConfig| {
            Optimizer::new(config, vec![ParamGroup::all(&store, config)], &store).expect("an optimizer")
        };
        let adam = OptimizerConfig { kind: OptimizerKind::Adam, ..OptimizerConfig::default() };
        let error = |state: &[(String, Tensor)]| new(&adam).load_state(state).expect_err("foreign").to_string();
        assert!(error(&new(&momentum()).state()).contains("no exp_avg.a"));
        let mut extra = new(&adam).state();
        extra.push(("momentum.a".to_owned(), Tensor::from(1.0)));
        assert!(error(&extra).contains("momentum.a"));
        let mut misshapen = new(&adam).state();
        misshapen[0].1 = Tensor::from(1.0);
        assert!(error(&misshapen).contains("exp_avg.a of shape []"), "{}", error(&misshapen));
    }

    #[test]
    fn values_out_of_range_and_shared_parameters_are_errors() {
        let good = OptimizerConfig::default();
        for (bad, what) in [
            (OptimizerConfig { lr: 0.0, ..good.clone() }, "optimizer.lr = 0"),
            (OptimizerConfig { beta2: 1.0, ..good.clone() }, "optimizer.beta2 = 1"),
            (OptimizerConfig { weight_decay: f64::NAN, ..good.clone() }, "optimizer.weight_decay = NaN"),
            (OptimizerConfig { nesterov: true, ..good.clone() }, "needs momentum > 0"),
        ] {
            let error = bad.check().expect_err(what).to_string();
            assert!(error.contains(what), "{error}");
        }
        let store = store(&[("a", 1.0)]);
        let twice = vec![ParamGroup::all(&store, &good), ParamGroup::all(&store, &good)];
        assert!(Optimizer::new(&good, twice, &store).is_err());
    }
}
