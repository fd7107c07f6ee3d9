//! Folders written, read back, and damaged in every way a user's may be.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

use super::{load, save};
use crate::models::decoder::{DecoderConfig, Family, RopeKind, RopeScaling, Tokens};
use crate::models::encoder::{EncoderConfig, EncoderFamily, Head};
use crate::models::{Arch, Cx, Network};
use crate::params::{View, file};

fn decoder(family: Family) -> DecoderConfig {
    DecoderConfig {
        family,
        vocab_size: 11,
        hidden_size: 8,
        intermediate_size: 6,
        num_attention_heads: 2,
        initializer_range: 0.5,
        ..DecoderConfig::default()
    }
}

fn network(arch: Arch) -> Network {
    Network::build(arch, 1, Device::Cpu).unwrap()
}

/// The folder of a small LLaMA.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &network(Arch::Decoder(decoder(Family::Llama)))).unwrap();
    folder
}

fn refusal(folder: &Path) -> String {
    let error = load(folder, Head::Plain, Kind::Float, Device::Cpu).err().expect("must be refused");
    format!("{error:#}")
}

fn tensors(folder: &Path) -> Vec<(String, Tensor)> {
    file::read(&folder.join("model.safetensors")).unwrap().tensors
}

fn rewrite(folder: &Path, name: &str, tensors: &[(String, Tensor)]) {
    let bytes = file::to_bytes(tensors.iter().map(|(n, t)| (n.as_str(), t)), HashMap::new()).unwrap();
    std::fs::write(folder.join(name), bytes).unwrap();
}

fn change(folder: &Path, change: impl FnOnce(&mut serde_json::Map<String, Value>)) {
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(config.as_object_mut().unwrap());
    std::fs::write(path, config.to_string()).unwrap();
}

fn logits(net: &Network) -> Tensor {
    net.evaluate(&Tensor::from_slice(&[1i64, 4, 2, 10]).view([2, 2]))
}

#[test]
fn every_family_survives_its_folder() {
    let experts =
        DecoderConfig { num_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 6, ..DecoderConfig::default() };
    let mixture = |family| DecoderConfig {
        num_experts: experts.num_experts,
        num_experts_per_tok: experts.num_experts_per_tok,
        moe_intermediate_size: experts.moe_intermediate_size,
        ..decoder(family)
    };
    let scaling = RopeScaling { rope_type: RopeKind::Linear, factor: 2.0, ..RopeScaling::default() };
    let mut arches: Vec<Arch> = [
        DecoderConfig { attention_bias: true, mlp_bias: true, rope_scaling: scaling, ..decoder(Family::Llama) },
        DecoderConfig { tie_word_embeddings: true, num_key_value_heads: 1, ..decoder(Family::Qwen2) },
        DecoderConfig { mlp_only_layers: vec![0], head_dim: 6, norm_topk_prob: true, ..mixture(Family::Qwen3Moe) },
        DecoderConfig { clip_qkv: 0.5, ..mixture(Family::Olmoe) },
        DecoderConfig {
            first_k_dense_replace: 1,
            n_shared_experts: 2,
            routed_scaling_factor: 1.5,
            ..mixture(Family::Deepseek)
        },
    ]
    .into_iter()
    .map(Arch::Decoder)
    .collect();
    for family in [EncoderFamily::Bert, EncoderFamily::Roberta] {
        for head in [Head::Plain, Head::Pooler, Head::Classifier, Head::MaskedLm] {
            arches.push(Arch::Encoder(EncoderConfig {
                family,
                head,
                num_labels: 3,
                vocab_size: 11,
                hidden_size: 8,
                num_hidden_layers: 1,
                num_attention_heads: 2,
                intermediate_size: 6,
                max_position_embeddings: 9,
                initializer_range: 0.5,
                ..EncoderConfig::default()
            }));
        }
    }
    for arch in arches {
        let folder = tempfile::tempdir().unwrap();
        let net = network(arch.clone());
        save(folder.path(), &net).unwrap();
        let head = if let Arch::Encoder(encoder) = &arch { encoder.head } else { Head::Plain };
        let again = load(folder.path(), head, Kind::Float, Device::Cpu).unwrap();
        assert_eq!(logits(&again), logits(&net), "{arch:?}");
    }
}

