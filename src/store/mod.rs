//! What implements the ports: the log in SQLite and in memory, files.

pub mod files;
