//! Files of the kernel: read whole and without trust, as cheaply as can be.
//!
//! Not a parser: what a line says is known to the collector that asked. A descriptor of `/proc` or
//! `/sys` is kept open, and read again by pread(2) from offset 0: the kernel then makes the content
//! anew, and neither the path is walked nor the file set up again. Buffers are kept too. Where
//! that cannot be, the file is opened by every read: it is a plain file (a fixture, or lxcfs, which
//! serves what it had at the open), or a read of the kept descriptor fails, as when its device was
//! pulled out and another has its name.
//!
//! Several collectors read `net/snmp`, `stat` and the like, in one collection right after each other,
//! and making one takes the kernel longer than everything that we do with it. Files of one
//! [`Sources`] share what was read: a file takes the content that another one has read a moment ago,
//! unless it has had that content before.

use super::{CollectError, SourceText};
#[cfg(target_os = "linux")]
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
#[cfg(target_os = "linux")]
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// `PROC_SUPER_MAGIC` of statfs(2).
#[cfg(target_os = "linux")]
const PROC_SUPER_MAGIC: i128 = 0x9fa0;
/// `SYSFS_MAGIC` of statfs(2).
#[cfg(target_os = "linux")]
const SYSFS_SUPER_MAGIC: i128 = 0x6265_6572;
/// The first size of a buffer.
const PAGE: usize = 4096;

/// How long content may be taken over from another collector.
const FRESH: Duration = Duration::from_millis(50);

/// Files that several collectors read.
#[derive(Debug, Clone, Default)]
pub struct Sources(Arc<Mutex<HashMap<PathBuf, Shared>>>);

/// The content that was read last.
type Shared = Arc<Mutex<Latest>>;

#[derive(Debug, Default)]
struct Latest {
    /// How often it was read.
    reading: u64,
    at: Option<Instant>,
    bytes: Vec<u8>,
}

impl Sources {
    /// The file at `path`, which shares what is read with all others of that path.
    #[must_use]
    pub fn file(&self, path: PathBuf) -> SourceFile {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = Arc::clone(files.entry(path.clone()).or_default());
        SourceFile {
            shared: Some(shared),
            ..SourceFile::new(path)
        }
    }
}

/// A file of the kernel that is read whole, into a buffer that is kept between collections.
#[derive(Debug)]
pub struct SourceFile {
    path: PathBuf,
    kept: Option<File>,
    /// Bytes behind `length` are left over from earlier reads.
    buffer: Vec<u8>,
    length: usize,
    is_one_record: bool,
    shared: Option<Shared>,
    /// The reading of the shared content that this one had.
    had: u64,
}

impl SourceFile {
    /// Longest file that is read, in bytes: the mount table of a host with ten thousand
    /// containers is a tenth of it.
    pub const MAX_BYTES: u64 = 16 * 1024 * 1024;

