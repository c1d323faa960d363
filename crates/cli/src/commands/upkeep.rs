//! Settling and retention: `tidegauge store settle`, `tidegauge store retention`, and the task of
//! `sink` and `up` that does both by itself.

use crate::settings::{Settings, UsageError, value};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_model::{Clock, Name, SystemClock};
use tidegauge_sink::{SinkStatus, UpkeepSettings, upkeep};
use tidegauge_store::{RetentionRequest, Store};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long `up` keeps rows in its own database, unless told otherwise: a second's interval fills
/// any disk some day.
pub(super) const OWN_RETENTION: Duration = Duration::from_secs(30 * 86_400);

pub(super) fn settle_shape() -> Command {
    Command::new("settle")
        .about("Sort the partitions that are over, and make their rows unique (PostgreSQL); a sink does it by itself")
        .arg(
            Arg::new("all")
                .long("all")
                .action(ArgAction::SetTrue)
                .help("Those too that were put off a short while ago"),
        )
}

pub(super) fn retention_shape() -> Command {
    Command::new("retention")
        .about("Remove rows that are older than --retention says; a sink does it by itself")
        .arg(
            Arg::new("dry-run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .help("Only say what would go"),
        )
}

/// The settings of upkeep; `retention` is taken if nothing is said.
pub(super) fn upkeep_settings(
    settings: &Settings,
    retention: Option<Duration>,
) -> Result<UpkeepSettings, UsageError> {
    let default = UpkeepSettings::default();
    let mut problems = Vec::new();
    let mut retention_of = BTreeMap::new();
    for text in settings.list("store.retention_of") {
        let (name, keep) = value::pair(text).unwrap_or((text, ""));
        match (Name::check(name), value::duration(keep)) {
            (Ok(_), Ok(keep)) => {
                retention_of.insert(name.to_owned(), keep);
            }
            (name_is, keep_is) => {
                let place = settings.place("store.retention_of");
                let why = match name_is {
                    Err(error) => error.to_string(),
                    Ok(_) => keep_is.err().unwrap_or_default(),
                };
                problems.push(format!("{place}: store.retention_of: `{text}`: {why}"));
            }
        }
    }
    if !problems.is_empty() {
        return Err(UsageError(problems));
    }
    Ok(UpkeepSettings {
        settle_after: settings
            .duration("store.settle_after")
            .unwrap_or(default.settle_after),
        retention: settings.duration("store.retention").or(retention),
        retention_of,
        dead_letter_age: settings
            .duration("sink.dead_letter_age")
            .or(default.dead_letter_age),
        dead_letter_bytes: settings
            .bytes("sink.dead_letter_bytes")
            .or(default.dead_letter_bytes),
        ..default
    })
}

/// Begins upkeep beside a sink.
pub(super) fn start(
    store: Box<dyn Store>,
    settings: UpkeepSettings,
    status: Arc<SinkStatus>,
    end: CancellationToken,
) -> JoinHandle<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    tokio::spawn(upkeep::run(store, settings, clock, status, end))
}

pub(super) async fn settle(
    settings: &Settings,
    matches: &ArgMatches,
    store: &mut dyn Store,
) -> anyhow::Result<ExitCode> {
    let settings = upkeep_settings(settings, None)?;
    let mut request = settings.settle_request(SystemClock.now_us(), usize::MAX);
    request.postponed_too = matches.get_flag("all");
    let report = store.settle(&request).await?;
    if report.is_busy {
        say!("another program looks after this store right now")?;
        return Ok(ExitCode::FAILURE);
    }
    let mut table = super::table();
    table.set_header(["measurement", "partition", "rows", "repeated", "settled"]);
    for settled in &report.settled {
        table.add_row([
            settled.measurement.clone(),
            settled.partition.clone(),
            settled.rows.to_string(),
            settled.duplicates_removed.to_string(),
            "yes".to_owned(),
        ]);
    }
    for postponed in &report.postponed {
        table.add_row([
            postponed.measurement.clone(),
            postponed.partition.clone(),
            String::new(),
            String::new(),
            format!("put off: {}", postponed.why),
        ]);
    }
    if table.is_empty() {
        say!("there is nothing to settle")?;
    } else {
        say!("{table}")?;
    }
    match report.postponed.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

pub(super) async fn retention(
    settings: &Settings,
    matches: &ArgMatches,
    store: &mut dyn Store,
) -> anyhow::Result<ExitCode> {
    // The database of `up` is meant if none is named.
    let own = settings.text("store.url").is_none();
    let settings = upkeep_settings(settings, own.then_some(OWN_RETENTION))?;
    let dry_run = matches.get_flag("dry-run");
    let request = RetentionRequest {
        dry_run,
        ..settings.retention_request(SystemClock.now_us())
    };
    if !request.has_limits() {
        let text = "rows of this store are kept for ever: say --retention, such as --retention 400d, \
                    or `store.retention` in the configuration file";
        return Err(UsageError::one(text).into());
    }
    let report = store.retain(&request).await?;
    if report.is_busy {
        say!("another program looks after this store right now")?;
        return Ok(ExitCode::FAILURE);
    }
    if report.removed.is_empty() {
        say!("nothing is old enough to go")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = super::table();
    let rows = match dry_run {
        true => "rows that would go",
        false => "rows removed",
    };
    table.set_header(["measurement", "partition", "before", rows]);
    for removed in &report.removed {
        let is_estimate = removed.partition.is_some();
        table.add_row([
            removed.measurement.clone(),
            removed.partition.clone().unwrap_or_default(),
            super::time(removed.before_us),
            format!(
                "{}{}",
                if is_estimate { "about " } else { "" },
                removed.rows
            ),
        ]);
    }
    say!("{table}")?;
    Ok(ExitCode::SUCCESS)
}
