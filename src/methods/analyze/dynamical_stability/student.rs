//! The two model problems, many models stacked: tensors `[R, ...]`, one model a row, each with its own rate. Gradients are
//! explicit formulas, because steps of one example are bound by launches.

use tch::{Kind, Tensor};

/// R models that are trained side by side on the squared loss 1/2 mean e^2.
pub trait Student {
    /// The free parameters, each `[R, ...]`.
    fn tensors(&self) -> Vec<&Tensor>;

    fn tensors_mut(&mut self) -> Vec<&mut Tensor>;

    /// f of x `[R, B, d]`: `[R, B]`, and what the gradients need of the pass.
    fn forward(&self, x: &Tensor) -> (Tensor, Tensor);

    /// Gradients of 1/2 mean e^2 over a batch with residuals e `[R, B]`, shaped as the tensors.
    fn gradients(&self, x: &Tensor, pass: &Tensor, e: &Tensor) -> Vec<Tensor>;

    /// The gradients of f at each example of x `[n, d]` in model r: `[n, p]`.
    fn per_example(&self, r: i64, x: &Tensor) -> Tensor;

    /// The norm that the trace controls, of model r: path norm or l1 norm.
    fn norm(&self, r: i64) -> f64;

    /// What unbalanced factors cost, of model r: 1 where they are balanced.
    fn ratio(&self, r: i64) -> f64;
}

/// One step of all models: x `[R, B, d]`, y `[R, B]`, rates `[R]`. Gradients longer than `clip` are shortened to it
/// (factor min(1, clip/(norm + 1e-6)) on each model's whole gradient). Returns the residuals before the step, `[R, B]`.
pub fn sgd_step(student: &mut dyn Student, x: &Tensor, y: &Tensor, rates: &Tensor, clip: Option<f64>) -> Tensor {
    let (f, pass) = student.forward(x);
    let e = f - y;
    let gradients = student.gradients(x, &pass, &e);
    let factor = match clip {
        None => rates.shallow_clone(),
        Some(clip) => {
            let square = |g: &Tensor| g.flatten(1, -1).square().sum_dim_intlist(&[1i64][..], false, Kind::Double);
            let norm = gradients.iter().map(square).reduce(|a, b| a + b).expect("a student has tensors").sqrt();
            ((norm + 1e-6).reciprocal() * clip).clamp_max(1.0) * rates
        }
    };
    for (tensor, gradient) in student.tensors_mut().into_iter().zip(&gradients) {
        let mut shape = vec![1; gradient.dim()];
        shape[0] = -1;
        let _ = tensor.addcmul_(gradient, &(-&factor).view(shape.as_slice()));
    }
    e
}

fn host(value: Tensor) -> f64 {
    value.double_value(&[])
}

/// f(x) = <u o v, x>.
pub struct Diagonal {
    /// `[R, d]` each.
    pub u: Tensor,
    pub v: Tensor,
}

impl Student for Diagonal {
    fn tensors(&self) -> Vec<&Tensor> {
        vec![&self.u, &self.v]
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        vec![&mut self.u, &mut self.v]
    }

    fn forward(&self, x: &Tensor) -> (Tensor, Tensor) {
        let beta = &self.u * &self.v;
        (x.matmul(&beta.unsqueeze(2)).squeeze_dim(2), beta)
    }

    fn gradients(&self, x: &Tensor, _beta: &Tensor, e: &Tensor) -> Vec<Tensor> {
        let s = e.unsqueeze(1).matmul(x).squeeze_dim(1) / e.size()[1] as f64;
        vec![&s * &self.v, &s * &self.u]
    }

    fn per_example(&self, r: i64, x: &Tensor) -> Tensor {
        Tensor::cat(&[x * self.v.get(r), x * self.u.get(r)], 1)
    }

    /// ||u o v||_1.
    fn norm(&self, r: i64) -> f64 {
        host((self.u.get(r) * self.v.get(r)).abs().sum(Kind::Double))
    }

    /// sum (u^2 + v^2) / (2 sum |u v|); 0 where u o v = 0.
    fn ratio(&self, r: i64) -> f64 {
        let (l1, squares) = (self.norm(r), self.u.get(r).square() + self.v.get(r).square());
        if l1 > 0.0 { host(squares.sum(Kind::Double)) / (2.0 * l1) } else { 0.0 }
    }
}

