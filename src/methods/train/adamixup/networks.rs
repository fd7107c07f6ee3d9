//! The two networks beside the classifier. Their tensors follow the classifier's in its store, so that one optimizer moves all.

use anyhow::{Context, Result};
use tch::{Device, Tensor, no_grad};

use crate::models::layers::Linear;
use crate::models::{Arch, Cx, Model, Network};
use crate::native;
use crate::params::{Builder, Init, ParamStore, Role, View};
use crate::rng;
use crate::train::Precision;

/// The standard deviation of the heads' initial weights: training starts at the middle of every softmax.
const HEAD_STD: f64 = 1e-3;
/// Outputs of the generator's first head.
const GENERATOR_WIDTH: i64 = 100;

/// A Linear layer that starts near zero.
fn head(mut b: Builder, inputs: i64, outputs: i64) -> Linear {
    let weight = b.tensor("weight", Role::Weight, &[outputs, inputs], Init::Normal(HEAD_STD));
    let bias = b.tensor("bias", Role::Bias, &[outputs], Init::Constant(0.0));
    Linear { name: b.name().to_owned(), weight, bias: Some(bias) }
}

/// Draws a classifier's weight anew: normal with the heads' standard deviation; the bias is 0.
pub fn restart_classifier(store: &ParamStore, model: &dyn Model, seed: u64) -> Result<()> {
    for id in model.classifier() {
        let fresh = Tensor::zeros(store.get(id).size(), (store.get(id).kind(), Device::Cpu));
        if store.role(id) == Role::Weight {
            native::draw_normal(&fresh, 0.0, HEAD_STD, rng::mix(seed, &format!("head {}", store.name(id))))?;
        }
        store.assign(id, &fresh);
    }
    Ok(())
}

/// pi(x1, x2): a network of the classifier's architecture, a Linear layer to 100 (in place of its own last one), one to 3.
pub struct Generator {
    model: Box<dyn Model>,
    head: Linear,
}

impl Generator {
    /// Adds it to the classifier's store as `generator.*` and `region.*`.
    pub fn build(net: &mut Network, seed: u64) -> Result<Generator> {
        let arch: Arch = net.arch.clone().with_classes(GENERATOR_WIDTH);
        let model = arch.build_part(Builder::new(&mut net.store, seed).part("generator")).context("generator")?;
        let head = head(Builder::new(&mut net.store, seed).part("region"), GENERATOR_WIDTH, 3);
        restart_classifier(&net.store, &*model, seed)?;
        Ok(Generator { model, head })
    }

    /// Logits `[B, 3]` for its input.
    pub fn logits(&self, view: &View, x: &Tensor, precision: Precision) -> Result<Tensor> {
        let cx = Cx::train(view);
        precision.forward(x.device(), || self.head.forward(&cx, &self.model.forward(&cx, x)))
    }
}

/// phi: the classifier's trunk, a Linear layer to C, one to 2.
pub struct Discriminator([Linear; 2]);

impl Discriminator {
    /// Adds its heads to the classifier's store as `intrusion.*`.
    pub fn build(net: &mut Network, classes: i64, seed: u64) -> Result<Discriminator> {
        let weight = net.model.classifier().into_iter().find(|&id| net.store.role(id) == Role::Weight);
        let weight = weight.context("the model has no last Linear layer to put the discriminator beside")?;
        let features = net.store.get(weight).size()[1];
        let mut b = Builder::new(&mut net.store, seed);
        let mut b = b.part("intrusion");
        Ok(Discriminator([head(b.part("fc1"), features, classes), head(b.part("fc2"), classes, 2)]))
    }

    /// Logits `[B, 2]` for features of the trunk `[B, features]`.
    pub fn logits(&self, view: &View, features: &Tensor) -> Tensor {
        let cx = Cx::train(view);
        self.0.iter().fold(features.shallow_clone(), |x, fc| fc.forward(&cx, &x))
    }
}

/// Features of all of `x` in evaluation mode.
pub fn features(model: &dyn Model, view: &View, x: &Tensor) -> Tensor {
    no_grad(|| {
        let parts = x.split(512, 0);
        Tensor::cat(&parts.iter().map(|x| model.features(&Cx::eval(view), x)).collect::<Vec<_>>(), 0)
    })
}
