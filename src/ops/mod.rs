//! Numeric ground truth: an *op* is a pure core function of a method under a public name (`wgsef.prox`), so that anybody
//! can feed it stored inputs and compare with stored outputs on their own device (`reglab selftest`, `cargo test --test oracles`).

mod case;
pub mod check;
pub mod gradient;
mod selftest;

pub use case::{Case, IntoOutput, Outputs};
pub use selftest::{Report, Verdict, run};

use anyhow::Result;

/// One named core function; a method registers its ops beside its code.
#[derive(Clone, Copy)]
pub struct Op {
    pub name: &'static str,
    pub run: fn(&Case) -> Result<Outputs>,
}

impl Op {
    pub const fn new(name: &'static str, run: fn(&Case) -> Result<Outputs>) -> Op {
        Op { name, run }
    }
}
