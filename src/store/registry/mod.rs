//! Where model versions come from, and this instance's own copies of them.
//!
//! A version is copied as soon as it is seen whole, into a folder named by its digest. What is loaded is the copy: who
//! changes or removes the original changes nothing that serves, and a start finds what was in force last.

mod copies;
mod folder;
mod mlflow;
mod several;

pub use copies::Copies;
pub use folder::Folder;
pub use mlflow::{Mlflow, MlflowOptions};
pub use several::Several;
