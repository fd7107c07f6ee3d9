//! The Lanczos process with full re-orthogonalisation.

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

/// Where the Krylov space is exhausted.
const EXHAUSTED: f64 = 1e-10;

/// The tridiagonal matrix of q steps and its eigenvalues.
#[derive(Clone, Debug, PartialEq)]
pub struct Lanczos {
    /// Its diagonal, q values.
    pub alpha: Vec<f64>,
    /// Beside the diagonal, q - 1 values.
    pub beta: Vec<f64>,
    /// Ritz values, descending: the first and last approximate the ends of the spectrum.
    pub ritz: Vec<f64>,
}

/// At most `steps` products from `start` (not zero); fewer where the Krylov space is exhausted (beta < 1e-10). All float64.
pub fn lanczos(mut product: impl FnMut(&Tensor) -> Result<Tensor>, start: &Tensor, steps: usize) -> Result<Lanczos> {
    let norm = start.norm().double_value(&[]);
    ensure!(norm > 0.0 && norm.is_finite(), "the start of Lanczos has the norm {norm}, which must be above 0");
    ensure!(steps > 0, "Lanczos needs at least one step");
    let mut basis = vec![start / norm];
    let (mut alpha, mut beta) = (Vec::new(), Vec::new());
    loop {
        let v = basis.last().expect("the basis begins with the start");
        let mut w = product(v)?;
        alpha.push((v * &w).sum(Kind::Double).double_value(&[]));
        let all = Tensor::stack(&basis, 0);
        // Twice is enough (Parlett): against all earlier vectors, which includes the three-term recurrence.
        for _ in 0..2 {
            w -= all.tr().mv(&all.mv(&w));
        }
        let b = w.norm().double_value(&[]);
        if alpha.len() == steps || b < EXHAUSTED {
            break;
        }
        beta.push(b);
        basis.push(w / b);
    }
    let ritz = tridiagonal_eigenvalues(&alpha, &beta);
    Ok(Lanczos { alpha, beta, ritz })
}

fn tridiagonal_eigenvalues(alpha: &[f64], beta: &[f64]) -> Vec<f64> {
    let mut matrix = Tensor::from_slice(alpha).diag(0);
    if !beta.is_empty() {
        let side = Tensor::from_slice(beta);
        matrix = matrix + side.diag(1) + side.diag(-1);
    }
    let ascending = matrix.to_device(Device::Cpu).linalg_eigvalsh("L").contiguous();
    let mut values = Vec::<f64>::try_from(ascending).expect("float64 eigenvalues");
    values.reverse();
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_krylov_space_holds_the_spectrum() {
        let diagonal = Tensor::from_slice(&[3.0, -1.0, 0.5, 7.0]);
        let found = lanczos(|v| Ok(&diagonal * v), &Tensor::from_slice(&[1.0, 1.0, 1.0, 1.0]), 9).unwrap();
        let expected = [7.0, 3.0, 0.5, -1.0];
        assert!(found.ritz.iter().zip(expected).all(|(a, e)| (a - e).abs() < 1e-9), "{:?}", found.ritz);
        assert_eq!((found.alpha.len(), found.beta.len()), (4, 3));
    }

    #[test]
    fn an_eigenvector_ends_at_once() {
        let found = lanczos(|v| Ok(v * 2.0), &Tensor::from_slice(&[1.0, 1.0]), 5).unwrap();
        assert!((found.ritz[0] - 2.0).abs() < 1e-12 && found.ritz.len() == 1);
        assert!(lanczos(|v| Ok(v.copy()), &Tensor::from_slice(&[0.0]), 5).is_err());
    }
}
