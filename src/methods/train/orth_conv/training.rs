//! Training with the regularizer: what the method does at the loop's doors, and what it measures at the ends of epochs.

use anyhow::Result;
use serde::Serialize;
use serde_json::json;
use tch::{Kind, Tensor, no_grad};

use super::config::{Method, Probe, Regulariser, Start};
use super::exists::{Borders, Existence};
use super::kernel_orth::so;
use super::layers::{Layer, convolutions, linear, start};
use super::lorth::measure;
use super::spectrum::{Errors, power_iteration};
use crate::methods::AddOn;
use crate::models::Network;
use crate::params::{ParamId, Role, View};
use crate::rng;
use crate::run::{Run, Stamp, Summary};
use crate::train::{Doors, EpochEnd, ParamGroup, Pass, Step, Terms};

/// Power steps of `probe = "power"`.
const POWER_STEPS: u64 = 100;

/// The regularizer on the layers of a network.
pub struct Regularizing {
    config: Method,
    layers: Vec<Layer>,
    /// The Linear layers, and whether their term is added.
    linear: Vec<(String, ParamId)>,
    dense: bool,
}

/// A row of layers.csv: what the theory says of a layer.
#[derive(Serialize)]
struct LayerRow<'a> {
    layer: &'a str,
    m: i64,
    c: i64,
    k: i64,
    stride: i64,
    case: &'static str,
    square: bool,
    padding: i64,
    delta: i64,
    alpha: i64,
    exists: &'static str,
    regularized: bool,
}

/// A row of spectrum.csv: a layer at one size N of its output map. Linear layers have no N; the layer `product` is that of the
/// largest singular values of all layers, a Lipschitz bound of a plain network with circular borders and without batch
/// normalization (before its logits are scaled).
#[derive(Clone, Debug, Default, Serialize)]
pub struct SpectrumRow {
    pub layer: String,
    pub n: Option<i64>,
    pub lorth: Option<f64>,
    pub sigma_min: Option<f64>,
    pub sigma_max: f64,
    pub err_f: Option<f64>,
    pub err_s: Option<f64>,
    /// sqrt(alpha L_orth): what err_s cannot exceed at any N.
    pub err_s_bound: Option<f64>,
}

impl Regularizing {
    /// The doors for a network that was just built; may rewrite its kernels (`method.init`).
    pub fn new(config: &Method, net: &Network) -> Result<Regularizing> {
        config.check()?;
        let layers = convolutions(config, net)?;
        if config.init != Start::Model {
            for layer in &layers {
                let kernel = start(net.store.get(layer.weight), layer.shape, config.init)?;
                net.store.assign(layer.weight, &kernel);
            }
        }
        let dense = config.dense && config.regularizes() && config.regulariser != Regulariser::Wang;
        Ok(Regularizing { config: config.clone(), layers, linear: linear(net), dense })
    }

    fn is_regularized(&self, id: ParamId) -> bool {
        let linear = self.dense && self.linear.iter().any(|(_, weight)| *weight == id);
        linear || self.layers.iter().any(|layer| layer.weight == id && layer.is_regularized())
    }

    /// Whether any term of a convolution is added.
    fn has_term(&self) -> bool {
        self.layers.iter().any(Layer::is_regularized)
    }

    /// Singular values of every layer at every size, then the product of the largest.
    pub fn spectrum(&self, view: &View) -> Result<Vec<SpectrumRow>> {
        let (mut rows, mut product) = (Vec::new(), 1.0);
        for layer in &self.layers {
            let kernel = no_grad(|| view.get(layer.weight).detach().to_kind(Kind::Double));
            let loss = measure(&kernel, layer.shape);
            let mut largest = 0f64;
            for &n in &self.config.probe_n {
                let row = self.probe(layer, &kernel, n)?;
                largest = largest.max(row.sigma_max);
                let bound = (layer.shape.alpha() as f64 * loss.max(0.0)).sqrt();
                rows.push(SpectrumRow { lorth: Some(loss), err_s_bound: Some(bound), ..row });
            }
            product *= largest;
        }
        for (name, weight) in &self.linear {
            let sigma = no_grad(|| view.dense(*weight).detach().to_kind(Kind::Double).svd(true, false).1);
            let Errors { sigma_min, sigma_max, .. } = Errors::of(&sigma);
            product *= sigma_max;
            rows.push(SpectrumRow {
                layer: name.clone(),
                sigma_min: Some(sigma_min),
                sigma_max,
                ..SpectrumRow::default()
            });
        }
        rows.push(SpectrumRow { layer: "product".into(), sigma_max: product, ..SpectrumRow::default() });
        Ok(rows)
    }

