//! The search space: tuned keys, their ranges, and the scale samplers work in.

use anyhow::{Context, Result, bail, ensure};
use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// One trial's values by key, in the space's order.
pub type Params = Map<String, Value>;

/// One tuned key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Dimension {
    /// A real number in [low, high].
    Float {
        low: f64,
        high: f64,
        /// Sampled in the logarithm.
        #[serde(default)]
        log: bool,
        /// Only low, low + step, ...
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<f64>,
        /// The grid's values.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        values: Option<Vec<f64>>,
        /// The grid's values by their number, evenly spaced from low to high (in the logarithm if `log`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        points: Option<u64>,
    },
    /// A whole number in low..=high.
    Int {
        low: i64,
        high: i64,
        #[serde(default)]
        log: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<i64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        values: Option<Vec<i64>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        points: Option<u64>,
    },
    /// One of a list.
    Categorical { choices: Vec<Value> },
}

/// The interval a sampler draws a numeric value from, and the way back: log scale, and half a step more at both ends where
/// values are rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    pub low: f64,
    pub high: f64,
    log: bool,
    /// Distance of the values there are (0: any).
    step: f64,
    first: f64,
    last: f64,
}

impl Scale {
    /// The value nearest to `u` in [low, high].
    pub fn value(&self, u: f64) -> f64 {
        let raw = if self.log { u.exp() } else { u };
        let value =
            if self.step > 0.0 { self.first + ((raw - self.first) / self.step).round() * self.step } else { raw };
        value.clamp(self.first, self.last)
    }

    pub fn coordinate(&self, value: f64) -> f64 {
        if self.log { value.ln() } else { value }
    }
}

impl Dimension {
    /// `None` for a list of choices.
    pub fn scale(&self) -> Option<Scale> {
        let (first, last, log, step) = match *self {
            Dimension::Categorical { .. } => return None,
            Dimension::Float { low, high, log, step, .. } => (low, high, log, step.unwrap_or(0.0)),
            Dimension::Int { low, high, log, step, .. } => (low as f64, high as f64, log, step.unwrap_or(1) as f64),
        };
        // The last value a step from `first` reaches.
        let last = if step > 0.0 { first + ((last - first) / step + 1e-9).floor() * step } else { last };
        let (low, high) = (first - step / 2.0, last + step / 2.0);
        let (low, high) = if log { (low.ln(), high.ln()) } else { (low, high) };
        Some(Scale { low, high, log, step, first, last })
    }

    /// The ends of the range, or all choices: where these are allowed, so is what lies between.
    pub fn extremes(&self) -> Vec<Value> {
        match self {
            Dimension::Float { low, high, .. } => vec![Value::from(*low), Value::from(*high)],
            Dimension::Int { low, high, .. } => vec![Value::from(*low), Value::from(*high)],
            Dimension::Categorical { choices } => choices.clone(),
        }
    }

    /// A value of the dimension from its number (the index of a choice).
    pub fn json(&self, number: f64) -> Value {
        match self {
            Dimension::Float { .. } => Value::from(number),
            Dimension::Int { .. } => Value::from(number as i64),
            Dimension::Categorical { choices } => choices[number as usize].clone(),
        }
    }

    /// The number of a value (the index of a choice), if it belongs to the dimension.
    fn number(&self, value: &Value) -> Option<f64> {
        match self {
            Dimension::Categorical { choices } => choices.iter().position(|c| c == value).map(|i| i as f64),
            Dimension::Float { low, high, .. } => value.as_f64().filter(|x| (*low..=*high).contains(x)),
            Dimension::Int { low, high, .. } => value.as_i64().filter(|n| (*low..=*high).contains(n)).map(|n| n as f64),
        }
    }