/// f(x) = sum_j a_j relu(w_j^T x).
pub struct Relu {
    /// `[R, m, d]`.
    pub w: Tensor,
    /// `[R, m]`.
    pub a: Tensor,
}

impl Student for Relu {
    fn tensors(&self) -> Vec<&Tensor> {
        vec![&self.w, &self.a]
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        vec![&mut self.w, &mut self.a]
    }

    /// The pass is relu(W x), `[R, B, m]`.
    fn forward(&self, x: &Tensor) -> (Tensor, Tensor) {
        let h = x.matmul(&self.w.transpose(1, 2)).relu();
        (h.matmul(&self.a.unsqueeze(2)).squeeze_dim(2), h)
    }

    fn gradients(&self, x: &Tensor, h: &Tensor, e: &Tensor) -> Vec<Tensor> {
        let scaled = e / e.size()[1] as f64;
        let active = h.gt(0.0).to_kind(Kind::Double) * scaled.unsqueeze(2) * self.a.unsqueeze(1);
        vec![active.transpose(1, 2).matmul(x), scaled.unsqueeze(1).matmul(h).squeeze_dim(1)]
    }

    fn per_example(&self, r: i64, x: &Tensor) -> Tensor {
        let h = x.matmul(&self.w.get(r).tr()).relu();
        let active = h.gt(0.0).to_kind(Kind::Double) * self.a.get(r);
        let of_w = (active.unsqueeze(2) * x.unsqueeze(1)).flatten(1, 2);
        Tensor::cat(&[of_w, h], 1)
    }

    /// The path norm sum_j |a_j| ||w_j||.
    fn norm(&self, r: i64) -> f64 {
        host((self.a.get(r).abs() * lengths(&self.w.get(r))).sum(Kind::Double))
    }

    /// sum (||w_j||^2 + d a_j^2) / (2 sqrt(d) path norm); 0 where the path norm is 0.
    fn ratio(&self, r: i64) -> f64 {
        let d = self.w.size()[2] as f64;
        let squares = self.w.get(r).square().sum(Kind::Double) + self.a.get(r).square().sum(Kind::Double) * d;
        let norm = self.norm(r);
        if norm > 0.0 { host(squares) / (2.0 * d.sqrt() * norm) } else { 0.0 }
    }
}

/// ||w_j|| of the rows of w `[m, d]`.
pub fn lengths(w: &Tensor) -> Tensor {
    w.square().sum_dim_intlist(&[1i64][..], false, Kind::Double).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn random(shape: &[i64]) -> Tensor {
        Tensor::randn(shape, (Kind::Double, Device::Cpu))
    }

    fn students() -> [Box<dyn Student>; 2] {
        tch::manual_seed(1);
        let diagonal = Diagonal { u: random(&[2, 4]), v: random(&[2, 4]) };
        [Box::new(diagonal), Box::new(Relu { w: random(&[2, 3, 4]), a: random(&[2, 3]) })]
    }

    #[test]
    fn a_batch_gradient_is_the_mean_of_residuals_times_example_gradients() {
        for student in students() {
            let x = random(&[2, 5, 4]);
            let (f, pass) = student.forward(&x);
            let batch = student.gradients(&x, &pass, &f);
            for r in 0..2 {
                let rows = student.per_example(r, &x.get(r));
                let expected = rows.tr().mv(&f.get(r)) / 5.0;
                let flat: Vec<Tensor> = batch.iter().map(|g| g.get(r).contiguous().view(-1)).collect();
                assert!((Tensor::cat(&flat, 0) - expected).abs().max().double_value(&[]) < 1e-12);
            }
        }
    }

    #[test]
    fn stacked_models_do_not_see_each_other_and_each_has_its_rate() {
        for mut student in students() {
            let before: Vec<Tensor> = student.tensors().iter().map(|t| t.copy()).collect();
            let x = random(&[2, 1, 4]);
            let rates = Tensor::from_slice(&[0.0, 0.1]);
            let _ =
                sgd_step(student.as_mut(), &x, &Tensor::ones([2, 1], (Kind::Double, Device::Cpu)), &rates, Some(1.0));
            let moved = |r: i64| before.iter().zip(student.tensors()).any(|(b, t)| b.get(r) != t.get(r));
            assert!(!moved(0) && moved(1));
        }
    }
}
