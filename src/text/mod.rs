//! Texts: tokenizers, packed token streams, readers of the field's data sets, labels by a decoder.

mod answer;
mod corpus;
mod glue;
mod ops;
mod stream;
mod tokenizer;

pub use answer::{answer_scores, choose};
pub use corpus::{Corpus, CorpusName};
pub use glue::{Example, GlueTask, encode, padded};
pub use ops::OPS;
pub use stream::{END_OF_TEXT, Streams, TextConfig, TokenizerKind, windows};
pub use tokenizer::Tokenizer;
