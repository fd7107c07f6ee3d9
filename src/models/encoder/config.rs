//! What an encoder is made of: the `[model]` table of an experiment and the `config.json` of a checkpoint.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::models::hub::{Fields, special_tokens};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EncoderFamily {
    /// BERT, MiniLM.
    #[default]
    Bert,
    /// RoBERTa: positions count real tokens from padding_idx + 1.
    Roberta,
}

/// What follows the last layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// Nothing.
    Plain,
    /// tanh(W h_0 + b).
    Pooler,
    /// One of `num_labels` classes for the whole text.
    #[default]
    Classifier,
    /// A token for every position (masked language model).
    MaskedLm,
}

/// A post-norm transformer encoder with absolute positions, its fields named as in `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EncoderConfig {
    pub family: EncoderFamily,
    pub head: Head,
    /// Classes of a classifier (0: taken from the data).
    pub num_labels: i64,
    pub vocab_size: i64,
    pub hidden_size: i64,
    pub num_hidden_layers: i64,
    pub num_attention_heads: i64,
    pub intermediate_size: i64,
    /// Rows of the position table (RoBERTa: two more than the longest text).
    pub max_position_embeddings: i64,
    /// Kinds of text parts.
    pub type_vocab_size: i64,
    pub layer_norm_eps: f64,
    /// Dropout of embeddings, sublayer outputs and the classifier, in training.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub hidden_dropout_prob: f64,
    /// Dropout of attention weights, in training.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub attention_probs_dropout_prob: f64,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    pub pad_token_id: i64,
}

impl Default for EncoderConfig {
    fn default() -> EncoderConfig {
        EncoderConfig {
            family: EncoderFamily::Bert,
            head: Head::Classifier,
            num_labels: 0,
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            initializer_range: 0.02,
            pad_token_id: 0,
        }
    }
}

/// Parts of public checkpoints that a network with another head leaves alone.
const HEADS: [&str; 6] = ["pooler.", "classifier.", "cls.", "lm_head.", "qa_outputs.", "dropout."];

impl EncoderConfig {
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ];
        for (key, value) in sizes {
            ensure!(value > 0, "{key} = {value} must be positive");
        }
        let (width, heads) = (self.hidden_size, self.num_attention_heads);
        ensure!(width % heads == 0, "hidden_size = {width} is not a multiple of num_attention_heads = {heads}");
        ensure!(self.head != Head::Classifier || self.num_labels > 0, "num_labels = 0: a classifier needs classes");
        let (pad, vocabulary) = (self.pad_token_id, self.vocab_size);
        ensure!((0..vocabulary).contains(&pad), "pad_token_id = {pad} must be a token of the {vocabulary}");
        Ok(())
    }

    /// Reads `config.json`; None when `model_type` names no encoder.
    pub fn read(model_type: &str, fields: &Fields, head: Head) -> Result<Option<EncoderConfig>> {
        let family = match model_type {
            "bert" => EncoderFamily::Bert,
            "roberta" | "xlm-roberta" => EncoderFamily::Roberta,
            _ => return Ok(None),
        };
        fields.only("hidden_act", &["gelu"])?;
        fields.only("position_embedding_type", &["absolute"])?;
        let labels = fields.value("id2label").and_then(Value::as_object).map(Map::len);
        let labels = labels.map(|n| n as i64).or(fields.int_of(&["num_labels"])?).unwrap_or(2);
        let (pad, kinds, eps) = match family {
            EncoderFamily::Bert => (0, 2, 1e-12),
            EncoderFamily::Roberta => (1, 1, 1e-5),
        };
        let config = EncoderConfig {
            family,
            head,
            num_labels: labels,
            vocab_size: fields.int("vocab_size")?,
            hidden_size: fields.int("hidden_size")?,
            num_hidden_layers: fields.int("num_hidden_layers")?,
            num_attention_heads: fields.int("num_attention_heads")?,
            intermediate_size: fields.int("intermediate_size")?,
            max_position_embeddings: fields.int("max_position_embeddings")?,
            type_vocab_size: fields.int_of(&["type_vocab_size"])?.unwrap_or(kinds),
            layer_norm_eps: fields.float("layer_norm_eps", eps)?,
            hidden_dropout_prob: fields.float("hidden_dropout_prob", 0.1)?,
            attention_probs_dropout_prob: fields.float("attention_probs_dropout_prob", 0.1)?,
            initializer_range: fields.float("initializer_range", 0.02)?,
            pad_token_id: fields.int_of(&["pad_token_id"])?.unwrap_or(pad),
        };
        config.check()?;
        Ok(Some(config))
    }

    /// `config.json`.
    pub fn write(&self) -> Value {
        let (model_type, name) = match self.family {
            EncoderFamily::Bert => ("bert", "Bert"),
            EncoderFamily::Roberta => ("roberta", "Roberta"),
        };
        let class = match self.head {
            Head::Plain | Head::Pooler => "Model",
            Head::Classifier => "ForSequenceClassification",
            Head::MaskedLm => "ForMaskedLM",
        };
        let mut config = json!({
            "architectures": [format!("{name}{class}")],
            "model_type": model_type,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "intermediate_size": self.intermediate_size,
            "hidden_act": "gelu",
            "max_position_embeddings": self.max_position_embeddings,
            "type_vocab_size": self.type_vocab_size,
            "layer_norm_eps": self.layer_norm_eps,
            "hidden_dropout_prob": self.hidden_dropout_prob,
            "attention_probs_dropout_prob": self.attention_probs_dropout_prob,
            "initializer_range": self.initializer_range,
            "tie_word_embeddings": true,
            "torch_dtype": "float32",
        });
        let object = config.as_object_mut().expect("an object");
        object.extend(special_tokens(&[("pad_token_id", self.pad_token_id)]));
        if self.head == Head::Classifier {
            let names = (0..self.num_labels).map(|i| (i.to_string(), json!(format!("LABEL_{i}"))));
            object.insert("id2label".into(), Value::Object(names.collect()));
            let ids = (0..self.num_labels).map(|i| (format!("LABEL_{i}"), json!(i)));
            object.insert("label2id".into(), Value::Object(ids.collect()));
        }
        config
    }

    /// Before the names of the encoder's own tensors, when a head stands beside it.
    pub(super) fn prefix(&self) -> &'static str {
        match (self.head, self.family) {
            (Head::Plain | Head::Pooler, _) => "",
            (_, EncoderFamily::Bert) => "bert",
            (_, EncoderFamily::Roberta) => "roberta",
        }
    }

    /// The name by which tensors of files and of the network are compared: without `bert.` or `roberta.`, and with
    /// `weight` and `bias` where old files say `gamma` and `beta`.
    pub fn own_name(&self, name: &str) -> String {
        let name = name.strip_prefix("bert.").or(name.strip_prefix("roberta.")).unwrap_or(name);
        let renamed = |old: &str, new: &str| Some(format!("{}{new}", name.strip_suffix(old)?));
        renamed(".gamma", ".weight").or_else(|| renamed(".beta", ".bias")).unwrap_or_else(|| name.to_owned())
    }

    /// Whether a tensor of a file may be left alone: constants, and heads that this network does not have.
    pub fn ignores(&self, name: &str) -> bool {
        let name = self.own_name(name);
        let constant = ["position_ids", "token_type_ids"].iter().any(|end| name.ends_with(end));
        constant || HEADS.iter().any(|head| name.starts_with(head))
    }
}
