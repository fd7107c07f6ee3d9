//! Problem `logreg`: one l2 penalty a weight of a linear softmax classifier.
//!
//! x [d, C], theta [d, C]; h = mean CE(a x, labels) + 1/2 sum_jc e^theta_jc x_jc^2 on training data, g = mean CE on validation data.

use anyhow::{Result, ensure};
use tch::{Kind, Reduction, Tensor};

use crate::bilevel::{Curvature, Lower, Products, Upper};

/// Mean cross-entropy of the linear classifier on one data set.
pub struct CrossEntropy {
    a: Tensor,
    labels: Tensor,
    /// Half the largest eigenvalue of a^T a / n: the cross-entropy's Hessian in the logits is at most 1/2.
    smoothness: f64,
}

impl CrossEntropy {
    /// a [n,d] float64, labels i64[n].
    pub fn new(a: &Tensor, labels: &Tensor) -> Result<CrossEntropy> {
        let (n, classes_of) = (a.size()[0], labels.size());
        ensure!(n > 0, "the data set is empty: cross-entropy needs at least one sample");
        ensure!(classes_of == [n], "labels have shape {classes_of:?}, the features need [{n}]");
        let gram = a.tr().matmul(a) / n as f64;
        let smoothness = 0.5 * gram.linalg_eigvalsh("L").max().double_value(&[]);
        Ok(CrossEntropy { a: a.shallow_clone(), labels: labels.shallow_clone(), smoothness })
    }

    fn samples(&self) -> f64 {
        self.labels.size()[0] as f64
    }

    fn value(&self, x: &Tensor) -> Tensor {
        self.a.matmul(x).cross_entropy_loss::<Tensor>(&self.labels, None, Reduction::Mean, -100, 0.0)
    }

    /// softmax(a x) [n, C].
    fn probabilities(&self, x: &Tensor) -> Tensor {
        self.a.matmul(x).softmax(1, Kind::Double)
    }

    /// a^T (P - onehot)/n.
    fn grad(&self, x: &Tensor) -> Tensor {
        let minus_one = Tensor::full([self.labels.size()[0], 1], -1.0, (Kind::Double, x.device()));
        let error = self.probabilities(x).scatter_add(1, &self.labels.unsqueeze(1), &minus_one);
        self.a.tr().matmul(&error) / self.samples()
    }
}

impl Upper for CrossEntropy {
    fn value_and_grad(&self, x: &Tensor) -> (Tensor, Tensor) {
        (self.value(x), self.grad(x))
    }

    fn smoothness(&self) -> f64 {
        self.smoothness
    }
}

/// h.
pub struct LogisticLower(pub CrossEntropy);

impl Lower for LogisticLower {
    fn value(&self, x: &Tensor, theta: &Tensor) -> Tensor {
        self.0.value(x) + (theta.exp() * x.square()).sum(Kind::Double) * 0.5
    }

    fn grad_x(&self, x: &Tensor, theta: &Tensor) -> Tensor {
        self.0.grad(x) + theta.exp() * x
    }

    fn grad_theta(&self, x: &Tensor, theta: &Tensor) -> Tensor {
        theta.exp() * x.square() * 0.5
    }

    fn products<'a>(&'a self, x: &Tensor, theta: &Tensor) -> Box<dyn Products + 'a> {
        let weights = theta.exp();
        Box::new(LogisticProducts { p: self.0.probabilities(x), jacobian: &weights * x, weights, data: &self.0 })
    }

    fn curvature(&self, theta: &Tensor) -> Result<Curvature> {
        let mu = theta.min().double_value(&[]).exp();
        let l = self.0.smoothness + theta.max().double_value(&[]).exp();
        ensure!(mu > 0.0 && l.is_finite(), "lower level not strongly convex (mu={mu:e}) or not smooth (L={l:e})");
        Ok(Curvature { mu, l })
    }
}

struct LogisticProducts<'a> {
    data: &'a CrossEntropy,
    /// softmax(a x).
    p: Tensor,
    /// e^theta.
    weights: Tensor,
    /// B is diagonal: e^theta x.
    jacobian: Tensor,
}

impl Products for LogisticProducts<'_> {
    fn hessian(&self, v: &Tensor) -> Tensor {
        let s = self.data.a.matmul(v);
        let mean = (&self.p * &s).sum_dim_intlist(1, true, Kind::Double);
        self.data.a.tr().matmul(&(&self.p * (s - mean))) / self.data.samples() + &self.weights * v
    }

    fn mixed_transposed(&self, q: &Tensor) -> Tensor {
        &self.jacobian * q
    }

    fn mixed(&self, u: &Tensor) -> Tensor {
        &self.jacobian * u
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bilevel::largest_eigenvalue;

    fn data() -> (Tensor, Tensor) {
        tch::manual_seed(4);
        (Tensor::randn([12, 5], tch::kind::DOUBLE_CPU), Tensor::from_slice(&[0i64, 1, 2]).repeat([4]))
    }

    #[test]
    fn curvature_holds_at_any_point() {
        let (a, labels) = data();
        let lower = LogisticLower(CrossEntropy::new(&a, &labels).unwrap());
        let (theta, x) =
            (Tensor::full([5, 3], -3.0, tch::kind::DOUBLE_CPU), Tensor::zeros([5, 3], tch::kind::DOUBLE_CPU));
        let Curvature { mu, l } = lower.curvature(&theta).unwrap();
        let products = lower.products(&x, &theta);
        let largest = largest_eigenvalue(|v| products.hessian(v), &Tensor::randn([5, 3], tch::kind::DOUBLE_CPU), 60);
        assert!((mu - (-3.0f64).exp()).abs() < 1e-15 && largest <= l && l <= 2.0 * largest, "{mu} {largest} {l}");
    }

    #[test]
    fn a_penalty_that_underflows_is_refused() {
        let (a, labels) = data();
        let lower = LogisticLower(CrossEntropy::new(&a, &labels).unwrap());
        let error = lower.curvature(&Tensor::full([5, 3], -1000.0, tch::kind::DOUBLE_CPU)).unwrap_err();
        assert!(error.to_string().contains("lower level not strongly convex (mu=0e0)"), "{error}");
    }

    #[test]
    fn an_empty_validation_set_is_refused() {
        let (a, labels) = data();
        assert!(CrossEntropy::new(&a.narrow(0, 0, 0), &labels.narrow(0, 0, 0)).is_err());
    }
}
