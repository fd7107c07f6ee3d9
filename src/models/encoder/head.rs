//! What follows the last layer, under the names of the public checkpoints.

use tch::Tensor;

use super::config::{EncoderConfig, EncoderFamily, Head};
use super::layer::LayerNorm;
use crate::models::Cx;
use crate::models::layers::Linear;
use crate::params::{Builder, Init, ParamId, Role};

pub enum HeadLayers {
    None,
    /// BERT: logits of the pooler's output.
    Linear(Linear),
    /// RoBERTa: out_proj(tanh(dense(h_0))).
    TwoLayers(Linear, Linear),
    /// LN(gelu(dense(h))) times the word embeddings, plus a bias.
    Vocabulary {
        dense: Linear,
        norm: LayerNorm,
        bias: ParamId,
    },
}

impl HeadLayers {
    pub fn new(b: &mut Builder, c: &EncoderConfig) -> HeadLayers {
        let (d, std) = (c.hidden_size, c.initializer_range);
        match (c.head, c.family) {
            (Head::Plain | Head::Pooler, _) => HeadLayers::None,
            (Head::Classifier, EncoderFamily::Bert) => {
                HeadLayers::Linear(Linear::normal(&mut b.part("classifier"), d, c.num_labels, true, std))
            }
            (Head::Classifier, EncoderFamily::Roberta) => {
                let mut b = b.part("classifier");
                let dense = Linear::normal(&mut b.part("dense"), d, d, true, std);
                HeadLayers::TwoLayers(dense, Linear::normal(&mut b.part("out_proj"), d, c.num_labels, true, std))
            }
            (Head::MaskedLm, EncoderFamily::Bert) => {
                let mut b = b.part("cls");
                let mut b = b.part("predictions");
                let bias = b.tensor("bias", Role::Bias, &[c.vocab_size], Init::Constant(0.0));
                let mut b = b.part("transform");
                let dense = Linear::normal(&mut b.part("dense"), d, d, true, std);
                HeadLayers::Vocabulary { dense, norm: LayerNorm::new(b.part("LayerNorm"), d, c.layer_norm_eps), bias }
            }
            (Head::MaskedLm, EncoderFamily::Roberta) => {
                let mut b = b.part("lm_head");
                let bias = b.tensor("bias", Role::Bias, &[c.vocab_size], Init::Constant(0.0));
                let dense = Linear::normal(&mut b.part("dense"), d, d, true, std);
                HeadLayers::Vocabulary { dense, norm: LayerNorm::new(b.part("layer_norm"), d, c.layer_norm_eps), bias }
            }
        }
    }

    /// Vocabulary logits of hidden states, or class logits of what the classifier reads.
    pub fn forward(&self, cx: &Cx, x: &Tensor, words: ParamId) -> Tensor {
        match self {
            HeadLayers::None => x.shallow_clone(),
            HeadLayers::Linear(linear) | HeadLayers::TwoLayers(_, linear) => linear.forward(cx, x),
            HeadLayers::Vocabulary { dense, norm, bias } => {
                let y = norm.forward(cx, &dense.forward(cx, x).gelu("none"));
                y.linear(cx.get(words), Some(cx.get(*bias)))
            }
        }
    }

    /// The parameters of the last layer.
    pub fn last(&self, words: ParamId) -> Vec<ParamId> {
        match self {
            HeadLayers::None => Vec::new(),
            HeadLayers::Linear(linear) | HeadLayers::TwoLayers(_, linear) => linear.params(),
            HeadLayers::Vocabulary { bias, .. } => vec![words, *bias],
        }
    }
}
