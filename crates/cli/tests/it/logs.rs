//! Log lines: for the journal, and by levels of single modules.

use crate::program::{command, text};
use crate::web_server;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tidegauge_testkit::skip;

/// What an agent logs that collects once; `is_journal` says that its stderr is the journal's stream.
fn logged(is_journal: bool, more: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("output");
    let file = File::create(&output).unwrap();
    let metadata = file.metadata().unwrap();
    let inode = metadata.ino() + u64::from(!is_journal);
    let stream = format!("{}:{inode}", metadata.dev());
    // It ends before the broker is given up.
    let closed = web_server::closed_port();
    let status = command(&["agent", "--collectors", "memory", "--interval", "100ms"])
        .args(["--duration", "500ms", "--brokers", &closed])
        .args(["--state-dir", text(folder.path())])
        .args(more)
        .env("JOURNAL_STREAM", stream)
        .stderr(file)
        .status()
        .unwrap();
    let logged = std::fs::read_to_string(&output).unwrap();
    assert!(status.success(), "{logged}");
    logged
}

#[test]
fn under_systemd_every_line_has_its_priority_and_no_time() {
    // Where a journal listens, the entries of this program go there.
    if !Path::new("/run/systemd/journal/socket").exists() {
        let lines = logged(true, &[]);
        assert!(lines.contains("<6>INFO agent is starting host="), "{lines}");
        let has_priority = |line: &str| {
            let level = line.strip_prefix("<6>INFO ");
            let level = level.or_else(|| line.strip_prefix("<4>WARN "));
            level.or_else(|| line.strip_prefix("<3>ERROR ")).is_some()
        };
        assert!(lines.lines().all(has_priority), "{lines}");
    }
    let json = logged(true, &["--log-format", "json"]);
    assert!(
        json.lines()
            .all(|line| line.starts_with('<') && line.ends_with('}')),
        "{json}"
    );

    // Where stderr was sent elsewhere the variable says nothing.
    let lines = logged(false, &[]);
    assert!(lines.contains("  INFO agent is starting"), "{lines}");
    assert!(!lines.contains("<6>"), "{lines}");
}

/// A journal of our own, in a mount namespace where it is at the journal's place.
#[test]
fn a_journal_that_listens_gets_entries_with_fields() {
    const TEST: &str = "logs::a_journal_that_listens_gets_entries_with_fields";
    const MOUNTED: &str = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
                           mount --bind \"$0\" /run/systemd/journal && exec \"$@\"";
    let folder = tempfile::tempdir().unwrap();
    let inside = |arguments: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--mount", "sh", "-ec", MOUNTED, text(folder.path())])
            .args(arguments);
        unshare
    };
    if !inside(&["true"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return skip(
            TEST,
            "a mount namespace cannot be made here (it needs root)",
        );
    }
    let journal = UnixDatagram::bind(folder.path().join("socket")).unwrap();
    journal
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let output = folder.path().join("output");
    let stderr = File::create(&output).unwrap();
    let metadata = stderr.metadata().unwrap();
    let closed = web_server::closed_port();
    let state = folder.path().join("state");
    let program = [
        env!("CARGO_BIN_EXE_tidegauge"),
        "agent",
        "--collectors",
        "memory",
    ];
    let more = [
        "--interval",
        "100ms",
        "--duration",
        "500ms",
        "--brokers",
        &closed,
    ];
    let mut child = inside(&[&program[..], &more, &["--state-dir", text(&state)]].concat())
        .env(
            "JOURNAL_STREAM",
            format!("{}:{}", metadata.dev(), metadata.ino()),
        )
        .stderr(stderr)
        .spawn()
        .unwrap();
    let (mut entries, mut bytes) = (Vec::new(), vec![0; 1 << 16]);
    let status = loop {
        match journal.recv(&mut bytes) {
            Ok(length) => entries.push(String::from_utf8_lossy(&bytes[..length]).into_owned()),
            // Nothing waits: whether it has ended decides.
            Err(_) => {
                if let Some(status) = child.try_wait().unwrap() {
                    break status;
                }
            }
        }
    };
    assert!(status.success(), "{entries:?}");
    assert_eq!(
        std::fs::read_to_string(&output).unwrap(),
        "",
        "all of it is in the journal"
    );
    let start = entries
        .iter()
        .find(|entry| entry.starts_with("MESSAGE=agent is starting host="));
    let start = start.unwrap_or_else(|| panic!("{entries:?}"));
    for field in [
        "\nPRIORITY=6\n",
        "\nSYSLOG_IDENTIFIER=tidegauge\n",
        "\nTIDEGAUGE_HOST=",
        "\nTIDEGAUGE_TOPIC=",
    ] {
        assert!(start.contains(field), "{field}: {start}");
    }
}

#[test]
fn a_level_may_be_said_for_a_single_module() {
    let lines = logged(false, &["--log-level", "off,tidegauge::commands=info"]);
    assert!(
        lines.contains("agent is starting") && lines.contains("stopped"),
        "{lines}"
    );
    assert!(!lines.contains("the given time is over"), "{lines}");
    let lines = logged(false, &["--log-level", "off,tidegauge::shutdown=info"]);
    assert!(lines.contains("the given time is over"), "{lines}");
    assert!(!lines.contains("agent is starting"), "{lines}");
}
