//! Problem `tv`: total-variation denoising; theta = (log weight, log smoothing).
//!
//! h = [1/2 ||x-y||^2 + factor e^theta0 sum(sqrt(dx^2+nu^2) + sqrt(dy^2+nu^2))]/N, nu = e^theta1, forward differences inside the
//! image; `isotropic`: one root over dx^2+dy^2+nu^2 a pixel. Images x, y [N, s*s]. g = 1/2 ||x-x*||^2/N.

use anyhow::{Result, ensure};
use tch::{Kind, Tensor};

use crate::bilevel::{Curvature, Lower, Products, Upper};

/// g = 1/2 ||x - x*||^2 / N over N images (first dimension).
pub struct SquaredError {
    target: Tensor,
}

impl SquaredError {
    pub fn new(target: &Tensor) -> SquaredError {
        SquaredError { target: target.shallow_clone() }
    }

    fn images(&self) -> f64 {
        self.target.size()[0] as f64
    }
}

impl Upper for SquaredError {
    fn value_and_grad(&self, x: &Tensor) -> (Tensor, Tensor) {
        let error = x - &self.target;
        (error.square().sum(Kind::Double) * (0.5 / self.images()), error / self.images())
    }

    fn smoothness(&self) -> f64 {
        1.0 / self.images()
    }
}

/// Which differences share a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variation {
    Anisotropic,
    Isotropic,
}

/// h.
pub struct TvLower {
    /// Noisy images [N, s, s].
    y: Tensor,
    variation: Variation,
    /// The constant before e^theta0.
    factor: f64,
    /// 1/N for the mean over images, 1 for the sum.
    scale: f64,
}

/// The two image dimensions of [N, s, s], rows last: dx runs along dimension 2, dy along 1.
const DIMS: [i64; 2] = [2, 1];

impl TvLower {
    /// `y` [N, side*side]; `mean`: h is divided by N.
    pub fn new(y: &Tensor, side: i64, variation: Variation, factor: f64, mean: bool) -> Result<TvLower> {
        let size = y.size();
        ensure!(
            size.len() == 2 && size[0] > 0 && size[1] == side * side,
            "images have shape {size:?}; [N, side^2] with side = {side} is needed"
        );
        let scale = if mean { 1.0 / size[0] as f64 } else { 1.0 };
        Ok(TvLower { y: y.view([-1, side, side]), variation, factor, scale })
    }

    fn square(&self, x: &Tensor) -> Tensor {
        x.view_as(&self.y)
    }

    fn like(&self, flat: &Tensor, square: Tensor) -> Tensor {
        square.view_as(flat)
    }

    /// D x: forward differences along each dimension; for the isotropic form with the zero behind the last pixel.
    fn differences(&self, x: &Tensor) -> [Tensor; 2] {
        DIMS.map(|dim| {
            let inside = x.diff::<Tensor>(1, dim, None, None);
            match self.variation {
                Variation::Anisotropic => inside,
                Variation::Isotropic => {
                    let pad = if dim == 2 { [0, 1, 0, 0] } else { [0, 0, 0, 1] };
                    inside.constant_pad_nd(pad)
                }
            }
        })
    }

    /// Adds weight * D^T u to `image`.
    fn add_adjoint(&self, image: &Tensor, u: [Tensor; 2], weight: f64) {
        for (dim, u) in DIMS.into_iter().zip(u) {
            let inside = image.size()[dim as usize] - 1;
            let scaled = u.narrow(dim, 0, inside).g_mul_scalar_(weight);
            let _ = image.narrow(dim, 0, inside).g_sub_(&scaled);
            let _ = image.narrow(dim, 1, inside).g_add_(&scaled);
        }
    }

    /// d^2 + nu^2 for each difference, or one for both.
    fn squares(&self, d: &[Tensor; 2], nu_squared: f64) -> [Tensor; 2] {
        let nu_squared = Tensor::full([], nu_squared, (Kind::Double, d[0].device()));
        match self.variation {
            Variation::Anisotropic => d.each_ref().map(|d| nu_squared.addcmul(d, d)),
            Variation::Isotropic => {
                let both = nu_squared.addcmul(&d[0], &d[0]).addcmul_(&d[1], &d[1]);
                [both.shallow_clone(), both]
            }
        }
    }

    /// (d^2 + nu^2)^-1/2 for each difference.
    fn inverse_roots(&self, d: &[Tensor; 2], nu_squared: f64) -> [Tensor; 2] {
        let [mut first, mut second] = self.squares(d, nu_squared);
        match self.variation {
            Variation::Anisotropic => [first.rsqrt_(), second.rsqrt_()],
            Variation::Isotropic => {
                let root = first.rsqrt_();
                [root.shallow_clone(), root]
            }
        }
    }

