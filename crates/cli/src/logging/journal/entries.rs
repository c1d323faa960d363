//! Entries of systemd's journal by its own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): the fields of an event
//! are fields of the entry, and a text of several lines stays one entry.
//!
//! | field | holds |
//! |---|---|
//! | `MESSAGE` | the text with its fields, as the lines of other logs have it |
//! | `PRIORITY` | the level of syslog(3) |
//! | `SYSLOG_IDENTIFIER` | `tidegauge` |
//! | `TIDEGAUGE_TARGET`, `CODE_FILE`, `CODE_LINE` | where it was said |
//! | `TIDEGAUGE_<NAME>` | a field of the event |
//!
//! An entry that cannot be sent, because the journal is away for the moment, is written to stderr, with its priority.

use super::{has_stderr, priority};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr,
};
use std::fmt::{Debug, Write as _};
use std::fs::File;
use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Names of fields have up to so many bytes (systemd.journal-fields(7)).
const MOST_NAME_BYTES: usize = 64;

/// Sends events to the journal.
#[derive(Debug)]
pub(in super::super) struct Entries {
    socket: UnixDatagram,
    journal: PathBuf,
}

impl Entries {
    /// If stderr is the journal's, and the journal listens to entries.
    pub(in super::super) fn of_environment(journal_stream: Option<&str>) -> Option<Self> {
        has_stderr(journal_stream).then(|| Self::to(Path::new(SOCKET)))?
    }

    /// `None` when nobody listens there.
    fn to(journal: &Path) -> Option<Self> {
        let socket = UnixDatagram::unbound().ok()?;
        // An entry without fields is taken and thrown away.
        socket.send_to(&[], journal).ok()?;
        Some(Self {
            socket,
            journal: journal.to_owned(),
        })
    }

    fn send(&self, entry: &[u8]) -> io::Result<()> {
        match self.socket.send_to(entry, &self.journal) {
            Ok(_) => Ok(()),
            // Too large for a datagram: a sealed file in memory is handed over instead.
            Err(error)
                if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) =>
            {
                self.send_file(entry)
            }
            Err(error) => Err(error),
        }
    }

    fn send_file(&self, entry: &[u8]) -> io::Result<()> {
        let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
        let mut file = File::from(memfd_create("tidegauge-log", flags)?);
        file.write_all(entry)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        fcntl_add_seals(&file, seals)?;
        let files = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut handed = SendAncillaryBuffer::new(&mut space);
        handed.push(SendAncillaryMessage::ScmRights(&files));
        let journal = SocketAddrUnix::new(&self.journal)?;
        sendmsg_addr(&self.socket, &journal, &[], &mut handed, SendFlags::empty())?;
        Ok(())
    }
}

impl<S: Subscriber> Layer<S> for Entries {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let message = fields.message();
        let level = priority(*metadata.level());
        let mut entry = Vec::with_capacity(512);
        put(&mut entry, "MESSAGE", &message);
        put(&mut entry, "PRIORITY", &level.to_string());
        put(&mut entry, "SYSLOG_IDENTIFIER", "tidegauge");
        put(&mut entry, "TIDEGAUGE_TARGET", metadata.target());
        if let (Some(file), Some(line)) = (metadata.file(), metadata.line()) {
            put(&mut entry, "CODE_FILE", file);
            put(&mut entry, "CODE_LINE", &line.to_string());
        }
        for (name, value) in &fields.others {
            put(&mut entry, &field_name(name), value);
        }
        if self.send(&entry).is_err() {
            // The stream of stderr is kept for us while the journal starts anew. If that is gone too there is
            // nobody left to be told.
            let mut stderr = io::stderr().lock();
            for line in message.lines() {
                writeln!(stderr, "<{level}>{line}").ok();
            }
        }
    }
}

/// Appends a field: one of a single line as text, any other with its length.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

/// The journal knows capital letters, digits and underscores.
fn field_name(name: &str) -> String {
    let letters = name.bytes().map(|byte| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte.to_ascii_uppercase()),
        _ => '_',
    });
    let mut name: String = "TIDEGAUGE_".chars().chain(letters).collect();
    name.truncate(MOST_NAME_BYTES);
    name
}

/// What an event says.
#[derive(Default)]
struct Fields {
    text: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    /// The text with the fields behind it.
    fn message(&self) -> String {
        let mut message = self.text.clone();
        for (name, value) in &self.others {
            let gap = if message.is_empty() { "" } else { " " };
            write!(message, "{gap}{name}={value}").expect("into memory");
        }
        message
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.text),
            name => self.others.push((name, value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.text = format!("{value:?}"),
            name => self.others.push((name, format!("{value:?}"))),
        }
    }
}

#[cfg(test)]
mod tests;
