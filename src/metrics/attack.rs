//! How much of a network's accuracy a small change of its inputs takes away: projected gradient descent in the L2 ball (Madry
//! et al. 2018).

use anyhow::{Context, Result};
use tch::{Kind, Tensor, no_grad};

use crate::data::DeviceSet;
use crate::models::{Cx, Model};
use crate::native;
use crate::params::View;

/// The attack: `steps` steps of `step` times the radius, each along the gradient's direction, from the clean input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct L2Attack {
    /// Radius of the ball, in units of the network's input.
    pub radius: f64,
    pub steps: u64,
    /// Length of a step over the radius.
    pub step: f64,
}

impl L2Attack {
    /// Inputs near `x` `[N, ...]`, none farther than the radius, that the network finds hard to call `y` `[N]`.
    pub fn apply(&self, model: &dyn Model, view: &View, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let norms = |t: &Tensor| {
            let shape: Vec<i64> = std::iter::once(-1).chain(t.size()[1..].iter().map(|_| 1)).collect();
            t.flatten(1, -1).norm_scalaropt_dim(2, 1, false).clamp_min(1e-12).view(&shape[..])
        };
        let clean = x.detach();
        let mut moved = clean.zeros_like();
        for _ in 0..self.steps {
            let input = no_grad(|| &clean + &moved).set_requires_grad(true);
            let logits = model.forward(&Cx::eval(view), &input);
            let loss = logits.cross_entropy_loss::<Tensor>(y, None, tch::Reduction::Sum, -100, 0.0);
            let gradient = native::grad(&loss, &[&input], false, false)?.pop().flatten();
            let gradient = gradient.context("the network's output does not depend on its input")?;
            moved = no_grad(|| {
                let moved = moved + &gradient / norms(&gradient) * (self.step * self.radius);
                let shrink = (self.radius / norms(&moved)).clamp_max(1.0);
                moved * shrink
            });
        }
        Ok(clean + moved)
    }

    /// Share of the set's samples that are still classified right under attack, 0..1.
    pub fn accuracy(&self, model: &dyn Model, view: &View, set: &DeviceSet, batch: usize) -> Result<f64> {
        let right = set.batches(batch).map(|batch| {
            let x = self.apply(model, view, &batch.x, &batch.y)?;
            let logits = no_grad(|| model.forward(&Cx::eval(view), &x));
            Ok(logits.argmax(-1, false).eq_tensor(&batch.y).sum(Kind::Int64))
        });
        let right = right.collect::<Result<Vec<Tensor>>>()?;
        Ok(Tensor::stack(&right, 0).sum(Kind::Double).double_value(&[]) / set.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Arch, MlpArch, Network};
    use tch::Device;

    /// Two classes by the sign of x1: logits (x1, -x1), margin |x1|.
    fn sign() -> (Network, DeviceSet) {
        let arch = MlpArch { inputs: 2, hidden: vec![], classes: 2, ..MlpArch::default() };
        let net = Network::build(Arch::Mlp(arch), 0, Device::Cpu).unwrap();
        for (name, values) in [("fc1.weight", &[1f32, 0.0, -1.0, 0.0][..]), ("fc1.bias", &[0.0, 0.0])] {
            let id = net.store.find(name).unwrap();
            net.store.assign(id, &Tensor::from_slice(values).view_as(net.store.get(id)));
        }
        let x = Tensor::from_slice2(&[[0.3f32, 0.0], [1.0, 5.0], [-0.7, 0.0], [-0.2, 1.0]]);
        let labels = Tensor::from_slice(&[0i64, 0, 1, 1]);
        let set = DeviceSet::from_tensors(x, labels, vec!["right".into(), "left".into()]).unwrap();
        (net, set)
    }

    #[test]
    fn a_linear_network_loses_exactly_what_lies_within_the_radius_of_the_border() {
        let (net, set) = sign();
        for (radius, expected) in [(0.1, 1.0), (0.25, 0.75), (0.5, 0.5), (0.8, 0.25), (2.0, 0.0)] {
            let attack = L2Attack { radius, steps: 10, step: 0.2 };
            let accuracy = attack.accuracy(&*net.model, &View::plain(&net.store), &set, 3).unwrap();
            assert_eq!(accuracy, expected, "radius {radius}");
        }
    }

    #[test]
    fn nothing_moves_farther_than_the_radius() {
        let (net, set) = sign();
        let batch = set.slice(0, 4);
        let attack = L2Attack { radius: 0.4, steps: 30, step: 0.7 };
        let x = attack.apply(&*net.model, &View::plain(&net.store), &batch.x, &batch.y).unwrap();
        let far = (x - &batch.x).norm_scalaropt_dim(2, 1, false).max().double_value(&[]);
        assert!((far - 0.4).abs() < 1e-6, "{far}");
    }
}
