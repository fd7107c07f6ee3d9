//! Reading a JSON object key by key, with errors that name the key and its value. A key that is null counts as missing.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    file: &'a str,
}

impl<'a> Fields<'a> {
    pub fn new(value: &'a Value, file: &'a str) -> Result<Fields<'a>> {
        let object = value.as_object().with_context(|| format!("{file} is not a JSON object"))?;
        Ok(Fields { object, file })
    }

    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// The first key of several spellings that is there.
    fn first(&self, keys: &[&'a str]) -> Option<(&'a str, &'a Value)> {
        keys.iter().find_map(|&key| Some((key, self.value(key)?)))
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        Ok(Some(value.as_str().with_context(|| format!("{}: {key} = {value} is not a text", self.file))?))
    }

    /// A whole number that must be there.
    pub fn int(&self, key: &'a str) -> Result<i64> {
        self.int_of(&[key])?.with_context(|| format!("{} has no {key}", self.file))
    }

    /// A whole number of 0 or more under the first of these keys that is there.
    pub fn int_of(&self, keys: &[&'a str]) -> Result<Option<i64>> {
        let Some((key, value)) = self.first(keys) else { return Ok(None) };
        match value.as_i64() {
            Some(number) if number >= 0 => Ok(Some(number)),
            _ => bail!("{}: {key} = {value} is not a whole number of 0 or more", self.file),
        }
    }

    pub fn float(&self, key: &str, default: f64) -> Result<f64> {
        let Some(value) = self.value(key) else { return Ok(default) };
        value.as_f64().with_context(|| format!("{}: {key} = {value} is not a number", self.file))
    }

    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        let Some(value) = self.value(key) else { return Ok(default) };
        value.as_bool().with_context(|| format!("{}: {key} = {value} is neither true nor false", self.file))
    }

    pub fn ints(&self, key: &str) -> Result<Vec<i64>> {
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        let list = value.as_array().and_then(|list| list.iter().map(Value::as_i64).collect());
        list.with_context(|| format!("{}: {key} = {value} is not a list of whole numbers", self.file))
    }

    /// A token id, or the first one of a list; -1 when there is none.
    pub fn token(&self, key: &str) -> Result<i64> {
        let Some(value) = self.value(key) else { return Ok(-1) };
        let id = value.as_i64().or_else(|| value.as_array()?.first()?.as_i64());
        id.with_context(|| format!("{}: {key} = {value} is not a token id", self.file))
    }

    /// Refuses a value other than the supported ones.
    pub fn only(&self, key: &str, supported: &[&str]) -> Result<()> {
        match self.text(key)? {
            Some(given) if !supported.contains(&given) => {
                bail!("{}: {key} = {given:?} is not supported; supported: {}", self.file, supported.join(", "))
            }
            _ => Ok(()),
        }
    }
}
