//! `reglab distill`: train a network on outputs of another.

pub mod self_distill;
