//! The chain of kernel ridge regressions: recursion, limit, spectral form, best weights.

use anyhow::{Context, Result, ensure};
use tch::{Kind, Tensor};

/// The Cholesky factor of K + lambda I, computed once for all steps.
pub struct Ridge {
    factor: Tensor,
    lambda: f64,
}

/// One model of the chain.
pub struct Fit {
    /// (K + lambda I)^-1 t [n,c]: f(x) = k(x, X) coef.
    pub coef: Tensor,
    /// f on the training inputs, K coef [n,c]: the next step's teacher.
    pub fit: Tensor,
}

impl Ridge {
    /// K [n,n] symmetric, float64. Errors if K + lambda I is not positive definite in float64.
    pub fn new(k: &Tensor, lambda: f64) -> Result<Ridge> {
        ensure!(lambda >= 0.0 && lambda.is_finite(), "lambda = {lambda} must not be negative");
        Ok(Ridge { factor: cholesky(k, 1.0, lambda)?, lambda })
    }

    /// Plain ridge regression on targets t [n,c]. (K + lambda I) coef = t gives K coef without another product.
    pub fn fit(&self, t: &Tensor) -> Fit {
        // Row by row in memory, as a checkpoint gives it back: sums over it then agree to the last bit.
        let coef = solve(&self.factor, t).contiguous();
        Fit { fit: t - &coef * self.lambda, coef }
    }

    /// One step of the chain: alpha y + (1-alpha) y^(tau-1), or without a teacher y itself.
    pub fn step(&self, y: &Tensor, teacher: Option<&Fit>, alpha: f64) -> Fit {
        match teacher {
            None => self.fit(y),
            Some(teacher) => self.fit(&(y * alpha + &teacher.fit * (1.0 - alpha))),
        }
    }

    /// f^(1), f^(2), ...: step tau fits alpha^(tau) y + (1-alpha^(tau)) y^(tau-1), with y^(0) = y.
    pub fn chain(&self, y: &Tensor, alphas: &[f64]) -> Vec<Fit> {
        let mut steps: Vec<Fit> = Vec::with_capacity(alphas.len());
        for &alpha in alphas {
            steps.push(self.step(y, steps.last(), alpha));
        }
        steps
    }

    /// One step of the greedy chain: the weight that is best on validation data, `kx` = k(x~, X) [m,n], `target` [m,c], its
    /// validation MSE and the fit with it. `steps` are those before, not none; `clip`: the weight is kept in [0,1].
    ///
    /// A step is affine in its weight, f = alpha f^(1) + (1-alpha) g with g fitted to the teacher alone, so no further solve is
    /// needed once the weight is known.
    pub fn best_step(&self, steps: &[Fit], kx: &Tensor, target: &Tensor, clip: bool) -> (f64, f64, Fit) {
        let (first, teacher) = (&steps[0], &steps[steps.len() - 1]);
        let student = self.fit(&teacher.fit);
        let best = OptimalAlpha::new(target, &kx.matmul(&first.coef), &kx.matmul(&student.coef));
        let (alpha, loss) = if clip { (best.alpha_clipped, best.loss_clipped) } else { (best.alpha, best.loss) };
        let mix = |labels: &Tensor, teacher: &Tensor| labels * alpha + teacher * (1.0 - alpha);
        (alpha, loss, Fit { coef: mix(&first.coef, &student.coef), fit: mix(&first.fit, &student.fit) })
    }

    /// The greedy chain, the first step fitted to the labels `y`; see [`Ridge::best_step`].
    pub fn alpha_chain(
        &self,
        y: &Tensor,
        kx: &Tensor,
        target: &Tensor,
        steps: usize,
        clip: bool,
    ) -> Result<AlphaChain> {
        ensure!(steps >= 1, "steps = 0: at least one fit is needed");
        ensure!(kx.size()[0] > 0, "the validation split is empty: the best weight needs validation data");
        let first = self.fit(y);
        let loss = mse(&kx.matmul(&first.coef), target);
        let mut chain = AlphaChain { alphas: vec![1.0], losses: vec![loss], steps: vec![first] };
        while chain.steps.len() < steps {
            let (alpha, loss, step) = self.best_step(&chain.steps, kx, target, clip);
            chain.steps.push(step);
            chain.alphas.push(alpha);
            chain.losses.push(loss);
        }
        Ok(chain)
    }
}

