//! What fields there are: made from the config structs (their types, docs, defaults and ranges), used to check files and
//! overrides and to print `reglab show`.

use anyhow::{Result, bail};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json, json};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::{Experiment, Header, Layer};

/// A JSON schema of a table (or value) in an experiment file.
#[derive(Clone, Debug, Default)]
pub struct Schema(Json);

/// One line of `reglab show`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Field {
    pub key: String,
    /// What may stand there: `number 0..1`, `adam | sgd`, ...
    pub kind: String,
    pub default: String,
    pub doc: String,
}

impl Schema {
    /// The schema of whole experiment files of method `E`.
    pub fn of<E: Experiment>() -> Schema {
        let generate = |schema: schemars::Schema| schema.to_value();
        let settings = || SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true).into_generator();
        let mut root = generate(settings().into_root_schema_for::<Header>());
        let method = generate(settings().into_root_schema_for::<E>());
        let filled = serde_json::to_value(E::default()).unwrap_or_default();
        if let (Some(root), Some(method)) = (root["properties"].as_object_mut(), method["properties"].as_object()) {
            root.extend(method.clone());
            if let Some(section) = root.get_mut("method").and_then(|m| m["properties"].as_object_mut()) {
                section.insert("name".into(), json!({"type": "string", "description": "The method's name."}));
            }
            root.insert("arms".into(), json!({"type": "object", "description": "Compared variants: [arms.NAME] holds fields to change.", "arms": true}));
            for (key, value) in filled.as_object().into_iter().flatten() {
                if let Some(section) = root.get_mut(key).and_then(Json::as_object_mut) {
                    section.insert("default".into(), value.clone());
                }
            }
        }
        Schema(root)
    }

    /// The same with `[with.NAME]`: a table for each of the methods that can be added, with the fields of its `[method]`.
    pub fn with_add_ons<'a>(mut self, sections: impl Iterator<Item = (&'a str, Schema)>) -> Schema {
        let sections: Map<String, Json> = sections.map(|(name, section)| (name.to_owned(), section.0)).collect();
        let names = sections.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        self.0["properties"]["with"] = json!({
            "type": "object",
            "description": format!("Methods added to this one (--with): [with.NAME] holds the fields of NAME's [method]; NAME is one of {names}."),
            "properties": sections,
            "with": true,
        });
        self
    }

    /// The schema of the `[method]` table, without the method's name.
    pub fn method_section(&self) -> Schema {
        let mut section = self.property("method").unwrap_or_default();
        if let Some(properties) = section.0["properties"].as_object_mut() {
            properties.remove("name");
        }
        section
    }

    /// The schema of a field of this table.
    pub fn property(&self, key: &str) -> Option<Schema> {
        self.0["properties"].get(key).map(|s| Schema(s.clone()))
    }

    /// Whether the table is one of several variants told apart by their `name`.
    pub fn is_choice(&self) -> bool {
        self.0["oneOf"]
            .as_array()
            .is_some_and(|list| list.iter().any(|v| v["properties"]["name"].get("const").is_some()))
    }

    /// Checks every key and value of a layer. `merged` (all layers together) tells which variant a section is.
    pub fn check(&self, layer: &Layer, merged: &Table) -> Result<()> {
        let document = DeTable::parse(&layer.text).expect("the layer was parsed before");
        self.check_table(layer, "", document.get_ref(), Some(merged))
    }

    fn check_table(&self, layer: &Layer, path: &str, table: &DeTable, merged: Option<&Table>) -> Result<()> {
        let schema = self.variant(merged);
        // The name first: it decides which other keys there are.
        let (names, others): (Vec<_>, Vec<_>) = table.iter().partition(|(key, _)| key.get_ref() == "name");
        for (key, value) in names.into_iter().chain(others) {
            let full = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
            let inside = merged.and_then(|m| m.get(key.get_ref().as_ref())).and_then(Value::as_table);
            let place = || layer.place(key.span().start);
            match schema.property(key.get_ref()) {
                None => bail!("{}: {}", place(), schema.unknown(&full, path, key.get_ref())),
                Some(field) if field.0.get("free").is_some() => {}
                Some(field) if field.0.get("arms").is_some() => self.check_arms(layer, value, merged)?,
                Some(field) => field.check_value(layer, &full, value, inside)?,
            }
        }
        Ok(())
    }

    /// `[arms.NAME]` holds the same fields as the file itself.
    fn check_arms(&self, layer: &Layer, value: &Spanned<DeValue>, merged: Option<&Table>) -> Result<()> {
        let DeValue::Table(arms) = value.get_ref() else {
            bail!("{}: arms must be a table", layer.place(value.span().start))
        };
        for (name, arm) in arms.iter() {
            let DeValue::Table(fields) = arm.get_ref() else {
                bail!("{}: arms.{} must be a table of fields to change", layer.place(arm.span().start), name.get_ref());
            };
            // An arm may choose another variant of a section; then its own name decides.
            let own = merged.map(|m| {
                let mut all = m.clone();
                if let Some(Value::Table(over)) = m.get("arms").and_then(|a| a.get(name.get_ref().as_ref())) {
                    super::merge(&mut all, over, self);
                }
                all
            });
            self.check_table(layer, "", fields, own.as_ref())?;
        }
        Ok(())
    }

    fn check_value(&self, layer: &Layer, key: &str, value: &Spanned<DeValue>, merged: Option<&Table>) -> Result<()> {
        let place = || layer.place(value.span().start);
        if let DeValue::Table(table) = value.get_ref() {
            if !self.is_table() {
                bail!("{}: {key} is a table, but should be {}", place(), self.kind());
            }
            return self.check_table(layer, key, table, merged);
        }
        let plain = plain(value.get_ref());
        if let Some(list) = self.choices() {
            if !list.contains(&plain) {
                let given = plain.as_str().map_or(plain.to_string(), str::to_owned);
                let names: Vec<&str> = list.iter().filter_map(Json::as_str).collect();
                bail!(
                    "{}: {key} = {given:?} should be one of {}{}",
                    place(),
                    names.join(", "),
                    hint(&given, names.iter().copied())
                );
            }
            return Ok(());
        }
        if !self.accepts(&plain) {
            bail!("{}: {key} = {plain} should be {}", place(), self.kind());
        }
        Ok(())
    }

    fn unknown(&self, full: &str, path: &str, key: &str) -> String {
        let names: Vec<&str> = self.names();
        let near = hint(key, names.iter().copied());
        let near = if path.is_empty() { near } else { near.replace("did you mean ", &format!("did you mean {path}.")) };
        let there = if path.is_empty() { "the top level has".to_owned() } else { format!("{path} has") };
        let then = if near.is_empty() { ";" } else { "" };
        format!("unknown key {full}{near}{then} {there} {}", names.join(", "))
    }

    fn names(&self) -> Vec<&str> {
        self.0["properties"].as_object().map(|p| p.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    /// The variant of a choice that `merged` names, or the schema itself.
    fn variant(&self, merged: Option<&Table>) -> Schema {
        let Some(variants) = self.0["oneOf"].as_array().filter(|_| self.is_choice()) else { return self.clone() };
        let name = merged.and_then(|m| m.get("name")).and_then(Value::as_str);
        let default = self.0["default"]["name"].as_str();
        let name = name.or(default).unwrap_or_default();
        let names: Vec<Json> = variants.iter().map(|v| v["properties"]["name"]["const"].clone()).collect();
        let mut chosen =
            variants.iter().find(|v| v["properties"]["name"]["const"] == *name).unwrap_or(&Json::Null).clone();
        if chosen.is_null() {
            chosen = json!({"properties": {}});
        }
        chosen["properties"]["name"] = json!({"type": "string", "enum": names, "description": "Which one."});
        Schema(chosen)
    }

    fn is_table(&self) -> bool {
        self.0["type"] == "object" || self.0.get("properties").is_some() || self.is_choice()
    }

    /// The allowed words of an enumeration.
    fn choices(&self) -> Option<Vec<Json>> {
        if let Some(list) = self.0["enum"].as_array() {
            return Some(list.clone());
        }
        let list = self.0["oneOf"].as_array()?;
        // Words without a description of their own come together in one list.
        let words = |v: &Json| v.get("const").map(|word| vec![word.clone()]).or_else(|| v["enum"].as_array().cloned());
        let words: Option<Vec<Vec<Json>>> = list.iter().map(words).collect();
        words.map(|words| words.concat())
    }

    fn types(&self) -> Vec<&str> {
        match &self.0["type"] {
            Json::String(one) => vec![one],
            Json::Array(list) => list.iter().filter_map(Json::as_str).collect(),
            _ => Vec::new(),
        }
    }

    fn accepts(&self, value: &Json) -> bool {
        if let Some(list) = self.0["anyOf"].as_array() {
            return list.iter().any(|s| Schema(s.clone()).fits(value));
        }
        let types = self.types();
        let typed = types.is_empty()
            || types.iter().any(|t| match *t {
                "integer" => value.is_i64() || value.is_u64(),
                "number" => value.is_number(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "array" => value.is_array(),
                _ => false,
            });
        let number = value.as_f64();
        let above = self.0["minimum"].as_f64().is_none_or(|low| number.is_none_or(|x| x >= low));
        let below = self.0["maximum"].as_f64().is_none_or(|high| number.is_none_or(|x| x <= high));
        let above = above && self.0["exclusiveMinimum"].as_f64().is_none_or(|low| number.is_none_or(|x| x > low));
        let below = below && self.0["exclusiveMaximum"].as_f64().is_none_or(|high| number.is_none_or(|x| x < high));
        let finite = !value.is_null();
        let item = Schema(self.0["items"].clone());
        let items = item.0.is_null() || value.as_array().is_none_or(|list| list.iter().all(|v| item.fits(v)));
        typed && above && below && items && finite
    }

    fn fits(&self, value: &Json) -> bool {
        self.choices().map_or_else(|| self.accepts(value), |list| list.contains(value))
    }

    /// In words: what may stand at this place.
    fn kind(&self) -> String {
        if let Some(list) = self.choices() {
            return list.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(" | ");
        }
        if let Some(list) = self.0["anyOf"].as_array() {
            let kinds: Vec<String> =
                list.iter().filter(|s| s["type"] != "null").map(|s| Schema(s.clone()).kind()).collect();
            return kinds.join(" or ");
        }
        let types: Vec<&str> = self.types().into_iter().filter(|t| *t != "null").collect();
        let word = match types.first() {
            Some(&"integer") => "a whole number",
            Some(&"number") => "a number",
            Some(&"string") => "a text",
            Some(&"boolean") => "true or false",
            Some(&"array") => {
                return format!("a list of {}", Schema(self.0["items"].clone()).kind().trim_start_matches("a "));
            }
            _ => "a table",
        };
        let bound = |key: &str| self.0[key].as_f64();
        let low = bound("minimum").map(|x| format!(">= {x}")).or(bound("exclusiveMinimum").map(|x| format!("> {x}")));
        let high = bound("maximum").map(|x| format!("<= {x}")).or(bound("exclusiveMaximum").map(|x| format!("< {x}")));
        let range: Vec<String> = [low, high].into_iter().flatten().collect();
        if range.is_empty() { word.to_owned() } else { format!("{word} {}", range.join(" and ")) }
    }

    /// All fields below this table, in order, with dotted keys.
    pub fn fields(&self) -> Vec<Field> {
        let mut fields = Vec::new();
        self.collect("", self.0.get("default"), &mut fields);
        fields
    }

    fn collect(&self, path: &str, default: Option<&Json>, out: &mut Vec<Field>) {
        let schema = if self.is_choice() { self.variant(None) } else { self.clone() };
        for (name, field) in schema.0["properties"].as_object().unwrap_or(&Map::new()) {
            let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let default =
                field.get("default").filter(|d| path.is_empty() || !d.is_null()).or(default.and_then(|d| d.get(name)));
            let field = Schema(field.clone());
            let one_line = ["arms", "free", "with"].iter().any(|mark| field.0.get(mark).is_some());
            if field.is_table() && !one_line {
                field.collect(&key, default, out);
            } else if !["arms", "method.name"].contains(&key.as_str()) {
                let doc = field.0["description"].as_str().unwrap_or_default().replace('\n', " ");
                let default = default.map(show).unwrap_or_default();
                out.push(Field { key, kind: field.kind(), default, doc });
            }
        }
    }
}

fn show(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A TOML value as JSON; NaN and infinities (which no field takes) become null.
fn plain(value: &DeValue) -> Json {
    match value {
        DeValue::String(text) => Json::String(text.to_string()),
        DeValue::Boolean(b) => Json::Bool(*b),
        DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).map_or(Json::Null, Json::from),
        DeValue::Float(x) => x.as_str().parse::<f64>().map_or(Json::Null, Json::from),
        DeValue::Array(list) => list.iter().map(|v| plain(v.get_ref())).collect(),
        DeValue::Datetime(d) => Json::String(d.to_string()),
        DeValue::Table(table) => table.iter().map(|(k, v)| (k.get_ref().to_string(), plain(v.get_ref()))).collect(),
    }
}

/// `; did you mean X?` when a name is close enough.
pub fn hint<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> String {
    let near = names.map(|name| (strsim::damerau_levenshtein(given, name), name)).min();
    match near {
        Some((distance, name)) if distance <= 1 + name.len() / 3 => format!("; did you mean {name}?"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_and_without_a_description_are_all_choices() {
        let schema = Schema(json!({"oneOf": [{"const": "all", "description": "..."}, {"enum": ["conv", "linear"]}]}));
        assert_eq!(schema.choices().unwrap(), ["all", "conv", "linear"]);
    }
}
