//! One TOML text (a preset, a file, an arm, a KEY=VALUE) and how texts are laid over each other.

use anyhow::{Result, anyhow, bail};
use std::path::Path;
use toml::{Table, Value};

use super::Schema;

/// A text with a name for error messages.
#[derive(Clone, Debug)]
pub struct Layer {
    /// File name, or the override as typed.
    pub origin: String,
    pub text: String,
    table: Table,
    /// Whether line numbers mean something to the reader of an error.
    pub lines: bool,
}

impl Layer {
    pub fn text(origin: &str, text: &str) -> Result<Layer> {
        let table: Table = text.parse().map_err(|e: toml::de::Error| {
            let line = e.span().map_or(1, |span| line_of(text, span.start));
            anyhow!("{origin}:{line}: not valid TOML: {}", e.message().replace('\n', ", "))
        })?;
        Ok(Layer { origin: origin.to_owned(), text: text.to_owned(), table, lines: true })
    }

    pub fn file(path: &Path) -> Result<Layer> {
        let bytes =
            std::fs::read(path).map_err(|e| anyhow!("cannot read the experiment file {}: {e}", path.display()))?;
        let text = String::from_utf8(bytes).map_err(|_| anyhow!("{} is not a text file", path.display()))?;
        Layer::text(&path.display().to_string(), &text)
    }

    /// `method.sparsity=0.9`: the value is TOML (number, true, [1, 2], "text"); anything else is taken as a text.
    pub fn key_value(given: &str) -> Result<Layer> {
        let Some((key, value)) = given.split_once('=') else {
            bail!("{given:?} is not of the form KEY=VALUE (for example train.epochs=50)");
        };
        let (key, value) = (key.trim(), value.trim());
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if key.is_empty() || !key.chars().all(plain) || key.split('.').any(str::is_empty) {
            bail!("{given:?}: {key:?} is not a dotted key (for example train.epochs)");
        }
        let quoted = format!("{key} = {}", Value::String(value.to_owned()));
        let typed = format!("{key} = {value}");
        let text = if !value.contains('\n') && typed.parse::<Table>().is_ok() { typed } else { quoted };
        let table = text.parse().map_err(|e: toml::de::Error| anyhow!("{given}: {}", e.message()))?;
        Ok(Layer { origin: given.to_owned(), text, table, lines: false })
    }

    /// The overrides under `[arms.NAME]` of a file, as a layer of their own.
    pub fn from_table(origin: &str, table: Table) -> Result<Layer> {
        Ok(Layer { origin: origin.to_owned(), text: toml::to_string(&table)?, table, lines: false })
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    /// `file.toml:12` where lines mean something, else the origin.
    pub fn place(&self, offset: usize) -> String {
        if self.lines { format!("{}:{}", self.origin, line_of(&self.text, offset)) } else { self.origin.clone() }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text[..offset.min(text.len())].matches('\n').count() + 1
}

/// Lays `over` on `base`: tables merge, everything else is replaced. A section that is a choice of variants (`[model]`) is
/// replaced whole when the variant changes.
pub fn merge(base: &mut Table, over: &Table, schema: &Schema) {
    for (key, value) in over {
        let section = schema.property(key);
        match (base.get_mut(key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => {
                let changes = new.get("name").is_some_and(|name| old.get("name") != Some(name));
                if changes && section.as_ref().is_some_and(Schema::is_choice) {
                    *old = new.clone();
                } else {
                    merge(old, new, &section.unwrap_or_default());
                }
            }
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// The value at a dotted key.
pub fn get<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    let mut parts = key.split('.');
    let first = table.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

/// Sets the value at a dotted key, making tables on the way.
pub fn set(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_value_types() {
        let value = |text: &str| Layer::key_value(text).unwrap().table()["a"].clone();
        assert_eq!(value("a=1"), Value::Integer(1));
        assert_eq!(value("a = 0.5"), Value::Float(0.5));
        assert_eq!(value("a=[1, 2]").as_array().unwrap().len(), 2);
        assert_eq!(value("a=cuda:0"), Value::String("cuda:0".into()));
        assert_eq!(value("a=it's \"$(x)\""), Value::String("it's \"$(x)\"".into()));
        assert_eq!(value("a=1\nb=2"), Value::String("1\nb=2".into()));
        assert!(Layer::key_value("a").is_err());
        assert!(Layer::key_value("a b=1").is_err());
        assert!(Layer::key_value("a..b=1").is_err());
    }

    #[test]
    fn errors_name_the_line() {
        let error = Layer::text("my.toml", "a = 1\nb = = 2\n").unwrap_err().to_string();
        assert!(error.starts_with("my.toml:2: not valid TOML"), "{error}");
    }
}
