//! The kernel problem: matrices and targets of the training, validation and test inputs.

use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;
use std::path::Path;
use tch::{Kind, Tensor};

use super::kernel::{Kernel, check_matrix, memory_gib};
use super::record::{Parts, Targets};
use super::toy;
use crate::data::{DeviceSet, DeviceSplits};
use crate::params::file;

/// k(z, X) of some inputs z: as it lies there, or made by blocks when it is multiplied.
pub enum Cross {
    Matrix(Tensor),
    Points { kernel: Kernel, z: Tensor, x: Tensor },
}

/// Rows of z whose kernel matrix is held at a time.
const BLOCK: i64 = 1024;

impl Cross {
    fn rows(&self) -> i64 {
        match self {
            Cross::Matrix(k) => k.size()[0],
            Cross::Points { z, .. } => z.size()[0],
        }
    }

    /// k(z, X) coef [m,c].
    pub fn times(&self, coef: &Tensor) -> Result<Tensor> {
        match self {
            Cross::Matrix(k) => Ok(k.matmul(coef)),
            Cross::Points { kernel, z, x } => {
                let block =
                    |start| Ok(kernel.matrix(&z.narrow(0, start, BLOCK.min(z.size()[0] - start)), x)?.matmul(coef));
                let parts: Vec<Tensor> = (0..z.size()[0]).step_by(BLOCK as usize).map(block).collect::<Result<_>>()?;
                Ok(Tensor::cat(&parts, 0))
            }
        }
    }

    /// k(z, X) [m,n].
    pub fn matrix(&self) -> Result<Tensor> {
        match self {
            Cross::Matrix(k) => Ok(k.shallow_clone()),
            Cross::Points { kernel, z, x } => kernel.matrix(z, x),
        }
    }
}

/// All float64, on one device.
pub struct Problem {
    /// K [n,n].
    pub k: Tensor,
    pub val: Option<Cross>,
    pub test: Cross,
    pub targets: Targets,
    /// The training inputs [n,p], where there are any: with coef they are the model.
    pub x: Option<Tensor>,
}

impl Problem {
    /// The paper's toy problem: the test error is that to the sine itself.
    pub fn toy(kernel: Kernel, device: tch::Device) -> Result<Problem> {
        let toy::Toy { x, y, test_x, test_y } = toy::data();
        let [x, y, test_x, test_y] = [x, y, test_x, test_y].map(|t| t.to_device(device));
        let y = Parts { train: y, val: None, test: test_y };
        Problem::of_points(kernel, Parts { train: x, val: None, test: test_x }, Targets { y, classes: false })
    }

    /// Images as vectors, labels as one-hot rows.
    pub fn images(kernel: Kernel, data: &DeviceSplits) -> Result<Problem> {
        let parts = Parts { train: &data.train, val: data.val.as_ref(), test: &data.test };
        let x = parts.map(|set| set.slice(0, set.len()).x.reshape([set.len() as i64, -1]).to_kind(Kind::Double));
        Problem::of_points(kernel, x, one_hot(data))
    }

    fn of_points(kernel: Kernel, points: Parts<Tensor>, targets: Targets) -> Result<Problem> {
        let Parts { train: x, val, test } = points;
        let cross = |z| Cross::Points { kernel, z, x: x.shallow_clone() };
        let (val, test) = (val.map(cross), cross(test));
        let k = kernel.matrix(&x, &x)?;
        Ok(Problem { k, val, test, targets, x: Some(x) })
    }

    /// Matrices and targets of a file (npz or safetensors): k, y, k_test, y_test and, together or not at all, k_val, y_val.
    pub fn file(path: &Path, device: tch::Device) -> Result<Problem> {
        let tensors = match path.extension().and_then(|e| e.to_str()) {
            Some("npz") => Tensor::read_npz(path).with_context(|| format!("cannot read {}", path.display()))?,
            Some("safetensors") => file::read(path)?.tensors,
            _ => bail!("method.file = {} should end in .npz or .safetensors", path.display()),
        };
        let read = || -> Result<Problem> {
            let names: Vec<String> = tensors.iter().map(|(name, _)| name.clone()).collect();
            let mut named: HashMap<String, Tensor> =
                tensors.into_iter().map(|(name, t)| (name, t.to_device(device).to_kind(Kind::Double))).collect();
            let missing = |name: &str| format!("there is no {name}; it holds {}", names.join(", "));
            let mut take = |name: &str| named.remove(name).with_context(|| missing(name));
            let (k, y, k_test, y_test) = (take("k")?, take("y")?, take("k_test")?, take("y_test")?);
            let val = match (take("k_val"), take("y_val")) {
                (Ok(k), Ok(y)) => Some((k, y)),
                (Err(_), Err(_)) => None,
                (k, y) => bail!("{:#}", k.err().or(y.err()).expect("one of them is missing")),
            };
            let (k_val, y_val) = val.unzip();
            let y = Parts { train: y, val: y_val, test: y_test };
            let classes = is_one_hot(&y.test);
            let targets = Targets { y, classes };
            let problem = Problem { k, val: k_val.map(Cross::Matrix), test: Cross::Matrix(k_test), targets, x: None };
            problem.check()?;
            Ok(problem)
        };
        read().with_context(|| format!("method.file = {}", path.display()))
    }

