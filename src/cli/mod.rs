//! The command line: the clap tree, and one file for each tool.

mod bench;
mod completions;
mod data;
mod doctor;
mod export;
mod list;
mod plot;
mod report;
mod resume;
mod run;
mod selftest;
mod sweep;
mod verify;
mod worker;

use anyhow::Result;
use clap::{Args, Command, FromArgMatches, Subcommand};

use crate::methods::{self, Method, Verb};
use crate::run::Verbosity;

/// One shell command per paper experiment.
#[derive(Subcommand)]
enum Tool {
    /// Run an experiment file; the file names its method
    Run(run::RunFile),
    /// Go on with a run after a crash or Ctrl-C, to the very same numbers
    Resume(resume::Resume),
    /// Run a grid of configurations, each once: here, or as a SLURM job array
    Sweep(sweep::Sweep),
    /// Run the arms and seeds that a preset's claims speak of, then judge them (exit code 1 if one fails)
    Verify(verify::Verify),
    /// Tables of results: mean and standard deviation over seeds, arms side by side
    Report(report::ReportArgs),
    /// Curves of runs as SVG
    Plot(plot::Plot),
    /// A network as TorchScript, for programs that know nothing of reglab
    Export(export::Export),
    /// All methods
    List(list::List),
    /// One method: paper, fields with defaults, presets
    Show(list::Show),
    /// Data sets: list, download, check
    Data(data::Data),
    /// Compare the core functions with stored numeric ground truth on this machine
    Selftest(selftest::Selftest),
    /// What this machine offers, and the fix for what is wrong
    Doctor(doctor::Doctor),
    /// Shell completions: bash, zsh or fish
    Completions(completions::Completions),
    /// Time training steps (driven by scripts/bench)
    #[command(hide = true)]
    Bench(bench::Bench),
    /// Make runs for a pool (started by sweep, verify and --jobs)
    #[command(hide = true)]
    Worker(worker::Worker),
}

/// How much is printed.
#[derive(Args, Clone, Copy, Default)]
pub struct Talk {
    /// Print results and errors only
    #[arg(short, long)]
    quiet: bool,
    /// Print every progress line
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
}

impl Talk {
    pub fn verbosity(self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

/// The whole command tree: the verbs with their methods, then the tools.
pub fn command() -> Command {
    let root = Command::new("reglab")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Published methods that regularize, prune, quantize, distill, continually train and tune neural networks, one command each")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(110);
    let root = Verb::ALL.iter().fold(root, |root, &verb| root.subcommand(verb_command(verb)));
    Tool::augment_subcommands(root)
}

fn verb_command(verb: Verb) -> Command {
    let methods = methods::ALL.iter().filter(|m| m.verb == verb);
    let command = Command::new(verb.name()).about(verb.about()).arg_required_else_help(true).subcommand_required(true);
    methods.fold(command, |command, m| command.subcommand(method_command(m)))
}

fn method_command(method: &Method) -> Command {
    let command = Command::new(method.name)
        .about(method.about)
        .long_about(format!(
            "{}\n\n{}\n\n`reglab show {}` lists its fields and presets.",
            method.about, method.paper, method.name
        ))
        .visible_aliases(method.aliases.to_vec());
    run::RunArgs::augment_args(command)
}

/// Parses the process's arguments and does what they say; the exit code.
pub fn main() -> Result<i32> {
    let matches = command().get_matches();
    let (name, inner) = matches.subcommand().expect("clap requires a subcommand");
    if Verb::ALL.iter().any(|v| v.name() == name) {
        let (method, arguments) = inner.subcommand().expect("clap requires a method");
        return run::RunArgs::from_arg_matches(arguments)?.execute(methods::find(method)?);
    }
    match Tool::from_arg_matches(&matches)? {
        Tool::Run(tool) => tool.execute(),
        Tool::Resume(tool) => tool.execute(),
        Tool::Sweep(tool) => tool.execute(),
        Tool::Verify(tool) => tool.execute(),
        Tool::Report(tool) => tool.execute(),
        Tool::Plot(tool) => tool.execute(),
        Tool::Export(tool) => tool.execute(),
        Tool::List(tool) => tool.execute(),
        Tool::Show(tool) => tool.execute(),
        Tool::Data(tool) => tool.execute(),
        Tool::Selftest(tool) => tool.execute(),
        Tool::Doctor(tool) => tool.execute(),
        Tool::Completions(tool) => tool.execute(),
        Tool::Bench(tool) => tool.execute(),
        Tool::Worker(tool) => tool.execute(),
    }
}