#[test]
fn a_base_without_its_head_and_old_names_load() {
    let folder = tempfile::tempdir().unwrap();
    let config = EncoderConfig {
        num_labels: 2,
        head: Head::MaskedLm,
        hidden_size: 8,
        vocab_size: 11,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 6,
        max_position_embeddings: 9,
        ..EncoderConfig::default()
    };
    save(folder.path(), &network(Arch::Encoder(config))).unwrap();
    let old =
        tensors(folder.path()).into_iter().map(|(name, t)| (name.replace("LayerNorm.weight", "LayerNorm.gamma"), t));
    let mut old: Vec<(String, Tensor)> = old.collect();
    old.push(("bert.embeddings.position_ids".into(), Tensor::from_slice(&[0i64, 1])));
    rewrite(folder.path(), "model.safetensors", &old);
    load(folder.path(), Head::Plain, Kind::Float, Device::Cpu).unwrap();
    assert!(refusal_of_pooler(folder.path()).contains("pooler.dense.weight"));
}

fn refusal_of_pooler(folder: &Path) -> String {
    load(folder, Head::Pooler, Kind::Float, Device::Cpu).err().unwrap().to_string()
}

#[test]
fn the_newer_spelling_means_the_same() {
    let folder = folder();
    change(folder.path(), |config| {
        config.remove("rope_theta");
        config.remove("rope_scaling");
        config.remove("torch_dtype");
        config.remove("num_key_value_heads");
        config.insert("head_dim".into(), Value::Null);
        config.insert("dtype".into(), json!("float32"));
        config.insert("rope_parameters".into(), json!({"rope_theta": 500.0, "rope_type": "linear", "factor": 2.0}));
    });
    let net = load(folder.path(), Head::Plain, Kind::Float, Device::Cpu).unwrap();
    let Arch::Decoder(config) = &net.arch else { panic!("a decoder") };
    assert_eq!((config.rope_theta, config.rope_scaling.factor, config.kv_heads()), (500.0, 2.0, 2));
}

#[test]
fn half_precision_files_are_widened() {
    let folder = folder();
    let half: Vec<(String, Tensor)> =
        tensors(folder.path()).into_iter().map(|(name, t)| (name, t.to_kind(Kind::BFloat16))).collect();
    rewrite(folder.path(), "model.safetensors", &half);
    let net = load(folder.path(), Head::Plain, Kind::Float, Device::Cpu).unwrap();
    assert!(net.store.iter().all(|(_, p)| p.tensor.kind() == Kind::Float));
    let id = net.store.find("model.norm.weight").unwrap();
    assert_eq!(net.store.get(id).detach(), Tensor::ones([8], (Kind::Float, Device::Cpu)));
}

