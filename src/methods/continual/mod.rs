//! `reglab continual`: learn tasks one after another.

pub mod stability_gap;
