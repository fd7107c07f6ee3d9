//! What a decoder is made of: the `[model]` table of an experiment and the `config.json` of a checkpoint.

use anyhow::{Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rope::RopeScaling;
use crate::models::hub::{Fields, special_tokens};

/// The published families; they differ in biases, in the normalization of queries and keys, and in their MLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// LLaMA, Vicuna.
    #[default]
    Llama,
    /// Qwen2, Qwen2.5: biases on q, k, v.
    Qwen2,
    /// Qwen3-MoE: q and k normalized per head.
    Qwen3Moe,
    /// OLMoE: q and k normalized over the whole projection, then clipped.
    Olmoe,
    /// DeepSeekMoE: first layers dense, experts that every token uses.
    Deepseek,
}

/// A decoder-only transformer with RMSNorm, rotary positions and gated MLPs, its fields named as in `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DecoderConfig {
    pub family: Family,
    /// Tokens (0: taken from the data).
    pub vocab_size: i64,
    pub hidden_size: i64,
    /// Width of a dense MLP.
    pub intermediate_size: i64,
    pub num_hidden_layers: i64,
    pub num_attention_heads: i64,
    /// Heads of keys and values (0: as many as of queries).
    pub num_key_value_heads: i64,
    /// Width of a head (0: hidden_size / num_attention_heads).
    pub head_dim: i64,
    /// The longest sequence it was made for, in tokens.
    pub max_position_embeddings: i64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    pub rope_scaling: RopeScaling,
    /// Added to the mean square before its root.
    pub rms_norm_eps: f64,
    /// Whether the head is the embedding table.
    pub tie_word_embeddings: bool,
    /// Biases on q, k, v and o (Qwen2 always has those on q, k, v).
    pub attention_bias: bool,
    pub mlp_bias: bool,
    /// OLMoE: bound on q, k and v (0: none).
    pub clip_qkv: f64,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// Experts of a mixture layer (0: all layers are dense).
    pub num_experts: i64,
    /// Experts each token uses.
    pub num_experts_per_tok: i64,
    /// Width of one expert.
    pub moe_intermediate_size: i64,
    /// Whether the weights of the chosen experts are made to sum to 1.
    pub norm_topk_prob: bool,
    /// Every how many layers there is a mixture.
    pub decoder_sparse_step: i64,
    /// Layers that are dense all the same, from 0.
    pub mlp_only_layers: Vec<i64>,
    /// So many first layers are dense.
    pub first_k_dense_replace: i64,
    /// Experts that every token uses, fused into one MLP.
    pub n_shared_experts: i64,
    /// Factor on the routed experts' sum.
    pub routed_scaling_factor: f64,
    /// Weight of the load-balancing loss in training.
    pub router_aux_loss_coef: f64,
    /// Token that begins a text (-1: none).
    pub bos_token_id: i64,
    /// Token that ends a text (-1: none).
    pub eos_token_id: i64,
    /// Token that fills up a batch (-1: none).
    pub pad_token_id: i64,
}

impl Default for DecoderConfig {
    fn default() -> DecoderConfig {
        DecoderConfig {
            family: Family::Llama,
            vocab_size: 0,
            hidden_size: 64,
            intermediate_size: 176,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 0,
            head_dim: 0,
            max_position_embeddings: 2048,
            rope_theta: 1e4,
            rope_scaling: RopeScaling::default(),
            rms_norm_eps: 1e-5,
            tie_word_embeddings: false,
            attention_bias: false,
            mlp_bias: false,
            clip_qkv: 0.0,
            initializer_range: 0.02,
            num_experts: 0,
            num_experts_per_tok: 0,
            moe_intermediate_size: 0,
            norm_topk_prob: false,
            decoder_sparse_step: 1,
            mlp_only_layers: Vec::new(),
            first_k_dense_replace: 0,
            n_shared_experts: 0,
            routed_scaling_factor: 1.0,
            router_aux_loss_coef: 0.0,
            bos_token_id: -1,
            eos_token_id: -1,
            pad_token_id: -1,
        }
    }
}

impl DecoderConfig {
    pub fn kv_heads(&self) -> i64 {
        if self.num_key_value_heads == 0 { self.num_attention_heads } else { self.num_key_value_heads }
    }

    pub fn head_width(&self) -> i64 {
        if self.head_dim == 0 { self.hidden_size / self.num_attention_heads } else { self.head_dim }
    }

