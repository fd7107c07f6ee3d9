//! The one door through which cases are run: walk a folder, feed each op, compare.

use anyhow::{Context, Result, bail};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

use super::{Case, Op, Outputs};

/// How one case ended.
pub struct Verdict {
    pub path: PathBuf,
    pub op: String,
    pub note: String,
    /// The largest |difference| / (atol + rtol |expected|) over all outputs: at most 1 passes.
    pub ratio: f64,
    pub failure: Option<String>,
}

#[derive(Default)]
pub struct Report {
    pub verdicts: Vec<Verdict>,
}

impl Report {
    pub fn failed(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|v| v.failure.is_some())
    }
}

/// Runs every case below `folder` (recursively) on `device`. A folder without cases is an error.
pub fn run(folder: &Path, ops: &[Op], device: Device) -> Result<Report> {
    let mut report = Report::default();
    for path in safetensors_below(folder)? {
        if let Some(case) = Case::read(&path, device)? {
            report.verdicts.push(judge(&case, ops));
        }
    }
    if report.verdicts.is_empty() {
        bail!("{} holds no oracle cases (safetensors files whose metadata names an `op`)", folder.display());
    }
    Ok(report)
}

fn safetensors_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(safetensors_below(&path)?);
        } else if path.extension().is_some_and(|e| e == "safetensors") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn judge(case: &Case, ops: &[Op]) -> Verdict {
    let outcome = match ops.iter().find(|op| op.name == case.op) {
        None => Err(format!("unknown op {}", case.op)),
        // A shape error inside libtorch panics in the binding: one bad case must not end the others.
        Some(op) => match catch_unwind(AssertUnwindSafe(|| (op.run)(case))) {
            Ok(Ok(outputs)) => compare(case, &outputs),
            Ok(Err(error)) => Err(format!("{error:#}")),
            Err(_) => Err("the op panicked".to_owned()),
        },
    };
    let (ratio, failure) = match outcome {
        Ok(ratio) if ratio <= 1.0 => (ratio, None),
        Ok(ratio) => (ratio, Some(format!("differs by {ratio:.3e} times the tolerance"))),
        Err(why) => (f64::NAN, Some(why)),
    };
    Verdict { path: case.path.clone(), op: case.op.clone(), note: case.note.clone(), ratio, failure }
}

/// The largest difference in units of the tolerance. Whole-number outputs go through the same comparison in float64.
fn compare(case: &Case, outputs: &Outputs) -> Result<f64, String> {
    let mut worst: f64 = 0.0;
    for (name, expected) in &case.expected {
        let Some((_, actual)) = outputs.values.iter().find(|(n, _)| n == name) else {
            return Err(format!("output {name} is missing"));
        };
        if actual.size() != expected.size() {
            return Err(format!("output {name} has shape {:?}, expected {:?}", actual.size(), expected.size()));
        }
        let (mut a, e) = (host(actual), host(expected));
        if let Some((_, mask)) = outputs.masks.iter().find(|(n, _)| n == name) {
            let counted = host(&mask.to_kind(Kind::Double).broadcast_to(expected.size()));
            a.iter_mut().zip(&e).zip(counted).filter(|(_, counts)| *counts == 0.0).for_each(|((a, e), _)| *a = *e);
        }
        let ratio = a.iter().zip(&e).map(|(a, e)| distance(*a, *e, case)).fold(0.0, f64::max);
        if ratio > 1.0 {
            let at = a.iter().zip(&e).position(|(a, e)| distance(*a, *e, case) > 1.0).unwrap_or(0);
            return Err(format!(
                "output {name}[{at}] is {}, expected {} ({ratio:.2e} times the tolerance)",
                a[at], e[at]
            ));
        }
        worst = worst.max(ratio);
    }
    Ok(worst)
}

fn distance(actual: f64, expected: f64, case: &Case) -> f64 {
    if actual == expected || (actual.is_nan() && expected.is_nan()) {
        return 0.0;
    }
    let ratio = (actual - expected).abs() / (case.atol + case.rtol * expected.abs());
    if ratio.is_nan() { f64::INFINITY } else { ratio }
}

fn host(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.detach().to_device(Device::Cpu).to_kind(Kind::Double).contiguous().view(-1);
    Vec::<f64>::try_from(flat).expect("a flat float64 tensor on the host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_mask_counts_is_compared() {
        let expected = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0]).view([2, 2]);
        let case = Case {
            path: PathBuf::new(),
            op: String::new(),
            note: String::new(),
            rtol: 0.0,
            atol: 1e-9,
            params: Default::default(),
            inputs: Default::default(),
            expected: [("y".to_owned(), expected)].into(),
        };
        let mask = Tensor::from_slice(&[1u8, 0]).view([2, 1]);
        let judged = |values: [f64; 4]| {
            compare(&case, &Outputs::new().with_where("y", Tensor::from_slice(&values).view([2, 2]), &mask))
        };
        assert_eq!(judged([1.0, 2.0, f64::NAN, 9.0]), Ok(0.0));
        assert!(judged([1.0, 2.5, 3.0, 4.0]).unwrap_err().contains("y[1] is 2.5"));
    }
}
