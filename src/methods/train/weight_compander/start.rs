//! Starting from weights on disk: those of a plain network, or of a training checkpoint of the compander, which is folded.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use tch::Tensor;

use super::psi::Compander;
use crate::models::Network;
use crate::params::file::{self, TensorFile};

/// Fills the plain network from `path`.
pub fn load(net: &Network, path: &Path) -> Result<()> {
    let load = || net.store.load(&folded(file::read(path)?)?, path);
    load().with_context(|| format!("cannot start from {}", path.display()))
}

/// The file of the plain network: every weight with a `log_a` and a `log_b` beside it becomes Psi(v).
fn folded(file: TensorFile) -> Result<TensorFile> {
    let find = |name: &str| file.tensors.iter().find(|(own, _)| own == name).map(|(_, tensor)| tensor);
    ensure!(
        find("compander.log_a").is_none(),
        "it shares one a and b among layers that it does not name: start from the folded.safetensors of its run"
    );
    let compander = |layer: &str| {
        let (log_a, log_b) = (find(&format!("{layer}.log_a"))?, find(&format!("{layer}.log_b"))?);
        Some(Compander::from_logs(log_a, log_b))
    };
    let is_log = |name: &str| name.ends_with(".log_a") || name.ends_with(".log_b");
    let fold = |(name, tensor): &(String, Tensor)| {
        let own = name.strip_suffix(".weight").and_then(compander);
        (name.clone(), own.map_or_else(|| tensor.shallow_clone(), |compander| compander.psi(tensor)))
    };
    let tensors = file.tensors.iter().filter(|(name, _)| !is_log(name)).map(fold).collect();
    Ok(TensorFile { tensors, metadata: file.metadata.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::train::weight_compander::{Companding, config::Method, config::Share};
    use crate::models::{Arch, MlpArch};
    use crate::params::View;
    use crate::train::{Doors, OptimizerConfig};
    use std::collections::HashMap;
    use tch::Device;

    fn net(seed: u64) -> Network {
        let arch = MlpArch { inputs: 5, hidden: vec![7], classes: 3, ..MlpArch::default() };
        Network::build(Arch::Mlp(arch), seed, Device::Cpu).unwrap()
    }

    fn checkpoint(share: Share, path: &Path) -> (Network, Companding) {
        let mut net = net(1);
        let doors =
            Companding::new(&Method { share, ..Method::default() }, &mut net, &OptimizerConfig::default()).unwrap();
        std::fs::write(path, net.store.to_bytes(HashMap::new()).unwrap()).unwrap();
        (net, doors)
    }

    #[test]
    fn a_training_checkpoint_is_folded_into_the_plain_network() {
        let folder = tempfile::tempdir().unwrap();
        for share in [Share::Layer, Share::Filter] {
            let path = folder.path().join("model.safetensors");
            let (trained, doors) = checkpoint(share, &path);
            let plain = net(2);
            load(&plain, &path).unwrap();
            let mut view = View::plain(&trained.store);
            doors.view(&trained.store, &mut view);
            for id in plain.store.ids() {
                assert_eq!(plain.store.get(id), view.get(id));
            }
        }
    }

    #[test]
    fn one_compander_for_the_whole_net_cannot_be_told_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        checkpoint(Share::Net, &path);
        assert!(format!("{:#}", load(&net(2), &path).unwrap_err()).contains("folded.safetensors"));
    }
}