/// What the greedy chain chose.
pub struct AlphaChain {
    /// alpha^(tau)*, the first 1.
    pub alphas: Vec<f64>,
    /// Validation MSE of each step.
    pub losses: Vec<f64>,
    pub steps: Vec<Fit>,
}

/// The limit of the chain with constant weight alpha in [0,1]: coef = alpha (alpha K + lambda I)^-1 y, the ridge fit with penalty
/// lambda/alpha; the zero function for alpha = 0.
pub fn limit(k: &Tensor, y: &Tensor, alpha: f64, lambda: f64) -> Result<Fit> {
    let coef = if alpha == 0.0 { y.zeros_like() } else { solve(&cholesky(k, alpha, lambda)?, &(y * alpha)) };
    Ok(Fit { fit: k.matmul(&coef), coef })
}

/// Lower factor of scale K + lambda I.
fn cholesky(k: &Tensor, scale: f64, lambda: f64) -> Result<Tensor> {
    let singular = || format!("kernel matrix is singular; set lambda > 0 (lambda = {lambda:e})");
    let shifted = k * scale;
    let _ = shifted.diagonal(0, 0, 1).g_add_scalar_(lambda);
    let factor = shifted.f_linalg_cholesky(false).with_context(singular)?;
    // Rounding can leave a tiny positive pivot where the exact one is zero.
    let pivots = factor.diagonal(0, 0, 1).square();
    let largest = shifted.diagonal(0, 0, 1).max().double_value(&[]);
    let smallest = pivots.min().double_value(&[]);
    ensure!(smallest > k.size()[0] as f64 * f64::EPSILON * largest, singular());
    Ok(factor)
}

/// (L L^T)^-1 t. Two triangular solves: `cholesky_solve` copies the whole factor at each call.
fn solve(factor: &Tensor, t: &Tensor) -> Tensor {
    let half = factor.linalg_solve_triangular(t, false, true, false);
    factor.tr().linalg_solve_triangular(&half, true, true, false)
}

/// Mean squared error over all entries.
pub fn mse(prediction: &Tensor, target: &Tensor) -> f64 {
    (prediction - target).square().mean(Kind::Double).double_value(&[])
}

/// The weight of a step that is best on validation targets y~.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptimalAlpha {
    /// <y~ - g, u>/<u, u>, u = f^(1) - g: it may leave [0,1] (over-regularised first fits give alpha > 1).
    pub alpha: f64,
    pub alpha_clipped: f64,
    /// MSE of alpha f^(1) + (1-alpha) g, for either weight.
    pub loss: f64,
    pub loss_clipped: f64,
}

impl OptimalAlpha {
    /// All [m,c]: targets, predictions of the labels-only fit and of the student trained on the teacher alone. Predictions that
    /// are the same (squared distance <= 1e-24) give alpha = 1.
    pub fn new(target: &Tensor, f_first: &Tensor, f_teacher_only: &Tensor) -> OptimalAlpha {
        let u = f_first - f_teacher_only;
        let along = ((target - f_teacher_only) * &u).sum(Kind::Double).double_value(&[]);
        let squared = u.square().sum(Kind::Double).double_value(&[]);
        let alpha = if squared <= 1e-24 { 1.0 } else { along / squared };
        let alpha_clipped = alpha.clamp(0.0, 1.0);
        let loss = |alpha: f64| mse(&(f_first * alpha + f_teacher_only * (1.0 - alpha)), target);
        OptimalAlpha { alpha, alpha_clipped, loss: loss(alpha), loss_clipped: loss(alpha_clipped) }
    }
}

