//! Many small networks at once: each row of flat parameters is one of them.

use tch::Tensor;

/// The layers of a fully connected network whose parameters are one vector (weight, then bias, layer by layer).
#[derive(Clone, Debug)]
pub struct Policy {
    widths: Vec<i64>,
}

impl Policy {
    pub fn new(inputs: i64, hidden: &[i64], outputs: i64) -> Policy {
        Policy { widths: [&[inputs], hidden, &[outputs]].concat() }
    }

    /// Sizes of weight, bias, weight, ...
    pub fn sizes(&self) -> Vec<i64> {
        self.widths.windows(2).flat_map(|w| [w[0] * w[1], w[1]]).collect()
    }

    /// Standard deviations of He's initial values: sqrt(2/fan_in), 0 for biases; one a parameter.
    pub fn initial_std(&self) -> Vec<f32> {
        let layer = |w: &[i64]| {
            let std = (2.0 / w[0] as f64).sqrt() as f32;
            [vec![std; (w[0] * w[1]) as usize], vec![0.0; w[1] as usize]].concat()
        };
        self.widths.windows(2).flat_map(layer).collect()
    }

    /// Outputs `[N, B, outputs]` of the networks with parameters `[N, D]` on inputs `[N, B, inputs]`.
    pub fn forward(&self, parameters: &Tensor, x: &Tensor, activation: fn(&Tensor) -> Tensor) -> Tensor {
        let n = parameters.size()[0];
        let parts = parameters.split_with_sizes(self.sizes(), 1);
        let last = self.widths.len() - 2;
        (0..=last).fold(x.shallow_clone(), |x, layer| {
            let weight = parts[2 * layer].view([n, self.widths[layer + 1], self.widths[layer]]);
            let y = parts[2 * layer + 1].unsqueeze(1).baddbmm(&x, &weight.transpose(1, 2), 1.0, 1.0);
            if layer < last { activation(&y) } else { y }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn stacked_networks_are_the_single_ones() {
        tch::manual_seed(1);
        let policy = Policy::new(3, &[5], 2);
        assert_eq!(policy.sizes(), [15, 5, 10, 2]);
        let parameters = Tensor::randn([4, 32], (Kind::Float, Device::Cpu));
        let x = Tensor::randn([4, 1, 3], (Kind::Float, Device::Cpu));
        let y = policy.forward(&parameters, &x, Tensor::tanh);
        let p = parameters.get(2).split_with_sizes(policy.sizes(), 0);
        let h = (p[0].view([5, 3]).mv(&x.get(2).get(0)) + &p[1]).tanh();
        let expected = p[2].view([2, 5]).mv(&h) + &p[3];
        assert!((y.get(2).get(0) - expected).abs().max().double_value(&[]) < 1e-5);
    }
}
