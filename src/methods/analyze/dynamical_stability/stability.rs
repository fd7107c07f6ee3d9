//! Mean-square linear stability: the second moment M = E[delta delta^T] of SGD linearised at a minimum,
//!
//! M' = (I - eta G) M (I - eta G) + eta^2 kappa [ (1/n) sum_i (g_i^T M g_i) g_i g_i^T - G M G ],
//! kappa = 1/B with replacement, (n-B)/(B(n-1)) without; the minimum is stable if the spectral radius of M -> M' on range(G)
//! is at most 1. In the eigenbasis of G flat directions drop out (they would keep every radius at 1 or above).

use tch::{Kind, Tensor};

use super::sharpness::Spectrum;

/// How a batch of B is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    pub batch: i64,
    pub replacement: bool,
}

impl Sampling {
    /// The share of the examples' own noise that a batch leaves.
    pub fn kappa(self, n: i64) -> f64 {
        let (b, n) = (self.batch as f64, n as f64);
        match self.replacement {
            true => 1.0 / b,
            false if n <= b => 0.0,
            false => (n - b) / (b * (n - 1.0)),
        }
    }
}

/// Rounding must not make a radius of exactly 1 unstable.
const ROUNDING: f64 = 1e-9;
/// Up to this rank the operator is made as a matrix (rank^2 on a side).
const MATRIX_RANK: i64 = 64;
/// Applications from M = I when it is not.
const APPLICATIONS: usize = 200;

/// M -> M' in the coordinates of a spectrum.
pub struct Moments<'a> {
    spectrum: &'a Spectrum,
    eta: f64,
    kappa: f64,
    n: f64,
}

impl<'a> Moments<'a> {
    pub fn new(spectrum: &'a Spectrum, eta: f64, sampling: Sampling) -> Moments<'a> {
        let n = spectrum.coordinates.size()[0];
        Moments { spectrum, eta, kappa: sampling.kappa(n), n: n as f64 }
    }

    /// M' of M `[r, r]`.
    pub fn apply(&self, m: &Tensor) -> Tensor {
        let (c, lambda) = (&self.spectrum.coordinates, &self.spectrum.eigenvalues);
        let shrink: Tensor = 1.0 - lambda * self.eta;
        let quad = (c.matmul(m) * c).sum_dim_intlist(&[1i64][..], true, Kind::Double);
        let noise = c.tr().matmul(&(c * quad)) / self.n - m * lambda.outer(lambda);
        m * shrink.outer(&shrink) + noise * (self.eta * self.eta * self.kappa)
    }

    /// max |1 - eta lambda|: the radius of full-batch gradient descent on range(G), 0 without a range.
    pub fn gradient_descent_radius(&self) -> f64 {
        self.spectrum.host().iter().map(|l| (1.0 - self.eta * l).abs()).fold(0.0, f64::max)
    }

    /// The spectral radius on range(G), from the operator's matrix where it is small, else [`Moments::growth`].
    pub fn radius(&self) -> f64 {
        match self.spectrum.rank() {
            0 => 0.0,
            r if r <= MATRIX_RANK => self.matrix().linalg_eigvalsh("L").abs().max().double_value(&[]),
            _ => self.growth(),
        }
    }

    /// The operator is symmetric: its matrix over all rank^2 entries of M.
    fn matrix(&self) -> Tensor {
        let (c, lambda) = (&self.spectrum.coordinates, &self.spectrum.eigenvalues);
        let shrink: Tensor = 1.0 - lambda * self.eta;
        let squares = (c.unsqueeze(2) * c.unsqueeze(1)).flatten(1, 2);
        let noise = squares.tr().matmul(&squares) / self.n - lambda.outer(lambda).view(-1).diag(0);
        shrink.outer(&shrink).view(-1).diag(0) + noise * (self.eta * self.eta * self.kappa)
    }

    /// The factor by which |M| grows in the last of many applications from M = I. The operator is symmetric and keeps
    /// positive semi-definite M so: this approaches the radius from below.
    pub fn growth(&self) -> f64 {
        let lambda = &self.spectrum.eigenvalues;
        if self.spectrum.rank() == 0 {
            return 0.0;
        }
        let mut m = Tensor::eye(self.spectrum.rank(), (Kind::Double, lambda.device()));
        let mut factor = Tensor::from(0.0);
        for _ in 0..APPLICATIONS {
            m = &m / m.norm();
            m = self.apply(&m);
            factor = m.norm();
        }
        factor.double_value(&[])
    }

    /// tr M_t and the loss 1/2 tr(G M_t) for t = 1..steps from M_0 = I/p.
    pub fn trajectory(&self, steps: usize) -> (Vec<f64>, Vec<f64>) {
        let (r, p) = (self.spectrum.rank(), self.spectrum.dimension);
        let lambda = &self.spectrum.eigenvalues;
        let flat = (p - r) as f64 / p as f64;
        let mut m = Tensor::eye(r, (Kind::Double, lambda.device())) / p as f64;
        let step = |_| {
            m = self.apply(&m);
            let diagonal = m.diag(0);
            let loss = (&diagonal * lambda).sum(Kind::Double).double_value(&[]) / 2.0;
            (diagonal.sum(Kind::Double).double_value(&[]) + flat, loss)
        };
        (0..steps).map(step).unzip()
    }
}

/// What a rate and a batch size can hold, and what is held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stability {
    /// Growth of the second moment a step.
    pub radius: f64,
    pub gradient_descent_radius: f64,
    /// 2B/eta.
    pub trace_bound: f64,
    /// 2/eta, for the largest eigenvalue under gradient descent.
    pub top_bound: f64,
    /// eta [kappa (1/n) sum |g_i|^4 + (1 - kappa) ||G||_F^2] / (2 tr G): at most 1 at every stable minimum.
    pub fourth: f64,
}