    /// The squares whose roots h sums: both, or the one shared.
    fn roots<'s>(&self, squares: &'s [Tensor; 2]) -> &'s [Tensor] {
        match self.variation {
            Variation::Anisotropic => squares,
            Variation::Isotropic => &squares[..1],
        }
    }
}

/// (factor e^theta0, nu^2).
fn weight_and_smoothing(factor: f64, theta: &Tensor) -> (f64, f64) {
    let theta = Vec::<f64>::try_from(theta).expect("theta holds two float64 values");
    (factor * theta[0].exp(), (2.0 * theta[1]).exp())
}

impl Lower for TvLower {
    fn value(&self, x: &Tensor, theta: &Tensor) -> Tensor {
        let (weight, nu_squared) = weight_and_smoothing(self.factor, theta);
        let x = self.square(x);
        let squares = self.squares(&self.differences(&x), nu_squared);
        let variation: Tensor = self.roots(&squares).iter().map(|s| s.sqrt().sum(Kind::Double)).sum();
        ((x - &self.y).square().sum(Kind::Double) * 0.5 + variation * weight) * self.scale
    }

    /// [x - y + w D^T (D x / sqrt((D x)^2 + nu^2))]/N.
    fn grad_x(&self, x: &Tensor, theta: &Tensor) -> Tensor {
        let (weight, nu_squared) = weight_and_smoothing(self.factor, theta);
        let square = self.square(x);
        let d = self.differences(&square);
        let roots = self.inverse_roots(&d, nu_squared);
        let [mut dx, mut dy] = d;
        let u = [dx.g_mul_(&roots[0]), dy.g_mul_(&roots[1])];
        let mut grad = square - &self.y;
        self.add_adjoint(&grad, u, weight);
        if self.scale != 1.0 {
            grad = grad.g_mul_scalar_(self.scale);
        }
        self.like(x, grad)
    }

    fn grad_theta(&self, x: &Tensor, theta: &Tensor) -> Tensor {
        let (weight, nu_squared) = weight_and_smoothing(self.factor, theta);
        let squares = self.squares(&self.differences(&self.square(x)), nu_squared);
        let roots = self.roots(&squares);
        let by_weight: Tensor = roots.iter().map(|s| s.sqrt().sum(Kind::Double)).sum();
        let by_smoothing: Tensor = roots.iter().map(|s| s.rsqrt().sum(Kind::Double) * nu_squared).sum();
        Tensor::stack(&[by_weight, by_smoothing], 0) * (weight * self.scale)
    }

    fn products<'a>(&'a self, x: &Tensor, theta: &Tensor) -> Box<dyn Products + 'a> {
        let (weight, nu_squared) = weight_and_smoothing(self.factor, theta);
        let d = self.differences(&self.square(x));
        let root = self.inverse_roots(&d, nu_squared);
        let cube = root.each_ref().map(|r| r.pow_tensor_scalar(3));
        Box::new(TvProducts { lower: self, weight: weight * self.scale, nu_squared, d, root, cube })
    }

    /// mu = 1/N (the data term), L = (1 + 8 factor e^{theta0-theta1})/N: ||D||^2 <= 8 and a root's curvature is at most 1/nu.
    fn curvature(&self, theta: &Tensor) -> Result<Curvature> {
        let (weight, nu_squared) = weight_and_smoothing(self.factor, theta);
        let l = (1.0 + 8.0 * weight / nu_squared.sqrt()) * self.scale;
        ensure!(l.is_finite(), "lower level not smooth (L={l:e}) at theta = {:?}", Vec::<f64>::try_from(theta)?);
        Ok(Curvature { mu: self.scale, l })
    }
}

struct TvProducts<'a> {
    lower: &'a TvLower,
    /// factor e^theta0 / N.
    weight: f64,
    nu_squared: f64,
    d: [Tensor; 2],
    /// r = (d^2 + nu^2)^-1/2 and r^3.
    root: [Tensor; 2],
    cube: [Tensor; 2],
}

impl TvProducts<'_> {
    fn adjoint(&self, u: [Tensor; 2]) -> Tensor {
        let image = self.lower.y.zeros_like();
        self.lower.add_adjoint(&image, u, self.weight);
        image
    }

    /// dB/dtheta's two columns before the adjoint: d r for the weight, -d nu^2 r^3 for the smoothing.
    fn columns(&self) -> [[Tensor; 2]; 2] {
        let by_weight = [0, 1].map(|i| &self.d[i] * &self.root[i]);
        let by_smoothing = [0, 1].map(|i| &self.d[i] * &self.cube[i] * -self.nu_squared);
        [by_weight, by_smoothing]
    }
}

