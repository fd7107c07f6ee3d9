//! A network as TorchScript, for programs that know nothing of reglab: the evaluation-mode forward pass, traced, with its weights
//! inside.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use tch::{CModule, IValue, Kind, Tensor, no_grad};

use super::{Cx, Network};
use crate::params::View;

/// The largest difference of outputs that is still rounding (float32).
pub const TOLERANCE: f64 = 1e-5;

/// Traces the network, which maps `[N, ...]` float32 inputs to `[N, classes]` logits, at the batch `x`. The result takes any N,
/// which is checked.
pub fn trace(net: &Network, x: &Tensor) -> Result<CModule> {
    no_grad(|| {
        // A trace holds its weights as constants, which may not want gradients.
        let mut view = View::plain(&net.store);
        net.store.ids().for_each(|id| view.set(id, net.store.get(id).detach()));
        let mut forward = |inputs: &[Tensor]| vec![net.model.forward(&Cx::eval(&view), &inputs[0])];
        let inputs = [x.shallow_clone()];
        let traced = CModule::create_by_tracing("reglab", "forward", &inputs, &mut forward)?;
        for x in [x, &Tensor::cat(&[x, x, x], 0)] {
            let IValue::Tensor(y) = traced.forward_is(&[IValue::Tensor(x.shallow_clone())])? else {
                anyhow::bail!("the traced network does not give a tensor")
            };
            let difference = (y - net.evaluate(x)).abs().max().to_kind(Kind::Double).double_value(&[]);
            ensure!(
                difference <= TOLERANCE,
                "the traced network differs by {difference:.2e} at a batch of {} (at most {TOLERANCE:.0e} is rounding)",
                x.size()[0]
            );
        }
        Ok(traced)
    })
}

/// Writes the traced network: complete or not at all.
pub fn save(traced: &CModule, path: &Path) -> Result<()> {
    let partial = path.with_extension("pt.partial");
    let write = || -> Result<()> {
        traced.save(&partial)?;
        Ok(std::fs::rename(&partial, path)?)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::testing::{images, random_network};
    use crate::models::{Arch, CifarResnetArch, MlpArch};

    #[test]
    fn a_cut_network_is_the_same_after_a_file() {
        let (input, widths, inner) = ([3, 8, 8], vec![4, 8], vec![3, 0, 5, 1]);
        let cut = CifarResnetArch { input, classes: 10, depth: 10, widths, inner, ..CifarResnetArch::default() };
        let mlp = MlpArch { inputs: 12, hidden: vec![5], classes: 3, ..MlpArch::default() };
        let folder = tempfile::tempdir().unwrap();
        for (arch, sample) in [(Arch::CifarResnet(cut), vec![3, 8, 8]), (Arch::Mlp(mlp), vec![12])] {
            let net = random_network(arch, 1);
            let path = folder.path().join("net.pt");
            save(&trace(&net, &images(0, &[&[2], &sample[..]].concat())).unwrap(), &path).unwrap();
            let x = images(1, &[&[5], &sample[..]].concat());
            let again = CModule::load(&path).unwrap().forward_ts(&[&x]).unwrap();
            assert!(again.allclose(&net.evaluate(&x), 1e-5, 1e-5, false));
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
