//! The data and the starts of the model problems, float64, a pure function of the seed.

use tch::{Device, Kind, Tensor};

use super::config::{Method, Problem};
use super::student::{Diagonal, Relu, Student, lengths};
use crate::native::{draw_normal, draw_uniform};
use crate::rng;

/// One stacked model.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// `eta-0.01`, or `r0-4` where the starts differ instead.
    pub name: String,
    pub rate: f64,
    /// The unbalanced start's ratio.
    pub start_ratio: Option<f64>,
    pub replica: i64,
}

/// All models and their data, the models of a replica beside each other.
pub struct Stack {
    pub labels: Vec<Label>,
    pub student: Box<dyn Student>,
    /// `[R, n, d]`, `[R, n]`.
    pub x: Tensor,
    pub y: Tensor,
    /// `[R, test, d]`, `[R, test]`.
    pub x_test: Tensor,
    pub y_test: Tensor,
    /// `[R]`.
    pub rates: Tensor,
}

impl Stack {
    pub fn build(method: &Method, seed: u64, device: Device) -> Stack {
        let labels = labels(method);
        let replicas = (0..method.replicas).map(|i| Replica::draw(method, rng::mix(seed, &format!("replica {i}"))));
        let replicas: Vec<Replica> = replicas.collect();
        let stacked = |part: fn(&Replica) -> &Tensor| {
            let parts: Vec<&Tensor> = labels.iter().map(|l| part(&replicas[l.replica as usize])).collect();
            Tensor::stack(&parts, 0).to_device(device)
        };
        let (first, second) = (stacked(|r| &r.first), stacked(|r| &r.second));
        let student: Box<dyn Student> = match method.problem {
            Problem::Relu => Box::new(Relu { w: first, a: second }),
            _ => Box::new(Diagonal { v: unbalance(&labels, &first, second), u: first }),
        };
        let rates: Vec<f64> = labels.iter().map(|l| l.rate).collect();
        Stack {
            student,
            x: stacked(|r| &r.x),
            y: stacked(|r| &r.y),
            x_test: stacked(|r| &r.x_test),
            y_test: stacked(|r| &r.y_test),
            rates: Tensor::from_slice(&rates).to_device(device),
            labels,
        }
    }

    /// 1/2 mean e^2 of each model on the training set (`[R]`).
    pub fn losses(&self) -> Tensor {
        residuals(&*self.student, &self.x, &self.y).square().mean_dim(&[1i64][..], false, Kind::Double) * 0.5
    }

    /// mean e^2 of each model on the test set (`[R]`).
    pub fn test_errors(&self) -> Tensor {
        let e = residuals(&*self.student, &self.x_test, &self.y_test);
        e.square().mean_dim(&[1i64][..], false, Kind::Double)
    }
}

/// e = f - y, `[R, n]`.
pub fn residuals(student: &dyn Student, x: &Tensor, y: &Tensor) -> Tensor {
    student.forward(x).0 - y
}

fn labels(method: &Method) -> Vec<Label> {
    let mut labels = Vec::new();
    for replica in 0..method.replicas {
        match method.ratios[..] {
            [] => labels.extend(method.rates.iter().map(|&rate| Label {
                name: format!("eta-{rate}"),
                rate,
                start_ratio: None,
                replica,
            })),
            ref ratios => labels.extend(ratios.iter().map(|&r0| Label {
                name: format!("r0-{r0}"),
                rate: method.rates[0],
                start_ratio: Some(r0),
                replica,
            })),
        }
    }
    labels
}

/// v = c s u with random signs s (those of the normal start) and c = r0 + sqrt(r0^2 - 1), so that r(theta_0) = r0.
fn unbalance(labels: &[Label], u: &Tensor, normal: Tensor) -> Tensor {
    let Some(ratios) = labels.iter().map(|l| l.start_ratio).collect::<Option<Vec<f64>>>() else { return normal };
    let c: Vec<f64> = ratios.iter().map(|r| r + (r * r - 1.0).sqrt()).collect();
    normal.sign() * u * Tensor::from_slice(&c).to_device(u.device()).unsqueeze(1)
}

