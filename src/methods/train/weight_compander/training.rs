//! Training with w = Psi(v): what the method does at the loop's doors.

use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use tch::{Device, Kind, Tensor, no_grad};

use super::build::{Layer, layers};
use super::config::{DecayOn, Method};
use super::map::Map;
use super::rivals::clip_to_bound;
use super::statistics::WeightStatistics;
use super::{measure, start};
use crate::methods::AddOn;
use crate::models::Network;
use crate::params::{ParamId, ParamStore, View};
use crate::run::{Run, Stamp, Summary};
use crate::train::{Doors, EpochEnd, OptimizerConfig, ParamGroup, Pass, Step, Terms};

/// The compander (or a rival of it) on the layers of a network.
pub struct Companding {
    config: Method,
    layers: Vec<Layer>,
    weight_decay: f64,
    /// The layers after whose ReLU activations are dropped.
    dropped: HashSet<String>,
    /// The largest max |w| / B that any epoch's end has seen.
    over_bound: f64,
}

/// A row of compander.csv: one layer at the end of an epoch (epoch 0: at the start).
#[derive(Clone, Debug, Serialize)]
pub struct LayerRow {
    pub layer: String,
    /// With one a and b a filter: their means; `bound` is then the largest.
    pub a: Option<f64>,
    pub b: Option<f64>,
    pub bound: Option<f64>,
    pub near_zero: f64,
    pub rms: f64,
    pub max_abs: f64,
    pub max_over_rms: f64,
    pub kurtosis: f64,
    /// The share of the initial weights that the bound clipped, in epoch 0 only.
    pub clipped_share: Option<f64>,
}

/// Numbers of a layer on the device, as many for each, NaN where a map has none: a, b, bound, max |w| / B, whether all v are
/// finite, then the weight's statistics.
const NUMBERS: usize = 10;

impl Companding {
    /// The doors of `config` for a network that was just built: loads `start`, if there is one, chooses the layers, rewrites
    /// their weights to v and adds the maps' numbers to the store. Errors name the field or the layer.
    pub fn new(config: &Method, net: &mut Network, optimizer: &OptimizerConfig) -> Result<Companding> {
        config.check()?;
        config.check_optimizer(optimizer)?;
        if let Some(path) = &config.start {
            start::load(net, path)?;
        }
        let names = net.store.iter().filter_map(|(_, p)| p.name.strip_suffix(".weight").map(str::to_owned)).collect();
        Ok(Companding {
            layers: layers(config, net)?,
            config: config.clone(),
            weight_decay: optimizer.weight_decay,
            dropped: if config.dropout > 0.0 { names } else { HashSet::new() },
            over_bound: 0.0,
        })
    }

    pub fn config(&self) -> &Method {
        &self.config
    }

    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    fn is_log(&self, id: ParamId) -> bool {
        let of = |l: &Layer| matches!(l.map, Map::Compander { log_a, log_b, .. } if [log_a, log_b].contains(&id));
        self.layers.iter().any(of)
    }

    /// The largest max |w| / B that any epoch's end has seen; None without a bound.
    pub fn max_over_bound(&self) -> Option<f64> {
        self.config.reparameterization.is_bounded().then_some(self.over_bound)
    }

    /// Numbers of all layers, fetched in one transfer; the error names the first layer whose v is not finite.
    pub fn measure(&self, store: &ParamStore) -> Result<Vec<LayerRow>, String> {
        let rows: Vec<Tensor> = no_grad(|| self.layers.iter().map(|layer| self.numbers(layer, store)).collect());
        let host = Tensor::stack(&rows, 0).to_device(Device::Cpu).contiguous().view(-1);
        let values = Vec::<f64>::try_from(host).expect("float64 numbers on the host");
        let known = |value: f64| (!value.is_nan()).then_some(value);
        let row = |(layer, n): (&Layer, &[f64])| {
            if n[4] == 0.0 {
                return Err(layer.name.clone());
            }
            Ok(LayerRow {
                layer: layer.name.clone(),
                a: known(n[0]),
                b: known(n[1]),
                bound: known(n[2]),
                near_zero: n[5],
                rms: n[6],
                max_abs: n[7],
                max_over_rms: n[8],
                kurtosis: n[9],
                clipped_share: None,
            })
        };
        self.layers.iter().zip(values.chunks(NUMBERS)).map(row).collect()
    }

