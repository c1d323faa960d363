//! What collectors of `sysfs` share: files of one short value, and lists of what is there, which
//! are made again only now and then.
//!
//! Not a collector. A value that cannot be read is absent: such files come and go with drivers,
//! and a sensor may refuse to answer.

use super::CollectError;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Longest file that is read: `sysfs` shows at most one page of memory in one file; the files of a
/// process and of a control group that are read here are shorter than this.
const MAX_BYTES: usize = 16 * 1024;

/// Reads short files into one buffer.
#[derive(Debug)]
pub(super) struct Values {
    path: PathBuf,
    buffer: Box<[u8; MAX_BYTES]>,
}

impl Values {
    pub(super) fn new() -> Self {
        Self {
            path: PathBuf::new(),
            buffer: Box::new([0; MAX_BYTES]),
        }
    }

    /// The text of a file up to its first NUL, without the white space around it.
    pub(super) fn read(&mut self, folder: &Path, file: &str) -> io::Result<&str> {
        self.path.as_mut_os_string().clear();
        self.path.push(folder);
        self.path.push(file);
        // The kernel gives such a file in one piece.
        let length = File::open(&self.path)?.read(&mut self.buffer[..])?;
        std::str::from_utf8(&self.buffer[..length])
            .map(|text| text.split('\0').next().unwrap_or_default().trim())
            .map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// The text of a file, if it has any.
    pub(super) fn text(&mut self, folder: &Path, file: &str) -> Option<&str> {
        self.read(folder, file).ok().filter(|text| !text.is_empty())
    }

    /// A copy of the text of a file, if it has any.
    pub(super) fn owned(&mut self, folder: &Path, file: &str) -> Option<String> {
        self.text(folder, file).map(str::to_owned)
    }

    /// The number that a file holds.
    pub(super) fn number<T: FromStr>(&mut self, folder: &Path, file: &str) -> Option<T> {
        self.text(folder, file)?.parse().ok()
    }

    /// The number that a file holds, divided: `millidegrees` by 1000.
    pub(super) fn scaled(&mut self, folder: &Path, file: &str, divisor: f64) -> Option<f64> {
        let number: i64 = self.number(folder, file)?;
        Some(number as f64 / divisor)
    }

    /// Whether a file holds 1 and not 0.
    pub(super) fn truth(&mut self, folder: &Path, file: &str) -> Option<bool> {
        self.number::<u64>(folder, file).map(|number| number != 0)
    }
}

/// When something that changes rarely is looked for again.
#[derive(Debug)]
pub(super) struct Due {
    every_us: i64,
    last_us: Option<i64>,
}

impl Due {
    /// At once, and then every minute.
    pub(super) const fn every_minute() -> Self {
        Self::every_seconds(60)
    }

    /// At once, and then every `seconds`.
    pub(super) const fn every_seconds(seconds: i64) -> Self {
        Self {
            every_us: seconds * 1_000_000,
            last_us: None,
        }
    }

    /// Whether it is time; after a clock that was set back it is too.
    pub(super) fn is(&self, now_us: i64) -> bool {
        self.last_us.is_none_or(|last_us| {
            !(last_us..last_us.saturating_add(self.every_us)).contains(&now_us)
        })
    }

    /// It was done.
    pub(super) const fn done(&mut self, now_us: i64) {
        self.last_us = Some(now_us);
    }

    /// Something that was found is gone: it is time at the next look.
    pub(super) const fn expire(&mut self) {
        self.last_us = None;
    }
}

/// The names in a folder, sorted, `cpu2` before `cpu10`; those that are no text are left out.
pub(super) fn names_in(folder: &Path) -> Result<Vec<String>, CollectError> {
    let failed = |source| CollectError::from_io(folder, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable_by(|one, other| natural(one).cmp(&natural(other)));
    Ok(names)
}

/// A name as its text, the number behind it, and the rest.
fn natural(name: &str) -> (&str, u64, &str) {
    let digits = name
        .find(|letter: char| letter.is_ascii_digit())
        .unwrap_or(name.len());
    let (text, rest) = name.split_at(digits);
    let end = rest
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(rest.len());
    (text, rest[..end].parse().unwrap_or(0), &rest[end..])
}

/// The last part of what a link points to.
pub(super) fn link_name(path: &Path) -> Option<String> {
    let target = fs::read_link(path).ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_at_first_after_a_while_and_after_the_clock_went_back() {
        let mut due = Due::every_minute();
        assert!(due.is(5));
        due.done(5);
        assert!(!due.is(5) && !due.is(59_999_999));
        assert!(due.is(60_000_005));
        assert!(due.is(4), "the clock was set back");
        due.expire();
        assert!(due.is(6));
    }

    #[test]
    fn names_are_in_the_order_of_their_numbers() {
        let mut names = ["hwmon10", "hwmon2", "card", "nvme1c0", "nvme1"];
        names.sort_unstable_by(|one, other| natural(one).cmp(&natural(other)));
        assert_eq!(names, ["card", "hwmon2", "hwmon10", "nvme1", "nvme1c0"]);
    }
}
