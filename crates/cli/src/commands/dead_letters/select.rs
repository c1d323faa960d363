//! Which dead letters a command is about: its filters, and pages of what they let through.

use crate::settings::{UsageError, value};
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use tidegauge_model::{Clock, Reason, SystemClock};
use tidegauge_store::{DeadLetterFilter, DeadLetterRow, Store, StoreError};

/// Letters in one page; each may hold a message as large as the limit allows.
const PAGE: usize = 50;

/// Adds the filters to a command.
pub(super) fn with_filters(command: Command) -> Command {
    let reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let time = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("TIME").help(help)
    };
    command
        .arg(
            Arg::new("ids")
                .value_name("ID")
                .action(ArgAction::Append)
                .num_args(0..)
                .value_parser(clap::value_parser!(i64))
                .help("Only these numbers"),
        )
        .arg(
            Arg::new("reason")
                .long("reason")
                .value_name("WORD")
                .value_parser(reasons)
                .help("Only with this reason"),
        )
        .arg(
            Arg::new("of")
                .long("of")
                .value_name("TOPIC")
                .help("Only of this topic"),
        )
        .arg(time(
            "since",
            "Only those stored from this time on: 2026-11-21T10:00:00Z, or 2h for two hours ago",
        ))
        .arg(time("until", "Only those stored before this time"))
}

/// The same for a command that changes something: it wants to be told which, or `--all`.
pub(super) fn with_filters_or_all(command: Command) -> Command {
    with_filters(command)
        .arg(
            Arg::new("all")
                .long("all")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["ids", "reason", "of", "since", "until"])
                .help("All there are"),
        )
        .group(
            ArgGroup::new("which")
                .args(["ids", "reason", "of", "since", "until", "all"])
                .multiple(true)
                .required(true),
        )
}

/// The filter that the flags say.
pub(super) fn filter(matches: &ArgMatches) -> Result<DeadLetterFilter, UsageError> {
    let time = |name: &str| {
        let text = matches.get_one::<String>(name);
        text.map(|text| {
            time_us(text, SystemClock.now_us())
                .map_err(|problem| UsageError::one(format!("--{name}: `{text}`: {problem}")))
        })
        .transpose()
    };
    Ok(DeadLetterFilter {
        ids: matches
            .get_many::<i64>("ids")
            .into_iter()
            .flatten()
            .copied()
            .collect(),
        reason: matches
            .get_one::<String>("reason")
            .and_then(|word| Reason::parse(word)),
        topic: matches.get_one::<String>("of").cloned(),
        since_us: time("since")?,
        until_us: time("until")?,
        below: None,
        limit: PAGE,
    })
}

/// A time, or how long ago, as microseconds since 1970 UTC.
fn time_us(text: &str, now_us: i64) -> Result<i64, String> {
    if let Ok(ago) = value::duration(text) {
        return Ok(now_us - i64::try_from(ago.as_micros()).unwrap_or(i64::MAX / 2));
    }
    let time: Result<jiff::Timestamp, _> = text.parse();
    time.map(jiff::Timestamp::as_microsecond).map_err(|_| {
        "expected a time such as 2026-11-21T10:00:00Z, or how long ago, such as 2h".to_owned()
    })
}

/// Pages of letters, newest first; letters that come meanwhile are not among them.
pub(super) struct Pages {
    filter: DeadLetterFilter,
}

impl Pages {
    pub(super) const fn of(filter: DeadLetterFilter) -> Self {
        Self { filter }
    }

    /// The next page, if there is one.
    pub(super) async fn next(
        &mut self,
        store: &mut dyn Store,
    ) -> Result<Option<Vec<DeadLetterRow>>, StoreError> {
        let letters = store.dead_letters(&self.filter).await?;
        let Some(last) = letters.last() else {
            return Ok(None);
        };
        self.filter.below = Some(last.id);
        Ok(Some(letters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_time_or_how_long_ago() {
        let now_us = 1_795_183_200_000_000;
        assert_eq!(time_us("2h", now_us), Ok(now_us - 7_200_000_000));
        assert_eq!(
            time_us("2026-11-20T14:00:00Z", 0),
            Ok(1_795_183_200_000_000)
        );
        for bad in ["", "yesterday", "2026-11-20", "2026-11-20T14:00:00"] {
            assert!(time_us(bad, now_us).is_err(), "{bad}");
        }
    }
}