    fn numbers(&self, layer: &Layer, store: &ParamStore) -> Tensor {
        let v = store.get(layer.weight).detach();
        let w = layer.map.weight(&View::plain(store), &v).unwrap_or_else(|| v.shallow_clone());
        let none = || Tensor::full([], f64::NAN, (Kind::Double, store.device()));
        let compander = layer.map.compander(store);
        let mean = |t: &Tensor| t.mean(Kind::Double);
        let (a, b) = compander.map_or_else(|| (none(), none()), |c| (mean(&c.a), mean(&c.b)));
        let bound = layer.map.bound(store).map_or_else(none, |bound| bound.max().to_kind(Kind::Double));
        let s = WeightStatistics::of(&w, self.config.near);
        let over = &s.max_abs / &bound;
        let finite = v.isfinite().all().to_kind(Kind::Double);
        let all = [a, b, bound, over, finite, s.near_zero, s.rms, s.max_abs, s.max_over_rms, s.kurtosis];
        Tensor::stack(&all, 0)
    }

    /// Writes the rows of one moment; those of the start hold the shares that were clipped.
    fn record(&mut self, store: &ParamStore, at: Stamp, start: bool, run: &mut Run) -> Result<()> {
        let rows = self.measure(store).map_err(|layer| run.non_finite(&format!("v of layer {layer}"), at.step))?;
        for (mut row, layer) in rows.into_iter().zip(&self.layers) {
            row.clipped_share = layer.clipped.filter(|_| start);
            let over = row.bound.map_or(0.0, |bound| row.max_abs / bound);
            self.over_bound = self.over_bound.max(over);
            run.row("compander", at, &row)?;
        }
        Ok(())
    }
}

impl AddOn for Companding {
    /// log a and log b have a learning rate of their own and never decay (the bound would shrink to zero); with decay on w the
    /// decay of v is in the gradient.
    fn regroup(&self, groups: Vec<ParamGroup>) -> Vec<ParamGroup> {
        let free = |id: &ParamId| self.config.decay_on == DecayOn::W && self.layers.iter().any(|l| l.weight == *id);
        let split = |ParamGroup { ids, lr_mult, weight_decay }| {
            let (logs, rest): (Vec<_>, Vec<_>) = ids.into_iter().partition(|&id| self.is_log(id));
            let (free, rest) = rest.into_iter().partition(free);
            let group = |ids, factor, weight_decay| ParamGroup { ids, lr_mult: lr_mult * factor, weight_decay };
            [group(rest, 1.0, weight_decay), group(free, 1.0, 0.0), group(logs, self.config.ab_lr_mult, 0.0)]
        };
        groups.into_iter().flat_map(split).filter(|group| !group.ids.is_empty()).collect()
    }

    fn begin(&mut self, net: &Network, at: Stamp, run: &mut Run) -> Result<Summary> {
        self.record(&net.store, at, true, run)?;
        Ok(measure::announce(self, net, run))
    }

    fn end(&self, net: &Network, at: Stamp, run: &Run) -> Result<Summary> {
        measure::weights(self, net, at, run)
    }
}

