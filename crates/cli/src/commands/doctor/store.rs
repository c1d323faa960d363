//! The database: does it answer, with which version, rights and schema; its clock against ours; how far
//! sinks have read; what it counts as not stored.

use super::kafka::Log;
use super::{CLOCKS_APART, DEADLINE, Findings, certificates};
use crate::progress::size;
use crate::settings::{Settings, UsageError, value};
use std::path::Path;
use std::time::Duration;
use tidegauge_model::{Clock, SystemClock, chain};
use tidegauge_store::{
    PartitionProgress, Protection, SourceId, StoreCondition, StoreError, StoreUrl, open_reader,
    protection,
};
use tokio::time::timeout;

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
    protected(settings, url, &mut findings).await;
    let progress = match timeout(DEADLINE * 2, look(settings, url, &mut findings)).await {
        Ok(Ok(progress)) => Some(progress),
        Ok(Err(error)) => {
            findings.failed("store", format!("{url}: {}", chain(&error)));
            None
        }
        Err(_) => {
            findings.failed(
                "store",
                format!(
                    "{url}: no answer within {} s; is there a firewall in between?",
                    DEADLINE.as_secs() * 2
                ),
            );
            None
        }
    };
    (findings, progress)
}

/// With less room a database cannot grow.
const LEAST_FREE: u64 = 16 << 20;

/// So much log kept for nobody is worth a warning.
const MUCH_LOG_BYTES: u64 = 1 << 30;

/// Refuses a URL that shows by itself that it cannot be used, as every command does.
///
/// # Errors
/// Why.
pub(super) fn check_url(settings: &Settings, url: &StoreUrl) -> Result<(), UsageError> {
    let checked = protection(url, &crate::commands::sink::options(settings));
    checked.map(drop).map_err(|error| {
        UsageError::one(format!(
            "{}: store.url: {}",
            settings.place("store.url"),
            chain(&error)
        ))
    })
}

/// Rights by what they are on: `INSERT and UPDATE on host, series`.
fn by_right(missing: &[String]) -> String {
    let mut of_table: Vec<(&str, Vec<&str>)> = Vec::new();
    for (right, table) in missing.iter().filter_map(|text| text.split_once(" on ")) {
        match of_table.iter_mut().find(|(known, _)| *known == table) {
            Some((_, rights)) => rights.push(right),
            None => of_table.push((table, vec![right])),
        }
    }
    let mut of_rights: Vec<(String, Vec<&str>)> = Vec::new();
    for (table, rights) in of_table {
        let rights = rights.join(" and ");
        match of_rights.iter_mut().find(|(known, _)| *known == rights) {
            Some((_, tables)) => tables.push(table),
            None => of_rights.push((rights, vec![table])),
        }
    }
    let texts = of_rights
        .iter()
        .map(|(rights, tables)| format!("{rights} on {}", tables.join(", ")));
    texts.collect::<Vec<_>>().join("; ")
}

/// How the connection is protected, and the certificates of its servers.
async fn protected(settings: &Settings, url: &StoreUrl, findings: &mut Findings) {
    const CHECK: &str = "database certificates";
    let verify = match url.expose().starts_with("mysql") {
        true => "ssl-mode=verify_identity",
        false => "sslmode=verify-full",
    };
    let servers = match protection(url, &crate::commands::sink::options(settings)) {
        // A URL that is wrong is told when it is opened.
        Err(_) | Ok(Protection::Local) => return,
        Ok(Protection::Plaintext) => {
            return findings.warning(
                CHECK,
                format!("the connection is not encrypted, as the URL says: password and samples can be read on the way; say {verify}"),
            );
        }
        Ok(Protection::Unverified(servers)) => {
            findings.warning(
                CHECK,
                format!("certificate and name are not verified, as the URL says: anybody on the way may pass for the database; say {verify}"),
            );
            servers
        }
        Ok(Protection::Verified(servers)) => servers,
    };
    for server in servers {
        let whose = format!("{}:{}", server.host, server.port);
        let shown = match server.connect(DEADLINE).await {
            Ok(stream) => certificates::handshake(stream, &server.name).await,
            Err(error) => Err(chain(&error)),
        };
        certificates::told(CHECK, &whose, shown, findings);
    }
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
    replication(&condition, findings);
    let summary = reader.summary().await?;
    findings.ok(
        "store",
        format!(
            "{} hosts, {} series, {} points",
            summary.hosts, summary.series, summary.points
        ),
    );
    disk(url, summary.bytes, findings);
    match summary.dead_letters {
        0 => findings.ok("dead letters", "none"),
        count => findings.warning(
            "dead letters",
            format!("{count} could not be stored: `tidegauge dead-letters list` shows them with their reasons"),
        ),
    }
    match reader.losses().await?.len() {
        0 => findings.ok("losses", "nothing was lost, and the ledger has no gap"),
        count => findings.warning(
            "losses",
            format!(
                "the ledger counts {count}, by host and reason: `tidegauge store ledger` shows what, from where and why"
            ),
        ),
    }
    reader.progress().await
}

