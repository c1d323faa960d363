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

impl ProcessSettings {
    /// Whether a group is to be told.
    pub(super) fn is_wanted(&self, group: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|pattern| is_like(group, pattern))
    }
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

/// Whether a text is like a pattern, in which `*` stands for any text.
fn is_like(text: &str, pattern: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return text == pattern;
    };
    let Some(text) = text.strip_prefix(start) else {
        return false;
    };
    let mut ends = (0..=text.len()).filter(|&end| text.is_char_boundary(end));
    rest.is_empty() || ends.any(|end| is_like(&text[end..], rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (text, pattern, expected) in [
            ("postgres", "postgres", true),
            ("postgres", "post*", true),
            ("postgres", "*gres", true),
            ("postgres", "p*g*s", true),
            ("postgres", "*", true),
            ("postgres", "gres", false),
            ("é", "*é", true),
            ("x", "x*y", false),
        ] {
            assert_eq!(is_like(text, pattern), expected, "{text} {pattern}");
        }
    }
}