impl Doors for Companding {
    fn name(&self) -> &'static str {
        "weight-compander"
    }

    fn terms(&self) -> Vec<&'static str> {
        if self.config.l1 > 0.0 { vec!["l1"] } else { Vec::new() }
    }

    fn folds(&self) -> bool {
        true
    }

    /// w = Psi(v). Outside autocast: Psi and its gradient need float32.
    fn view(&self, _store: &ParamStore, view: &mut View) {
        for layer in &self.layers {
            if let Some(w) = layer.map.weight(view, view.get(layer.weight)) {
                view.set(layer.weight, w);
            }
        }
    }

    fn taps(&self) -> bool {
        self.config.dropout > 0.0
    }

    fn tap(&self, site: &str, activation: Tensor) -> Tensor {
        if self.dropped.contains(site) { activation.dropout(self.config.dropout, true) } else { activation }
    }

    fn loss(&mut self, _step: &Step, pass: &Pass, terms: &mut Terms) -> Result<()> {
        if self.config.l1 > 0.0 {
            let norms: Vec<Tensor> =
                self.layers.iter().map(|layer| pass.view.get(layer.weight).abs().sum(Kind::Float)).collect();
            terms.add("l1", Tensor::stack(&norms, 0).sum(Kind::Float) * self.config.l1);
        }
        Ok(())
    }

    /// Decay on w: wd w dw/dv is the gradient of wd/2 w^2.
    fn grads(&mut self, step: &Step, leaves: &[ParamId], grads: &mut [Option<Tensor>]) -> Result<()> {
        if self.config.decay_on == DecayOn::V || self.weight_decay == 0.0 {
            return Ok(());
        }
        for layer in &self.layers {
            let place = leaves.iter().position(|leaf| *leaf == layer.weight);
            let (Some(place), Some(compander)) = (place, layer.map.compander(step.store)) else { continue };
            let v = step.store.get(layer.weight).detach();
            let decay = no_grad(|| compander.psi(&v) * compander.slope(&v) * self.weight_decay);
            grads[place] = grads[place].take().map(|gradient| no_grad(|| gradient + decay));
        }
        Ok(())
    }

    fn update(&mut self, step: &Step) -> Result<()> {
        for layer in &self.layers {
            if let Map::Clip { bound } = &layer.map {
                clip_to_bound(step.store.get(layer.weight), bound);
            }
        }
        Ok(())
    }

    fn epoch_end(&mut self, end: &EpochEnd, run: &mut Run) -> Result<()> {
        self.record(end.step.store, end.at, false, run)
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        vec![("over_bound".into(), Tensor::from(self.over_bound))]
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        let stored = state.get("over_bound").context("the state of the weight compander has no over_bound")?;
        self.over_bound = stored.f_double_value(&[])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::train::weight_compander::config::Reparameterization;
    use crate::models::{Arch, Cx, InitScheme, MlpArch};

    fn net() -> Network {
        let (hidden, init) = (vec![12, 8], InitScheme::HeNormal);
        let arch = MlpArch { inputs: 6, hidden, classes: 3, init, ..MlpArch::default() };
        Network::build(Arch::Mlp(arch), 2, Device::Cpu).unwrap()
    }

    fn companding(config: Method, net: &mut Network) -> Companding {
        Companding::new(&config, net, &OptimizerConfig::default()).unwrap()
    }

    fn shown<'s>(doors: &Companding, store: &'s ParamStore) -> View<'s> {
        let mut view = View::plain(store);
        doors.view(store, &mut view);
        view
    }

    #[test]
    fn the_folded_network_computes_what_the_training_network_does() {
        for learn in [false, true] {
            let mut net = net();
            let doors = companding(Method { learn, ..Method::default() }, &mut net);
            let view = shown(&doors, &net.store);
            let plain = net.folded(&view).unwrap();
            let x = Tensor::ones([2, 6], (Kind::Float, Device::Cpu));
            let own = no_grad(|| net.model.forward(&Cx::eval(&view), &x));
            assert_eq!(plain.evaluate(&x), own);
            assert_eq!(plain.store.len() + 6, net.store.len());
        }
    }

    #[test]
    fn logs_learn_slowly_and_never_decay_and_fixed_ones_not_at_all() {
        let groups = |config: Method| {
            let mut net = net();
            let doors = companding(config, &mut net);
            let all = ParamGroup { ids: net.store.trainable(), lr_mult: 2.0, weight_decay: 0.5 };
            let groups = doors.regroup(vec![all]);
            groups.iter().map(|g| (g.ids.len(), g.lr_mult, g.weight_decay)).collect::<Vec<_>>()
        };
        assert_eq!(groups(Method { learn: true, ..Method::default() }), [(6, 2.0, 0.5), (6, 0.2, 0.0)]);
        assert_eq!(groups(Method { decay_on: DecayOn::W, ..Method::default() }), [(3, 2.0, 0.5), (3, 2.0, 0.0)]);
    }

    #[test]
    fn a_v_that_is_not_finite_is_reported_by_its_layer_although_w_is_bounded() {
        let mut net = net();
        let doors = companding(Method::default(), &mut net);
        let rows = doors.measure(&net.store).unwrap();
        assert!(rows.iter().all(|row| row.max_abs < row.bound.unwrap()));
        let id = net.store.find("fc2.weight").unwrap();
        let _ = net.store.get(id).detach().get(0).fill_(f64::INFINITY);
        assert_eq!(doors.measure(&net.store).unwrap_err(), "fc2");
    }

    #[test]
    fn only_bounded_maps_have_a_bound() {
        let bounded = |reparameterization| {
            let mut net = net();
            let doors = companding(Method { reparameterization, ..Method::default() }, &mut net);
            let row = doors.measure(&net.store).unwrap().remove(0);
            assert_eq!(row.bound.is_some(), doors.max_over_bound().is_some());
            (row.bound.is_some(), row.a.is_some())
        };
        assert_eq!(bounded(Reparameterization::Compander), (true, true));
        assert_eq!(bounded(Reparameterization::Tanh), (true, false));
        assert_eq!(bounded(Reparameterization::Powerprop), (false, false));
    }
}
