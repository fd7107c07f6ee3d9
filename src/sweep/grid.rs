//! The text of a grid: `method.sparsity=0.5,0.7 seed=0..5 train.epochs,train.batch=10:32,20:64`.
//!
//! A word is an axis. Its values are separated by commas; `a..b` between whole numbers stands for all of them, both ends
//! included. Commas inside quotes, `[]`, `{}` or `()` do not separate, so `stream.sizes=[4,3,3],[5,5]` has two values and
//! `note="a,b"` one. An axis of several keys is zipped: its values are one for each key, with colons between.

use anyhow::{Result, bail, ensure};

/// One value for each key of an axis, as texts of `KEY=VALUE`.
pub type Setting = Vec<(String, String)>;

/// The settings of one word, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis(pub Vec<Setting>);

/// More would be a slip of the keyboard.
const MOST_VALUES: i64 = 100_000;

impl Axis {
    pub fn parse(word: &str) -> Result<Axis> {
        let Some((keys, values)) = word.split_once('=') else {
            bail!("{word:?} is not of the form KEY=VALUES (for example seed=0..5 or train.epochs=10,20)");
        };
        let keys: Vec<&str> = keys.split(',').map(str::trim).collect();
        ensure!(keys.iter().all(|key| !key.is_empty()), "{word:?}: a key is missing before the =");
        let mut settings = Vec::new();
        for value in split(values, ',') {
            ensure!(
                !value.is_empty() || values.is_empty(),
                "{word:?}: a value is missing between two commas (an empty text is written \"\")"
            );
            if let [key] = keys[..] {
                for value in expand(word, value)? {
                    settings.push(vec![(key.to_owned(), value)]);
                }
                continue;
            }
            let parts = split(value, ':');
            ensure!(
                parts.len() == keys.len(),
                "{word:?}: {value:?} has {} values between colons, but there are {} keys ({})",
                parts.len(),
                keys.len(),
                keys.join(", ")
            );
            settings.push(keys.iter().zip(parts).map(|(key, part)| ((*key).to_owned(), part.to_owned())).collect());
        }
        Ok(Axis(settings))
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().take(1).flatten().map(|(key, _)| key.as_str())
    }
}

/// The axes of all words; no key may stand on two of them.
pub fn parse(words: &[String]) -> Result<Vec<Axis>> {
    let axes = words.iter().map(|word| Axis::parse(word)).collect::<Result<Vec<_>>>()?;
    let mut keys: Vec<&str> = axes.iter().flat_map(Axis::keys).collect();
    keys.sort_unstable();
    if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("{} is given twice: put all its values in one word", pair[0]);
    }
    let points = axes.iter().try_fold(1i64, |n, axis| n.checked_mul(axis.0.len() as i64)).unwrap_or(i64::MAX);
    ensure!(points <= MOST_VALUES, "the grid has {points} points; more than {MOST_VALUES} are not made in one sweep");
    Ok(axes)
}

/// All combinations, the last axis fastest.
pub fn combinations(axes: &[Axis]) -> Vec<Setting> {
    axes.iter().fold(vec![Vec::new()], |before, axis| {
        before.iter().flat_map(|b| axis.0.iter().map(move |s| b.iter().chain(s).cloned().collect())).collect()
    })
}

/// `2..5` as 2, 3, 4, 5; anything else as itself.
fn expand(word: &str, value: &str) -> Result<Vec<String>> {
    let ends = value.split_once("..").map(|(low, high)| (low.trim().parse::<i64>(), high.trim().parse::<i64>()));
    let Some((Ok(low), Ok(high))) = ends else { return Ok(vec![value.to_owned()]) };
    ensure!(low <= high, "{word:?}: the range {value} is empty; write the smaller end first");
    ensure!(high.saturating_sub(low) < MOST_VALUES, "{word:?}: the range {value} has more than {MOST_VALUES} values");
    Ok((low..=high).map(|n| n.to_string()).collect())
}