/// How much room the database has: that of the file system where it is a file. A server tells what it takes, not what
/// is left.
fn disk(url: &StoreUrl, used: u64, findings: &mut Findings) {
    const CHECK: &str = "database disk";
    let used_text = size(used);
    let Some(path) = url.expose().strip_prefix("sqlite:") else {
        return findings.ok(
            CHECK,
            format!("{used_text} are taken; how much is free no server tells: let an agent on its host measure it (disk), and see store.retention"),
        );
    };
    let path = Path::new(path.split('?').next().unwrap_or(path));
    let folder = path.parent().filter(|at| !at.as_os_str().is_empty());
    match rustix::fs::statvfs(folder.unwrap_or(Path::new("."))) {
        Ok(space) => {
            let free = space.f_bavail.saturating_mul(space.f_frsize);
            let whole = space.f_blocks.saturating_mul(space.f_frsize);
            room(used, free, whole, findings);
        }
        Err(error) => findings.warning(CHECK, format!("{}: {error}", path.display())),
    }
}

/// Judges the room of a database in a file.
fn room(used: u64, free: u64, whole: u64, findings: &mut Findings) {
    const CHECK: &str = "database disk";
    let said = format!("{} are taken, {} are free", size(used), size(free));
    if free < LEAST_FREE {
        findings.failed(
            CHECK,
            format!(
                "{said}: nothing more can be stored, and samples wait where they are; make room"
            ),
        );
    } else if free < whole / 20 {
        findings.warning(
            CHECK,
            format!("{said}, less than a twentieth of the file system: make room, or keep less (store.retention)"),
        );
    } else {
        findings.ok(CHECK, said);
    }
}

fn replication(condition: &StoreCondition, findings: &mut Findings) {
    const CHECK: &str = "replication";
    for (name, behind_ms) in &condition.standbys {
        match behind_ms {
            Some(behind) if *behind > 60_000 => findings.warning(
                CHECK,
                format!(
                    "{name} is {} s behind: look at its log and at the network",
                    behind / 1_000
                ),
            ),
            Some(behind) => findings.ok(CHECK, format!("{name} is {behind} ms behind")),
            None => findings.ok(
                CHECK,
                format!("{name} follows; how far behind is told to roles with pg_monitor"),
            ),
        }
    }
    for (name, bytes) in &condition.idle_slots {
        let kept = format!(
            "nobody reads from the slot `{name}`, for which the database keeps {} of its log",
            size(*bytes)
        );
        if *bytes < MUCH_LOG_BYTES {
            findings.ok(CHECK, kept);
        } else {
            findings.warning(
                CHECK,
                format!("{kept}: its disk fills up until the standby is back, or `select pg_drop_replication_slot('{name}')`"),
            );
        }
    }
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
                by_right(missing)
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
                format!("partition {}: {} messages were removed before a sink read them; retention (retention.ms, retention.bytes) was shorter than the sink was away. sink.on_lost_messages says what the sink does", mark.partition, mark.low - read.next_offset),
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

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn rights_that_many_tables_lack_are_told_once() {
        let missing = [
            "INSERT on a",
            "UPDATE on a",
            "SELECT on b",
            "INSERT on c",
            "UPDATE on c",
        ];
        let missing = missing.map(str::to_owned);
        assert_eq!(by_right(&missing), "INSERT and UPDATE on a, c; SELECT on b");
    }

    #[test]
    fn a_slot_that_fills_the_disk_is_told_with_what_to_do() {
        let said = |bytes| {
            let condition = StoreCondition {
                idle_slots: vec![("old".to_owned(), bytes)],
                ..StoreCondition::default()
            };
            let mut findings = Findings::default();
            replication(&condition, &mut findings);
            findings.0.remove(0)
        };
        let little = said(16 << 20);
        assert_eq!(little.verdict, Verdict::Ok, "{}", little.detail);
        let much = said(3 << 30);
        assert_eq!(much.verdict, Verdict::Warning);
        let expected = "nobody reads from the slot `old`, for which the database keeps 3.0 GiB of its log: its disk fills up until the standby is back, or `select pg_drop_replication_slot('old')`";
        assert_eq!(much.detail, expected);
    }

    #[test]
    fn a_file_that_has_no_room_is_told() {
        let said = |free, whole| {
            let mut findings = Findings::default();
            room(5 << 20, free, whole, &mut findings);
            findings.0.remove(0)
        };
        let well = said(50 << 30, 100 << 30);
        assert_eq!(
            (well.verdict, well.detail.as_str()),
            (Verdict::Ok, "5.0 MiB are taken, 50.0 GiB are free")
        );
        assert_eq!(said(2 << 30, 100 << 30).verdict, Verdict::Warning);
        assert_eq!(said(1 << 20, 1 << 24).verdict, Verdict::Failed);
    }

    #[test]
    fn clocks_that_are_apart_are_told_with_which_is_ahead() {
        let said = |clock_us| {
            let condition = StoreCondition {
                clock_us: Some(clock_us),
                ..StoreCondition::default()
            };
            let mut findings = Findings::default();
            clock(&condition, 100_000_000, &mut findings);
            findings.0.remove(0)
        };
        let near = said(101_500_000);
        assert_eq!(
            (near.verdict, near.detail.as_str()),
            (Verdict::Ok, "the database's is 1.5 s ahead of this host's")
        );
        let far = said(40_000_000);
        assert_eq!(far.verdict, Verdict::Warning);
        let expected = "the database's is 60.0 s behind this host's: run NTP on both. Samples that are more than limits.ahead before the sink's clock are refused";
        assert_eq!(far.detail, expected);
    }
}
