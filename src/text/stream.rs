//! Packed token streams: the text as one row of tokens on the device, cut into windows without padding.

use anyhow::{Context, Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tch::{Device, Tensor};

use super::{Corpus, CorpusName, Tokenizer};
use crate::data::{DeviceSet, DeviceSplits};

/// What the tokens are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TokenizerKind {
    /// One for each character of the training text.
    #[default]
    Characters,
    /// Byte pairs, trained on the training text.
    Bpe,
    /// Those of a `tokenizer.json` (that of `method.start`, or of `text.tokenizer_folder`).
    Folder,
}

/// The `[text]` table: which text, as which tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextConfig {
    pub name: CorpusName,
    /// name = "file": the text file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    pub tokenizer: TokenizerKind,
    /// tokenizer = "bpe": how many tokens, 257 at least.
    #[schemars(range(min = 257))]
    pub vocabulary: usize,
    /// tokenizer = "folder": where `tokenizer.json` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer_folder: Option<PathBuf>,
    /// Tokens of a training window.
    #[schemars(range(min = 2))]
    pub window: i64,
}

impl Default for TextConfig {
    fn default() -> TextConfig {
        TextConfig {
            name: CorpusName::default(),
            path: None,
            tokenizer: TokenizerKind::default(),
            vocabulary: 4096,
            tokenizer_folder: None,
            window: 64,
        }
    }
}

/// Ends a text in vocabularies that are trained here.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Texts as tokens.
pub struct Streams {
    pub tokenizer: Tokenizer,
    /// int64, on the host.
    pub train: Vec<i64>,
    pub val: Vec<i64>,
    pub test: Vec<i64>,
    /// Length of the test text.
    pub test_bytes: usize,
}

impl Streams {
    /// Reads the texts and makes tokens of them; `own` is a tokenizer that is there already (that of a checkpoint).
    pub fn read(config: &TextConfig, own: Option<Tokenizer>, data_root: &Path) -> Result<Streams> {
        let corpus = Corpus::read(config.name, config.path.as_deref(), data_root)?;
        let tokenizer = match (own, config.tokenizer) {
            (Some(tokenizer), _) => tokenizer,
            (None, TokenizerKind::Characters) => Tokenizer::characters(&corpus.train)?,
            (None, TokenizerKind::Bpe) => Tokenizer::train_bpe(&corpus.train, config.vocabulary, &[END_OF_TEXT])?,
            (None, TokenizerKind::Folder) => {
                let folder = config.tokenizer_folder.as_deref();
                Tokenizer::load(folder.context("text.tokenizer = \"folder\" needs text.tokenizer_folder")?)?
            }
        };
        let [train, val, test] = [&corpus.train, &corpus.val, &corpus.test].map(|text| tokenizer.encode_bare(text));
        Ok(Streams { train: train?, val: val?, test: test?, test_bytes: corpus.test.len(), tokenizer })
    }

    /// The three streams in windows on a device.
    pub fn windows(&self, window: i64, device: Device) -> Result<DeviceSplits> {
        let names: Vec<String> =
            (0..self.tokenizer.vocabulary() as i64).map(|id| self.tokenizer.name(id).unwrap_or_default()).collect();
        let part = |what: &str, stream: &[i64]| {
            windows(&Tensor::from_slice(stream).to_device(device), window, names.clone())
                .with_context(|| format!("the {what} text"))
        };
        Ok(DeviceSplits {
            train: part("training", &self.train)?,
            val: Some(part("validation", &self.val)?),
            test: part("test", &self.test)?,
        })
    }
}

/// A stream int64 `[n]` as windows of `window` tokens, each token the label of its predecessor: ids and labels `[N, window]`,
/// N = (n - 1) / window, are two views of the stream. What is left over at the end is not used.
pub fn windows(stream: &Tensor, window: i64, tokens: Vec<String>) -> Result<DeviceSet> {
    let &[length] = &stream.size()[..] else { bail!("a stream is one row of tokens, not {:?}", stream.size()) };
    ensure!(window >= 2 && length > window, "it has {length} tokens, fewer than a window of {window} and one more");
    let count = (length - 1) / window;
    let rows = |first: i64| stream.narrow(0, first, count * window).view([count, window]);
    DeviceSet::tokens(rows(0), rows(1), tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_the_label_of_the_one_before() {
        let stream = Tensor::from_slice(&[5i64, 6, 7, 8, 9, 5, 6, 7]);
        let names = (0..10).map(|i| i.to_string()).collect();
        let set = windows(&stream, 3, names).unwrap();
        let batch = set.gather(&Tensor::from_slice(&[1i64, 0]));
        assert_eq!(batch.x, Tensor::from_slice(&[8i64, 9, 5, 5, 6, 7]).view([2, 3]));
        assert_eq!(batch.y, Tensor::from_slice(&[9i64, 5, 6, 6, 7, 8]).view([2, 3]));
        assert_eq!((set.len(), set.sample_shape()), (2, &[3i64][..]));
        assert!(windows(&stream, 8, Vec::new()).err().unwrap().to_string().contains("8 tokens"));
    }

    #[test]
    fn a_pair_encoding_makes_the_stream_shorter() {
        let read = |tokenizer| {
            let config = TextConfig { tokenizer, vocabulary: 400, ..TextConfig::default() };
            Streams::read(&config, None, Path::new("nowhere")).unwrap()
        };
        let (characters, pairs) = (read(TokenizerKind::Characters), read(TokenizerKind::Bpe));
        assert_eq!(pairs.tokenizer.vocabulary(), 400);
        assert!((pairs.train.len() as f64) < 0.7 * characters.train.len() as f64);
        assert_eq!(pairs.tokenizer.decode(&pairs.val).unwrap(), characters.tokenizer.decode(&characters.val).unwrap());
    }
}
