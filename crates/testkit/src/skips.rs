//! Skipped tests: said on stderr at once and, where a runner asks for it, kept in one list.
//!
//! Not a way to hide a failing test: only a server or tool that is absent is a reason.

use std::fs::OpenOptions;
use std::io::Write;

/// The environment variable that names the file to which [`skip`] appends one line per skip:
/// test, tab, reason. `cargo xtask test` sets it and prints the list at the end.
pub const SKIPS_FILE: &str = "TIDEGAUGE_SKIPS";

/// Says that `test` does not run here and why. The test returns right after it.
///
/// # Panics
/// When the list cannot be written: a skip that nobody hears of would look like a pass.
pub fn skip(test: &str, reason: &str) {
    let reason = reason.replace(['\n', '\t'], " ");
    // Straight to the file descriptor: the test harness would capture `eprintln!` of a test that
    // passes, and a skip must be seen.
    writeln!(std::io::stderr(), "SKIPPED {test}: {reason}").expect("stderr can be written");
    let Some(path) = std::env::var_os(SKIPS_FILE) else {
        return;
    };
    let mut list = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .expect("the list of skipped tests can be opened");
    // One write call per line, so that test binaries that run side by side do not mix lines.
    list.write_all(format!("{test}\t{reason}\n").as_bytes())
        .expect("the list of skipped tests can be written");
}

/// One line on stderr, past the test harness, which would keep it to itself.
pub(crate) fn say(text: &str) {
    // Nothing is lost when nobody can read it.
    writeln!(std::io::stderr(), "{text}").ok();
}
