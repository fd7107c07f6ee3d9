//! The TSV files of the GLUE tasks, in the layout of their public archives.

use anyhow::{Context, Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tch::{Device, Tensor};

use super::Tokenizer;
use crate::data::DeviceSet;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GlueTask {
    #[default]
    Cola,
    Sst2,
    Mrpc,
    Qqp,
    Stsb,
    Mnli,
    Qnli,
    Rte,
}

/// One sentence, or a pair, and its class (or, in STS-B, its score from 0 to 5).
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    pub first: String,
    pub second: Option<String>,
    pub label: f64,
}

/// Where a task's columns are.
struct Layout {
    /// By name in the header, or by place where files have none.
    first: (&'static str, usize),
    second: Option<(&'static str, usize)>,
    label: (&'static str, usize),
    /// The words of the classes in the files; empty: a number stands there.
    words: &'static [&'static str],
    train: &'static [&'static str],
    dev: &'static [&'static str],
}

impl GlueTask {
    /// The folder below the data root, and the name in `reglab data get`.
    pub fn name(self) -> &'static str {
        match self {
            GlueTask::Cola => "cola",
            GlueTask::Sst2 => "sst2",
            GlueTask::Mrpc => "mrpc",
            GlueTask::Qqp => "qqp",
            GlueTask::Stsb => "stsb",
            GlueTask::Mnli => "mnli",
            GlueTask::Qnli => "qnli",
            GlueTask::Rte => "rte",
        }
    }

    /// The names of the classes; none for STS-B, whose labels are scores.
    pub fn classes(self) -> &'static [&'static str] {
        match self {
            GlueTask::Cola => &["unacceptable", "acceptable"],
            GlueTask::Sst2 => &["negative", "positive"],
            GlueTask::Mrpc => &["not_equivalent", "equivalent"],
            GlueTask::Qqp => &["not_duplicate", "duplicate"],
            GlueTask::Stsb => &[],
            GlueTask::Mnli => &["entailment", "neutral", "contradiction"],
            GlueTask::Qnli | GlueTask::Rte => &["entailment", "not_entailment"],
        }
    }

    fn layout(self) -> Layout {
        let plain = Layout {
            first: ("sentence1", 0),
            second: None,
            label: ("label", 1),
            words: &[],
            train: &["train.tsv"],
            dev: &["dev.tsv"],
        };
        match self {
            // source, label, author's mark, sentence; no header.
            GlueTask::Cola => Layout {
                first: ("sentence", 3),
                train: &["train.tsv", "in_domain_train.tsv"],
                dev: &["dev.tsv", "in_domain_dev.tsv"],
                ..plain
            },
            GlueTask::Sst2 => Layout { first: ("sentence", 0), ..plain },
            GlueTask::Mrpc => Layout {
                first: ("#1 String", 3),
                second: Some(("#2 String", 4)),
                label: ("Quality", 0),
                train: &["train.tsv", "msr_paraphrase_train.txt"],
                dev: &["dev.tsv", "msr_paraphrase_test.txt"],
                ..plain
            },
            GlueTask::Qqp => {
                Layout { first: ("question1", 3), second: Some(("question2", 4)), label: ("is_duplicate", 5), ..plain }
            }
            GlueTask::Stsb => {
                Layout { first: ("sentence1", 7), second: Some(("sentence2", 8)), label: ("score", 9), ..plain }
            }
            GlueTask::Mnli => Layout {
                first: ("sentence1", 8),
                second: Some(("sentence2", 9)),
                label: ("gold_label", 11),
                words: self.classes(),
                dev: &["dev_matched.tsv"],
                ..plain
            },
            GlueTask::Qnli => Layout {
                first: ("question", 1),
                second: Some(("sentence", 2)),
                label: ("label", 3),
                words: self.classes(),
                ..plain
            },
            GlueTask::Rte => Layout {
                first: ("sentence1", 1),
                second: Some(("sentence2", 2)),
                label: ("label", 3),
                words: self.classes(),
                ..plain
            },
        }
    }

    /// The labelled examples (training, development) of the task's folder.
    pub fn read(self, folder: &Path) -> Result<(Vec<Example>, Vec<Example>)> {
        let layout = self.layout();
        let part = |names: &[&str]| -> Result<Vec<Example>> {
            let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
            let Some(path) = paths.iter().find(|path| path.exists()) else {
                bail!("there is no {}; `reglab data get {}` brings it", paths[0].display(), self.name())
            };
            let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let text =
                String::from_utf8(bytes).with_context(|| format!("{} is not a text in UTF-8", path.display()))?;
            self.parse(&text, &layout).with_context(|| path.display().to_string())
        };
        Ok((part(layout.train)?, part(layout.dev)?))
    }

    fn parse(self, text: &str, layout: &Layout) -> Result<Vec<Example>> {
        let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate().peekable();
        let header: Vec<&str> = lines.peek().map(|(_, line)| line.split('\t').collect()).unwrap_or_default();
        let place = |(name, at): (&str, usize)| header.iter().position(|&column| column == name).unwrap_or(at);
        let (first, second, label) = (place(layout.first), layout.second.map(place), place(layout.label));
        if header.contains(&layout.first.0) && header.contains(&layout.label.0) {
            lines.next();
        }
        let mut examples = Vec::new();
        for (i, line) in lines.filter(|(_, line)| !line.is_empty()) {
            let columns: Vec<&str> = line.split('\t').collect();
            let column = |at: usize| {
                columns
                    .get(at)
                    .copied()
                    .with_context(|| format!("line {} has {} columns, not {}", i + 1, columns.len(), at + 1))
            };
            let word = column(label)?.trim();
            // MNLI marks pairs its annotators disagreed on with a dash.
            if self == GlueTask::Mnli && word == "-" {
                continue;
            }
            let label = self.label(word, layout.words).with_context(|| format!("line {}", i + 1))?;
            let second = second.map(|at| column(at).map(str::to_owned)).transpose()?;
            examples.push(Example { first: column(first)?.to_owned(), second, label });
        }
        ensure!(!examples.is_empty(), "the file has no examples");
        Ok(examples)
    }

    fn label(self, word: &str, words: &[&str]) -> Result<f64> {
        let classes = self.classes().len();
        let number = match words.iter().position(|&known| known == word) {
            Some(class) => Some(class as f64),
            None if words.is_empty() => word.parse::<f64>().ok(),
            None => None,
        };
        let fits = |x: &f64| {
            if classes == 0 { (0.0..=5.0).contains(x) } else { x.fract() == 0.0 && (0.0..classes as f64).contains(x) }
        };
        match number.filter(fits) {
            Some(label) => Ok(label),
            None if !words.is_empty() => bail!("label {word:?} should be one of {}", words.join(", ")),
            None if classes == 0 => bail!("score {word:?} should be a number from 0 to 5"),
            None => bail!("label {word:?} should be a whole number below {classes}"),
        }
    }
}