    fn allowed(&self) -> String {
        match self {
            Dimension::Float { low, high, .. } => format!("a number in [{low}, {high}]"),
            Dimension::Int { low, high, .. } => format!("a whole number in {low}..={high}"),
            Dimension::Categorical { choices } => {
                format!("one of {}", choices.iter().map(Value::to_string).collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn check(&self) -> Result<()> {
        match self {
            Dimension::Float { low, high, log, step, values, points } => {
                ensure!(low.is_finite() && high.is_finite() && low < high, "low = {low} must be below high = {high}");
                ensure!(!log || *low > 0.0, "low = {low} must be positive where log = true");
                if let Some(step) = step {
                    ensure!(!log, "step = {step} and log = true exclude each other");
                    ensure!(*step > 0.0 && *step <= high - low, "step = {step} must lie in (0, {}]", high - low);
                }
                check_grid(values.as_deref(), points, *low..=*high)
            }
            Dimension::Int { low, high, log, step, values, points } => {
                ensure!(low < high, "low = {low} must be below high = {high}");
                ensure!(!log || *low > 0, "low = {low} must be positive where log = true");
                if let Some(step) = step {
                    ensure!(!log || *step == 1, "step = {step} and log = true exclude each other");
                    ensure!(*step > 0 && *step <= high - low, "step = {step} must lie in 1..={}", high - low);
                }
                check_grid(values.as_deref(), points, *low..=*high)
            }
            Dimension::Categorical { choices } => {
                ensure!(!choices.is_empty(), "choices = [] needs at least one value");
                let twice = choices.iter().enumerate().find(|(i, c)| choices[..*i].contains(c));
                ensure!(
                    twice.is_none(),
                    "choices holds {} twice",
                    twice.map(|(_, c)| c.to_string()).unwrap_or_default()
                );
                Ok(())
            }
        }
    }
}

fn check_grid<T: PartialOrd + Display>(
    values: Option<&[T]>,
    points: &Option<u64>,
    range: RangeInclusive<T>,
) -> Result<()> {
    ensure!(values.is_none() || points.is_none(), "values and points exclude each other");
    if let Some(values) = values {
        ensure!(!values.is_empty(), "values = [] needs at least one value");
        if let Some(outside) = values.iter().find(|value| !range.contains(value)) {
            bail!("values holds {outside}, which is not in [{}, {}]", range.start(), range.end());
        }
    }
    ensure!(*points != Some(0), "points = 0: at least one is needed");
    Ok(())
}

/// All tuned keys, in the file's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Space {
    dimensions: Vec<(String, Dimension)>,
}

impl Space {
    /// Errors name the key, the value and what would be right.
    pub fn new(dimensions: Vec<(String, Dimension)>) -> Result<Space> {
        ensure!(!dimensions.is_empty(), "the search space is empty: give at least one [space.NAME]");
        for (key, dimension) in &dimensions {
            dimension.check().with_context(|| format!("[space.{key}]"))?;
        }
        Ok(Space { dimensions })
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Dimension)> {
        self.dimensions.iter().map(|(key, dimension)| (key.as_str(), dimension))
    }

    pub fn len(&self) -> usize {
        self.dimensions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.dimensions.is_empty()
    }

    /// Values from one number a dimension (the index of a choice).
    pub fn params(&self, numbers: &[f64]) -> Params {
        self.iter().zip(numbers).map(|((key, dimension), number)| (key.to_owned(), dimension.json(*number))).collect()
    }

    /// One number a dimension from values; errors name a key that is missing or out of range.
    pub fn numbers(&self, params: &Params) -> Result<Vec<f64>> {
        let one = |(key, dimension): (&str, &Dimension)| {
            let value = params.get(key).with_context(|| format!("no value for {key}"))?;
            dimension.number(value).with_context(|| format!("{key} = {value} must be {}", dimension.allowed()))
        };
        self.iter().map(one).collect()
    }

    /// The first key in which two spaces differ.
    pub fn difference(&self, other: &Space) -> Option<String> {
        let missing = |a: &Space, b: &Space| {
            a.iter().find(|(key, _)| b.iter().all(|(k, _)| k != *key)).map(|(k, _)| k.to_owned())
        };
        let changed = || {
            let differs = |(a, b): &(&(String, Dimension), &(String, Dimension))| a != b;
            self.dimensions.iter().zip(&other.dimensions).find(differs).map(|(a, _)| a.0.clone())
        };
        missing(self, other).or_else(|| missing(other, self)).or_else(changed)
    }
}

/// A table of any names: [`Space`]'s own reading checks it.
impl JsonSchema for Space {
    fn schema_name() -> Cow<'static, str> {
        "Space".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> schemars::Schema {
        json_schema!({"type": "object", "free": true})
    }
}

impl Serialize for Space {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Space {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Space, D::Error> {
        // A JSON map keeps the order of the file, which is the grid's.
        let map = Map::<String, Value>::deserialize(deserializer)?;
        let mut dimensions = Vec::new();
        let flat = flatten("", map, &mut dimensions);
        flat.and_then(|()| Space::new(dimensions)).map_err(|e| serde::de::Error::custom(format!("{e:#}")))
    }
}

/// `[space.method.dropout]` is a table in a table: a table with a `kind` is a dimension, any other a part of the key.
fn flatten(prefix: &str, map: Map<String, Value>, dimensions: &mut Vec<(String, Dimension)>) -> Result<()> {
    for (name, value) in map {
        let key = format!("{prefix}{name}");
        match value {
            Value::Object(inner) if !inner.contains_key("kind") => flatten(&format!("{key}."), inner, dimensions)?,
            value => {
                let dimension = Dimension::deserialize(value).map_err(|e| anyhow::anyhow!("[space.{key}]: {e}"))?;
                dimensions.push((key, dimension));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(toml: &str) -> Result<Space> {
        Ok(toml::from_str(toml)?)
    }

    fn message(toml: &str) -> String {
        space(toml).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn errors_name_the_key_the_value_and_what_is_allowed() {
        assert!(
            message("[lr]\nkind='float'\nlow=1.0\nhigh=0.1").contains("[space.lr]: low = 1 must be below high = 0.1")
        );
        assert!(message("[lr]\nkind='float'\nlow=0.0\nhigh=0.1\nlog=true").contains("low = 0 must be positive"));
        assert!(message("[lr]\nkind='float'\nlow=0.0\nhigh=0.1\nlgo=true").contains("lgo"));
        assert!(
            message("[n]\nkind='int'\nlow=1\nhigh=9\nvalues=[10]")
                .contains("[space.n]: values holds 10, which is not in [1, 9]")
        );
        let space = space("[method.dropout]\nkind='float'\nlow=0.0\nhigh=0.9").unwrap();
        let params = serde_json::from_str(r#"{"method.dropout": 2.0}"#).unwrap();
        let error = space.numbers(&params).unwrap_err().to_string();
        assert_eq!(error, "method.dropout = 2.0 must be a number in [0, 0.9]");
    }

    fn float(low: f64, high: f64) -> Dimension {
        Dimension::Float { low, high, log: false, step: None, values: None, points: None }
    }

    #[test]
    fn a_space_survives_json_in_its_order() {
        let first =
            space("[train.lr]\nkind='float'\nlow=0.1\nhigh=1.0\nlog=true\n[a]\nkind='categorical'\nchoices=[1, 'b']")
                .unwrap();
        let again: Space = serde_json::from_str(&serde_json::to_string(&first).unwrap()).unwrap();
        assert_eq!(first, again);
        assert_eq!(again.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["train.lr", "a"]);
    }

    #[test]
    fn whole_numbers_get_equal_shares_and_steps_stay_on_their_grid() {
        let int = Dimension::Int { low: 1, high: 3, log: false, step: None, values: None, points: None };
        let scale = int.scale().unwrap();
        assert_eq!((scale.low, scale.high), (0.5, 3.5));
        assert_eq!([0.5, 1.49, 1.51, 3.5].map(|u| scale.value(u)), [1.0, 1.0, 2.0, 3.0]);
        let stepped = Dimension::Float { low: 0.1, high: 1.0, log: false, step: Some(0.4), values: None, points: None };
        let scale = stepped.scale().unwrap();
        assert!((scale.value(scale.high) - 0.9).abs() < 1e-12);
    }

    #[test]
    fn the_differing_key_is_found() {
        let of = |b: f64| Space::new(vec![("a".into(), float(0.0, 1.0)), ("b".into(), float(0.0, b))]).unwrap();
        assert_eq!(of(1.0).difference(&of(2.0)), Some("b".into()));
        assert_eq!(of(1.0).difference(&of(1.0)), None);
        let one = Space::new(vec![("a".into(), float(0.0, 1.0))]).unwrap();
        assert_eq!(one.difference(&of(1.0)), Some("b".into()));
    }
}