#[test]
fn wrong_folders_are_refused_in_one_sentence() {
    let whole = folder();
    let all = tensors(whole.path());
    let damaged = |tensors: &[(String, Tensor)]| {
        rewrite(whole.path(), "model.safetensors", tensors);
        refusal(whole.path())
    };
    assert!(damaged(&all[1..]).contains("has no tensor lm_head.weight"));
    let extra = ("model.layers.2.extra".to_owned(), Tensor::from(1f32));
    let name = |(name, t): &(String, Tensor)| (name.clone(), t.shallow_clone());
    let more: Vec<_> = all.iter().map(name).chain([extra]).collect();
    assert!(damaged(&more).contains("model.layers.2.extra"));
    let cut: Vec<_> = all
        .iter()
        .map(|(n, t)| (n.clone(), if n == "lm_head.weight" { t.narrow(0, 0, 3) } else { t.shallow_clone() }))
        .collect();
    let message = damaged(&cut);
    assert!(message.contains("lm_head.weight has shape [3, 8]") && message.contains("[11, 8]"), "{message}");
    let inverse = ("model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(), Tensor::from(1f32));
    let fine: Vec<_> = all.iter().map(name).chain([inverse]).collect();
    rewrite(whole.path(), "model.safetensors", &fine);
    load(whole.path(), Head::Plain, Kind::Float, Device::Cpu).unwrap();
    let bytes = std::fs::read(whole.path().join("model.safetensors")).unwrap();
    std::fs::write(whole.path().join("model.safetensors"), &bytes[..bytes.len() - 1]).unwrap();
    assert!(refusal(whole.path()).contains("truncated"));
    std::fs::rename(whole.path().join("model.safetensors"), whole.path().join("pytorch_model.bin")).unwrap();
    assert!(refusal(whole.path()).contains("only pytorch_model.bin"));
}

#[test]
fn wrong_configurations_are_refused_with_the_value() {
    let message = |key: &str, value: Value| {
        let folder = folder();
        change(folder.path(), |config| drop(config.insert(key.into(), value)));
        refusal(folder.path())
    };
    assert!(message("model_type", json!("gpt2")).contains("\"gpt2\" is not supported; supported are llama"));
    assert!(message("rope_scaling", json!({"type": "yarn", "factor": 2})).contains("\"yarn\" is not supported"));
    assert!(message("num_key_value_heads", json!(3)).contains("not a multiple of num_key_value_heads = 3"));
    assert!(message("hidden_size", json!("8")).contains("hidden_size = \"8\""));
    assert!(message("hidden_act", json!("gelu")).contains("hidden_act = \"gelu\""));
}

#[test]
fn shards_are_those_of_the_index() {
    let folder = folder();
    let all = tensors(folder.path());
    let (first, second) = all.split_at(5);
    rewrite(folder.path(), "a.safetensors", first);
    rewrite(folder.path(), "b.safetensors", second);
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let file_of = |i: usize| if i < 5 { "a.safetensors" } else { "b.safetensors" };
    let map: serde_json::Map<String, Value> =
        all.iter().enumerate().map(|(i, (name, _))| (name.clone(), json!(file_of(i)))).collect();
    let write = |map: &Value| {
        let index = json!({"metadata": {"total_size": 0}, "weight_map": map}).to_string();
        std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    };
    write(&json!(map));
    load(folder.path(), Head::Plain, Kind::Float, Device::Cpu).unwrap();
    let mut wrong = map.clone();
    wrong.insert("lm_head.weight".into(), json!("b.safetensors"));
    write(&json!(wrong));
    assert!(refusal(folder.path()).contains("lm_head.weight lies in b.safetensors"));
    wrong.insert("lm_head.weight".into(), json!("../b.safetensors"));
    write(&json!(wrong));
    assert!(refusal(folder.path()).contains("../b.safetensors"));
}

#[test]
fn a_cache_changes_no_logits_and_says_when_it_is_full() {
    let net = network(Arch::Decoder(DecoderConfig { num_key_value_heads: 1, ..decoder(Family::Qwen2) }));
    let (decoder, view) = (net.decoder().unwrap(), View::plain(&net.store));
    let cx = Cx::eval(&view);
    let ids = Tensor::from_slice(&[0i64, 0, 5, 7, 3, 1, 2, 4]).view([2, 4]);
    let mask = Tensor::from_slice(&[0i64, 0, 1, 1, 1, 1, 1, 1]).view([2, 4]);
    let whole = decoder.hidden(&cx, &Tokens::masked(&ids, &mask), None).unwrap().last;
    let mut cache = decoder.cache(4);
    let parts: Vec<Tensor> = [(0, 2), (2, 1), (3, 1)]
        .into_iter()
        .map(|(start, t)| {
            let (ids, mask) = (ids.narrow(1, start, t), mask.narrow(1, 0, start + t));
            decoder.hidden(&cx, &Tokens::masked(&ids, &mask), Some(&mut cache)).unwrap().last
        })
        .collect();
    let apart = (Tensor::cat(&parts, 1) - &whole) * mask.unsqueeze(-1);
    assert!(f64::try_from(apart.abs().max()).unwrap() < 1e-5);
    let alone = decoder.hidden(&cx, &Tokens::new(&ids.narrow(0, 0, 1).narrow(1, 2, 2)), None).unwrap().last;
    let apart = alone - whole.narrow(0, 0, 1).narrow(1, 2, 2);
    assert!(f64::try_from(apart.abs().max()).unwrap() < 1e-5, "padding on the left must not matter");
    let full = decoder.hidden(&cx, &Tokens::new(&ids), Some(&mut cache)).err().unwrap().to_string();
    assert!(full.contains("4 of 4 tokens"), "{full}");
}
