//! One line on stderr that is refreshed, where stderr is a terminal; a log line now and then where
//! it is not.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the line is refreshed on a terminal.
const REFRESH: Duration = Duration::from_secs(1);
/// How often a log line is written elsewhere.
const LOG_EVERY: u32 = 60;

/// Shows what `line` says until the token is cancelled.
pub(crate) async fn status_line(cancel: CancellationToken, line: impl Fn() -> String + Send) {
    let terminal = std::io::stderr().is_terminal();
    let bar = if terminal {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::hidden()
    };
    bar.set_style(
        ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    let mut ticks = tokio::time::interval(REFRESH);
    let mut count = 0;
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            _ = ticks.tick() => {}
        }
        count += 1;
        if terminal {
            bar.set_message(line());
        } else if count % LOG_EVERY == 0 {
            tracing::info!("{}", line());
        }
    }
    bar.finish_and_clear();
}

/// A size as people read it.
pub(crate) fn size(bytes: u64) -> String {
    let mut number = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if number < 1_024.0 {
            return if unit == "B" {
                format!("{number} B")
            } else {
                format!("{number:.1} {unit}")
            };
        }
        number /= 1_024.0;
    }
    format!("{number:.1} TiB")
}