/// The chain in the eigenbasis of K = V D V^T: y^(tau) = V B^(tau) V^T y.
pub struct Spectral {
    /// A = D (D + lambda I)^-1, diagonal [n].
    pub a: Tensor,
    /// Diagonals of B^(1..T) [T,n]: B^(0) = I, B^(tau) = A (alpha^(tau) I + (1-alpha^(tau)) B^(tau-1)).
    pub b: Tensor,
}

impl Spectral {
    /// `d` [n] eigenvalues; those below 0 (rounding) count as 0.
    pub fn new(d: &Tensor, alphas: &[f64], lambda: f64) -> Spectral {
        let a = shrinkage(d, lambda);
        let mut b = a.ones_like();
        let mut steps = Vec::with_capacity(alphas.len());
        for &alpha in alphas {
            b = &a * (b * (1.0 - alpha) + alpha);
            steps.push(b.shallow_clone());
        }
        let b = if steps.is_empty() { a.unsqueeze(0).narrow(0, 0, 0) } else { Tensor::stack(&steps, 0) };
        Spectral { a, b }
    }

    /// R_k = B_k/B_{k+1} [T,n-1]: for decreasing d they grow with tau, small directions fade first.
    pub fn ratios(&self) -> Tensor {
        let n = self.a.size()[0];
        self.b.narrow(1, 0, n - 1) / self.b.narrow(1, 1, n - 1)
    }
}

/// The diagonal of B^(inf) = alpha D (alpha D + lambda)^-1 for a constant weight; zeros for alpha = 0.
pub fn spectral_limit(d: &Tensor, alpha: f64, lambda: f64) -> Tensor {
    if alpha == 0.0 { d.zeros_like() } else { shrinkage(&(d * alpha), lambda) }
}

/// d/(d + lambda), 0 where d is 0.
fn shrinkage(d: &Tensor, lambda: f64) -> Tensor {
    let d = d.clamp_min(0.0);
    let shrunk = &d / (&d + lambda);
    shrunk.masked_fill(&d.eq(0.0), 0.0)
}

/// K = V D V^T with D >= 0: any step and weight then cost one product.
pub struct Eigen {
    /// Eigenvalues [n], increasing, clamped at 0.
    pub d: Tensor,
    /// Eigenvectors in columns [n,n].
    pub v: Tensor,
}

impl Eigen {
    pub fn new(k: &Tensor) -> Eigen {
        let (d, v) = k.linalg_eigh("L");
        Eigen { d: d.clamp_min(0.0), v }
    }

    /// [`limit`] without another factorisation: coef = alpha V (alpha D + lambda)^-1 V^T y. Never D^-1, which K may not have.
    pub fn limit(&self, y: &Tensor, alpha: f64, lambda: f64) -> Fit {
        if alpha == 0.0 {
            return Fit { coef: y.zeros_like(), fit: y.zeros_like() };
        }
        let rotated = self.v.tr().matmul(y) / (&self.d * alpha + lambda).unsqueeze(1) * alpha;
        let fit = self.v.matmul(&(&rotated * self.d.unsqueeze(1)));
        Fit { coef: self.v.matmul(&rotated), fit }
    }

