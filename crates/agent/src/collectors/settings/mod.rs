//! Settings of collectors, which are the same on every system.
//!
//! Not where they come from: that is the program's business.

mod process;

pub use process::{GroupBy, ProcessSettings};

/// Settings of the collector `cgroup`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupSettings {
    /// Groups are looked for so many levels below the root.
    pub depth: usize,
    /// So many groups are told at most.
    pub most: usize,
}

impl Default for CgroupSettings {
    fn default() -> Self {
        Self {
            depth: 5,
            most: 200,
        }
    }
}

/// Settings of the collector `systemd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemdSettings {
    /// The units to tell; `*` stands for any text.
    pub only: Vec<String>,
    /// So many units are told at most.
    pub most: usize,
}

impl Default for SystemdSettings {
    fn default() -> Self {
        Self {
            only: vec!["*.service".to_owned()],
            most: 500,
        }
    }
}