    fn check(&self) -> Result<()> {
        check_matrix(&self.k)?;
        let n = self.k.size()[0];
        let y = &self.targets.y;
        let outputs = match y.train.size()[..] {
            [rows, c] if rows == n => c,
            ref size => bail!("y has shape {size:?}; the kernel matrix needs [{n}, outputs]"),
        };
        for (name, part, y) in [("test", Some(&self.test), Some(&y.test)), ("val", self.val.as_ref(), y.val.as_ref())] {
            let (Some(part), Some(y)) = (part, y) else { continue };
            let k = part.matrix()?;
            ensure!(
                k.dim() == 2 && k.size()[1] == n && k.size()[0] > 0,
                "k_{name} has shape {:?}; [m, {n}] is needed, a row an input",
                k.size()
            );
            ensure!(
                y.size() == [part.rows(), outputs],
                "y_{name} has shape {:?}; [{}, {outputs}] is needed",
                y.size(),
                part.rows()
            );
            finite(&format!("k_{name}"), &k)?;
            finite(&format!("y_{name}"), y)?;
        }
        finite("y", &y.train)
    }
}

/// One-hot rows, float64, of the labels of all parts.
pub fn one_hot(data: &DeviceSplits) -> Targets {
    let classes = data.train.classes().len() as i64;
    let rows = |set: &&DeviceSet| set.labels().one_hot(classes).to_kind(Kind::Double);
    let parts = Parts { train: &data.train, val: data.val.as_ref(), test: &data.test };
    Targets { y: parts.map(rows), classes: true }
}

fn is_one_hot(y: &Tensor) -> bool {
    let binary = y.eq(0.0).logical_or(&y.eq(1.0)).all();
    let one = y.sum_dim_intlist(-1, false, Kind::Double).eq(1.0).all();
    y.size()[1..].iter().all(|&c| c > 1) && binary.logical_and(&one).int64_value(&[]) == 1
}

fn finite(name: &str, tensor: &Tensor) -> Result<()> {
    let bad = tensor.isfinite().logical_not().sum(Kind::Int64).int64_value(&[]);
    ensure!(bad == 0, "{name} holds {bad} values that are not finite");
    Ok(())
}

/// Refuses a kernel matrix that the host's memory cannot hold: `copies` matrices of n x n are needed at once.
pub fn check_memory(n: i64, copies: i64, device: tch::Device) -> Result<()> {
    if device != tch::Device::Cpu {
        return Ok(()); // the device says so itself when the matrix is made
    }
    let Some(free) = available_gib() else { return Ok(()) };
    let needed = memory_gib(n) * copies as f64;
    ensure!(
        needed <= free,
        "a kernel matrix of n = {n} points takes 8 n^2 bytes = {:.1} GiB, and {copies} such are needed: {needed:.1} GiB, \
         with {free:.1} GiB free; data.train should be smaller",
        memory_gib(n)
    );
    Ok(())
}

/// Memory the system would still give, GiB (Linux).
fn available_gib() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()? / (1 << 20) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn written(tensors: &[(&str, Tensor)]) -> Result<Problem> {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("k.safetensors");
        let bytes = file::to_bytes(tensors.iter().map(|(name, t)| (*name, t)), HashMap::new()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        Problem::file(&path, tch::Device::Cpu)
    }

    fn good() -> Vec<(&'static str, Tensor)> {
        let matrix = |rows: i64, columns: i64| Tensor::ones([rows, columns], tch::kind::DOUBLE_CPU);
        vec![
            ("k", Tensor::eye(3, tch::kind::DOUBLE_CPU)),
            ("y", matrix(3, 2)),
            ("k_test", matrix(4, 3)),
            ("y_test", matrix(4, 2)),
        ]
    }

    #[test]
    fn bad_files_are_named() {
        assert!(written(&good()).is_ok());
        let with = |name: &'static str, tensor: Tensor| {
            let mut tensors = good();
            tensors.retain(|(n, _)| *n != name);
            tensors.push((name, tensor));
            written(&tensors).err().map(|e| format!("{e:#}")).unwrap_or_default()
        };
        let zeros = |rows, columns| Tensor::zeros([rows, columns], tch::kind::DOUBLE_CPU);
        assert!(with("k", zeros(3, 2)).contains("must be square"));
        assert!(with("k", zeros(3, 3).index_fill(0, &Tensor::from_slice(&[0i64]), 1.0)).contains("not symmetric"));
        assert!(with("y", zeros(2, 2)).contains("[3, outputs]"));
        assert!(with("y", zeros(3, 2) / 0.0).contains("y holds 6 values that are not finite"));
        assert!(with("k_test", zeros(4, 2)).contains("[m, 3]"));
        assert!(with("y_test", zeros(4, 1)).contains("[4, 2]"));
        assert!(with("k_val", zeros(1, 3)).contains("there is no y_val"));
        let refused = |name: &str| Problem::file(Path::new(name), tch::Device::Cpu).err().unwrap().to_string();
        assert!(refused("k.pkl").contains("should end in .npz or .safetensors"));
        assert!(refused("nowhere.npz").contains("nowhere.npz"));
    }

    #[test]
    fn predictions_by_blocks_are_those_of_the_whole_matrix() {
        tch::manual_seed(1);
        let random = |rows: i64, columns: i64| Tensor::randn([rows, columns], tch::kind::DOUBLE_CPU);
        let (z, x, coef) = (random(BLOCK + 5, 3), random(4, 3), random(4, 2));
        let cross = Cross::Points { kernel: Kernel::Rbf { gamma: 0.3 }, z, x };
        let whole = cross.matrix().unwrap().matmul(&coef);
        assert!((cross.times(&coef).unwrap() - whole).abs().max().double_value(&[]) < 1e-12);
    }

    #[test]
    fn too_many_points_are_refused_with_the_memory_they_take() {
        let message = check_memory(10_000_000, 2, tch::Device::Cpu).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message.contains("745058.1 GiB") || available_gib().is_none(), "{message}");
    }
}
