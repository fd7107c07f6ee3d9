//! Multiply-accumulates and parameters: conv and Linear layers count MACs, normalizations only parameters. 1 MAC = 2 FLOPs;
//! many papers print MACs and call them FLOPs.

use std::cell::RefCell;
use tch::{Kind, Tensor, no_grad};

use crate::models::{Cost, Cx, Model};
use crate::params::{ParamStore, View};

/// The cost of one sample of shape `sample` (`[C, H, W]` for images), layer by layer: counted in one forward pass of zeros.
pub fn cost(model: &dyn Model, store: &ParamStore, sample: &[i64]) -> Cost {
    let zeros = Tensor::zeros([&[1], sample].concat(), (Kind::Float, store.device()));
    let counted = RefCell::new(Cost::default());
    let _ = no_grad(|| model.forward(&Cx::eval(&View::plain(store)).with_cost(&counted), &zeros));
    counted.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Arch, MlpArch, Network};

    #[test]
    fn an_mlp_costs_its_matrices() {
        let arch = Arch::Mlp(MlpArch { inputs: 12, hidden: vec![5], classes: 3, ..MlpArch::default() });
        let net = Network::build(arch, 0, tch::Device::Cpu).unwrap();
        let cost = cost(net.model.as_ref(), &net.store, &[3, 2, 2]);
        assert_eq!((cost.macs(), cost.params()), (12 * 5 + 5 * 3, 12 * 5 + 5 + 5 * 3 + 3));
        let layers: Vec<(&str, i64)> = cost.layers.iter().map(|l| (l.layer.as_str(), l.macs)).collect();
        assert_eq!(layers, [("fc1", 60), ("fc2", 15)]);
    }
}
