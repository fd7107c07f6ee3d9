//! Decoder-only language models: LLaMA, Qwen2, Qwen3-MoE, OLMoE, DeepSeekMoE.
//!
//! x = E[ids]; in every layer x += attention(norm(x)), x += mlp(norm(x)); logits = head(norm(x)). Parameters have their public
//! names (`model.layers.0.self_attn.q_proj.weight`), so checkpoints go in and out unchanged.

mod attention;
mod block;
mod cache;
mod config;
mod generate;
mod loss;
mod mlp;
mod moe;
mod norm;
mod ops;
mod rope;
mod sample;

pub use cache::KvCache;
pub use config::{DecoderConfig, Family};
pub use generate::{Generation, generate};
pub use loss::{IGNORED, next_token_loss};
pub use moe::{Balance, Choice, Routing, load_balance};
pub use ops::OPS;
pub use rope::{RopeKind, RopeScaling, Rotation, inverse_frequencies};
pub use sample::{Sampling, sample};

use anyhow::{Result, ensure};
use tch::{Kind, Tensor};

use self::attention::Mask;
use self::block::Block;
use self::norm::RmsNorm;
use super::layers::Linear;
use super::{Arch, Cx, Model};
use crate::params::channels::ChannelGroup;
use crate::params::{Builder, Init, ParamId, ParamStore, Role};

pub struct Decoder {
    config: DecoderConfig,
    embed_tokens: ParamId,
    layers: Vec<Block>,
    norm: RmsNorm,
    /// None: the embedding table is the head.
    lm_head: Option<Linear>,
}

/// What a decoder made of a batch.
pub struct Hidden {
    /// After the final norm, `[B, T, D]`.
    pub last: Tensor,
    /// On request the stream before each layer (the embeddings first) and `last`: layers + 1 times `[B, T, D]`.
    pub states: Vec<Tensor>,
    /// Of each mixture layer `[B T, E]`, before the soft-max.
    pub router_logits: Vec<Tensor>,
}

/// A batch of token ids int64 `[B, T]`.
pub struct Tokens<'a> {
    pub ids: &'a Tensor,
    /// `[B, past + T]`, 1 at real tokens, on either side of them padding; None: no padding.
    pub mask: Option<&'a Tensor>,
    /// Whether to return the stream before each layer.
    pub states: bool,
}

impl<'a> Tokens<'a> {
    pub fn new(ids: &'a Tensor) -> Tokens<'a> {
        Tokens { ids, mask: None, states: false }
    }

    pub fn masked(ids: &'a Tensor, mask: &'a Tensor) -> Tokens<'a> {
        Tokens { ids, mask: Some(mask), states: false }
    }

    pub fn with_states(self) -> Tokens<'a> {
        Tokens { states: true, ..self }
    }
}

impl Decoder {
    pub fn new(b: &mut Builder, config: &DecoderConfig) -> Result<Decoder> {
        config.check()?;
        let (vocabulary, width, std) = (config.vocab_size, config.hidden_size, config.initializer_range);
        let mut inner = b.part("model");
        let embed_tokens =
            inner.part("embed_tokens").tensor("weight", Role::Embedding, &[vocabulary, width], Init::Normal(std));
        let layers = (0..config.num_hidden_layers)
            .map(|i| Block::new(inner.part(format_args!("layers.{i}")), config, i))
            .collect();
        let norm = RmsNorm::new(inner.part("norm"), width, config.rms_norm_eps);
        let lm_head = (!config.tie_word_embeddings)
            .then(|| Linear::normal(&mut b.part("lm_head"), width, vocabulary, false, std));
        Ok(Decoder { config: config.clone(), embed_tokens, layers, norm, lm_head })
    }

    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// An empty cache for `capacity` tokens a row.
    pub fn cache(&self, capacity: i64) -> KvCache {
        KvCache::new(self.layers.len(), capacity)
    }

