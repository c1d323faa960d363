//! How a file looks from outside, by which one that was replaced is told from what it was.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// When a file was written last, how long it is, and which one it is (stat(2)). One that is renamed over
/// another differs by its number even where time and length are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileStamp {
    seconds: i64,
    nanoseconds: i64,
    bytes: u64,
    number: u64,
}

impl FileStamp {
    /// What the system tells of the file.
    #[must_use]
    pub fn of(file: &Metadata) -> Self {
        Self {
            seconds: file.mtime(),
            nanoseconds: file.mtime_nsec(),
            bytes: file.size(),
            number: file.ino(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_replaced_has_another_stamp() {
        let folder = std::env::temp_dir().join(format!("file-stamp-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (file, other) = (folder.join("file"), folder.join("other"));
        let stamp = || FileStamp::of(&std::fs::metadata(&file).expect("is there"));
        std::fs::write(&file, "one").expect("written");
        let before = stamp();
        assert_eq!(before, stamp());
        std::fs::write(&other, "two").expect("written");
        std::fs::rename(&other, &file).expect("renamed");
        assert_ne!(before, stamp());
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