/// Splits at `separator` outside quotes and brackets. Quotes count at the start of a value (or after its =) and inside
/// brackets: the one in `it's` is a letter. A text whose brackets or quotes never close is one value.
pub fn split(text: &str, separator: char) -> Vec<&str> {
    let opens = |before: &str| before.trim_end().is_empty() || before.trim_end().ends_with('=');
    let (mut parts, mut begin, mut depth, mut quote, mut escaped) = (Vec::new(), 0, 0usize, None, false);
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if (c == '"' || c == '\'') && (depth > 0 || opens(&text[begin..at])) => quote = Some(c),
            None if "[{(".contains(c) => depth += 1,
            None if "]})".contains(c) => depth = depth.saturating_sub(1),
            None if c == separator && depth == 0 => {
                parts.push(text[begin..at].trim());
                begin = at + c.len_utf8();
            }
            None => {}
        }
    }
    if quote.is_some() || depth > 0 {
        return vec![text.trim()];
    }
    parts.push(text[begin..].trim());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(word: &str) -> Vec<String> {
        let show = |s: &Setting| s.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ");
        Axis::parse(word).unwrap().0.iter().map(show).collect()
    }

    #[test]
    fn values_ranges_and_zips() {
        assert_eq!(values("a=0.5,0.7"), ["a=0.5", "a=0.7"]);
        assert_eq!(values("seed=0..2,7"), ["seed=0", "seed=1", "seed=2", "seed=7"]);
        assert_eq!(values("a=-1..1"), ["a=-1", "a=0", "a=1"]);
        assert_eq!(values("a,b.c=1:10,2:20"), ["a=1 b.c=10", "a=2 b.c=20"]);
        assert_eq!(values("start=../x.safetensors"), ["start=../x.safetensors"]);
        assert_eq!(values("a="), ["a="]);
    }

    #[test]
    fn brackets_and_quotes_hold_together() {
        assert_eq!(values("a=[4,3,3],[5,5]"), ["a=[4,3,3]", "a=[5,5]"]);
        assert_eq!(values("a=\"x,y\",'z,\"'"), ["a=\"x,y\"", "a='z,\"'"]);
        assert_eq!(values(r#"a="x\",y",z"#), [r#"a="x\",y""#, "a=z"]);
        assert_eq!(values("a=it's,that's"), ["a=it's", "a=that's"]);
        assert_eq!(values("a=$(echo a,b)"), ["a=$(echo a,b)"]);
        assert_eq!(values("a={kind=\"sgd\",lr=0.1},{kind=\"adam\"}").len(), 2);
        assert_eq!(values("a,b=[1,2]:\"x:y\""), ["a=[1,2] b=\"x:y\""]);
        assert_eq!(values("a=[1,2"), ["a=[1,2"]);
    }

    #[test]
    fn combinations_run_the_last_axis_fastest() {
        let axes = parse(&["a=1,2".into(), "b=3..4".into()]).unwrap();
        let seen: Vec<String> = combinations(&axes).iter().map(|s| format!("{}{}", s[0].1, s[1].1)).collect();
        assert_eq!(seen, ["13", "14", "23", "24"]);
        assert_eq!(combinations(&[]), [Vec::new()]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let complaint = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            parse(&words).unwrap_err().to_string()
        };
        assert!(complaint(&["seed"]).contains("KEY=VALUES"));
        assert!(complaint(&["seed=5..0"]).contains("empty"));
        assert!(complaint(&["a=1,,2"]).contains("between two commas"));
        assert!(complaint(&["a,b=1:2,3"]).contains("2 keys (a, b)"));
        assert!(complaint(&["a=1", "a=2"]).contains("given twice"));
        assert!(complaint(&["a=1..1000", "b=1..1000"]).contains("1000000 points"));
        assert!(complaint(&["=1"]).contains("key is missing"));
    }
}
