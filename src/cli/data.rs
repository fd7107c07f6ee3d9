//! `reglab data list|get|verify`.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::PathBuf;

use crate::data::download::{self, State};
use crate::{Usage, data};

#[derive(Args)]
pub struct Data {
    #[command(subcommand)]
    action: Action,
    /// Where data sets lie (default: $REGLAB_DATA, else data/)
    #[arg(long, value_name = "DIR", global = true)]
    data_root: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Action {
    /// What there is, and what is here already
    List,
    /// Download a set: checked, resumable
    Get {
        name: String,
        /// Another address, or a folder, that holds the same files
        #[arg(long, value_name = "URL|PATH")]
        mirror: Option<String>,
    },
    /// Check the files of a set that is here
    Verify { name: String },
}

impl Data {
    pub fn execute(self) -> Result<i32> {
        let root = data::data_root(self.data_root.as_deref());
        match self.action {
            Action::List => {
                let mut table = Table::new();
                table.load_style(ASCII_MARKDOWN).set_header(["name", "what", "download", "here"]);
                for row in download::list(&root) {
                    let size = match (row.size, &row.place) {
                        (0, None) => "built in".into(),
                        (0, Some(_)) => "by hand".into(),
                        (size, _) if size < 10_000_000 => format!("{:.1} MB", size as f64 / 1e6),
                        (size, _) => format!("{:.0} MB", size as f64 / 1e6),
                    };
                    let place =
                        row.place.as_ref().filter(|_| row.present).map_or("-".into(), |p| p.display().to_string());
                    table.add_row([
                        row.name.to_owned(),
                        row.what.to_owned(),
                        size,
                        if row.place.is_none() { "yes".into() } else { place },
                    ]);
                }
                println!("{table}\ndata root: {}", root.display());
                Ok(0)
            }
            Action::Get { name, mirror } => {
                check_name(&name, &root)?;
                if name == "digits" {
                    println!("digits are compiled into reglab");
                    return Ok(0);
                }
                if let Some(set) = download::find_by_hand(&name) {
                    println!("{}", set.instructions(&root));
                    let here = download::verify(&name, &root, &bar())?.iter().all(|f| f.state != State::Missing);
                    println!("{}", if here { "It is all there." } else { "It is not there yet." });
                    return Ok(i32::from(!here));
                }
                let place = download::get(&name, &root, mirror.as_deref(), &bar())?;
                println!("{name} is in {}", place.display());
                Ok(0)
            }
            Action::Verify { name } => {
                check_name(&name, &root)?;
                let mut wrong = 0;
                for file in download::verify(&name, &root, &bar())? {
                    wrong += usize::from(!matches!(file.state, State::Good | State::Present));
                    let state = match &file.state {
                        State::Good => "good".to_owned(),
                        State::Present => "there".to_owned(),
                        State::Missing => "missing".to_owned(),
                        State::Unchecked(why) => format!("not checked ({why})"),
                        State::Bad(why) => format!("BAD ({why})"),
                    };
                    println!("{}: {state}", file.path.display());
                }
                Ok(i32::from(wrong > 0))
            }
        }
    }
}

fn check_name(name: &str, root: &std::path::Path) -> Result<()> {
    let names: Vec<&str> = download::list(root).iter().map(|row| row.name).collect();
    if !names.contains(&name) {
        let near = crate::config::hint(name, names.iter().copied());
        bail!(Usage(format!("there is no data set {name:?}{near}; there are {}", names.join(", "))));
    }
    Ok(())
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = "{msg} {bar:24} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}";
    ProgressBar::no_length().with_style(ProgressStyle::with_template(style).expect("a valid template"))
}
