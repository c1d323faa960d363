//! Asking a mount for its space without being held up by it.
//!
//! Not a deadline on statvfs(3) itself: there is none, and a thread that hangs in it cannot be
//! ended. It is left behind, at most one per mount, and goes on when the mount does.

use rustix::fs::StatVfsMountFlags;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::thread;
use std::time::Instant;

/// Bytes of stack of an asking thread: it makes one system call and sends one message.
const STACK_BYTES: usize = 128 * 1024;

/// The space of one file system, as statvfs(3) tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Size in bytes.
    pub total_bytes: u64,
    /// Free bytes, those kept back for root included.
    pub free_bytes: u64,
    /// Free bytes that users other than root may fill.
    pub available_bytes: u64,
    /// Number of inodes, 0 where there is no fixed number.
    pub inodes: u64,
    /// Free inodes.
    pub inodes_free: u64,
    /// Whether nothing can be written there, by the file system or by its mount as this process sees it.
    pub read_only: bool,
}

/// What asks for the space of the file system at a path.
pub type AskSpace = Arc<dyn Fn(&Path) -> io::Result<Space> + Send + Sync>;

/// Asks the system.
pub(super) fn statvfs(path: &Path) -> io::Result<Space> {
    let answer = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(answer.f_frsize);
    Ok(Space {
        total_bytes: bytes(answer.f_blocks),
        free_bytes: bytes(answer.f_bfree),
        available_bytes: bytes(answer.f_bavail),
        inodes: answer.f_files,
        inodes_free: answer.f_ffree,
        read_only: answer.f_flag.contains(StatVfsMountFlags::RDONLY),
    })
}

/// What became of a question.
pub(super) enum Answer {
    Space(Space),
    Error(io::Error),
    Late,
}

/// A kept thread that asks one mount; it ends when this is dropped and it is not stuck.
pub(super) struct Asker {
    questions: SyncSender<()>,
    answers: Receiver<io::Result<Space>>,
    waiting: bool,
    /// Whether the answer that we wait for is to a question of this collection.
    fresh: bool,
}

impl Asker {
    pub(super) fn start(path: PathBuf, ask: AskSpace) -> io::Result<Self> {
        // Both hold one message: `ask` puts a question only after the answer to the one before
        // was taken, so neither is ever full.
        let (questions, asked) = mpsc::sync_channel(1);
        let (answered, answers) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("statvfs".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                while asked.recv().is_ok() {
                    if answered.send(ask(&path)).is_err() {
                        break;
                    }
                }
            })?;
        Ok(Self {
            questions,
            answers,
            waiting: false,
            fresh: false,
        })
    }

    /// Asks, unless the thread still hangs in an earlier question. An answer to that one which
    /// came late is thrown away: it tells of an earlier time.
    pub(super) fn ask(&mut self) {
        self.fresh = false;
        if self.waiting && matches!(self.answers.try_recv(), Err(TryRecvError::Empty)) {
            return;
        }
        self.waiting = self.questions.try_send(()).is_ok();
        self.fresh = self.waiting;
    }

    /// Waits for the answer to the question of this collection, if one was put, until `until`.
    pub(super) fn answer(&mut self, until: Instant) -> Answer {
        if !self.fresh {
            return Answer::Late;
        }
        let left = until.saturating_duration_since(Instant::now());
        match self.answers.recv_timeout(left) {
            Ok(answer) => {
                self.waiting = false;
                answer.map_or_else(Answer::Error, Answer::Space)
            }
            Err(RecvTimeoutError::Timeout) => Answer::Late,
            Err(RecvTimeoutError::Disconnected) => {
                self.waiting = false;
                Answer::Error(io::Error::other("the asking thread has ended"))
            }
        }
    }

    /// Whether the thread hangs in a question.
    pub(super) const fn is_waiting(&self) -> bool {
        self.waiting
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Asker")
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}