    /// The stream through all layers. With a cache only the new tokens are given; the cache then holds them too, and there is no
    /// gradient through what it held. A cache without room is an error.
    pub fn hidden(&self, cx: &Cx, tokens: &Tokens, mut cache: Option<&mut KvCache>) -> Result<Hidden> {
        let (_, t) = tokens.ids.size2()?;
        let past = cache.as_deref().map_or(0, KvCache::len);
        if let Some(cache) = &cache {
            cache.room(t)?;
        }
        if let Some(mask) = tokens.mask {
            let (given, needed) = (mask.size(), [tokens.ids.size()[0], past + t]);
            ensure!(given == needed, "attention_mask has shape {given:?}, expected {needed:?}");
        }
        let device = tokens.ids.device();
        let mut x = Tensor::embedding(cx.get(self.embed_tokens), tokens.ids, -1, false, false);
        let rotation = self.rotation(tokens, past, x.kind());
        let mask = Mask::new(past, t, tokens.mask, device);
        let (mut states, mut router_logits) = (Vec::new(), Vec::new());
        for (i, layer) in self.layers.iter().enumerate() {
            if tokens.states {
                states.push(x.shallow_clone());
            }
            let place = cache.as_deref_mut().map(|cache| (cache, i));
            let (y, router) = layer.forward(cx, &x, &rotation, &mask, place);
            x = y;
            router_logits.extend(router);
        }
        if let Some(cache) = cache {
            cache.advance(t);
        }
        let last = self.norm.forward(cx, &x);
        if tokens.states {
            states.push(last.shallow_clone());
        }
        Ok(Hidden { last, states, router_logits })
    }

    /// Positions count the real tokens of a row.
    fn rotation(&self, tokens: &Tokens, past: i64, kind: Kind) -> Rotation {
        let c = &self.config;
        let device = tokens.ids.device();
        let frequencies = inverse_frequencies(c.head_width(), c.rope_theta, &c.rope_scaling, device);
        let t = tokens.ids.size()[1];
        let positions = match tokens.mask {
            Some(mask) => {
                let counted = mask.to_kind(Kind::Int64).cumsum(1, Kind::Int64) - 1;
                counted.clamp_min(0).narrow(1, past, t).unsqueeze(1)
            }
            None => Tensor::arange_start(past, past + t, (Kind::Int64, device)),
        };
        let kind = if kind == Kind::Double { Kind::Double } else { Kind::Float };
        Rotation::new(&positions, &frequencies, kind)
    }

    /// Logits `[.., V]` of hidden states `[.., D]`.
    pub fn head(&self, cx: &Cx, hidden: &Tensor) -> Tensor {
        match &self.lm_head {
            Some(head) => head.forward(cx, hidden),
            None => hidden.linear(cx.get(self.embed_tokens), None::<&Tensor>),
        }
    }

    /// Logits `[B, T, V]`.
    pub fn logits(&self, cx: &Cx, tokens: &Tokens) -> Result<Tensor> {
        Ok(self.head(cx, &self.hidden(cx, tokens, None)?.last))
    }
}

/// Token ids `[B, T]` to next-token logits `[B, T, V]`.
impl Model for Decoder {
    fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        self.head(cx, &self.features(cx, x))
    }

    /// `[B, T, D]`.
    fn features(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let ids = x.to_kind(Kind::Int64);
        self.hidden(cx, &Tokens::new(&ids), None).expect("ids [batch, tokens] without a cache").last
    }

    fn classifier(&self) -> Vec<ParamId> {
        self.lm_head.as_ref().map_or_else(|| vec![self.embed_tokens], Linear::params)
    }

    /// None: its heads and experts are not cut yet.
    fn channel_groups(&self, _store: &ParamStore) -> Vec<ChannelGroup> {
        Vec::new()
    }

    fn cut(&self, _keep: &[Vec<bool>]) -> Arch {
        Arch::Decoder(self.config.clone())
    }

    fn decoder(&self) -> Option<&Decoder> {
        Some(self)
    }
}