    fn probe(&self, layer: &Layer, kernel: &Tensor, n: i64) -> Result<SpectrumRow> {
        let row = SpectrumRow { layer: layer.name.clone(), n: Some(n), ..SpectrumRow::default() };
        match self.config.probe {
            Probe::Exact => {
                let Errors { sigma_min, sigma_max, frobenius, spectral } = Errors::at(kernel, layer.shape, n);
                let (err_f, err_s) = (Some(frobenius), Some(spectral));
                Ok(SpectrumRow { sigma_min: Some(sigma_min), sigma_max, err_f, err_s, ..row })
            }
            Probe::Power => {
                let side = layer.shape.stride * n;
                let x0 = Tensor::empty([layer.shape.c, side, side], (Kind::Double, tch::Device::Cpu));
                crate::native::draw_normal(&x0, 0.0, 1.0, rng::mix(0, &layer.name))?;
                let power = power_iteration(kernel, layer.shape.stride, &x0.to_device(kernel.device()), POWER_STEPS)?;
                Ok(SpectrumRow { sigma_max: power.sigma.max().double_value(&[]), ..row })
            }
        }
    }

    fn record(&self, view: &View, at: Stamp, run: &mut Run) -> Result<()> {
        self.spectrum(view)?.iter().try_for_each(|row| run.row("spectrum", at, row))
    }

    /// The trained layers in numbers.
    pub fn numbers(&self, view: &View) -> Result<Summary> {
        let mut summary = Summary::new();
        let rows = self.spectrum(view)?;
        let convs = || rows.iter().filter(|row| row.n.is_some());
        let mut total = 0.0;
        for layer in &self.layers {
            let own = || convs().filter(|row| row.layer == layer.name);
            let loss = own().find_map(|row| row.lorth).unwrap_or(f64::NAN);
            total += loss;
            summary.insert(format!("lorth.{}", layer.name), json!(loss));
            let largest = own().map(|row| row.sigma_max).fold(0.0, f64::max);
            summary.insert(format!("sigma_max.{}", layer.name), json!(largest));
            let least = own().filter_map(|row| row.sigma_min).reduce(f64::min);
            summary.extend(least.map(|least| (format!("sigma_min.{}", layer.name), json!(least))));
        }
        summary.insert("lorth".into(), json!(total));
        summary.insert("sigma_max".into(), json!(convs().map(|row| row.sigma_max).fold(0.0, f64::max)));
        let least = convs().filter_map(|row| row.sigma_min).reduce(f64::min);
        summary.extend(least.map(|least| ("sigma_min".to_owned(), json!(least))));
        summary.extend(rows.last().map(|product| ("sigma_product".to_owned(), json!(product.sigma_max))));
        Ok(summary)
    }

    /// What is likely to go wrong, said before training.
    fn warn(&self, net: &Network, run: &mut Run) {
        if !self.config.regularizes() {
            return;
        }
        let names = |wanted: &dyn Fn(&Layer) -> bool| {
            let names = self.layers.iter().filter(|layer| layer.is_regularized() && wanted(layer));
            names.map(|layer| layer.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let square = names(&|layer| layer.shape.is_square());
        if !square.is_empty() {
            run.progress
                .warn(&format!("M = C S^2 in {square}: such layers are hard to make orthogonal; other widths are not"));
        }
        let padded = names(&|layer| layer.borders == Borders::Same && layer.existence != Existence::Yes);
        if !padded.is_empty() {
            run.progress.warn(&format!(
                "{padded}: zeros around the image, so that the layer cannot be orthogonal itself; what is regularized and measured is the layer with circular borders"
            ));
        }
        let impossible = names(&|layer| layer.existence == Existence::No && layer.borders == Borders::Circular);
        if !impossible.is_empty() {
            run.progress
                .warn(&format!("no orthogonal layer exists for {impossible}: its reshaped kernel is regularized"));
        }
        if net.store.iter().any(|(_, param)| param.role == Role::NormScale) {
            run.progress
                .warn("normalization layers undo the isometry: the product of singular values bounds nothing here");
        }
        if self.config.weight_decay > 0.0 {
            run.progress.warn(&format!(
                "method.weight_decay = {} works against the regularizer: it pulls singular values below 1",
                self.config.weight_decay
            ));
        }
    }
}

impl AddOn for Regularizing {
    /// What is regularized has a decay of its own, none by default.
    fn regroup(&self, groups: Vec<ParamGroup>) -> Vec<ParamGroup> {
        let split = |ParamGroup { ids, lr_mult, weight_decay }: ParamGroup| {
            let (own, rest): (Vec<_>, Vec<_>) = ids.into_iter().partition(|&id| self.is_regularized(id));
            let group = |ids, weight_decay| ParamGroup { ids, lr_mult, weight_decay };
            [group(rest, weight_decay), group(own, self.config.weight_decay)]
        };
        groups.into_iter().flat_map(split).filter(|group| !group.ids.is_empty()).collect()
    }

    fn begin(&mut self, net: &Network, at: Stamp, run: &mut Run) -> Result<Summary> {
        for layer in &self.layers {
            run.progress.say(&layer.describe());
            let shape = layer.shape;
            let row = LayerRow {
                layer: &layer.name,
                m: shape.m,
                c: shape.c,
                k: shape.k,
                stride: shape.stride,
                case: if shape.is_row() { "row" } else { "column" },
                square: shape.is_square(),
                padding: shape.padding(),
                delta: shape.delta(),
                alpha: shape.alpha(),
                exists: match layer.existence {
                    Existence::Yes => "yes",
                    Existence::OnlyPointwise => "only 1x1",
                    Existence::No => "no",
                },
                regularized: layer.is_regularized(),
            };
            run.row("layers", at, &row)?;
        }
        self.warn(net, run);
        self.record(&View::plain(&net.store), at, run)?;
        Ok(Summary::new())
    }

    fn end(&self, net: &Network, _at: Stamp, _run: &Run) -> Result<Summary> {
        self.numbers(&View::plain(&net.store))
    }
}

impl Doors for Regularizing {
    fn name(&self) -> &'static str {
        "orth-conv"
    }

    fn terms(&self) -> Vec<&'static str> {
        let conv = self.has_term().then(|| self.config.regulariser.term());
        conv.into_iter().chain(self.dense.then_some("dense")).collect()
    }

