//! Texts that people read, as files of the crate that says them: `tests/golden/<name>.txt`. `UPDATE_GOLDEN=1`
//! rewrites them; read the diff as the person who is on call would.
//!
//! Not for formats of the wire, whose files never change: those have a test of their own.

use std::fs;
use std::path::Path;

/// What differs from run to run, and what stands in its place.
#[derive(Debug, Default)]
pub struct Masks {
    texts: Vec<(String, &'static str)>,
    units: Vec<&'static str>,
}

/// What numbers of clients and of machines stand before.
const UNITS: &[&str] = &[" MiB", " days left", " ms)", "ms in state"];

impl Masks {
    /// Puts a word in the place of a text.
    #[must_use]
    pub fn hide(mut self, text: impl Into<String>, word: &'static str) -> Self {
        self.texts.push((text.into(), word));
        self
    }

    /// Puts `N` in the place of every number before these words.
    #[must_use]
    pub fn number_before(mut self, unit: &'static str) -> Self {
        self.units.push(unit);
        self
    }

    /// The text with all of them hidden, and what clients measure and quote.
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        let mut masked = text.to_owned();
        for (text, word) in &self.texts {
            masked = masked.replace(text, word);
        }
        for unit in UNITS.iter().chain(&self.units) {
            masked = without_numbers_before(&masked, unit);
        }
        let lines = masked.lines().map(|line| without_quote(line) + "\n");
        lines.collect()
    }
}

/// `N` in the place of every number before `unit`.
fn without_numbers_before(text: &str, unit: &str) -> String {
    let mut parts = text.split(unit).peekable();
    let mut masked = String::new();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            masked.push_str(part);
            break;
        }
        let is_number = |letter: char| letter.is_ascii_digit() || letter == '.';
        masked.push_str(part.trim_end_matches(is_number));
        masked.push('N');
        masked.push_str(unit);
    }
    masked
}

/// What the Kafka client says of a connection stands in brackets behind what it means. Its words hold addresses of
/// memory and line numbers of OpenSSL.
fn without_quote(line: &str) -> String {
    let is_quote = |rest: &str| {
        let words = rest.split(" (").next().unwrap_or(rest);
        let marks = ["/bootstrap", "://", "SSL routines", "[thrd:"];
        marks.iter().any(|mark| words.contains(mark))
    };
    let quote = line
        .match_indices(" (")
        .find(|(at, _)| is_quote(&line[at + 2..]));
    match quote {
        Some((at, _)) => format!("{} (…)", &line[..at]),
        None => line.to_owned(),
    }
}

/// Compares a text with its file in `tests/golden` of the crate in `folder`; see [`assert_golden!`](crate::assert_golden).
///
/// # Panics
/// When they differ, or the file cannot be written.
pub fn assert_golden_in(folder: &str, name: &str, text: &str) {
    let path = Path::new(folder)
        .join("tests/golden")
        .join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let parent = path.parent().expect("it is in a folder");
        fs::create_dir_all(parent).expect("the folder is made");
        return fs::write(&path, text).expect("the file is written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text,
        expected,
        "{}: UPDATE_GOLDEN=1 rewrites it",
        path.display()
    );
}

/// Compares a text with the file `tests/golden/<name>.txt` of the crate that is being tested.
#[macro_export]
macro_rules! assert_golden {
    ($name:expr, $text:expr $(,)?) => {
        $crate::golden::assert_golden_in(env!("CARGO_MANIFEST_DIR"), $name, $text)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_hidden() {
        let masks = Masks::default()
            .hide("127.0.0.1:4711", "BROKER")
            .number_before(" batches");
        let text = "17 batches\n127.0.0.1:4711 takes connections (0.3 ms)\n9 MiB free, 812 days left\nit hangs up (now): do this (ssl://BROKER/bootstrap: it (x) y)\n";
        let expected = "N batches\nBROKER takes connections (N ms)\nN MiB free, N days left\nit hangs up (now): do this (…)\n";
        assert_eq!(masks.apply(text), expected);
    }
}
