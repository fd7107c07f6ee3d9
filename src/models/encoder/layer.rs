//! One layer, normalized after each sum: LN(x + attention(x)), LN(x + feed-forward(x)).

use tch::Tensor;

use super::config::EncoderConfig;
use crate::models::Cx;
use crate::models::layers::Linear;
use crate::params::{Builder, Init, ParamId, Role};

pub struct LayerNorm {
    pub weight: ParamId,
    pub bias: ParamId,
    size: i64,
    eps: f64,
}

impl LayerNorm {
    /// Over the last dimension of `size` values.
    pub fn new(mut b: Builder, size: i64, eps: f64) -> LayerNorm {
        let weight = b.tensor("weight", Role::NormScale, &[size], Init::Constant(1.0));
        let bias = b.tensor("bias", Role::NormShift, &[size], Init::Constant(0.0));
        LayerNorm { weight, bias, size, eps }
    }

    pub fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        x.layer_norm([self.size], Some(cx.get(self.weight)), Some(cx.get(self.bias)), self.eps, true)
    }
}

/// LN(x + dropout(dense(y))).
struct AddNorm {
    dense: Linear,
    norm: LayerNorm,
    dropout: f64,
}

impl AddNorm {
    fn new(mut b: Builder, inputs: i64, c: &EncoderConfig) -> AddNorm {
        let dense = Linear::normal(&mut b.part("dense"), inputs, c.hidden_size, true, c.initializer_range);
        let norm = LayerNorm::new(b.part("LayerNorm"), c.hidden_size, c.layer_norm_eps);
        AddNorm { dense, norm, dropout: c.hidden_dropout_prob }
    }

    fn forward(&self, cx: &Cx, x: &Tensor, y: &Tensor) -> Tensor {
        self.norm.forward(cx, &(x + self.dense.forward(cx, y).dropout(self.dropout, cx.train)))
    }
}

pub struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: AddNorm,
    intermediate: Linear,
    output: AddNorm,
    heads: i64,
    attention_dropout: f64,
}

impl Layer {
    pub fn new(mut b: Builder, c: &EncoderConfig) -> Layer {
        let (d, std) = (c.hidden_size, c.initializer_range);
        let mut attention = b.part("attention");
        let mut inner = attention.part("self");
        let [query, key, value] =
            ["query", "key", "value"].map(|name| Linear::normal(&mut inner.part(name), d, d, true, std));
        let attention_output = AddNorm::new(attention.part("output"), d, c);
        let mut intermediate = b.part("intermediate");
        let intermediate = Linear::normal(&mut intermediate.part("dense"), d, c.intermediate_size, true, std);
        let output = AddNorm::new(b.part("output"), c.intermediate_size, c);
        let (heads, attention_dropout) = (c.num_attention_heads, c.attention_probs_dropout_prob);
        Layer { query, key, value, attention_output, intermediate, output, heads, attention_dropout }
    }

    /// `[B, T, D]` to `[B, T, D]`; `mask` bool `[B, 1, 1, T]` is true at real tokens.
    pub fn forward(&self, cx: &Cx, x: &Tensor, mask: &Tensor) -> Tensor {
        let (batch, t, width) = x.size3().expect("[batch, tokens, width]");
        let split =
            |linear: &Linear| linear.forward(cx, x).view([batch, t, self.heads, width / self.heads]).transpose(1, 2);
        let (q, k, v) = (split(&self.query), split(&self.key), split(&self.value));
        let dropout = if cx.train { self.attention_dropout } else { 0.0 };
        let y = Tensor::scaled_dot_product_attention(&q, &k, &v, Some(mask), dropout, false, None::<f64>, false);
        let x = self.attention_output.forward(cx, x, &y.transpose(1, 2).reshape([batch, t, width]));
        let inner = self.intermediate.forward(cx, &x).gelu("none");
        self.output.forward(cx, &x, &inner)
    }
}
