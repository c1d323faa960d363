//! Settings of the collector `process`: which groups are made of processes, and which are told.

/// By what processes are put into groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupBy {
    /// The name, as `ps -C` takes it.
    #[default]
    Name,
    /// The user that it runs as.
    User,
    /// The path of the program.
    Executable,
    /// The control group.
    Cgroup,
    /// The systemd unit.
    Unit,
    /// Each process is its own group: its name and its number.
    Process,
}

impl GroupBy {
    /// The words for them in settings.
    pub const WORDS: &'static [&'static str] =
        &["name", "user", "executable", "cgroup", "unit", "process"];

    /// What a word means.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "name" => Self::Name,
            "user" => Self::User,
            "executable" => Self::Executable,
            "cgroup" => Self::Cgroup,
            "unit" => Self::Unit,
            "process" => Self::Process,
            _ => return None,
        })
    }
}

/// Settings of the collector `process`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSettings {
    /// By what processes are put into groups.
    pub group_by: GroupBy,
    /// Groups to tell; `*` stands for any text. Empty: all.
    pub only: Vec<String>,
    /// So many groups are told at most: those that used the most.
    pub top: usize,
    /// Whether the most is that of memory, not of CPU time.
    pub top_by_memory: bool,
    /// Whether the proportional share of memory is read, which is slow for large processes.
    pub pss: bool,
}

impl Default for ProcessSettings {
    fn default() -> Self {
        Self {
            group_by: GroupBy::Name,
            only: Vec::new(),
            top: 50,
            top_by_memory: false,
            pss: false,
        }
    }
}