    /// The file at `path`; nothing is opened yet.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self {
            path,
            kept: None,
            buffer: Vec::new(),
            length: 0,
            is_one_record: false,
            shared: None,
            had: 0,
        }
    }

    /// It is one record to the kernel: a file of `single_open` (`fs/seq_file.c`), or a setting of
    /// `/proc/sys`.
    ///
    /// A read(2) of such a file is short only at its end: the kernel makes the record whole, in a buffer
    /// that it enlarges until the record fits, and copies as much of it as is asked for. So no further read
    /// has to find the end. Of a file of many records (`vmstat`, `diskstats`, `net/dev`, the mount table) a
    /// read is short as well when the next record does not fit into the kernel's buffer.
    #[must_use]
    pub const fn of_one_record(mut self) -> Self {
        self.is_one_record = true;
        self
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of the last read.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// Whether the kernel says that the content is the one that it was at the last call, as far as it tells of changes.
    /// It does so for mount tables (`POLLPRI`, proc_pid_mounts(5)). What changes after the call is told by the next one,
    /// so ask before reading.
    #[cfg(target_os = "linux")]
    pub(super) fn is_told_unchanged(&self) -> bool {
        let Some(kept) = &self.kept else {
            return false;
        };
        let mut asked = [PollFd::new(kept, PollFlags::PRI)];
        let at_once = Timespec::default();
        poll(&mut asked, Some(&at_once)).is_ok_and(|changed| changed == 0)
    }

    /// Reads the file as bytes.
    ///
    /// # Errors
    /// [`CollectError`] when it is missing, cannot be read or is longer than
    /// [`SourceFile::MAX_BYTES`].
    pub fn read_bytes(&mut self) -> Result<&[u8], CollectError> {
        if let Some(shared) = self.shared.clone() {
            // Whoever comes second waits for the first, whose read it then takes over.
            let mut latest = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let is_fresh = latest.at.is_some_and(|at| at.elapsed() < FRESH);
            if is_fresh && latest.reading > self.had {
                self.buffer.clear();
                self.buffer.extend_from_slice(&latest.bytes);
                self.length = self.buffer.len();
            } else {
                latest.at = None;
                self.read_file()?;
                latest.bytes.clear();
                latest.bytes.extend_from_slice(self.bytes());
                (latest.at, latest.reading) = (Some(Instant::now()), latest.reading + 1);
            }
            self.had = latest.reading;
        } else {
            self.read_file()?;
        }
        Ok(self.bytes())
    }

    fn read_file(&mut self) -> Result<(), CollectError> {
        let is_short_at_end = self.is_one_record;
        let kept = self.kept.take().filter(|file| {
            self.fill(is_short_at_end, |buffer, offset| {
                file.read_at(buffer, offset)
            })
            .is_ok()
        });
        self.kept = match kept {
            Some(file) => Some(file),
            None => self
                .open_and_fill()
                .map_err(|source| CollectError::from_io(&self.path, source))?,
        };
        if self.length as u64 > Self::MAX_BYTES {
            (self.kept, self.buffer, self.length) = (None, Vec::new(), 0);
            return Err(CollectError::whole_file(
                &self.path,
                "it is longer than 16 MiB",
            ));
        }
        Ok(())
    }

    /// Reads the file as text.
    ///
    /// # Errors
    /// As [`SourceFile::read_bytes`], and when it is no UTF-8.
    pub fn read_text(&mut self) -> Result<SourceText<'_>, CollectError> {
        self.read_bytes()?;
        match std::str::from_utf8(self.bytes()) {
            Ok(text) => Ok(SourceText::new(&self.path, text)),
            Err(_) => Err(CollectError::whole_file(&self.path, "it is no text")),
        }
    }

    /// Reads the file as text; `None` if the host does not have it or does not show it.
    ///
    /// # Errors
    /// As [`SourceFile::read_text`], but for [`CollectError::is_unavailable`].
    pub fn read_text_if_there(&mut self) -> Result<Option<SourceText<'_>>, CollectError> {
        match self.read_text() {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.is_unavailable() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads from a new descriptor, and returns it if it may be kept.
    fn open_and_fill(&mut self) -> io::Result<Option<File>> {
        let mut file = File::open(&self.path)?;
        // It may be of a file system that has records of its own.
        self.fill(false, |buffer, _| file.read(buffer))?;
        Ok(Some(file).filter(is_made_anew))
    }

    /// Reads until the end, or a little beyond the longest that is read.
    fn fill(
        &mut self,
        is_short_at_end: bool,
        mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    ) -> io::Result<()> {
        self.length = 0;
        while self.length as u64 <= Self::MAX_BYTES {
            if self.length == self.buffer.len() {
                let longer = (2 * self.buffer.len()).max(PAGE);
                self.buffer.resize(longer, 0);
            }
            let room = self.buffer.len() - self.length;
            match read(&mut self.buffer[self.length..], self.length as u64) {
                Ok(0) => break,
                Ok(bytes) => {
                    self.length += bytes;
                    if is_short_at_end && bytes < room {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether the kernel makes the content of the file anew when it is read from its beginning.
#[cfg(target_os = "linux")]
pub(super) fn is_made_anew<F: AsFd>(file: &F) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|told| {
        let kind = i128::from(told.f_type);
        kind == PROC_SUPER_MAGIC || kind == SYSFS_SUPER_MAGIC
    })
}

/// Only Linux has such files.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_made_anew(_: &File) -> bool {
    false
}

#[cfg(test)]
impl SourceFile {
    /// One that was read already.
    pub(super) fn holding(content: &str) -> Self {
        Self {
            length: content.len(),
            buffer: content.into(),
            ..Self::new(PathBuf::from("test"))
        }
    }

    /// What was read.
    pub(super) fn as_text(&self) -> SourceText<'_> {
        let text = std::str::from_utf8(self.bytes()).expect("is text");
        SourceText::new(&self.path, text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ValueFile;
    use super::*;

    #[test]
    fn a_file_of_the_kernel_stays_open_and_tells_what_is_now() {
        let mut stat = SourceFile::new(PathBuf::from("/proc/self/stat"));
        let fields = |bytes: &[u8]| bytes.split(|&byte| byte == b' ').count();
        assert!(fields(stat.read_bytes().expect("is there")) > 40);
        let opened = stat.kept.as_ref().map(|file| format!("{file:?}"));
        assert!(opened.is_some(), "procfs is kept");
        // Its own work is in the file: sooner or later it tells something else.
        let first = stat.bytes().to_vec();
        while stat.read_bytes().expect("is there") == first {}
        assert!(fields(stat.bytes()) > 40);
        assert_eq!(stat.kept.as_ref().map(|file| format!("{file:?}")), opened);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_mount_table_tells_whether_it_has_changed() {
        let mut table = SourceFile::new(PathBuf::from("/proc/self/mountinfo"));
        assert!(!table.is_told_unchanged(), "nobody has read it");
        table.read_bytes().expect("is there");
        table.is_told_unchanged();
        // Others may mount something at this very moment.
        assert!((0..100).any(|_| table.is_told_unchanged()));
    }

    #[test]
    fn the_file_of_a_process_that_ended_is_opened_again_and_missing() {
        let task = std::thread::spawn(|| {
            let own = std::fs::read_link("/proc/thread-self").expect("a link");
            let mut stat = SourceFile::new(Path::new("/proc").join(own).join("stat"));
            stat.read_bytes().expect("the thread lives");
            stat
        });
        let mut stat = task.join().expect("no panic");
        assert!(stat.kept.is_some());
        let error = loop {
            // The kernel may take a moment to forget a thread that was joined.
            match stat.read_bytes() {
                Ok(_) => std::thread::yield_now(),
                Err(error) => break error,
            }
        };
        assert!(error.is_unavailable(), "{error:?}");
        assert!(stat.kept.is_none());
    }

    #[test]
    fn a_plain_file_is_opened_every_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("value");
        let mut source = SourceFile::new(path.clone());
        let mut value = ValueFile::new(path.clone(), true);
        for content in ["a longer one \n", "short\n"] {
            if path.exists() {
                std::fs::remove_file(&path).expect("removed");
            }
            std::fs::write(&path, content).expect("written");
            assert_eq!(source.read_bytes().expect("is there"), content.as_bytes());
            assert_eq!(value.read(), Some(content.trim()));
            assert_eq!(value.number::<u64>(), None);
        }
        std::fs::remove_file(&path).expect("removed");
        assert!(matches!(
            source.read_bytes(),
            Err(CollectError::Unavailable { .. })
        ));
        assert_eq!(value.read(), None);
    }

    #[test]
    fn what_another_has_just_read_is_taken_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("value");
        let write = |content: &str| std::fs::write(&path, content).expect("written");
        let sources = Sources::default();
        let mut first = sources.file(path.clone());
        let mut second = sources.file(path.clone());
        write("1");
        assert_eq!(first.read_bytes().expect("is there"), b"1");
        write("2");
        // The test may be held up for longer than content is fresh; then it is read again.
        let taken = second.read_bytes().expect("is there");
        assert!(taken == b"1" || taken == b"2", "{taken:?}");
        assert_eq!(
            second.read_bytes().expect("is there"),
            b"2",
            "it had the other"
        );
        write("3");
        first
            .shared
            .as_ref()
            .expect("is shared")
            .lock()
            .expect("whole")
            .at = None;
        assert_eq!(
            first.read_bytes().expect("is there"),
            b"3",
            "it was too old"
        );
        std::fs::remove_file(&path).expect("removed");
        assert!(first.read_bytes().is_err(), "it had that");
    }

    #[test]
    fn a_file_that_cannot_be_sought_is_read_too() {
        let long = "x".repeat(3 * PAGE);
        let mut source = SourceFile::holding("");
        let mut left = long.as_bytes();
        source
            .fill(false, |buffer, _| left.read(buffer))
            .expect("no error");
        assert_eq!(source.bytes(), long.as_bytes());
    }

    #[test]
    fn the_end_of_one_record_is_a_short_read() {
        for (bytes, reads) in [
            (0, 1),
            (1, 1),
            (PAGE - 1, 1),
            (PAGE, 2),
            (PAGE + 1, 2),
            (2 * PAGE, 3),
            (3 * PAGE, 3),
        ] {
            let record = "x".repeat(bytes);
            let mut source = SourceFile::holding("");
            let mut count = 0;
            let read = |buffer: &mut [u8], offset: u64| {
                count += 1;
                (&record.as_bytes()[offset as usize..]).read(buffer)
            };
            source.fill(true, read).expect("no error");
            assert_eq!((source.length, count), (bytes, reads));
        }
    }

    #[test]
    fn files_of_one_record_are_read_whole() {
        for path in [
            "stat",
            "meminfo",
            "net/snmp",
            "net/netstat",
            "sys/kernel/pid_max",
            "uptime",
        ] {
            let path = Path::new("/proc").join(path);
            let (mut short, mut whole) = (
                SourceFile::new(path.clone()).of_one_record(),
                SourceFile::new(path),
            );
            for file in [&mut short, &mut whole] {
                // The first read is of a new descriptor.
                for _ in 0..2 {
                    file.read_bytes().expect("is there");
                }
            }
            let lines =
                |file: &SourceFile| file.bytes().iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(lines(&short), lines(&whole), "{short:?}");
        }
    }
}
