//! A network in one safetensors file: its tensors under their PyTorch state-dict names, and the JSON of its [`Arch`] in the
//! metadata entry `arch`, so that a cut network is rebuilt without the original one.

use anyhow::{Context, Result};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use tch::Device;

use super::{Arch, Network};
use crate::params::{ParamStore, file};

/// The metadata entry that holds the architecture.
const ARCH: &str = "arch";

/// Writes the network file: complete or not at all (a temporary file beside it is synced, then renamed).
pub fn save(path: &Path, arch: &Arch, store: &ParamStore) -> Result<()> {
    let bytes = store.to_bytes(HashMap::from([(ARCH.to_owned(), serde_json::to_string(arch)?)]))?;
    let partial = path.with_extension("safetensors.partial");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&partial)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Rebuilds the network of a file written by [`save`].
pub fn load(path: &Path, device: Device) -> Result<Network> {
    let file = file::read(path)?;
    let origin = path.display();
    let text = file.metadata.get(ARCH).with_context(|| {
        format!("{origin} has no metadata entry `{ARCH}`: name its architecture in [model] and load only its tensors")
    })?;
    let arch: Arch = serde_json::from_str(text).with_context(|| format!("{origin}: the entry `{ARCH}` is broken"))?;
    let net = Network::build(arch, 0, device).with_context(|| format!("{origin}: the entry `{ARCH}` is broken"))?;
    net.store.load(&file, path)?;
    Ok(net)
}

/// Fills `store` from a file of the same architecture. One of another architecture is an error that names the tensor and
/// both shapes.
pub fn load_tensors(path: &Path, store: &ParamStore) -> Result<()> {
    store.load(&file::read(path)?, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{CifarResnetArch, testing::images, testing::random_network};

    fn arch(inner: &[i64]) -> Arch {
        let (input, inner, widths) = ([3, 8, 8], inner.to_vec(), vec![4, 8, 16]);
        Arch::CifarResnet(CifarResnetArch { input, classes: 10, depth: 8, widths, inner, ..CifarResnetArch::default() })
    }

    #[test]
    fn a_cut_network_is_rebuilt_from_its_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let net = random_network(arch(&[3, 0, 5]), 1);
        save(&path, &net.arch, &net.store).unwrap();
        let again = load(&path, Device::Cpu).unwrap();
        assert_eq!(again.arch, net.arch);
        let x = images(0, &[2, 3, 8, 8]);
        assert_eq!(net.evaluate(&x), again.evaluate(&x));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn another_architecture_is_refused_with_the_tensor_and_both_shapes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let cut = random_network(arch(&[3, 8, 16]), 1);
        save(&path, &cut.arch, &cut.store).unwrap();
        let full = random_network(arch(&[]), 2);
        let message = load_tensors(&path, &full.store).unwrap_err().to_string();
        for part in ["model.safetensors", "layer1.0.conv1.weight", "[3, 4, 3, 3]", "[4, 4, 3, 3]"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_file_without_architecture_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plain.safetensors");
        let net = random_network(arch(&[]), 1);
        std::fs::write(&path, net.store.to_bytes(HashMap::new()).unwrap()).unwrap();
        assert!(load(&path, Device::Cpu).err().unwrap().to_string().contains("no metadata entry `arch`"));
        load_tensors(&path, &net.store).unwrap();
    }
}
