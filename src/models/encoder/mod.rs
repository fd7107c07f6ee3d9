//! Text encoders: BERT (with MiniLM sentence encoders) and RoBERTa.
//!
//! x = LN(word + position + type); in every layer LN(x + attention(x)), LN(x + feed-forward(x)). Parameters have their public
//! names (`encoder.layer.0.attention.self.query.weight`, with `bert.` or `roberta.` before them when a head stands beside).

mod config;
mod head;
mod layer;
mod ops;

pub use config::{EncoderConfig, EncoderFamily, Head};
pub use ops::OPS;

use anyhow::{Result, ensure};
use tch::{Kind, Tensor};

use self::head::HeadLayers;
use self::layer::{Layer, LayerNorm};
use super::layers::Linear;
use super::{Arch, Cx, Model};
use crate::params::channels::ChannelGroup;
use crate::params::{Builder, Init, ParamId, ParamStore, Role};

pub struct Encoder {
    config: EncoderConfig,
    words: ParamId,
    positions: ParamId,
    types: ParamId,
    norm: LayerNorm,
    layers: Vec<Layer>,
    pooler: Option<Linear>,
    head: HeadLayers,
}

/// A right-padded batch.
pub struct Words<'a> {
    /// int64 `[B, T]`.
    pub ids: &'a Tensor,
    /// `[B, T]`, 1 at real tokens.
    pub mask: &'a Tensor,
    /// int64 `[B, T]`: which part of the text a token belongs to (None: the first).
    pub types: Option<&'a Tensor>,
}

impl Encoder {
    pub fn new(b: &mut Builder, config: &EncoderConfig) -> Result<Encoder> {
        config.check()?;
        let (d, std) = (config.hidden_size, config.initializer_range);
        let prefix = config.prefix();
        let mut inner = if prefix.is_empty() { b.whole() } else { b.part(prefix) };
        let mut embeddings = inner.part("embeddings");
        let mut table =
            |name: &str, rows| embeddings.part(name).tensor("weight", Role::Embedding, &[rows, d], Init::Normal(std));
        let words = table("word_embeddings", config.vocab_size);
        let positions = table("position_embeddings", config.max_position_embeddings);
        let types = table("token_type_embeddings", config.type_vocab_size);
        let norm = LayerNorm::new(embeddings.part("LayerNorm"), d, config.layer_norm_eps);
        let layers = (0..config.num_hidden_layers)
            .map(|i| Layer::new(inner.part(format_args!("encoder.layer.{i}")), config))
            .collect();
        let pools = match config.head {
            Head::Pooler => true,
            Head::Classifier => config.family == EncoderFamily::Bert,
            Head::Plain | Head::MaskedLm => false,
        };
        let pooler = pools.then(|| {
            let mut pooler = inner.part("pooler");
            Linear::normal(&mut pooler.part("dense"), d, d, true, std)
        });
        let head = HeadLayers::new(b, config);
        Ok(Encoder { config: config.clone(), words, positions, types, norm, layers, pooler, head })
    }

    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// The last hidden states `[B, T, D]`. Texts longer than the position table are an error.
    pub fn hidden(&self, cx: &Cx, text: &Words) -> Result<Tensor> {
        let (_, t) = text.ids.size2()?;
        let pad = self.config.pad_token_id;
        let reserved = if self.config.family == EncoderFamily::Roberta { pad + 1 } else { 0 };
        let longest = self.config.max_position_embeddings - reserved;
        ensure!(t <= longest, "a text has {t} tokens, the encoder reads {longest} at most");
        let positions = match self.config.family {
            EncoderFamily::Bert => Tensor::arange(t, (Kind::Int64, text.ids.device())),
            EncoderFamily::Roberta => {
                let real = text.ids.ne(pad).to_kind(Kind::Int64);
                real.cumsum(1, Kind::Int64) * &real + pad
            }
        };
        let zeros;
        let types = match text.types {
            Some(types) => types,
            None => {
                zeros = text.ids.zeros_like();
                &zeros
            }
        };
        let row = |table: ParamId, index: &Tensor| Tensor::embedding(cx.get(table), index, -1, false, false);
        let x = row(self.words, text.ids) + row(self.types, types) + row(self.positions, &positions);
        let x = self.norm.forward(cx, &x).dropout(self.config.hidden_dropout_prob, cx.train);
        let mask = text.mask.to_kind(Kind::Bool).unsqueeze(1).unsqueeze(1);
        Ok(self.layers.iter().fold(x, |x, layer| layer.forward(cx, &x, &mask)))
    }

    /// tanh(W h_0 + b) `[B, D]`, if the network has a pooler.
    pub fn pooled(&self, cx: &Cx, hidden: &Tensor) -> Option<Tensor> {
        self.pooler.as_ref().map(|pooler| pooler.forward(cx, &hidden.select(1, 0)).tanh())
    }

    /// What the last layer reads.
    fn read_out(&self, cx: &Cx, hidden: &Tensor) -> Tensor {
        let dropout = |x: Tensor| x.dropout(self.config.hidden_dropout_prob, cx.train);
        match (&self.head, self.pooled(cx, hidden)) {
            (HeadLayers::TwoLayers(dense, _), _) => dropout(dense.forward(cx, &dropout(hidden.select(1, 0))).tanh()),
            (HeadLayers::Linear(_), Some(pooled)) => dropout(pooled),
            (HeadLayers::None, Some(pooled)) => pooled,
            _ => hidden.shallow_clone(),
        }
    }

    /// Logits of the last hidden states: `[B, num_labels]`, or `[B, T, V]` of a masked language model.
    pub fn head(&self, cx: &Cx, hidden: &Tensor) -> Tensor {
        self.head.forward(cx, &self.read_out(cx, hidden), self.words)
    }
}

/// The mean of hidden states `[B, T, D]` over real tokens: `[B, D]`.
pub fn mean_pooled(hidden: &Tensor, mask: &Tensor) -> Tensor {
    let mask = mask.to_kind(hidden.kind()).unsqueeze(-1);
    let sum = (hidden * &mask).sum_dim_intlist(1, false, None::<Kind>);
    sum / mask.sum_dim_intlist(1, false, None::<Kind>).clamp_min(1e-9)
}

/// Rows divided by their 2-norm: sentence embeddings.
pub fn unit(x: &Tensor) -> Tensor {
    x / x.linalg_norm(2.0, [-1i64].as_slice(), true, None::<Kind>).clamp_min(1e-12)
}

/// Token ids `[B, T]`, padded at their ends with `pad_token_id`, to the head's output.
impl Model for Encoder {
    fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        self.head.forward(cx, &self.features(cx, x), self.words)
    }

    fn features(&self, cx: &Cx, x: &Tensor) -> Tensor {
        let ids = x.to_kind(Kind::Int64);
        let mask = ids.ne(self.config.pad_token_id);
        let words = Words { ids: &ids, mask: &mask, types: None };
        let hidden = self.hidden(cx, &words).expect("ids [batch, tokens] within the position table");
        self.read_out(cx, &hidden)
    }

    fn classifier(&self) -> Vec<ParamId> {
        self.head.last(self.words)
    }

    /// None: its heads and feed-forward widths are not cut yet.
    fn channel_groups(&self, _store: &ParamStore) -> Vec<ChannelGroup> {
        Vec::new()
    }

    fn cut(&self, _keep: &[Vec<bool>]) -> Arch {
        Arch::Encoder(self.config.clone())
    }

    fn encoder(&self) -> Option<&Encoder> {
        Some(self)
    }
}
