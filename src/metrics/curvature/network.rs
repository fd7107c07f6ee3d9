//! Products with the curvature of a network's loss over a whole set: evaluation mode, in fixed chunks, accumulated in float64.

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor, no_grad};

use super::products::{flat, gauss_newton_product, gradients, hessian_product, unflat};
use crate::data::{Batch, DeviceSet};
use crate::models::{Cx, Network};
use crate::native::vjp;
use crate::params::View;

/// The loss of one example, of which the mean over the set is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// 1/2 |f - y|^2 with y the label one-hot, summed over the outputs.
    Squared,
    /// Cross-entropy with the label, in nats.
    #[default]
    CrossEntropy,
}

impl Loss {
    /// The sum over the batch, 0-d.
    pub fn sum(self, logits: &Tensor, labels: &Tensor) -> Tensor {
        match self {
            Loss::Squared => (logits - one_hot(labels, logits)).square().sum(Kind::Float) * 0.5,
            Loss::CrossEntropy => logits.cross_entropy_loss::<Tensor>(labels, None, tch::Reduction::Sum, -100, 0.0),
        }
    }

    /// S u for u shaped as the logits: the second derivative of the loss with respect to them, diag p - p p^T for
    /// cross-entropy.
    fn output_hessian(self, logits: &Tensor, u: &Tensor) -> Tensor {
        match self {
            Loss::Squared => u.shallow_clone(),
            Loss::CrossEntropy => {
                let p = logits.detach().softmax(-1, logits.kind());
                let mean = (&p * u).sum_dim_intlist(&[-1i64][..], true, logits.kind());
                &p * (u - mean)
            }
        }
    }

    /// A square root of S for each example, `[B, C, C]`: S = R^T R.
    fn output_root(self, logits: &Tensor) -> Tensor {
        let classes = logits.size()[1];
        let identity = Tensor::eye(classes, (logits.kind(), logits.device()));
        match self {
            Loss::Squared => identity.expand([logits.size()[0], classes, classes], false),
            Loss::CrossEntropy => {
                let p = logits.detach().softmax(-1, logits.kind());
                (identity - p.unsqueeze(1)) * p.sqrt().unsqueeze(2)
            }
        }
    }
}

/// Labels `[B]` as rows of 0 and 1 shaped and placed as `logits`.
pub fn one_hot(labels: &Tensor, logits: &Tensor) -> Tensor {
    logits.detach().zeros_like().scatter_value(1, &labels.unsqueeze(1), 1.0)
}

/// Which matrix is multiplied with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Matrix {
    /// The (generalised) Gauss-Newton matrix J^T S J: equal to the Hessian where the loss is interpolated.
    #[default]
    Gn,
    Hessian,
}

/// The loss of a network over a set as a function of all its trainable tensors, as one vector.
pub struct NetworkCurvature<'a> {
    pub net: &'a Network,
    pub set: &'a DeviceSet,
    pub loss: Loss,
    pub matrix: Matrix,
    /// Examples a pass: bounds the memory, changes no result but for rounding.
    pub chunk: usize,
}

