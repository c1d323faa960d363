//! Log lines: for the journal, and by levels of single modules.

use crate::program::{command, text};
use crate::web_server;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;

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
    let lines = logged(true, &[]);
    assert!(lines.contains("<6>INFO agent is starting host="), "{lines}");
    let has_priority = |line: &str| {
        let level = line.strip_prefix("<6>INFO ");
        let level = level.or_else(|| line.strip_prefix("<4>WARN "));
        level.or_else(|| line.strip_prefix("<3>ERROR ")).is_some()
    };
    assert!(lines.lines().all(has_priority), "{lines}");
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
