//! `reglab prune`: fewer channels, a smaller and faster network.

pub mod wgsef;
