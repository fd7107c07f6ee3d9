//! The functional layers all networks are made of. Construction registers parameters (PyTorch names, PyTorch's default
//! initial values unless a scheme says otherwise); `forward` reads them from the context's view.

use tch::{Device, Tensor, no_grad};

use super::{Cx, InitScheme, LayerCost};
use crate::params::{Builder, Init, ParamId, ParamStore, Role};

/// y = x W^T + b, W `[out, in]`.
pub struct Linear {
    pub name: String,
    pub weight: ParamId,
    pub bias: Option<ParamId>,
}

impl Linear {
    pub fn new(b: &mut Builder, inputs: i64, outputs: i64, bias: bool, init: InitScheme) -> Linear {
        let weight = b.tensor("weight", Role::Weight, &[outputs, inputs], init.weight(inputs));
        let bias = bias.then(|| b.tensor("bias", Role::Bias, &[outputs], init.bias(inputs)));
        Linear { name: b.name().to_owned(), weight, bias }
    }

    /// Weights normal with deviation `std`, bias zero: how transformers start.
    pub fn normal(b: &mut Builder, inputs: i64, outputs: i64, bias: bool, std: f64) -> Linear {
        let weight = b.tensor("weight", Role::Weight, &[outputs, inputs], Init::Normal(std));
        let bias = bias.then(|| b.tensor("bias", Role::Bias, &[outputs], Init::Constant(0.0)));
        Linear { name: b.name().to_owned(), weight, bias }
    }

    /// Weight, then bias if there is one.
    pub fn params(&self) -> Vec<ParamId> {
        [Some(self.weight), self.bias].into_iter().flatten().collect()
    }

    /// Number of outputs.
    pub fn outputs(&self, store: &ParamStore) -> usize {
        store.get(self.weight).size()[0] as usize
    }

    /// `[.., in]` to `[.., out]`.
    pub fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let weight = cx.get(self.weight);
        cx.count(|| {
            let (outputs, inputs) = weight.size2().expect("a matrix");
            let positions: i64 = x.size()[1..x.dim() - 1].iter().product();
            let bias = if self.bias.is_some() { outputs } else { 0 };
            let output = [&x.size()[1..x.dim() - 1], &[outputs]].concat();
            LayerCost {
                layer: self.name.clone(),
                macs: positions * inputs * outputs,
                params: inputs * outputs + bias,
                output,
            }
        });
        if let Some(taps) = cx.taps {
            taps.input(&self.name, x);
        }
        let y = x.linear(weight, self.bias.map(|id| cx.get(id)));
        match cx.view.low_rank(self.weight) {
            Some(branch) => y + branch.forward(x),
            None => y,
        }
    }
}

/// 2-d cross-correlation, W `[out, in/groups, kh, kw]`.
pub struct Conv2d {
    pub name: String,
    pub weight: ParamId,
    pub bias: Option<ParamId>,
    pub stride: i64,
    pub padding: i64,
    pub groups: i64,
}

/// The shape of a convolution: `Conv::new(in, out, kernel)`, stride 1, no padding, no bias unless said.
#[derive(Clone, Copy)]
pub struct Conv {
    pub inputs: i64,
    pub outputs: i64,
    pub kernel: i64,
    pub stride: i64,
    pub padding: i64,
    pub groups: i64,
    pub bias: bool,
}

impl Conv {
    pub fn new(inputs: i64, outputs: i64, kernel: i64) -> Conv {
        Conv { inputs, outputs, kernel, stride: 1, padding: 0, groups: 1, bias: false }
    }

    pub fn stride(self, stride: i64) -> Conv {
        Conv { stride, ..self }
    }

    pub fn padding(self, padding: i64) -> Conv {
        Conv { padding, ..self }
    }

    pub fn groups(self, groups: i64) -> Conv {
        Conv { groups, ..self }
    }

    pub fn bias(self) -> Conv {
        Conv { bias: true, ..self }
    }
}

