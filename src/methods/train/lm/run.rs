//! The run: text to tokens, training, and what the model is worth.

use anyhow::{Context, Result};
use serde_json::json;
use tch::{Kind, Tensor};

use super::config::{Config, Method};
use super::ngram::{bigram_loss, unigram_loss};
use crate::metrics::perplexity::{Perplexity, Windows, perplexity};
use crate::models::decoder::{Generation, generate};
use crate::models::encoder::Head;
use crate::models::{Network, hub};
use crate::params::View;
use crate::params::lora::Lora;
use crate::report::plot::draw_column;
use crate::run::{Run, Stamp, Summary};
use crate::text::{Streams, Tokenizer};
use crate::train::language::{BaseConfig, load_text, save, train_language};
use crate::train::{Adapted, Doors, build_network, evaluate};

pub fn run(config: Config, run: &mut Run) -> Result<Summary> {
    let own = match &config.method.start {
        Some(folder) if folder.join("tokenizer.json").exists() => Some(Tokenizer::load(folder)?),
        _ => None,
    };
    let (streams, data) = load_text(run, &config.text, own)?;
    let mut net = match &config.method.start {
        Some(folder) => started(folder, &streams, run)?,
        None => build_network(run, &config.model, &data)?,
    };
    let mut adapted = adapters(&config.method, &mut net, run)?;
    let mut more: Vec<&mut dyn Doors> = adapted.iter_mut().map(|door| door as &mut dyn Doors).collect();
    let outcome = train_language("train", &net, &data, &config.train, &mut more, Stamp::default(), run)?;
    let mut view = View::plain(&net.store);
    if let Some(adapted) = &adapted {
        adapted.eval_view(&net.store, &mut view);
    }
    let mut summary = Summary::new();
    let test = evaluate(&*net.model, &view, &data.test);
    let val = data.val.as_ref().map(|val| evaluate(&*net.model, &view, val));
    let overlapping = overlapping(&config, &net, &view, &streams, run)?;
    let vocabulary = streams.tokenizer.vocabulary();
    let bits = overlapping.loss * overlapping.tokens as f64 / streams.test_bytes as f64 / std::f64::consts::LN_2;
    let numbers = [
        ("test_loss", test.loss),
        ("val_loss", val.map_or(f64::NAN, |val| val.loss)),
        ("accuracy", test.accuracy),
        ("train_loss", evaluate(&*net.model, &view, &data.train).loss),
        ("perplexity", overlapping.value()),
        ("bits_per_byte", bits),
        ("unigram_loss", unigram_loss(&streams.train, &streams.test, vocabulary)),
        ("bigram_loss", bigram_loss(&streams.train, &streams.test, vocabulary)),
    ];
    summary.extend(numbers.map(|(name, value)| (name.to_owned(), json!(value))));
    summary.extend(outcome.best.iter().map(|(name, value)| (format!("best_{name}"), json!(value))));
    summary.insert("parameters".into(), json!(net.store.parameters()));
    summary.insert("trained_parameters".into(), json!(trained(&net)));
    summary.insert("vocabulary".into(), json!(vocabulary));
    summary.insert("steps".into(), json!(outcome.end.step));
    write_sample(&config, &net, &view, &streams, run)?;
    match &adapted {
        Some(Adapted(lora)) => {
            let base = config.method.start.as_deref().map(|folder| folder.display().to_string()).unwrap_or_default();
            lora.save(&net.store, &run.folder().join("adapter"), &base)?;
        }
        None => save(&run.folder().join("model"), &net, &streams.tokenizer)?,
    }
    if config.method.start.is_none() {
        let base = BaseConfig { text: &config.text, model: &config.model, train: &config.train };
        base.remember(&net, &streams.tokenizer, run)?;
    }
    draw_column(run, "loss", "train", "loss", None)?;
    draw_column(run, "test_loss", "eval", "test_loss", None)?;
    Ok(summary)
}

/// The decoder of a checkpoint folder; a text with tokens it does not know is an error.
fn started(folder: &std::path::Path, streams: &Streams, run: &Run) -> Result<Network> {
    let net = hub::load(folder, Head::Plain, Kind::Float, run.device).context("method.start")?;
    let (known, needed) = (net.decoder().context("method.start")?.config().vocab_size, streams.tokenizer.vocabulary());
    anyhow::ensure!(
        needed as i64 <= known,
        "method.start: the model of {} has {known} tokens, the tokenizer {needed}",
        folder.display()
    );
    Ok(net)
}

fn adapters(method: &Method, net: &mut Network, run: &Run) -> Result<Option<Adapted>> {
    let Some(config) = method.lora() else { return Ok(None) };
    let head = net.model.classifier();
    Ok(Some(Adapted(Lora::attach(&mut net.store, &head, config, run.seed())?)))
}

/// Values that training changes.
fn trained(net: &Network) -> usize {
    net.store.trainable().into_iter().map(|id| net.store.get(id).numel()).sum()
}

/// The test text with overlapping windows.
fn overlapping(config: &Config, net: &Network, view: &View, streams: &Streams, run: &Run) -> Result<Perplexity> {
    let text = Tensor::from_slice(&streams.test).to_device(run.device);
    let length = config.text.window;
    let stride = if config.method.stride == 0 { (length / 2).max(1) } else { config.method.stride };
    let logits = length * net.decoder()?.config().vocab_size;
    perplexity(net.decoder()?, view, &text, Windows { length, stride, batch: (16_000_000 / logits).clamp(1, 1024) })
}

/// Continues the beginning of the test text.
fn write_sample(config: &Config, net: &Network, view: &View, streams: &Streams, run: &Run) -> Result<()> {
    const PROMPT: usize = 16;
    let (method, window) = (&config.method, config.text.window);
    let prompt = &streams.test[..streams.test.len().min(PROMPT)];
    let ids = Tensor::from_slice(prompt).unsqueeze(0).to_device(run.device);
    let how = Generation {
        // Beyond the trained window there are positions the model has never seen.
        max_new_tokens: method.sample_tokens.min(window - prompt.len() as i64).max(0),
        sampling: method.sampling,
        seed: run.seed(),
        ..Generation::default()
    };
    let tokens = generate(net.decoder()?, view, &ids, None, &how)?;
    let tokens = Vec::<i64>::try_from(tokens.view(-1))?;
    run.write("sample.txt", streams.tokenizer.decode(&tokens)?.as_bytes())
}