impl Products for TvProducts<'_> {
    /// The Hessian of a root is r^3 (nu^2 I + (d . d) I - d d^T), written so that there is no cancellation where |d| >> nu.
    fn hessian(&self, v: &Tensor) -> Tensor {
        let square = self.lower.square(v);
        let mut u = self.lower.differences(&square);
        let cross = match self.lower.variation {
            Variation::Anisotropic => None,
            Variation::Isotropic => Some(&self.d[1] * &u[0] - &self.d[0] * &u[1]),
        };
        for u in &mut u {
            let _ = u.g_mul_scalar_(self.nu_squared);
        }
        if let Some(mut cross) = cross {
            let _ = u[0].addcmul_(&self.d[1], &cross);
            let _ = u[1].addcmul_(&self.d[0], &cross.neg_());
        }
        for (u, cube) in u.iter_mut().zip(&self.cube) {
            let _ = u.g_mul_(cube);
        }
        let image = &square * self.lower.scale;
        self.lower.add_adjoint(&image, u, self.weight);
        self.lower.like(v, image)
    }

    fn mixed_transposed(&self, q: &Tensor) -> Tensor {
        let dq = self.lower.differences(&self.lower.square(q));
        let along = |u: [Tensor; 2]| -> Tensor { u.iter().zip(&dq).map(|(u, dq)| (u * dq).sum(Kind::Double)).sum() };
        Tensor::stack(&self.columns().map(along), 0) * self.weight
    }

    fn mixed(&self, u: &Tensor) -> Tensor {
        let u = Vec::<f64>::try_from(u).expect("u holds two float64 values");
        let [by_weight, by_smoothing] = self.columns();
        let sum = [0, 1].map(|i| &by_weight[i] * u[0] + &by_smoothing[i] * u[1]);
        let image = self.adjoint(sum);
        image.view([image.size()[0], -1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bilevel::AutogradProducts;
    use crate::bilevel::gradients;

    /// h in autograd's words.
    fn by_definition(lower: &TvLower, x: &Tensor, theta: &Tensor) -> Tensor {
        let (side, square) = (lower.y.size()[1], lower.square(x));
        let nu_squared = (theta.get(1) * 2.0).exp();
        let zero = |shape: [i64; 3]| Tensor::zeros(shape, (Kind::Double, x.device()));
        let n = square.size()[0];
        let dx = Tensor::cat(&[square.diff::<Tensor>(1, 2, None, None), zero([n, side, 1])], 2);
        let dy = Tensor::cat(&[square.diff::<Tensor>(1, 1, None, None), zero([n, 1, side])], 1);
        let root = |s: Tensor| (s + &nu_squared).sqrt();
        let variation = match lower.variation {
            Variation::Isotropic => root(dx.square() + dy.square()).sum(Kind::Double),
            Variation::Anisotropic => {
                let inside = |s: Tensor, dim: i64| root(s.narrow(dim, 0, side - 1).square()).sum(Kind::Double);
                inside(dx, 2) + inside(dy, 1)
            }
        };
        let data = (square - &lower.y).square().sum(Kind::Double) * 0.5;
        (data + theta.get(0).exp() * variation * lower.factor) * lower.scale
    }

    #[test]
    fn derivatives_agree_with_double_backward() {
        tch::manual_seed(1);
        let random = |shape: &[i64]| Tensor::randn(shape, tch::kind::DOUBLE_CPU);
        let (y, x, v, theta) =
            (random(&[2, 16]), random(&[2, 16]), random(&[2, 16]), Tensor::from_slice(&[-1.0, -2.0]));
        let u = Tensor::from_slice(&[0.3, -0.7]);
        let close = |a: &Tensor, b: &Tensor| assert!((a - b).abs().max().double_value(&[]) < 1e-12, "{a} {b}");
        for variation in [Variation::Anisotropic, Variation::Isotropic] {
            let lower = TvLower::new(&y, 4, variation, 0.5, true).unwrap();
            let h = |x: &Tensor, theta: &Tensor| by_definition(&lower, x, theta);
            close(&lower.value(&x, &theta), &h(&x, &theta));
            let leaves = [&x, &theta].map(|t| t.detach().set_requires_grad(true));
            let expected = gradients(&h(&leaves[0], &leaves[1]), &[&leaves[0], &leaves[1]], false);
            close(&lower.grad_x(&x, &theta), &expected[0]);
            close(&lower.grad_theta(&x, &theta), &expected[1]);
            let (by_hand, by_autograd) = (lower.products(&x, &theta), AutogradProducts::new(h, &x, &theta));
            close(&by_hand.hessian(&v), &by_autograd.hessian(&v));
            close(&by_hand.mixed_transposed(&v), &by_autograd.mixed_transposed(&v));
            close(&by_hand.mixed(&u), &by_autograd.mixed(&u));
        }
    }
}
