//! Running text for language models: one training, one validation and one test text.

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Which text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CorpusName {
    /// The first 160,000 characters of the next one, compiled into the program.
    #[default]
    Shakespeare,
    /// 1.1 MB of Shakespeare's plays (`reglab data get tinyshakespeare`).
    Tinyshakespeare,
    /// 2 million words of Wikipedia (`reglab data get wikitext-2`).
    #[serde(rename = "wikitext-2")]
    Wikitext2,
    /// 1 million words of the Wall Street Journal (`reglab data get ptb`).
    Ptb,
    /// The text file `path`.
    File,
}

/// The three texts.
#[derive(Clone, Debug)]
pub struct Corpus {
    pub train: String,
    pub val: String,
    pub test: String,
}

impl Corpus {
    /// Reads a text below `data_root`; one without parts of its own is cut 90 : 5 : 5 at ends of lines.
    pub fn read(name: CorpusName, path: Option<&Path>, data_root: &Path) -> Result<Corpus> {
        let corpus = match name {
            CorpusName::Shakespeare => Corpus::cut(&embedded()?),
            CorpusName::Tinyshakespeare => {
                Corpus::cut(&text_of(&data_root.join("tinyshakespeare"), &["input.txt"], "tinyshakespeare")?)
            }
            CorpusName::Wikitext2 => {
                let folder = data_root.join("wikitext-2");
                let part = |part: &str| {
                    let (tokens, text) = (format!("wiki.{part}.tokens"), format!("{part}.txt"));
                    text_of(&folder, &[&tokens, &text], "wikitext-2")
                };
                Corpus { train: part("train")?, val: part("valid")?, test: part("test")? }
            }
            CorpusName::Ptb => {
                let part = |part: &str| text_of(&data_root.join("ptb"), &[&format!("ptb.{part}.txt")], "ptb");
                Corpus { train: part("train")?, val: part("valid")?, test: part("test")? }
            }
            CorpusName::File => {
                let path = path.context("text.name = \"file\" needs the file in text.path")?;
                Corpus::cut(&read_text(path)?)
            }
        };
        for (part, text) in [("training", &corpus.train), ("validation", &corpus.val), ("test", &corpus.test)] {
            ensure!(!text.is_empty(), "the text is too short: its {part} part is empty");
        }
        Ok(corpus)
    }

    /// 90 % for training, then two parts of 5 %, each but the last ending with a line.
    fn cut(text: &str) -> Corpus {
        let line_end = |share: usize| {
            let at = text.len() * share / 100;
            text.as_bytes()[at..].iter().position(|&byte| byte == b'\n').map_or(text.len(), |more| at + more + 1)
        };
        let (first, second) = (line_end(90), line_end(95));
        Corpus { train: text[..first].into(), val: text[first..second].into(), test: text[second..].into() }
    }
}

/// William Shakespeare's Coriolanus and Richard III, as far as the first 160,000 characters of tinyshakespeare hold them: the text
/// itself is in the public domain.
fn embedded() -> Result<String> {
    let mut text = String::new();
    GzDecoder::new(&include_bytes!("shakespeare.txt.gz")[..]).read_to_string(&mut text)?;
    Ok(text)
}

/// The first of these files that is there.
fn text_of(folder: &Path, names: &[&str], set: &str) -> Result<String> {
    let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    match paths.iter().find(|path| path.exists()) {
        Some(path) => read_text(path),
        None => bail!("there is no {}; `reglab data get {set}` brings it", paths[0].display()),
    }
}

fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    String::from_utf8(bytes).with_context(|| format!("{} is not a text in UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_text_is_whole_and_cut_at_lines() {
        let corpus = Corpus::read(CorpusName::Shakespeare, None, Path::new("nowhere")).unwrap();
        assert!(corpus.train.starts_with("First Citizen:\nBefore we proceed any further, hear me speak."));
        let whole = corpus.train.clone() + &corpus.val + &corpus.test;
        assert_eq!(whole, embedded().unwrap());
        assert!(corpus.train.ends_with('\n') && corpus.val.ends_with('\n'));
        assert!((0.88..0.92).contains(&(corpus.train.len() as f64 / whole.len() as f64)));
    }

    #[test]
    fn a_text_that_is_not_there_says_how_to_get_it() {
        let error = Corpus::read(CorpusName::Wikitext2, None, Path::new("nowhere")).unwrap_err().to_string();
        assert!(
            error.contains("nowhere/wikitext-2/wiki.train.tokens") && error.contains("data get wikitext-2"),
            "{error}"
        );
        assert!(Corpus::read(CorpusName::File, None, Path::new(".")).unwrap_err().to_string().contains("text.path"));
    }
}
