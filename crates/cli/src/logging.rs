//! Log lines on stderr: text for people, JSON for machines.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Begins logging; `verbose` is how often `-v` was given. `TIDEGAUGE_LOG` takes the filter of
/// `tracing-subscriber` for single modules.
pub(crate) fn begin(verbose: u8, json: bool) {
    let level = match verbose {
        0 => "warn,tidegauge=info,librdkafka=error",
        1 => "info,tidegauge=debug,librdkafka=warn",
        2 => "debug,tidegauge=trace,librdkafka=info",
        _ => "trace",
    };
    // Crates are named tidegauge_agent and so on; a prefix in the filter covers them all.
    let filter = EnvFilter::try_from_env("TIDEGAUGE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(verbose > 0);
    if json {
        builder.json().init();
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).init();
    }
}
