//! One line on stderr that is refreshed, where stderr is a terminal, with a bar where an end is
//! known; a log line now and then where it is not a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often the line is refreshed on a terminal.
const REFRESH: Duration = Duration::from_millis(500);
/// How often a log line is written elsewhere: an idle program should be left asleep.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// Over how many refreshes a rate is taken.
const REFRESHES: usize = 20;
/// Over how many log lines.
const LOG_LINES: usize = 3;

const BAR: &str = "{bar:30} {percent:>3}%  {msg}";
const PLAIN: &str = "{msg}";

/// What is shown.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// The text.
    pub(crate) text: String,
    /// Rows until now, for rows per second.
    pub(crate) rows: Option<u64>,
    /// How much of the whole is still to be done.
    pub(crate) part: Option<Part>,
}

/// How much of a whole is still to be done.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) remaining: u64,
    /// Of what.
    pub(crate) what: &'static str,
}

/// Shows what `line` says until the token is cancelled.
pub(crate) async fn status_line(cancel: CancellationToken, line: impl Fn() -> Line + Send) {
    let terminal = std::io::stderr().is_terminal();
    let bar = match terminal {
        true => ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr()),
        false => ProgressBar::hidden(),
    };
    bar.set_style(style(PLAIN));
    let (every, over) = match terminal {
        true => (REFRESH, REFRESHES),
        false => (LOG_EVERY, LOG_LINES),
    };
    let mut ticks = tokio::time::interval(every);
    let mut is_first = true;
    let mut pace = Pace {
        over,
        ..Pace::default()
    };
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let line = line();
        pace.note(Instant::now(), &line);
        if terminal {
            if let Some((done, total)) = pace.done(&line) {
                if bar.length() != Some(total) {
                    bar.set_style(style(BAR));
                    bar.set_length(total);
                }
                bar.set_position(done);
            }
            bar.set_message(pace.text(&line));
        } else if !is_first {
            tracing::info!("{}", pace.text(&line));
        }
        is_first = false;
    }
    bar.finish_and_clear();
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// How fast it goes.
#[derive(Debug, Default)]
struct Pace {
    /// The most that was ever to be done: the whole.
    total: u64,
    /// Over how many looks a rate is taken.
    over: usize,
    /// Times, rows until then, and what remained.
    seen: VecDeque<(Instant, u64, u64)>,
}

impl Pace {
    fn note(&mut self, now: Instant, line: &Line) {
        let remaining = line.part.as_ref().map_or(0, |part| part.remaining);
        self.total = self.total.max(remaining);
        if self.seen.len() > self.over {
            self.seen.pop_front();
        }
        self.seen
            .push_back((now, line.rows.unwrap_or(0), remaining));
    }

    /// How much is done, and of how much.
    fn done(&self, line: &Line) -> Option<(u64, u64)> {
        let remaining = line.part.as_ref()?.remaining;
        (self.total > 0).then(|| (self.total - remaining, self.total))
    }

    /// Rows per second, and the time that is left, as far as they are known.
    fn rates(&self) -> Option<(f64, Option<Duration>)> {
        let (&(begin, rows_before, to_do_before), &(now, rows, to_do)) =
            (self.seen.front()?, self.seen.back()?);
        let seconds = now.duration_since(begin).as_secs_f64();
        if seconds < 0.2 {
            return None;
        }
        let done = to_do_before.saturating_sub(to_do) as f64 / seconds;
        let left = (done > 0.0).then(|| Duration::from_secs_f64(to_do as f64 / done));
        Some((rows.saturating_sub(rows_before) as f64 / seconds, left))
    }

    fn text(&self, line: &Line) -> String {
        let mut text = line.text.clone();
        let rates = self.rates();
        if let (Some(_), Some((rows, _))) = (line.rows, rates) {
            text.push_str(&format!(", {rows:.0} rows/s"));
        }
        if let Some(Part { remaining, what }) = &line.part {
            text.push_str(&format!(", {remaining} {what} to go"));
            if let Some((_, Some(left))) = rates {
                text.push_str(&format!(", {} left", time_left(left)));
            }
        }
        text
    }
}

/// A time as people say it, rounded up.
fn time_left(left: Duration) -> String {
    let seconds = left.as_secs_f64().ceil() as u64;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_knows_the_whole_the_rate_and_what_is_left() {
        let line = |rows, remaining| Line {
            text: format!("{rows} rows"),
            rows: Some(rows),
            part: Some(Part {
                remaining,
                what: "messages",
            }),
        };
        let begin = Instant::now();
        let mut pace = Pace {
            over: 20,
            ..Pace::default()
        };
        let first = line(0, 1_000);
        pace.note(begin, &first);
        assert_eq!(pace.done(&first), Some((0, 1_000)));
        assert_eq!(pace.text(&first), "0 rows, 1000 messages to go");
        let second = line(4_000, 800);
        pace.note(begin + Duration::from_secs(2), &second);
        assert_eq!(pace.done(&second), Some((200, 1_000)));
        assert_eq!(
            pace.text(&second),
            "4000 rows, 2000 rows/s, 800 messages to go, 8 s left"
        );
        let plain = Line::default();
        assert_eq!(Pace::default().done(&plain), None);
        assert_eq!(Pace::default().text(&plain), "");
    }

    #[test]
    fn times_are_said_as_people_say_them() {
        let said = |seconds| time_left(Duration::from_secs(seconds));
        let expected = ["0 s", "119 s", "2 min", "61 min", "2 h 1 min"];
        assert_eq!([0, 119, 120, 3_601, 7_300].map(said), expected);
    }
}
