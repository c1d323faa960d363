//! Log lines on stderr: text for people, JSON for machines; entries with fields for systemd's journal.

mod journal;
mod repeats;

use journal::Prioritised;
use repeats::Repeats;
use std::io::IsTerminal;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// Begins logging; `verbose` is how often `-v` was given, and `levels` are those of the setting, which
/// go before it.
pub(crate) fn begin(verbose: u8, levels: Option<&str>, json: bool) {
    // Crates are named tidegauge_agent and so on; a prefix in the filter covers them all.
    let usual = match verbose {
        0 => "warn,tidegauge=info,librdkafka=error",
        1 => "info,tidegauge=debug,librdkafka=warn",
        2 => "debug,tidegauge=trace,librdkafka=info",
        _ => "trace",
    };
    let filter = EnvFilter::new(match levels {
        // A level for all takes the place of all that is usual.
        Some(levels) if levels.split(',').any(|level| !level.contains('=')) => levels.to_owned(),
        Some(levels) => format!("{usual},{levels}"),
        None => usual.to_owned(),
    });
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(verbose > 0);
    let stream = std::env::var("JOURNAL_STREAM").ok();
    // Who asks for JSON wants lines, wherever they go.
    #[cfg(target_os = "linux")]
    if !json && let Some(entries) = journal::Entries::of_environment(stream.as_deref()) {
        return tracing_subscriber::registry()
            .with(entries)
            .with(Repeats::default())
            .with(filter)
            .init();
    }
    let lines = match (json, journal::has_stderr(stream.as_deref())) {
        (true, false) => lines.json().boxed(),
        (true, true) => lines.json().map_event_format(Prioritised).boxed(),
        (false, false) => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        (false, true) => {
            let plain = lines.with_ansi(false).without_time();
            plain.map_event_format(Prioritised).boxed()
        }
    };
    tracing_subscriber::registry()
        .with(lines)
        .with(Repeats::default())
        .with(filter)
        .init();
}