    /// y^(T) = V B^(T) V^T y on the training inputs [n,c], without the steps before it.
    pub fn fit(&self, y: &Tensor, alphas: &[f64], lambda: f64) -> Tensor {
        let b = Spectral::new(&self.d, alphas, lambda).b.get(alphas.len() as i64 - 1);
        self.v.matmul(&(b.unsqueeze(1) * self.v.tr().matmul(y)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernel::Kernel;
    use super::super::toy;
    use super::*;

    /// MSE to the sine of steps 1..6 and of the limit.
    fn table(alpha: f64) -> Vec<f64> {
        let toy = toy::data();
        let kernel = Kernel::Rbf { gamma: toy::GAMMA };
        let k = kernel.matrix(&toy.x, &toy.x).unwrap();
        let ridge = Ridge::new(&k, toy::LAMBDA).unwrap();
        let kx = kernel.matrix(&toy.test_x, &toy.x).unwrap();
        let mut steps = ridge.chain(&toy.y, &[alpha; 6]);
        steps.push(limit(&k, &toy.y, alpha, toy::LAMBDA).unwrap());
        steps.iter().map(|step| mse(&kx.matmul(&step.coef), &toy.test_y)).collect()
    }

    #[test]
    fn the_papers_toy_table() {
        let published = [
            (0.0, [0.16477, 0.15076, 0.14915, 0.15561, 0.16735, 0.18251, 0.49505]),
            (0.35, [0.16477, 0.15424, 0.15089, 0.14983, 0.14954, 0.14948, 0.14959]),
            (0.25, [0.16477, 0.15309, 0.14958, 0.14903, 0.14946, 0.15011, 0.15250]),
        ];
        for (alpha, expected) in published {
            let losses = table(alpha);
            for (loss, expected) in losses.iter().zip(expected) {
                assert!((loss - expected).abs() < 5e-6, "alpha {alpha}: {losses:?}");
            }
        }
    }

    #[test]
    fn the_spectral_form_skips_the_steps_between() {
        let toy = toy::data();
        let k = Kernel::Rbf { gamma: toy::GAMMA }.matrix(&toy.x, &toy.x).unwrap();
        let alphas = [0.9, 0.1, 0.5, 0.7];
        let last = Ridge::new(&k, 0.2).unwrap().chain(&toy.y, &alphas).pop().unwrap();
        let spectral = Eigen::new(&k).fit(&toy.y, &alphas, 0.2);
        assert!((spectral - last.fit).abs().max().double_value(&[]) < 1e-12);
        let (direct, spectral) = (limit(&k, &toy.y, 0.35, 0.2).unwrap(), Eigen::new(&k).limit(&toy.y, 0.35, 0.2));
        assert!((direct.coef - spectral.coef).abs().max().double_value(&[]) < 1e-12);
        assert!((direct.fit - spectral.fit).abs().max().double_value(&[]) < 1e-12);
    }

    #[test]
    fn best_weights_never_lose_to_the_first_fit() {
        let toy = toy::data();
        let kernel = Kernel::Rbf { gamma: toy::GAMMA };
        let ridge = Ridge::new(&kernel.matrix(&toy.x, &toy.x).unwrap(), toy::LAMBDA).unwrap();
        let kx = kernel.matrix(&toy.test_x, &toy.x).unwrap();
        for clip in [true, false] {
            let chain = ridge.alpha_chain(&toy.y, &kx, &toy.test_y, 5, clip).unwrap();
            assert!(chain.losses.iter().all(|&loss| loss <= chain.losses[0] + 1e-15), "{:?}", chain.losses);
            // The mix of fits is the fit of the mix.
            let replay = ridge.chain(&toy.y, &chain.alphas).pop().unwrap();
            assert!((&replay.coef - &chain.steps[4].coef).abs().max().double_value(&[]) < 1e-10);
            assert!((chain.losses[4] - mse(&kx.matmul(&chain.steps[4].coef), &toy.test_y)).abs() < 1e-14);
        }
    }

    #[test]
    fn duplicate_inputs_need_a_penalty() {
        let x = Tensor::from_slice(&[0.1, 0.1, 0.7, 0.3]).unsqueeze(1);
        let k = Kernel::Rbf { gamma: 3.0 }.matrix(&x, &x).unwrap();
        let error = Ridge::new(&k, 0.0).err().unwrap();
        assert!(error.to_string().contains("kernel matrix is singular; set lambda > 0"), "{error}");
        assert!(Ridge::new(&k, 1e-6).is_ok());
    }

    #[test]
    fn equal_predictions_trust_the_labels() {
        let f = Tensor::from_slice(&[1.0, 2.0]).unsqueeze(1);
        assert_eq!(OptimalAlpha::new(&(&f * 3.0), &f, &f).alpha, 1.0);
    }
}
