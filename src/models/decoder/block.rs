//! One layer of the residual stream: x += attention(norm(x)), x += mlp(norm(x)).

use tch::Tensor;

use super::attention::{Attention, Mask};
use super::cache::KvCache;
use super::config::DecoderConfig;
use super::mlp::Mlp;
use super::moe::Moe;
use super::norm::RmsNorm;
use super::rope::Rotation;
use crate::models::Cx;
use crate::params::Builder;

enum FeedForward {
    Dense(Mlp),
    Experts(Moe),
}

pub struct Block {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: FeedForward,
}

impl Block {
    /// Layer `i`, from 0.
    pub fn new(mut b: Builder, c: &DecoderConfig, i: i64) -> Block {
        let input_layernorm = RmsNorm::new(b.part("input_layernorm"), c.hidden_size, c.rms_norm_eps);
        let self_attn = Attention::new(b.part("self_attn"), c);
        let post_attention_layernorm = RmsNorm::new(b.part("post_attention_layernorm"), c.hidden_size, c.rms_norm_eps);
        let (inner, std) = (c.intermediate_size, c.initializer_range);
        let mlp = match c.is_moe(i) {
            true => FeedForward::Experts(Moe::new(b.part("mlp"), c)),
            false => FeedForward::Dense(Mlp::new(b.part("mlp"), c.hidden_size, inner, c.mlp_bias, std)),
        };
        Block { input_layernorm, self_attn, post_attention_layernorm, mlp }
    }

    /// The stream `[B, T, D]` after this layer, and its router logits if it is a mixture.
    pub fn forward(
        &self,
        cx: &Cx,
        x: &Tensor,
        rotation: &Rotation,
        mask: &Mask,
        cache: Option<(&mut KvCache, usize)>,
    ) -> (Tensor, Option<Tensor>) {
        let x = x + self.self_attn.forward(cx, &self.input_layernorm.forward(cx, x), rotation, mask, cache);
        let y = self.post_attention_layernorm.forward(cx, &x);
        match &self.mlp {
            FeedForward::Dense(mlp) => (x + mlp.forward(cx, &y), None),
            FeedForward::Experts(moe) => {
                let (y, router) = moe.forward(cx, &y);
                (x + y, Some(router))
            }
        }
    }
}
