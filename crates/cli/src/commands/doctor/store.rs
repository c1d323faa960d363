//! The database: does it answer, with which version, rights and schema; its clock against ours; how far
//! sinks have read; what it counts as not stored.

use super::kafka::Log;
use super::{DEADLINE, Findings};
use crate::settings::{Settings, value};
use std::time::Duration;
use tidegauge_model::{Clock, SystemClock};
use tidegauge_store::{
    PartitionProgress, SourceId, StoreCondition, StoreError, StoreUrl, open_reader,
};
use tokio::time::timeout;

/// Clocks that differ by more are worth a look.
const CLOCKS_APART: Duration = Duration::from_secs(2);

/// The findings, and how far each partition was read.
pub(super) async fn check(
    settings: &Settings,
    url: &StoreUrl,
) -> (Findings, Option<Vec<PartitionProgress>>) {
    let mut findings = Findings::default();
    let file = url.expose().strip_prefix("sqlite:");
    if settings.text("store.url").is_none()
        && file.is_some_and(|path| !std::path::Path::new(path).exists())
    {
        findings.ok("store", "none is set, and `up` has not run here");
        return (findings, None);
    }
    let progress = match timeout(DEADLINE * 2, look(settings, url, &mut findings)).await {
        Ok(Ok(progress)) => Some(progress),
        Ok(Err(error)) => {
            findings.failed("store", format!("{url}: {}", super::told(&error)));
            None
        }
        Err(_) => {
            findings.failed(
                "store",
                format!("{url}: no answer within {} s", DEADLINE.as_secs() * 2),
            );
            None
        }
    };
    (findings, progress)
}

async fn look(
    settings: &Settings,
    url: &StoreUrl,
    findings: &mut Findings,
) -> Result<Vec<PartitionProgress>, StoreError> {
    let reader = open_reader(url, &crate::commands::sink::options(settings))?;
    let begun_us = SystemClock.now_us();
    let condition = reader.condition().await?;
    let now_us = begun_us.midpoint(SystemClock.now_us());
    findings.ok("database", format!("{url}: {}", condition.version));
    clock(&condition, now_us, findings);
    if !schema(&condition, findings) {
        return Ok(Vec::new());
    }
    rights(&condition, settings, findings);
    ahead(&condition, now_us, findings);
    for (name, behind_ms) in &condition.standbys {
        match behind_ms {
            Some(behind) if *behind > 60_000 => findings.warning(
                "replication",
                format!(
                    "{name} is {} s behind: look at its log and at the network",
                    behind / 1_000
                ),
            ),
            Some(behind) => findings.ok("replication", format!("{name} is {behind} ms behind")),
            None => findings.ok(
                "replication",
                format!("{name} follows; how far behind is told to roles with pg_monitor"),
            ),
        }
    }
    let summary = reader.summary().await?;
    let size = crate::progress::size(summary.bytes);
    findings.ok(
        "store",
        format!(
            "{} hosts, {} series, {} points; {size} on disk",
            summary.hosts, summary.series, summary.points
        ),
    );
    match summary.dead_letters {
        0 => findings.ok("dead letters", "none"),
        count => findings.warning(
            "dead letters",
            format!("{count}: `tidegauge dead-letters list` shows them with their reasons"),
        ),
    }
    match reader.losses().await?.len() {
        0 => findings.ok("losses", "nothing was lost, and the ledger has no gap"),
        count => findings.warning(
            "losses",
            format!("{count} kinds: `tidegauge store ledger` says what, from where and why"),
        ),
    }
    reader.progress().await
}

fn clock(condition: &StoreCondition, now_us: i64, findings: &mut Findings) {
    let Some(clock_us) = condition.clock_us else {
        return;
    };
    let apart = Duration::from_micros(clock_us.abs_diff(now_us));
    let word = if clock_us > now_us {
        "ahead of"
    } else {
        "behind"
    };
    let said = format!(
        "the database's is {:.1} s {word} this host's",
        apart.as_secs_f64()
    );
    if apart > CLOCKS_APART {
        findings.warning(
            "clock",
            format!("{said}: run NTP on both. Samples that are more than limits.ahead before the sink's clock are refused"),
        );
    } else {
        findings.ok("clock", said);
    }
}