/// One data set and one start.
struct Replica {
    x: Tensor,
    y: Tensor,
    x_test: Tensor,
    y_test: Tensor,
    /// u, or w.
    first: Tensor,
    /// v, or a.
    second: Tensor,
}

impl Replica {
    fn draw(method: &Method, seed: u64) -> Replica {
        let (d, m, k) = (method.inputs, method.width, method.teacher);
        let normal = |what: &str, shape: &[i64], std: f64| {
            let values = Tensor::empty(shape, (Kind::Double, Device::Cpu));
            draw_normal(&values, 0.0, std, rng::mix(seed, what)).expect("a fresh float64 tensor can be filled");
            values
        };
        match method.problem {
            Problem::Relu => {
                // On the sphere of radius sqrt(d); the teacher's weights on the unit sphere.
                let sphere = |what: &str, n: i64| {
                    let x = normal(what, &[n, d], 1.0);
                    &x / lengths(&x).unsqueeze(1)
                };
                let teacher = sphere("teacher", k);
                let f = |x: &Tensor| x.matmul(&teacher.tr()).relu().sum_dim_intlist(&[1i64][..], false, Kind::Double);
                let [x, x_test] = [("x", method.examples), ("x test", method.test)]
                    .map(|(what, n)| sphere(what, n) * (d as f64).sqrt());
                let first = normal("w", &[m, d], (d as f64).powf(-0.25));
                Replica { y: f(&x), y_test: f(&x_test), x, x_test, first, second: normal("a", &[m], 1.0) }
            }
            _ => {
                let uniform = |what: &str, n: i64| {
                    let x = Tensor::empty([n, d], (Kind::Double, Device::Cpu));
                    draw_uniform(&x, -1.0, 1.0, rng::mix(seed, what)).expect("a fresh float64 tensor can be filled");
                    x
                };
                // beta* = (1, ..., 1, 0, ..., 0) with k ones.
                let f = |x: &Tensor| x.narrow(1, 0, k).sum_dim_intlist(&[1i64][..], false, Kind::Double);
                let (x, x_test) = (uniform("x", method.examples), uniform("x test", method.test));
                // Unbalanced starts begin small: a ~ N(0, 0.1).
                let std = if method.ratios.is_empty() { 1.0 } else { 0.1f64.sqrt() };
                let (first, second) = (normal("u", &[d], std), normal("v", &[d], 1.0));
                Replica { y: f(&x), y_test: f(&x_test), x, x_test, first, second }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unbalanced_starts_have_the_ratio_asked_for() {
        let method = Method {
            problem: Problem::Diagonal,
            ratios: vec![1.0, 4.0],
            rates: vec![0.05],
            replicas: 2,
            ..Method::default()
        };
        let stack = Stack::build(&method, 1, Device::Cpu);
        let ratios: Vec<f64> = (0..4).map(|r| stack.student.ratio(r)).collect();
        assert!(ratios.iter().zip([1.0, 4.0, 1.0, 4.0]).all(|(a, e)| (a - e).abs() < 1e-12), "{ratios:?}");
        assert_eq!(stack.x.get(0), stack.x.get(1));
        assert_ne!(stack.x.get(0), stack.x.get(2));
    }

    #[test]
    fn relu_inputs_lie_on_the_sphere_and_the_start_has_a_path_norm_of_about_m() {
        let method = Method { problem: Problem::Relu, width: 100, inputs: 100, ..Method::default() };
        let stack = Stack::build(&method, 1, Device::Cpu);
        assert!((lengths(&stack.x.get(0)) - 10.0).abs().max().double_value(&[]) < 1e-9);
        // E |a| ||w|| = sqrt(2/pi) d^(1/4).
        let norm = stack.student.norm(0);
        assert!((200.0..310.0).contains(&norm), "{norm}");
    }
}
