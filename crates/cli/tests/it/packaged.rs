//! What packages and service managers rely on: completions, manual pages, the version with its commit, and
//! what systemd is told.

use crate::program::{PATIENCE, Program, command, text};
use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn completions_and_manual_pages_have_all_commands_and_flags() {
    let folder = tempfile::tempdir().unwrap();
    let made = command(&["generate", text(folder.path())])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");

    let completions = folder.path().join("completions");
    let shells = ["_tidegauge", "tidegauge.bash", "tidegauge.fish"];
    assert_eq!(names(&completions), shells.map(str::to_owned).into());
    for shell in shells {
        let script = std::fs::read_to_string(completions.join(shell)).unwrap();
        for word in ["dead-letters", "kafka-ca-file"] {
            assert!(script.contains(word), "{word} in {shell}");
        }
    }

    let pages = folder.path().join("man");
    let found = names(&pages);
    for page in [
        "tidegauge.1",
        "tidegauge-agent.1",
        "tidegauge-store-migrate.1",
        "tidegauge.toml.5",
    ] {
        assert!(found.contains(page), "{page} of {found:?}");
    }
    let sink = std::fs::read_to_string(pages.join("tidegauge-sink.1")).unwrap();
    assert!(sink.contains("TIDEGAUGE_STORE_URL"), "{sink}");
}

#[test]
fn the_example_configurations_are_good_with_all_their_examples() {
    let deploy = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/config");
    let folder = tempfile::tempdir().unwrap();
    for service in ["agent", "sink", "dashboard"] {
        let shipped = std::fs::read_to_string(format!("{deploy}/{service}.toml")).unwrap();
        // An example is a line that begins with # and no space.
        let lines = shipped.lines().map(|line| match line.strip_prefix('#') {
            Some(example) if !example.starts_with(' ') => example,
            _ => line,
        });
        let path = folder.path().join("t.toml");
        std::fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
        let read = command(&["collect", "--list", "--config", text(&path)])
            .output()
            .unwrap();
        assert!(read.status.success(), "{service}: {read:?}");
    }
}

#[test]
fn bash_takes_the_completions_and_completes_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let made = command(&["generate", text(folder.path())])
        .status()
        .unwrap();
    assert!(made.success());
    let script = folder.path().join("completions/tidegauge.bash");
    let asked = "source \"$1\"; COMP_WORDS=(tidegauge dea); COMP_CWORD=1; _tidegauge tidegauge dea tidegauge; \
                 echo \"${COMPREPLY[@]}\"";
    let answer = Command::new("bash")
        .args(["-c", asked, "bash", text(&script)])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(answer.stdout).unwrap().trim(),
        "dead-letters",
        "{}",
        String::from_utf8_lossy(&answer.stderr)
    );
}

#[test]
fn the_version_comes_with_its_commit_and_features() {
    let said = command(&["--version"]).output().unwrap();
    assert!(said.status.success());
    let said = String::from_utf8(said.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], concat!("tidegauge ", env!("CARGO_PKG_VERSION")));
    let commit = lines[1].strip_prefix("commit ").unwrap();
    let is_hash = commit.len() >= 12 && commit.chars().take(12).all(|c| c.is_ascii_hexdigit());
    assert!(is_hash || commit == "unknown", "{said}");
    assert!(lines[2].starts_with("features agent, stores"), "{said}");
    let short = command(&["-V"]).output().unwrap();
    assert_eq!(String::from_utf8(short.stdout).unwrap().trim(), lines[0]);
}

/// The next thing that the manager is told.
fn told(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[test]
fn a_service_manager_is_told_ready_alive_and_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&folder.path().join(name)).to_owned();
    let (socket, state, store) = (path("notify"), path("state"), path("store.db"));
    // Nothing listens on port 1: an outage is no reason not to be ready, or to look dead.
    let brokers = "127.0.0.1:1";
    let store = format!("sqlite:{store}");
    let programs: &[&[&str]] = &[
        &["agent", "--brokers", brokers, "--state-dir", &state],
        &["sink", "--brokers", brokers, "--store", &store],
        &["dashboard", "--store", &store, "--listen", "127.0.0.1:0"],
        &["up", "--state-dir", &state, "--listen", "127.0.0.1:0"],
    ];
    for arguments in programs {
        let manager = UnixDatagram::bind(&socket).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let program = Program::start_with(
            arguments,
            &[("NOTIFY_SOCKET", &socket), ("WATCHDOG_USEC", "200000")],
        );
        assert_eq!(told(&manager), "READY=1\n", "{arguments:?}");
        for _ in 0..3 {
            assert_eq!(told(&manager), "WATCHDOG=1\n", "{arguments:?}");
        }
        // What is not read would block the program when the socket's queue is full.
        let ended = std::thread::spawn(move || program.terminate());
        while told(&manager) != "STOPPING=1\n" {}
        ended.join().unwrap();
        std::fs::remove_file(&socket).unwrap();
    }
}