/// Whether there are tables of this version.
fn schema(condition: &StoreCondition, findings: &mut Findings) -> bool {
    const CHECK: &str = "schema";
    let (found, needed) = (condition.schema, condition.schema_needed);
    match found {
        0 => findings.failed(
            CHECK,
            "there are no tables yet: a sink makes them when it starts, or `tidegauge store migrate`, by a role that may create tables",
        ),
        _ if found < needed => findings.failed(
            CHECK,
            format!("version {found}, this program needs {needed}: a sink brings it up to date when it starts, or `tidegauge store migrate`"),
        ),
        _ => findings.ok(CHECK, format!("version {found}")),
    }
    found >= needed
}

fn rights(condition: &StoreCondition, settings: &Settings, findings: &mut Findings) {
    const CHECK: &str = "database rights";
    if condition.is_read_only {
        return findings.failed(
            CHECK,
            "the database takes no writes: it is a standby or set to be read only; name the primary in store.url for sinks",
        );
    }
    let Some(missing) = &condition.missing_rights else {
        return;
    };
    let manages =
        settings.text("store.manage_schema").is_none() || settings.flag("store.manage_schema");
    if !missing.is_empty() {
        return findings.warning(
            CHECK,
            format!(
                "this role may read and not write, as a dashboard's; a sink lacks {}",
                missing.join(", ")
            ),
        );
    }
    match (condition.may_create, manages) {
        (false, true) => findings.warning(
            CHECK,
            "this role may not create tables: new measurements wait; grant CREATE on the schema, or set store.manage_schema = false and make tables by `tidegauge store migrate --print-sql`",
        ),
        (true, _) => findings.ok(CHECK, "select, insert, update and create"),
        (false, false) => findings.ok(CHECK, "select, insert and update"),
    }
}

fn ahead(condition: &StoreCondition, now_us: i64, findings: &mut Findings) {
    const CHECK: &str = "partitions ahead";
    let Some(until_us) = condition.ahead_us else {
        return;
    };
    match u64::try_from(until_us - now_us) {
        Ok(left) => {
            let left = value::duration_text(Duration::from_secs(left / 1_000_000));
            findings.ok(CHECK, format!("made for the next {left}"));
        }
        Err(_) => findings.warning(
            CHECK,
            "the last has ended: a sink that may create tables makes the next when points come; without it, `select tidegauge_make_partitions(…)`",
        ),
    }
}

/// How far sinks have read of what the log has, and whether it still has it.
pub(super) fn lag(log: &Log, progress: &[PartitionProgress], findings: &mut Findings) {
    const CHECK: &str = "lag";
    let source = SourceId::kafka(&log.topic_id, "");
    let (mut behind, mut known) = (0, 0);
    for mark in &log.watermarks {
        let read = progress
            .iter()
            .find(|one| one.source == source.as_str() && one.partition == mark.partition);
        let Some(read) = read else { continue };
        known += 1;
        behind += (mark.high - read.next_offset).max(0);
        if read.next_offset < mark.low {
            findings.failed(
                CHECK,
                format!("partition {}: {} messages were removed before a sink read them; sink.on_lost_messages says what it does", mark.partition, mark.low - read.next_offset),
            );
        }
    }
    let waiting: i64 = log.watermarks.iter().map(|mark| mark.high - mark.low).sum();
    match known {
        0 if waiting == 0 => findings.ok(CHECK, "the topic is empty"),
        0 => findings.warning(
            CHECK,
            format!("no sink has read this topic into this database: {waiting} messages wait"),
        ),
        _ => findings.ok(CHECK, format!("{behind} messages wait to be stored")),
    }
}
