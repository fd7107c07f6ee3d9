//! `reglab list` and `reglab show`: what there is.

use anyhow::Result;
use clap::Args;
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{ContentArrangement, Table};
use serde_json::json;

use crate::Usage;
use crate::methods::{self, Verb};

#[derive(Args)]
pub struct List {
    /// As JSON, for other programs
    #[arg(long)]
    json: bool,
}

impl List {
    pub fn execute(self) -> Result<i32> {
        if self.json {
            let entry = |m: &methods::Method| {
                let presets: Vec<&str> = m.presets.iter().map(|(name, _)| *name).collect();
                json!({"method": m.name, "verb": m.verb.name(), "aliases": m.aliases, "paper": m.paper, "about": m.about, "presets": presets})
            };
            let all: Vec<_> = methods::ALL.iter().map(entry).collect();
            println!("{}", serde_json::to_string_pretty(&all)?);
            return Ok(0);
        }
        for verb in Verb::ALL {
            let members: Vec<_> = methods::ALL.iter().filter(|m| m.verb == verb).collect();
            if !members.is_empty() {
                println!("{} - {}", verb.name(), verb.about());
            }
            for m in members {
                println!("  {:<20} {}", m.name, m.about);
            }
        }
        println!(
            "\nreglab <verb> <method> runs a method's quick preset; reglab show <method> lists its fields and presets."
        );
        Ok(0)
    }
}

#[derive(Args)]
pub struct Show {
    /// The method
    method: String,
    /// Print a preset's file instead: a start for one's own
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// As JSON, for other programs
    #[arg(long, conflicts_with = "preset")]
    json: bool,
}

impl Show {
    pub fn execute(self) -> Result<i32> {
        let m = methods::find(&self.method).map_err(Usage::from)?;
        if let Some(name) = self.preset {
            print!("{}", m.preset(&name).map_err(Usage::from)?);
            return Ok(0);
        }
        let fields = (m.schema)().fields();
        let presets: Vec<&str> = m.presets.iter().map(|(name, _)| *name).collect();
        if self.json {
            let all = json!({"method": m.name, "verb": m.verb.name(), "paper": m.paper, "about": m.about, "presets": presets, "fields": fields});
            println!("{}", serde_json::to_string_pretty(&all)?);
            return Ok(0);
        }
        println!("reglab {} {}\n{}\n{}\n", m.verb.name(), m.name, m.about, m.paper);
        println!("presets: {} (reglab show {} --preset NAME prints one)\n", presets.join(", "), m.name);
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["field", "default", "takes", "what it is"]);
        for field in fields {
            table.add_row([field.key, field.default, field.kind, field.doc]);
        }
        println!("{table}");
        Ok(0)
    }
}