    fn loss(&mut self, _step: &Step, pass: &Pass, terms: &mut Terms) -> Result<()> {
        let sum = |parts: Vec<Tensor>| Tensor::stack(&parts, 0).sum(Kind::Float) * self.config.lambda;
        if self.has_term() {
            let of = |layer: &Layer| layer.penalty(pass.view.get(layer.weight));
            terms.add(self.config.regulariser.term(), sum(self.layers.iter().filter_map(of).collect()));
        }
        if self.dense {
            terms.add("dense", sum(self.linear.iter().map(|(_, weight)| so(&pass.view.dense(*weight))).collect()));
        }
        Ok(())
    }

    fn epoch_end(&mut self, end: &EpochEnd, run: &mut Run) -> Result<()> {
        let last = end.step.step == end.step.steps;
        if end.epoch.is_multiple_of(self.config.probe_every) || last {
            self.record(end.view, end.at, run)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Arch, Border, ConvNetArch};
    use tch::Device;

    fn net() -> Network {
        let arch = ConvNetArch { input: [1, 8, 8], classes: 4, widths: vec![6], ..ConvNetArch::default() };
        Network::build(Arch::ConvNet(ConvNetArch { border: Border::Circular, ..arch }), 1, Device::Cpu).unwrap()
    }

    #[test]
    fn what_is_regularized_does_not_decay() {
        let net = net();
        let groups = |config: Method| {
            let all = ParamGroup { ids: net.store.trainable(), lr_mult: 2.0, weight_decay: 0.5 };
            let groups = Regularizing::new(&config, &net).unwrap().regroup(vec![all]);
            groups.iter().map(|g| (g.ids.len(), g.lr_mult, g.weight_decay)).collect::<Vec<_>>()
        };
        assert_eq!(groups(Method::default()), [(2, 2.0, 0.5), (2, 2.0, 0.0)]);
        assert_eq!(groups(Method { dense: false, ..Method::default() }), [(3, 2.0, 0.5), (1, 2.0, 0.0)]);
        assert_eq!(groups(Method { lambda: 0.0, ..Method::default() }), [(4, 2.0, 0.5)]);
    }

    #[test]
    fn the_product_is_that_of_the_largest_values_and_power_steps_find_them() {
        let net = net();
        let of = |probe| {
            let config = Method { probe, probe_n: vec![4, 8], ..Method::default() };
            Regularizing::new(&config, &net).unwrap().spectrum(&View::plain(&net.store)).unwrap()
        };
        let (exact, power) = (of(Probe::Exact), of(Probe::Power));
        assert_eq!(exact.len(), 4); // one convolution at two sizes, one Linear layer, the product
        assert!((exact[3].sigma_max - exact[1].sigma_max * exact[2].sigma_max).abs() < 1e-9);
        assert!((power[1].sigma_max / exact[1].sigma_max - 1.0).abs() < 0.02);
        assert!(exact[0].err_s.unwrap() <= exact[0].err_s_bound.unwrap());
    }
}
