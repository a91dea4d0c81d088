//! What is spoken with programs.

pub(crate) mod json_lines;
