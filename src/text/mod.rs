//! Texts: tokenizers, packed token streams, readers of the field's data sets.

mod ops;
mod tokenizer;

pub use ops::OPS;
pub use tokenizer::Tokenizer;
