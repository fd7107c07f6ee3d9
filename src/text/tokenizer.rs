//! From texts to token ids and back: public tokenizers (`tokenizer.json`), characters, and byte-pair encodings trained here.

use anyhow::{Context, Result, anyhow, ensure};
use std::collections::BTreeSet;
use std::path::Path;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, TokenizerBuilder};

/// The token of a character that the training text did not have.
const UNKNOWN: &str = "<unk>";

pub struct Tokenizer(tokenizers::Tokenizer);

/// The crate's errors as ours.
fn plain(error: tokenizers::Error) -> anyhow::Error {
    anyhow!("{error}")
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a folder.
    pub fn load(folder: &Path) -> Result<Tokenizer> {
        let path = folder.join("tokenizer.json");
        ensure!(path.exists(), "{} has no tokenizer.json", folder.display());
        let inner = tokenizers::Tokenizer::from_file(&path).map_err(plain);
        Ok(Tokenizer(inner.with_context(|| format!("{} is not a tokenizer", path.display()))?))
    }

    /// `tokenizer.json`, for [`Tokenizer::load`] and for Python's `tokenizers`.
    pub fn to_json(&self) -> Result<String> {
        self.0.to_string(true).map_err(plain)
    }

    /// A token for each character of the text, in their order by code point, after the token `<unk>` of all others.
    pub fn characters(text: &str) -> Result<Tokenizer> {
        let characters: BTreeSet<char> = text.chars().collect();
        ensure!(!characters.is_empty(), "an empty text has no characters to make tokens of");
        let names = std::iter::once(UNKNOWN.to_owned()).chain(characters.iter().map(char::to_string));
        let vocabulary = names.zip(0u32..).collect();
        let model = WordLevel::builder().vocab(vocabulary).unk_token(UNKNOWN.into()).build().map_err(plain)?;
        let mut inner = tokenizers::Tokenizer::new(model);
        let pattern = SplitPattern::Regex(r"[\s\S]".into());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(plain)?;
        inner.with_pre_tokenizer(Some(split));
        inner.with_decoder(Some(tokenizers::decoders::fuse::Fuse::new()));
        Ok(Tokenizer(inner))
    }

    /// A byte-level pair encoding of `vocabulary` tokens (256 bytes among them) trained on the text: every text can be encoded.
    /// `special` tokens come first.
    pub fn train_bpe(text: &str, vocabulary: usize, special: &[&str]) -> Result<Tokenizer> {
        let least = 256 + special.len();
        ensure!(vocabulary >= least, "a byte-level vocabulary needs {least} tokens at least, not {vocabulary}");
        let special: Vec<AddedToken> = special.iter().map(|&token| AddedToken::from(token, true)).collect();
        let mut trainer = BpeTrainerBuilder::new()
            .vocab_size(vocabulary)
            .show_progress(false)
            .special_tokens(special)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let bytes = ByteLevel::default().add_prefix_space(false);
        let mut inner = TokenizerBuilder::<
            BPE,
            tokenizers::NormalizerWrapper,
            ByteLevel,
            tokenizers::PostProcessorWrapper,
            ByteLevel,
        >::new()
        .with_model(BPE::default())
        .with_normalizer(None)
        .with_pre_tokenizer(Some(bytes))
        .with_post_processor(None)
        .with_decoder(Some(bytes))
        .build()
        .map_err(plain)?;
        inner.train(&mut trainer, text.lines().map(|line| format!("{line}\n"))).map_err(plain)?;
        let json = inner.to_string(false).map_err(plain)?;
        Ok(Tokenizer(tokenizers::Tokenizer::from_bytes(json).map_err(plain)?))
    }

    /// The same, cutting texts to `longest` tokens (special ones among them).
    pub fn truncated(&self, longest: usize) -> Result<Tokenizer> {
        let mut inner = self.0.clone();
        let truncation = tokenizers::TruncationParams { max_length: longest, ..Default::default() };
        inner.with_truncation(Some(truncation)).map_err(plain)?;
        Ok(Tokenizer(inner))
    }

    /// Number of tokens.
    pub fn vocabulary(&self) -> usize {
        self.0.get_vocab_size(true)
    }

    /// The id of a token by its text.
    pub fn token(&self, token: &str) -> Option<i64> {
        self.0.token_to_id(token).map(i64::from)
    }

    /// The token of an id.
    pub fn name(&self, id: i64) -> Option<String> {
        self.0.id_to_token(u32::try_from(id).ok()?)
    }

    /// Ids of one text, with the special tokens the tokenizer adds.
    pub fn encode(&self, text: &str) -> Result<Vec<i64>> {
        self.ids(self.0.encode(text, true))
    }

    /// Ids of two texts in one (premise and hypothesis), and which of them each token belongs to (0 or 1).
    pub fn encode_pair(&self, first: &str, second: &str) -> Result<(Vec<i64>, Vec<i64>)> {
        let encoding = self.0.encode((first, second), true).map_err(plain)?;
        let widen = |ids: &[u32]| ids.iter().map(|&id| i64::from(id)).collect();
        Ok((widen(encoding.get_ids()), widen(encoding.get_type_ids())))
    }

    /// Ids of one text and nothing else.
    pub fn encode_bare(&self, text: &str) -> Result<Vec<i64>> {
        self.ids(self.0.encode_fast(text, false))
    }

    fn ids(&self, encoding: tokenizers::Result<tokenizers::Encoding>) -> Result<Vec<i64>> {
        Ok(encoding.map_err(plain)?.get_ids().iter().map(|&id| id.into()).collect())
    }

    /// The text of ids, special tokens left out. A negative id is an error.
    pub fn decode(&self, ids: &[i64]) -> Result<String> {
        let narrow = |&id: &i64| u32::try_from(id).with_context(|| format!("{id} is not a token id"));
        let ids: Vec<u32> = ids.iter().map(narrow).collect::<Result<_>>()?;
        self.0.decode(&ids, true).map_err(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_go_round_and_others_are_unknown() {
        let tokenizer = Tokenizer::characters("b a\nab").unwrap();
        assert_eq!(tokenizer.vocabulary(), 5);
        assert_eq!(tokenizer.encode("ab\n ").unwrap(), [3, 4, 1, 2]);
        assert_eq!(tokenizer.encode("az").unwrap(), [3, 0]);
        assert_eq!(tokenizer.decode(&[3, 4, 1, 2]).unwrap(), "ab\n ");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_json().unwrap()).unwrap();
        assert_eq!(Tokenizer::load(folder.path()).unwrap().encode("ab\n ").unwrap(), [3, 4, 1, 2]);
    }

    #[test]
    fn a_trained_pair_encoding_merges_what_is_frequent_and_encodes_everything() {
        let tokenizer = Tokenizer::train_bpe(&"hello hello there\n".repeat(20), 270, &["<end>"]).unwrap();
        assert_eq!(tokenizer.token("<end>"), Some(0));
        assert_eq!(tokenizer.encode("hello").unwrap().len(), 1);
        let strange = "hello, Ünïcode 漢\t!";
        assert_eq!(tokenizer.decode(&tokenizer.encode(strange).unwrap()).unwrap(), strange);
        assert!(tokenizer.vocabulary() <= 270);
        assert!(Tokenizer::train_bpe("a", 100, &[]).err().unwrap().to_string().contains("256"));
    }
}