impl NetworkCurvature<'_> {
    fn leaves(&self) -> Vec<&Tensor> {
        self.net.store.trainable().into_iter().map(|id| self.net.store.get(id)).collect()
    }

    /// The number of parameters p.
    pub fn dimension(&self) -> i64 {
        self.leaves().iter().map(|leaf| leaf.numel() as i64).sum()
    }

    fn logits(&self, batch: &Batch) -> Tensor {
        self.net.model.forward(&Cx::eval(&View::plain(&self.net.store)), &batch.x)
    }

    /// The mean loss.
    pub fn value(&self) -> f64 {
        let parts: Vec<Tensor> = no_grad(|| {
            let part = |b: Batch| self.loss.sum(&self.logits(&b), &b.y).to_kind(Kind::Double);
            self.set.batches(self.chunk).map(part).collect()
        });
        Tensor::stack(&parts, 0).sum(Kind::Double).double_value(&[]) / self.set.len() as f64
    }

    /// The gradient, float64 `[p]`.
    pub fn gradient(&self) -> Result<Tensor> {
        self.accumulate(|batch, leaves| gradients(&self.loss.sum(&self.logits(batch), &batch.y), leaves))
    }

    /// A v for v float64 `[p]`.
    pub fn product(&self, v: &Tensor) -> Result<Tensor> {
        self.accumulate(|batch, leaves| {
            let along = unflat(v, leaves);
            let logits = self.logits(batch);
            match self.matrix {
                Matrix::Hessian => hessian_product(&self.loss.sum(&logits, &batch.y), leaves, &along),
                Matrix::Gn => gauss_newton_product(&logits, leaves, &along, |u| self.loss.output_hessian(&logits, u)),
            }
        })
    }

    /// The mean over the set of what `part` sums over a chunk. Each chunk's graph ends with it.
    fn accumulate(&self, part: impl Fn(&Batch, &[&Tensor]) -> Result<Vec<Tensor>>) -> Result<Tensor> {
        let leaves = self.leaves();
        let mut sum = Tensor::zeros([self.dimension()], (Kind::Double, self.net.store.device()));
        for batch in self.set.batches(self.chunk) {
            sum += flat(&part(&batch, &leaves)?);
        }
        Ok(sum / self.set.len() as f64)
    }

    /// The rows R_i J_i of all examples, float64 `[n C, p]`, so that the Gauss-Newton matrix is rows^T rows / n. Takes n C
    /// backward passes and n C p numbers.
    pub fn rows(&self) -> Result<Tensor> {
        let leaves = self.leaves();
        let mut rows = Vec::new();
        for batch in self.set.batches(1) {
            let logits = self.logits(&batch);
            let root = self.loss.output_root(&logits).squeeze_dim(0);
            for class in 0..logits.size()[1] {
                let weights = root.get(class).unsqueeze(0);
                let pulled = vjp(&[&logits], &[&weights], &leaves, true, false)?;
                let zero = |(g, leaf): (Option<Tensor>, &&Tensor)| g.unwrap_or_else(|| leaf.zeros_like());
                rows.push(flat(&pulled.into_iter().zip(&leaves).map(zero).collect::<Vec<_>>()));
            }
        }
        Ok(Tensor::stack(&rows, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Arch, MlpArch};
    use tch::Device;

    fn curvature(check: impl Fn(NetworkCurvature)) {
        let arch = MlpArch { inputs: 3, hidden: vec![4], classes: 2, ..MlpArch::default() };
        let net = Network::build(Arch::Mlp(arch), 1, Device::Cpu).unwrap();
        tch::manual_seed(1);
        let x = Tensor::randn([5, 3], (Kind::Float, Device::Cpu));
        let labels = Tensor::from_slice(&[0i64, 1, 0, 1, 1]);
        let set = DeviceSet::from_tensors(x, labels, vec!["a".into(), "b".into()]).unwrap();
        for loss in [Loss::Squared, Loss::CrossEntropy] {
            check(NetworkCurvature { net: &net, set: &set, loss, matrix: Matrix::Gn, chunk: 2 });
        }
    }

    fn close(a: &Tensor, b: &Tensor, within: f64) -> bool {
        (a - b).abs().max().double_value(&[]) < within
    }

    #[test]
    fn gauss_newton_products_are_those_of_the_rows() {
        curvature(|c| {
            let v = Tensor::randn([c.dimension()], (Kind::Double, Device::Cpu));
            let rows = c.rows().unwrap();
            let expected = rows.tr().mv(&rows.mv(&v)) / 5.0;
            assert!(close(&c.product(&v).unwrap(), &expected, 1e-5), "{:?}", c.loss);
        });
    }

    #[test]
    fn hessian_products_are_differences_of_gradients() {
        curvature(|c| {
            let v = Tensor::randn([c.dimension()], (Kind::Double, Device::Cpu));
            let moved = |step: f64| {
                let mut store = c.net.store.deep_clone();
                let leaves: Vec<&Tensor> = c.leaves();
                let parts = unflat(&(&v * step), &leaves);
                for (id, part) in c.net.store.trainable().into_iter().zip(parts) {
                    let value = no_grad(|| store.get(id) + part);
                    store.replace(id, &value).unwrap();
                }
                let model = c.net.arch.build(&mut crate::params::ParamStore::new(Device::Cpu), 0).unwrap();
                let net = Network { arch: c.net.arch.clone(), store, model };
                NetworkCurvature { net: &net, ..c }.gradient().unwrap()
            };
            let difference = (moved(1e-3) - moved(-1e-3)) / 2e-3;
            let exact = NetworkCurvature { matrix: Matrix::Hessian, ..c }.product(&v).unwrap();
            assert!(close(&exact, &difference, 2e-2), "{:?}", c.loss);
        });
    }
}
