//! Causal self-attention with grouped keys and values, through libtorch's fused kernel.

use tch::{Device, Kind, Tensor};

use super::cache::KvCache;
use super::config::{DecoderConfig, Family};
use super::norm::RmsNorm;
use super::rope::Rotation;
use crate::models::Cx;
use crate::models::layers::Linear;
use crate::params::Builder;

/// Who may look at whom.
pub enum Mask {
    /// Every token at itself and all before it; no cache, no padding.
    Causal,
    /// One new token without padding: at everything.
    All,
    /// bool `[T, S]` or `[B, 1, T, S]`: true where a query may look.
    Given(Tensor),
}

impl Mask {
    /// For `new` tokens after `past` ones; `padding` `[B, past + new]` is 1 at real tokens.
    pub fn new(past: i64, new: i64, padding: Option<&Tensor>, device: Device) -> Mask {
        match padding {
            None if past == 0 => Mask::Causal,
            None if new == 1 => Mask::All,
            None => Mask::Given(causal(past, new, device)),
            Some(padding) => {
                let real = padding.to_kind(Kind::Bool).unsqueeze(1).unsqueeze(1);
                let seen = causal(past, new, device).logical_and(&real);
                // A padding token before the first real one sees nothing: let it see itself, or its row becomes NaN.
                let itself = Tensor::ones([new, past + new], (Kind::Bool, device))
                    .tril(past)
                    .logical_and(&Tensor::ones([new, past + new], (Kind::Bool, device)).triu(past));
                let blind = seen.any_dim(-1, true).logical_not();
                Mask::Given(seen.logical_or(&itself.logical_and(&blind)))
            }
        }
    }
}

fn causal(past: i64, new: i64, device: Device) -> Tensor {
    Tensor::ones([new, past + new], (Kind::Bool, device)).tril(past)
}

enum QueryNorm {
    None,
    /// Over the head's width (Qwen3-MoE).
    Head(RmsNorm, RmsNorm),
    /// Over all heads together, before they are split, then clipped (OLMoE).
    Whole(RmsNorm, RmsNorm),
}

pub struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    norm: QueryNorm,
    head_dim: i64,
    grouped: bool,
    clip: f64,
}

impl Attention {
    pub fn new(mut b: Builder, c: &DecoderConfig) -> Attention {
        let (d, head, std) = (c.hidden_size, c.head_width(), c.initializer_range);
        let (queries, keys) = (c.num_attention_heads * head, c.kv_heads() * head);
        let mut linear = |name, inputs, outputs, bias| Linear::normal(&mut b.part(name), inputs, outputs, bias, std);
        let (q_proj, k_proj) =
            (linear("q_proj", d, queries, c.query_bias()), linear("k_proj", d, keys, c.query_bias()));
        let (v_proj, o_proj) =
            (linear("v_proj", d, keys, c.query_bias()), linear("o_proj", queries, d, c.output_bias()));
        let mut pair = |q, k| {
            (RmsNorm::new(b.part("q_norm"), q, c.rms_norm_eps), RmsNorm::new(b.part("k_norm"), k, c.rms_norm_eps))
        };
        let norm = match c.family {
            Family::Qwen3Moe => {
                let (q, k) = pair(head, head);
                QueryNorm::Head(q, k)
            }
            Family::Olmoe => {
                let (q, k) = pair(queries, keys);
                QueryNorm::Whole(q, k)
            }
            _ => QueryNorm::None,
        };
        let grouped = c.kv_heads() != c.num_attention_heads;
        Attention { q_proj, k_proj, v_proj, o_proj, norm, head_dim: head, grouped, clip: c.clip_qkv }
    }

    /// `[B, T, D]` to `[B, T, D]`; with a cache, `layer` is this layer's place in it.
    pub fn forward(
        &self,
        cx: &Cx,
        x: &Tensor,
        rotation: &Rotation,
        mask: &Mask,
        cache: Option<(&mut KvCache, usize)>,
    ) -> Tensor {
        let (batch, t, _) = x.size3().expect("[batch, tokens, width]");
        let [mut q, mut k, mut v] = [&self.q_proj, &self.k_proj, &self.v_proj].map(|linear| linear.forward(cx, x));
        if let QueryNorm::Whole(q_norm, k_norm) = &self.norm {
            (q, k) = (q_norm.forward(cx, &q), k_norm.forward(cx, &k));
        }
        if self.clip > 0.0 {
            [q, k, v] = [q, k, v].map(|y| y.clamp(-self.clip, self.clip));
        }
        let [mut q, mut k, v] = [q, k, v].map(|y| y.view([batch, t, -1, self.head_dim]).transpose(1, 2));
        if let QueryNorm::Head(q_norm, k_norm) = &self.norm {
            (q, k) = (q_norm.forward(cx, &q), k_norm.forward(cx, &k));
        }
        let (q, k) = (rotation.apply(&q), rotation.apply(&k));
        let (k, v) = match cache {
            Some((cache, layer)) => cache.append(layer, &k, &v),
            None => (k, v),
        };
        let (given, causal) = match mask {
            Mask::Causal => (None, true),
            Mask::All => (None, false),
            Mask::Given(mask) => (Some(mask), false),
        };
        // Head g of keys and values serves the query heads g H/KV .. (g+1) H/KV; scores are divided by sqrt(head).
        let y = Tensor::scaled_dot_product_attention(&q, &k, &v, given, 0.0, causal, None, self.grouped);
        self.o_proj.forward(cx, &y.transpose(1, 2).reshape([batch, t, -1]))
    }
}