impl Conv2d {
    pub fn new(b: &mut Builder, c: Conv, init: InitScheme) -> Conv2d {
        let fan_in = c.inputs / c.groups * c.kernel * c.kernel;
        let shape = [c.outputs, c.inputs / c.groups, c.kernel, c.kernel];
        let weight = b.tensor("weight", Role::Weight, &shape, init.weight(fan_in));
        let bias = c.bias.then(|| b.tensor("bias", Role::Bias, &[c.outputs], init.bias(fan_in)));
        Conv2d { name: b.name().to_owned(), weight, bias, stride: c.stride, padding: c.padding, groups: c.groups }
    }

    /// Weight, then bias if there is one.
    pub fn params(&self) -> Vec<ParamId> {
        [Some(self.weight), self.bias].into_iter().flatten().collect()
    }

    /// Number of output channels.
    pub fn outputs(&self, store: &ParamStore) -> usize {
        store.get(self.weight).size()[0] as usize
    }

    /// `[N, in, H, W]` to `[N, out, H', W']`.
    pub fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let weight = cx.get(self.weight);
        let bias = self.bias.map(|id| cx.get(id));
        let y = x.conv2d(weight, bias, [self.stride, self.stride], [self.padding, self.padding], [1, 1], self.groups);
        cx.count(|| {
            let output = y.size()[1..].to_vec();
            let (macs, params) = conv_cost(&weight.size(), bias.is_some(), &output[1..]);
            LayerCost { layer: self.name.clone(), macs, params, output }
        });
        y
    }
}

/// (MACs, parameters) of a convolution with weight `[out, in/groups, kh, kw]` and output map `[H, W]`: every weight is used
/// once at every output position.
pub fn conv_cost(weight: &[i64], bias: bool, map: &[i64]) -> (i64, i64) {
    let weights: i64 = weight.iter().product();
    (weights * map.iter().product::<i64>(), weights + if bias { weight[0] } else { 0 })
}

/// Batch normalization over all but the channel dimension; in training mode the running statistics move in place.
pub struct BatchNorm {
    pub name: String,
    pub weight: ParamId,
    pub bias: ParamId,
    pub running_mean: ParamId,
    pub running_var: ParamId,
    pub tracked: ParamId,
    /// Added to the variance before its root.
    pub eps: f64,
}

impl BatchNorm {
    pub const EPS: f64 = 1e-5;
    pub const MOMENTUM: f64 = 0.1;

    pub fn new(b: &mut Builder, channels: i64) -> BatchNorm {
        BatchNorm {
            name: b.name().to_owned(),
            weight: b.tensor("weight", Role::NormScale, &[channels], Init::Constant(1.0)),
            bias: b.tensor("bias", Role::NormShift, &[channels], Init::Constant(0.0)),
            running_mean: b.tensor("running_mean", Role::Buffer, &[channels], Init::Constant(0.0)),
            running_var: b.tensor("running_var", Role::Buffer, &[channels], Init::Constant(1.0)),
            tracked: b.tensor("num_batches_tracked", Role::Counter, &[], Init::Constant(0.0)),
            eps: Self::EPS,
        }
    }

    /// Scale, shift and the running statistics: everything that carries one value a channel.
    pub fn per_channel(&self) -> [ParamId; 4] {
        [self.weight, self.bias, self.running_mean, self.running_var]
    }

    pub fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let (weight, bias) = (cx.get(self.weight), cx.get(self.bias));
        let (mean, var) = (cx.get(self.running_mean), cx.get(self.running_var));
        if cx.train {
            let _ = no_grad(|| cx.get(self.tracked).detach().g_add_scalar_(1));
        }
        cx.count(|| LayerCost {
            layer: self.name.clone(),
            macs: 0,
            params: 2 * weight.numel() as i64,
            output: x.size()[1..].to_vec(),
        });
        x.batch_norm(Some(weight), Some(bias), Some(mean), Some(var), cx.train, Self::MOMENTUM, self.eps, true)
    }
}

/// The images with their channels innermost in memory, where convolutions run faster so (the CPU's, by a quarter): what follows
/// keeps that order. `[N, C, H, W]` stays the shape.
pub fn channels_last(x: &Tensor) -> Tensor {
    if x.device() == Device::Cpu {
        x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
    } else {
        x.shallow_clone()
    }
}

/// Mean over the map: `[N, C, H, W]` to `[N, C]`.
pub fn global_average(x: &Tensor) -> Tensor {
    x.mean_dim([2i64, 3].as_slice(), false, None)
}
