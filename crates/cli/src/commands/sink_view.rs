//! What a running sink shows of itself: the verdict of `/healthz`, and the line on the terminal.
//! Both are read from the status and change nothing.

use crate::health::Health;
use crate::progress::{Line, Part};
use std::sync::Arc;
use std::time::Duration;
use tidegauge_model::{Clock, SystemClock};
use tidegauge_sink::{SinkStatus, StatusReport};

/// The verdict on a sink that may let something wait for `patience`.
pub(super) fn health(status: Arc<SinkStatus>, patience: Duration) -> Health {
    Arc::new(move || verdict(&status.report(), SystemClock.now_us(), patience))
}

fn verdict(report: &StatusReport, now_us: i64, patience: Duration) -> Result<String, String> {
    let seconds_since = |since_us: i64| (now_us - since_us).max(0) / 1_000_000;
    if let Some((since_us, why)) = &report.outage {
        let seconds = seconds_since(*since_us);
        return Err(format!("the store is away since {seconds} s: {why}"));
    }
    let lag = report.lag();
    let waits_too_long = |since_us: &i64| (now_us - since_us) as u128 > patience.as_micros();
    if let Some(since_us) = report.waiting_since_us.filter(waits_too_long) {
        return Err(format!(
            "nothing was committed for {} s, and {lag} messages wait",
            seconds_since(since_us)
        ));
    }
    if let Some((since_us, why)) = &report.source_away {
        let seconds = seconds_since(*since_us);
        return Err(format!("kafka cannot be reached since {seconds} s: {why}"));
    }
    let mut text = format!(
        "{} rows stored, {} partitions, {lag} messages behind",
        report.rows, report.partitions
    );
    if let Some((at_us, what)) = &report.last_gap {
        text.push_str(&format!(
            "\n{} gaps were recorded since the start, the last one {} s ago: {what}",
            report.gaps,
            seconds_since(*at_us)
        ));
    }
    Ok(text)
}

/// The line on the terminal.
pub(super) fn line(status: Arc<SinkStatus>) -> impl Fn() -> Line + Send {
    move || {
        let report = status.report();
        let mut text = format!("{} rows", report.rows);
        if report.dead_letters > 0 {
            text.push_str(&format!(", {} dead letters", report.dead_letters));
        }
        if report.gaps > 0 {
            text.push_str(&format!(", {} gaps", report.gaps));
        }
        if report.remaining.is_none() && report.lag() > 0 {
            text.push_str(&format!(", {} messages behind", report.lag()));
        }
        if let Some((_, why)) = &report.outage {
            text.push_str(&format!(", the store is away: {why}"));
        } else if let Some((_, why)) = &report.source_away {
            text.push_str(&format!(", kafka cannot be reached: {why}"));
        }
        Line {
            text,
            rows: Some(report.rows),
            part: report.remaining.map(|remaining| Part {
                remaining,
                what: "messages",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    const NOW_US: i64 = 1_000_000_000;

    fn said(report: &StatusReport) -> Result<String, String> {
        verdict(report, NOW_US, PATIENCE)
    }

    #[test]
    fn a_sink_that_commits_or_has_nothing_to_do_is_healthy() {
        let mut report = StatusReport::default();
        assert!(said(&report).is_ok());
        report.waiting_since_us = Some(NOW_US - 60_000_000);
        assert!(said(&report).is_ok(), "not longer than it may");
        report.last_gap = Some((NOW_US - 5_000_000, "t[0]: offsets 1 to 2".to_owned()));
        report.gaps = 1;
        let text = said(&report).expect("healthy");
        assert!(text.ends_with("the last one 5 s ago: t[0]: offsets 1 to 2"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut report = StatusReport {
            waiting_since_us: Some(NOW_US - 61_000_000),
            ..StatusReport::default()
        };
        let waits = said(&report).expect_err("waits for too long");
        assert_eq!(waits, "nothing was committed for 61 s, and 0 messages wait");
        report.waiting_since_us = None;
        report.source_away = Some((NOW_US - 3_000_000, "all brokers down".to_owned()));
        let away = said(&report).expect_err("kafka is away");
        assert_eq!(away, "kafka cannot be reached since 3 s: all brokers down");
        report.outage = Some((NOW_US - 2_000_000, "refused".to_owned()));
        let away = said(&report).expect_err("the store is away");
        assert_eq!(away, "the store is away since 2 s: refused");
    }
}