    /// Whether layer `i` (from 0) is a mixture of experts.
    pub fn is_moe(&self, i: i64) -> bool {
        self.num_experts > 0
            && i >= self.first_k_dense_replace
            && !self.mlp_only_layers.contains(&i)
            && (i + 1) % self.decoder_sparse_step == 0
    }

    pub fn query_bias(&self) -> bool {
        self.attention_bias || self.family == Family::Qwen2
    }

    pub fn output_bias(&self) -> bool {
        self.attention_bias && self.family != Family::Qwen2
    }

    /// Says which sizes do not fit together.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("head_dim", self.head_width()),
            ("decoder_sparse_step", self.decoder_sparse_step),
        ];
        for (key, value) in sizes {
            ensure!(value > 0, "{key} = {value} must be positive");
        }
        let (heads, kv) = (self.num_attention_heads, self.kv_heads());
        ensure!(
            kv > 0 && heads % kv == 0,
            "num_attention_heads = {heads} is not a multiple of num_key_value_heads = {kv}"
        );
        ensure!(
            self.head_dim > 0 || self.hidden_size % heads == 0,
            "hidden_size = {} is not a multiple of num_attention_heads = {heads}, and there is no head_dim",
            self.hidden_size
        );
        ensure!(self.head_width() % 2 == 0, "head_dim = {} must be even for rotary positions", self.head_width());
        if self.num_experts > 0 {
            let (k, experts, width) = (self.num_experts_per_tok, self.num_experts, self.moe_intermediate_size);
            ensure!((1..=experts).contains(&k), "num_experts_per_tok = {k} must be from 1 to num_experts = {experts}");
            ensure!(width > 0, "moe_intermediate_size = {width} must be positive");
        }
        self.rope_scaling.check()
    }

    /// Reads either spelling of `config.json`; None when `model_type` names no decoder.
    pub fn read(model_type: &str, fields: &Fields) -> Result<Option<DecoderConfig>> {
        let family = match model_type {
            "llama" => Family::Llama,
            "qwen2" => Family::Qwen2,
            "qwen3_moe" => Family::Qwen3Moe,
            "olmoe" => Family::Olmoe,
            "deepseek" => Family::Deepseek,
            _ => return Ok(None),
        };
        fields.only("hidden_act", &["silu"])?;
        if fields.flag("use_sliding_window", false)? {
            bail!("config.json: use_sliding_window = true is not supported");
        }
        if let Some(step) = fields.int_of(&["moe_layer_freq"])? {
            ensure!(step == 1, "config.json: moe_layer_freq = {step} is not supported, only 1");
        }
        let nested =
            fields.value("rope_parameters").map(|v| Fields::new(v, "config.json: rope_parameters")).transpose()?;
        let theta = fields.float("rope_theta", 1e4)?;
        let theta = nested.as_ref().map_or(Ok(theta), |rope| rope.float("rope_theta", theta))?;
        let scaling = fields.value("rope_parameters").or_else(|| fields.value("rope_scaling"));
        let mut config = DecoderConfig {
            family,
            vocab_size: fields.int("vocab_size")?,
            hidden_size: fields.int("hidden_size")?,
            intermediate_size: fields.int("intermediate_size")?,
            num_hidden_layers: fields.int("num_hidden_layers")?,
            num_attention_heads: fields.int("num_attention_heads")?,
            num_key_value_heads: fields.int_of(&["num_key_value_heads"])?.unwrap_or(0),
            head_dim: fields.int_of(&["head_dim"])?.unwrap_or(0),
            max_position_embeddings: fields.int_of(&["max_position_embeddings"])?.unwrap_or(2048),
            rope_theta: theta,
            rope_scaling: scaling.map_or(Ok(RopeScaling::default()), RopeScaling::read)?,
            rms_norm_eps: fields.float("rms_norm_eps", if family == Family::Olmoe { 1e-5 } else { 1e-6 })?,
            tie_word_embeddings: fields.flag("tie_word_embeddings", false)?,
            attention_bias: fields.flag("attention_bias", false)?,
            mlp_bias: fields.flag("mlp_bias", false)?,
            clip_qkv: fields.float("clip_qkv", 0.0)?,
            initializer_range: fields.float("initializer_range", 0.02)?,
            bos_token_id: fields.token("bos_token_id")?,
            eos_token_id: fields.token("eos_token_id")?,
            pad_token_id: fields.token("pad_token_id")?,
            ..DecoderConfig::default()
        };
        if matches!(family, Family::Qwen3Moe | Family::Olmoe | Family::Deepseek) {
            config.read_experts(fields)?;
        }
        config.check()?;
        Ok(Some(config))
    }

    fn read_experts(&mut self, fields: &Fields) -> Result<()> {
        let names = ["num_experts", "num_local_experts", "n_routed_experts"];
        let Some(experts) = fields.int_of(&names)? else {
            bail!("config.json has no num_experts");
        };
        self.num_experts = experts;
        self.num_experts_per_tok = fields.int("num_experts_per_tok")?;
        self.moe_intermediate_size = match self.family {
            Family::Olmoe => self.intermediate_size,
            _ => fields.int("moe_intermediate_size")?,
        };
        self.norm_topk_prob = fields.flag("norm_topk_prob", false)?;
        self.decoder_sparse_step = fields.int_of(&["decoder_sparse_step"])?.unwrap_or(1);
        self.mlp_only_layers = fields.ints("mlp_only_layers")?;
        self.first_k_dense_replace = fields.int_of(&["first_k_dense_replace"])?.unwrap_or(0);
        self.n_shared_experts = fields.int_of(&["n_shared_experts"])?.unwrap_or(0);
        self.routed_scaling_factor = fields.float("routed_scaling_factor", 1.0)?;
        self.router_aux_loss_coef = fields.float("router_aux_loss_coef", 0.001)?;
        Ok(())
    }

    /// `config.json` in the public spelling.
    pub fn write(&self) -> Value {
        let class = match self.family {
            Family::Llama => "LlamaForCausalLM",
            Family::Qwen2 => "Qwen2ForCausalLM",
            Family::Qwen3Moe => "Qwen3MoeForCausalLM",
            Family::Olmoe => "OlmoeForCausalLM",
            Family::Deepseek => "DeepseekForCausalLM",
        };
        let mut config = json!({
            "architectures": [class],
            "model_type": self.family,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.kv_heads(),
            "head_dim": self.head_width(),
            "hidden_act": "silu",
            "max_position_embeddings": self.max_position_embeddings,
            "rope_theta": self.rope_theta,
            "rope_scaling": self.rope_scaling.write(),
            "rms_norm_eps": self.rms_norm_eps,
            "tie_word_embeddings": self.tie_word_embeddings,
            "attention_bias": self.attention_bias,
            "mlp_bias": self.mlp_bias,
            "initializer_range": self.initializer_range,
            "torch_dtype": "float32",
        });
        let object = config.as_object_mut().expect("an object");
        object.extend(self.special_tokens());
        if self.clip_qkv > 0.0 {
            object.insert("clip_qkv".into(), json!(self.clip_qkv));
        }
        if self.num_experts > 0 {
            let experts = if self.family == Family::Deepseek { "n_routed_experts" } else { "num_experts" };
            object.insert(experts.into(), json!(self.num_experts));
            object.insert("num_experts_per_tok".into(), json!(self.num_experts_per_tok));
            object.insert("moe_intermediate_size".into(), json!(self.moe_intermediate_size));
            object.insert("norm_topk_prob".into(), json!(self.norm_topk_prob));
            object.insert("decoder_sparse_step".into(), json!(self.decoder_sparse_step));
            object.insert("mlp_only_layers".into(), json!(self.mlp_only_layers));
            object.insert("first_k_dense_replace".into(), json!(self.first_k_dense_replace));
            object.insert("n_shared_experts".into(), json!(self.n_shared_experts));
            object.insert("routed_scaling_factor".into(), json!(self.routed_scaling_factor));
            object.insert("router_aux_loss_coef".into(), json!(self.router_aux_loss_coef));
        }
        config
    }

    /// `generation_config.json`.
    pub fn generation(&self) -> Value {
        Value::Object(self.special_tokens())
    }

    fn special_tokens(&self) -> serde_json::Map<String, Value> {
        let tokens = [
            ("bos_token_id", self.bos_token_id),
            ("eos_token_id", self.eos_token_id),
            ("pad_token_id", self.pad_token_id),
        ];
        special_tokens(&tokens)
    }
}