/// Examples as a set that a text encoder is trained on: ids int64 `[N, T]`, T the longest text but `longest` at most, padded at
/// their ends with `pad`; labels the classes.
pub fn encode(
    examples: &[Example],
    task: GlueTask,
    tokenizer: &Tokenizer,
    longest: usize,
    pad: i64,
    device: Device,
) -> Result<DeviceSet> {
    ensure!(!task.classes().is_empty(), "{} has scores, not classes", task.name());
    let tokenizer = tokenizer.truncated(longest)?;
    let rows: Vec<Vec<i64>> = examples
        .iter()
        .map(|example| match &example.second {
            Some(second) => Ok(tokenizer.encode_pair(&example.first, second)?.0),
            None => tokenizer.encode(&example.first),
        })
        .collect::<Result<_>>()?;
    let ids = padded(&rows, pad).to_device(device);
    let labels: Vec<i64> = examples.iter().map(|example| example.label as i64).collect();
    let names = task.classes().iter().map(|&name| name.to_owned()).collect();
    DeviceSet::tokens(ids, Tensor::from_slice(&labels).to_device(device), names)
}

/// Rows of ids as one int64 `[N, longest]`, filled up on the right.
pub fn padded(rows: &[Vec<i64>], pad: i64) -> Tensor {
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
    let fill =
        |ids: &Vec<i64>| ids.iter().copied().chain(std::iter::repeat_n(pad, longest - ids.len())).collect::<Vec<_>>();
    let flat: Vec<i64> = rows.iter().flat_map(fill).collect();
    Tensor::from_slice(&flat).view([rows.len() as i64, longest as i64])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(task: GlueTask, text: &str) -> Result<Vec<Example>> {
        task.parse(text, &task.layout())
    }

    fn example(first: &str, second: Option<&str>, label: f64) -> Example {
        Example { first: first.into(), second: second.map(str::to_owned), label }
    }

    #[test]
    fn each_layout_is_read() {
        assert_eq!(
            parse(GlueTask::Cola, "gj04\t1\t\tA \"quoted word.\ngj04\t0\t*\tBad a.\n").unwrap(),
            [example("A \"quoted word.", None, 1.0), example("Bad a.", None, 0.0)]
        );
        let sst = [example("good", None, 1.0)];
        assert_eq!(parse(GlueTask::Sst2, "sentence\tlabel\ngood\t1\n").unwrap(), sst);
        assert_eq!(parse(GlueTask::Sst2, "good\t1\n").unwrap(), sst);
        let mrpc = "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\ta\tb\n";
        assert_eq!(parse(GlueTask::Mrpc, mrpc).unwrap(), [example("a", Some("b"), 1.0)]);
        let rte = "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tnot_entailment\n";
        assert_eq!(parse(GlueTask::Rte, rte).unwrap(), [example("a", Some("b"), 1.0)]);
        let stsb = "index\tgenre\tsentence1\tsentence2\tscore\n0\tx\ta\tb\t3.8\n";
        assert_eq!(parse(GlueTask::Stsb, stsb).unwrap(), [example("a", Some("b"), 3.8)]);
        let mnli = "index\tsentence1\tsentence2\tgold_label\n0\ta\tb\tneutral\n1\ta\tb\t-\n";
        assert_eq!(parse(GlueTask::Mnli, mnli).unwrap(), [example("a", Some("b"), 1.0)]);
    }

    #[test]
    fn a_wrong_label_is_refused_with_its_line() {
        let message = |task, text| format!("{:#}", parse(task, text).unwrap_err());
        assert_eq!(
            message(GlueTask::Cola, "a\t1\t\tx\na\t2\t\ty\n"),
            "line 2: label \"2\" should be a whole number below 2"
        );
        assert!(message(GlueTask::Cola, "a\t1\n").contains("line 1 has 2 columns, not 4"));
        assert!(message(GlueTask::Rte, "0\ta\tb\tyes\n").contains("entailment, not_entailment"));
    }

    #[test]
    fn examples_become_padded_rows() {
        let tokenizer = Tokenizer::characters("abc").unwrap();
        let examples = [example("abcab", None, 1.0), example("c", None, 0.0)];
        let set = encode(&examples, GlueTask::Sst2, &tokenizer, 3, 9, Device::Cpu).unwrap();
        let batch = set.slice(0, 2);
        assert_eq!(batch.x, Tensor::from_slice(&[1i64, 2, 3, 3, 9, 9]).view([2, 3]));
        assert_eq!(batch.y, Tensor::from_slice(&[1i64, 0]));
    }
}
