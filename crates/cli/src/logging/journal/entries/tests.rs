//! A journal of our own: a socket that takes datagrams and files, as systemd-journald's does.

use super::*;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::collections::BTreeMap;
use std::io::{IoSliceMut, Read as _, Seek as _};
use tracing_subscriber::layer::SubscriberExt as _;

struct Journal {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Journal {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("socket")).unwrap();
        socket
            .set_read_timeout(Some(std::time::Duration::from_secs(10)))
            .unwrap();
        Self { socket, folder }
    }

    fn entries(&self) -> Entries {
        let entries = Entries::to(&self.folder.path().join("socket")).expect("it listens");
        assert_eq!(
            self.next(),
            (BTreeMap::new(), false),
            "a first sign of life"
        );
        entries
    }

    /// The next entry, and whether it came as a file.
    fn next(&self) -> (BTreeMap<String, String>, bool) {
        let mut bytes = vec![0; 1 << 20];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut handed = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut handed,
            RecvFlags::CMSG_CLOEXEC,
        );
        bytes.truncate(received.unwrap().bytes);
        let files = handed.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        });
        if let Some(file) = files.flatten().next() {
            let seals = rustix::fs::fcntl_get_seals(&file).unwrap();
            let expected = SealFlags::WRITE | SealFlags::SHRINK;
            assert!(seals.contains(expected), "{seals:?}");
            let mut file = File::from(file);
            file.rewind().unwrap();
            bytes.clear();
            file.read_to_end(&mut bytes).unwrap();
            return (parsed(&bytes), true);
        }
        (parsed(&bytes), false)
    }
}

/// An entry as journald reads it.
fn parsed(mut bytes: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        match line.iter().position(|byte| *byte == b'=') {
            Some(at) => {
                fields.insert(text(&line[..at]), text(&line[at + 1..]));
                bytes = rest;
            }
            None => {
                let (length, rest) = rest.split_first_chunk::<8>().unwrap();
                let length = usize::try_from(u64::from_le_bytes(*length)).unwrap();
                fields.insert(text(line), text(&rest[..length]));
                assert_eq!(rest[length], b'\n');
                bytes = &rest[length + 1..];
            }
        }
    }
    assert!(bytes.is_empty(), "{bytes:?}");
    fields
}

#[test]
fn the_fields_of_an_event_are_fields_of_the_entry() {
    let journal = Journal::start();
    let subscriber = tracing_subscriber::registry().with(journal.entries());
    tracing::subscriber::with_default(subscriber, || {
        tracing::warn!(host = "web-1", took_ms = 12, last_error = %"a=b", "it is away");
        tracing::error!("one\ntwo");
        tracing::info!(target: "librdkafka", "x");
        tracing::debug!(only = true);
    });
    let (entry, is_file) = journal.next();
    assert!(!is_file);
    for (name, value) in [
        ("MESSAGE", "it is away host=web-1 took_ms=12 last_error=a=b"),
        ("PRIORITY", "4"),
        ("SYSLOG_IDENTIFIER", "tidegauge"),
        ("TIDEGAUGE_HOST", "web-1"),
        ("TIDEGAUGE_TOOK_MS", "12"),
        ("TIDEGAUGE_LAST_ERROR", "a=b"),
        ("CODE_FILE", file!()),
    ] {
        assert_eq!(
            entry.get(name).map(String::as_str),
            Some(value),
            "{entry:?}"
        );
    }
    let (entry, _) = journal.next();
    assert_eq!((&*entry["MESSAGE"], &*entry["PRIORITY"]), ("one\ntwo", "3"));
    let (entry, _) = journal.next();
    assert_eq!(
        (&*entry["TIDEGAUGE_TARGET"], &*entry["PRIORITY"]),
        ("librdkafka", "6")
    );
    let (entry, _) = journal.next();
    assert_eq!(
        (&*entry["MESSAGE"], &*entry["PRIORITY"]),
        ("only=true", "7")
    );
}

#[test]
fn what_is_too_large_for_a_datagram_comes_as_a_sealed_file() {
    let journal = Journal::start();
    let subscriber = tracing_subscriber::registry().with(journal.entries());
    let large = "x".repeat(8 << 20);
    tracing::subscriber::with_default(subscriber, || tracing::error!(large, "much"));
    let (entry, is_file) = journal.next();
    assert!(is_file);
    assert_eq!(entry["TIDEGAUGE_LARGE"].len(), large.len());
    assert!(entry["MESSAGE"].starts_with("much large=xxx"));
}

#[test]
fn without_a_journal_there_are_no_entries_and_one_that_goes_away_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Entries::to(&folder.path().join("none")).is_none());
    assert!(Entries::of_environment(None).is_none());
    let journal = Journal::start();
    let entries = journal.entries();
    drop(journal);
    let subscriber = tracing_subscriber::registry().with(entries);
    tracing::subscriber::with_default(subscriber, || tracing::warn!("into the void"));
}

#[test]
fn names_of_fields_are_those_that_the_journal_takes() {
    assert_eq!(field_name("store.url-x"), "TIDEGAUGE_STORE_URL_X");
    assert_eq!(field_name(&"a".repeat(100)).len(), MOST_NAME_BYTES);
}
