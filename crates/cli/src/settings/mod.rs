//! Settings: flags, environment, file and defaults, in this order of precedence, from one table.
//!
//! All errors are collected and reported together, each with its place; a bad value is refused,
//! never repaired. Nothing here touches the network.

mod example;
mod file;
mod nearest;
#[cfg(test)]
mod reference;
mod resolved;
mod schema;
pub(crate) mod table;
pub(crate) mod tables;
pub(crate) mod targets;
pub(crate) mod value;

pub(crate) use example::example;
pub(crate) use file::FileTable;
pub(crate) use nearest::did_you_mean;
pub(crate) use resolved::{Settings, in_effect, with_flags};
pub(crate) use schema::schema;
pub(crate) use table::{For, SETTINGS, Setting, is_for_while_running};
pub(crate) use tables::TABLES;
pub(crate) use value::Type;

use std::fmt;
use std::sync::Arc;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Flag(&'static str),
    Variable(String),
    File { path: Arc<str>, line: usize },
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(formatter, "--{flag}"),
            Self::Variable(variable) => formatter.write_str(variable),
            Self::File { path, line } => write!(formatter, "{path}:{line}"),
            Self::Default => formatter.write_str("default"),
        }
    }
}

/// A problem with the configuration: exit status 2.
#[derive(Debug, Default, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub(crate) struct UsageError(pub(crate) Vec<String>);

impl UsageError {
    pub(crate) fn one(problem: impl Into<String>) -> Self {
        Self(vec![problem.into()])
    }
}
