//! Hutchinson's estimator (1990): E v^T A v = tr A and E |A v|^2 = ||A||_F^2 for random v with E v v^T = I.

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

use crate::native::draw_uniform;

/// Means over K probes with their standard errors (0 for one probe).
#[derive(Clone, Debug, PartialEq)]
pub struct Hutchinson {
    /// v^T A v of each probe.
    pub quad: Vec<f64>,
    pub trace: f64,
    pub trace_se: f64,
    /// ||A||_F^2.
    pub frob2: f64,
    pub frob2_se: f64,
}

/// Estimates from one product with A for each row of `probes` `[K, p]`, float64.
pub fn hutchinson(mut product: impl FnMut(&Tensor) -> Result<Tensor>, probes: &Tensor) -> Result<Hutchinson> {
    ensure!(probes.dim() == 2 && probes.size()[0] > 0, "at least one probe is needed, got shape {:?}", probes.size());
    let mut pairs = Vec::new();
    for k in 0..probes.size()[0] {
        let v = probes.get(k);
        let av = product(&v)?;
        pairs.push(Tensor::stack(&[(&v * &av).sum(Kind::Double), av.square().sum(Kind::Double)], 0));
    }
    let host = Tensor::stack(&pairs, 1).to_device(Device::Cpu);
    let [quad, square] = [0, 1].map(|i| Vec::<f64>::try_from(host.get(i)).expect("float64 numbers on the host"));
    let (trace, trace_se) = mean_and_error(&quad);
    let (frob2, frob2_se) = mean_and_error(&square);
    Ok(Hutchinson { quad, trace, trace_se, frob2, frob2_se })
}

fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return (mean, 0.0);
    }
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// `count` probes of +-1, `[count, p]` float64: a pure function of the seed.
pub fn rademacher(count: i64, p: i64, seed: u64, device: Device) -> Tensor {
    let draws = Tensor::empty([count, p], (Kind::Double, Device::Cpu));
    draw_uniform(&draws, -1.0, 1.0, seed).expect("a fresh float64 tensor on the host can be filled");
    (draws.ge(0.0).to_kind(Kind::Double) * 2.0 - 1.0).to_device(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_give_the_trace_of_a_diagonal_matrix_exactly() {
        let diagonal = Tensor::from_slice(&[1.0, -2.0, 5.0]);
        let probes = rademacher(4, 3, 1, Device::Cpu);
        let found = hutchinson(|v| Ok(&diagonal * v), &probes).unwrap();
        assert_eq!((found.trace, found.trace_se, found.frob2), (4.0, 0.0, 30.0));
        assert!(hutchinson(|v| Ok(v.copy()), &probes.narrow(0, 0, 0)).is_err());
    }

    #[test]
    fn the_error_shrinks_with_the_probes_and_covers_the_trace() {
        let a = Tensor::from_slice(&[2.0, 1.0, 1.0, 3.0]).view([2, 2]);
        let few = hutchinson(|v| Ok(a.mv(v)), &rademacher(20, 2, 2, Device::Cpu)).unwrap();
        let many = hutchinson(|v| Ok(a.mv(v)), &rademacher(500, 2, 2, Device::Cpu)).unwrap();
        assert!((many.trace - 5.0).abs() < 3.0 * many.trace_se && many.trace_se < few.trace_se);
    }
}
