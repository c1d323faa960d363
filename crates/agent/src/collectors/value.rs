//! Files of the kernel that are one short value.
//!
//! Not those of many lines, which `source` reads.

use super::source::is_made_anew;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The longest value of a file that is read for each collection.
const VALUE_BYTES: usize = 128;
/// The same of one that is read now and then.
const LONGEST_BYTES: u64 = 4096;

/// A file of `/sys` with one short value.
///
/// Files of this kind come and go with drivers, and a driver may refuse to tell: that is no value,
/// and no error.
#[derive(Debug)]
pub struct ValueFile {
    path: PathBuf,
    kept: Option<File>,
    may_keep: bool,
    buffer: [u8; VALUE_BYTES],
}

impl ValueFile {
    /// The file at `path`. Descriptors are few (1,024 of a process, often), so whoever has a
    /// file per core or per device says of how many the descriptor may be kept.
    #[must_use]
    pub const fn new(path: PathBuf, may_keep: bool) -> Self {
        Self {
            path,
            kept: None,
            may_keep,
            buffer: [0; VALUE_BYTES],
        }
    }

    /// Reads the value, without the white space around it.
    pub fn read(&mut self) -> Option<&str> {
        let kept = self.kept.take().and_then(|file| {
            let bytes = file.read_at(&mut self.buffer, 0).ok()?;
            Some((file, bytes))
        });
        let bytes = match kept {
            Some((file, bytes)) => {
                self.kept = Some(file);
                bytes
            }
            None => {
                let file = File::open(&self.path).ok()?;
                let bytes = file.read_at(&mut self.buffer, 0).ok()?;
                self.kept = Some(file).filter(|file| self.may_keep && is_made_anew(file));
                bytes
            }
        };
        std::str::from_utf8(&self.buffer[..bytes])
            .ok()
            .map(str::trim)
    }

    /// Reads the value as a number.
    pub fn number<T: std::str::FromStr>(&mut self) -> Option<T> {
        self.read()?.parse().ok()
    }
}

/// Reads a file of one short value, without the white space around it; `None` when it cannot be
/// read or is no text. For files that are read now and then; [`ValueFile`] is for each collection.
pub fn short_value<'b>(path: &Path, buffer: &'b mut Vec<u8>) -> Option<&'b str> {
    buffer.clear();
    let file = File::open(path).ok()?;
    file.take(LONGEST_BYTES).read_to_end(buffer).ok()?;
    std::str::from_utf8(buffer).ok().map(str::trim)
}
