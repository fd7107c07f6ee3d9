//! down(silu(gate(x)) * up(x)).

use tch::Tensor;

use crate::models::Cx;
use crate::models::layers::Linear;
use crate::params::Builder;

pub struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

impl Mlp {
    pub fn new(mut b: Builder, width: i64, inner: i64, bias: bool, std: f64) -> Mlp {
        let mut linear = |name, inputs, outputs| Linear::normal(&mut b.part(name), inputs, outputs, bias, std);
        Mlp {
            gate_proj: linear("gate_proj", width, inner),
            up_proj: linear("up_proj", width, inner),
            down_proj: linear("down_proj", inner, width),
        }
    }

    pub fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        self.down_proj.forward(cx, &(self.gate_proj.forward(cx, x).silu() * self.up_proj.forward(cx, x)))
    }
}