impl Stability {
    /// `radius` is [`Moments::radius`] or [`Moments::growth`].
    pub fn of(spectrum: &Spectrum, eta: f64, sampling: Sampling, radius: impl Fn(&Moments) -> f64) -> Stability {
        let moments = Moments::new(spectrum, eta, sampling);
        let norms = spectrum.coordinates.square().sum_dim_intlist(&[1i64][..], false, Kind::Double);
        let fourth_power = norms.square().mean(Kind::Double).double_value(&[]);
        let (kappa, s) = (moments.kappa, spectrum.sharpness);
        let left = eta * (kappa * fourth_power + (1.0 - kappa) * s.frob * s.frob);
        Stability {
            radius: radius(&moments),
            gradient_descent_radius: moments.gradient_descent_radius(),
            trace_bound: 2.0 * sampling.batch as f64 / eta,
            top_bound: 2.0 / eta,
            fourth: if s.trace > 0.0 { left / (2.0 * s.trace) } else { 0.0 },
        }
    }

    pub fn stable(&self) -> bool {
        self.radius <= 1.0 + ROUNDING
    }

    pub fn gradient_descent_stable(&self) -> bool {
        self.gradient_descent_radius <= 1.0 + ROUNDING
    }
}

/// How the gradient noise at residuals e_i lines up with G, and the bound on ||G||_F that follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alignment {
    /// 1/(2n) sum e_i^2.
    pub loss: f64,
    pub frob: f64,
    /// tr Sigma, Sigma = Sigma_1 - grad L grad L^T, Sigma_1 = (1/n) sum e_i^2 g_i g_i^T.
    pub noise_trace: f64,
    /// tr(Sigma G) / (2 L ||G||_F^2).
    pub mu: f64,
    /// The same with Sigma_1.
    pub mu1: f64,
    /// sqrt(B/mu)/eta, infinite where mu is not above 0.
    pub frob_bound: f64,
}

impl Alignment {
    /// Residuals `[n]` and gradients `[n, p]`, float64 (any coordinates of range(G) do).
    pub fn of(residuals: &Tensor, gradients: &Tensor, eta: f64, batch: i64) -> Alignment {
        let n = residuals.numel() as f64;
        let gram = gradients.matmul(&gradients.tr());
        let sum = |t: &Tensor| t.sum(Kind::Double).double_value(&[]);
        let squares = residuals.square();
        let pull = gram.mv(residuals) / n; // g_k . grad L
        let frob2 = sum(&gram.square()) / (n * n);
        let loss = sum(&squares) / (2.0 * n);
        let sigma1_g = sum(&(gram.square().mv(&squares))) / (n * n);
        let gradient_g = sum(&pull.square()) / n;
        let scale = 2.0 * loss * frob2;
        let aligned = |trace: f64| if scale > 0.0 { trace / scale } else { 0.0 };
        let mu = aligned(sigma1_g - gradient_g);
        Alignment {
            loss,
            frob: frob2.sqrt(),
            noise_trace: sum(&(squares * gram.diag(0))) / n - sum(&(residuals * &pull)) / n,
            mu,
            mu1: aligned(sigma1_g),
            frob_bound: if mu > 0.0 { (batch as f64 / mu).sqrt() / eta } else { f64::INFINITY },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn random(n: i64, p: i64, seed: i64) -> Tensor {
        tch::manual_seed(seed);
        Tensor::randn([n, p], (Kind::Double, Device::Cpu))
    }

    #[test]
    fn every_stable_problem_keeps_the_trace_bound() {
        let mut stable = 0;
        for seed in 0..40 {
            let spectrum = Spectrum::of(&random(6, 4, seed));
            for replacement in [true, false] {
                let eta = 0.02 * (1 + seed % 10) as f64;
                let s = Stability::of(&spectrum, eta, Sampling { batch: 2, replacement }, |m| m.radius());
                if s.stable() {
                    stable += 1;
                    assert!(s.fourth <= 1.0 && spectrum.sharpness.trace <= s.trace_bound, "{s:?}");
                }
            }
        }
        assert!(stable > 5);
    }

    #[test]
    fn all_examples_without_replacement_are_gradient_descent() {
        let spectrum = Spectrum::of(&random(5, 7, 3));
        let s = Stability::of(&spectrum, 0.1, Sampling { batch: 5, replacement: false }, |m| m.radius());
        assert!((s.radius - s.gradient_descent_radius.powi(2)).abs() < 1e-10, "{s:?}");
    }

    #[test]
    fn repeated_application_finds_the_matrixs_radius() {
        let spectrum = Spectrum::of(&random(8, 3, 5));
        let moments = Moments::new(&spectrum, 0.4, Sampling { batch: 1, replacement: true });
        assert!((moments.radius() - moments.growth()).abs() < 1e-6 * moments.radius());
    }

    #[test]
    fn no_gradient_is_stable_and_has_no_alignment() {
        let zero = Tensor::zeros([3, 2], (Kind::Double, Device::Cpu));
        let s = Stability::of(&Spectrum::of(&zero), 0.1, Sampling { batch: 1, replacement: true }, |m| m.radius());
        assert!(s.stable() && s.fourth == 0.0);
        let a = Alignment::of(&Tensor::from_slice(&[1.0, 2.0, 3.0]), &zero, 0.1, 1);
        assert_eq!((a.mu, a.frob_bound), (0.0, f64::INFINITY));
    }
}
