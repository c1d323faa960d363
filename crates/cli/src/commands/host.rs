//! From settings to what the agent needs: roots, identity, collectors, checks, spool.

use crate::settings::{FileTable, Place, Settings, UsageError, did_you_mean, targets, value};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::time::Duration;
use tidegauge_agent::collectors::settings::{
    CgroupSettings, GroupBy, ProcessSettings, SystemdSettings,
};
use tidegauge_agent::collectors::{COLLECTORS, CollectorContext, CollectorEntry};
use tidegauge_agent::probes::{AddressFamily, CheckSettings, KeyKind, KeyValue, PROBES};
use tidegauge_agent::{AgentError, CheckLimits, CollectSettings, HostRoots, identity};
use tidegauge_model::{Name, Tags};
use tidegauge_spool::{Opened, Spool, SpoolSettings};

/// More sockets than any process may have.
const MOST_CHECKS_AT_ONCE: usize = 1 << 20;

fn roots(settings: &Settings) -> HostRoots {
    let path = |key: &str, default: &str| settings.path(key).unwrap_or_else(|| default.into());
    HostRoots::new(
        path("agent.proc_root", "/proc"),
        path("agent.sys_root", "/sys"),
        path("agent.root_fs", "/"),
    )
}

/// What collectors are made from.
pub(super) fn context(settings: &Settings) -> CollectorContext {
    let count = |key: &str| {
        settings
            .count(key)
            .and_then(|count| usize::try_from(count).ok())
    };
    let (process, cgroup) = (ProcessSettings::default(), CgroupSettings::default());
    let systemd = SystemdSettings::default();
    CollectorContext {
        process: ProcessSettings {
            group_by: settings
                .text("process.group_by")
                .and_then(GroupBy::parse)
                .unwrap_or(process.group_by),
            only: settings.list("process.only").to_vec(),
            top: count("process.top").unwrap_or(process.top),
            top_by_memory: settings.text("process.top_by") == Some("memory"),
            pss: settings.flag("process.pss"),
        },
        cgroup: CgroupSettings {
            depth: count("cgroup.depth").unwrap_or(cgroup.depth),
            most: count("cgroup.most").unwrap_or(cgroup.most),
        },
        systemd: SystemdSettings {
            only: settings.list("systemd.only").to_vec(),
            most: count("systemd.most").unwrap_or(systemd.most),
        },
        ..CollectorContext::from(roots(settings))
    }
}

/// The collectors that are asked for, by default those that are on by default.
pub(super) fn collectors(settings: &Settings) -> Result<Vec<&'static CollectorEntry>, UsageError> {
    let names = settings.list("agent.collectors");
    if names.is_empty() {
        return Ok(COLLECTORS.iter().filter(|entry| entry.default_on).collect());
    }
    let mut found = Vec::new();
    let mut problems = Vec::new();
    for name in names {
        match COLLECTORS.iter().find(|entry| entry.name == name) {
            Some(entry) => found.push(entry),
            None => {
                let known: Vec<&str> = COLLECTORS.iter().map(|entry| entry.name).collect();
                let place = settings.place("agent.collectors");
                problems.push(format!(
                    "{place}: there is no collector `{name}`, there are {}{}",
                    known.join(", "),
                    did_you_mean(name, known.iter().copied())
                ));
            }
        }
    }
    if problems.is_empty() {
        Ok(found)
    } else {
        Err(UsageError(problems))
    }
}

/// What to collect and check; the state folder may give the agent's id.
pub(super) fn collect_settings(
    settings: &Settings,
    state_dir: &Path,
) -> anyhow::Result<CollectSettings> {
    let context = context(settings);
    let collectors = collectors(settings)?;
    let checks = checks(settings)?;
    let labels = labels(settings)?;
    let (agent, source) = identity::agent_id(settings.text("agent.id"), &context.roots, state_dir)?;
    let host = identity::host_name(settings.text("agent.host"), &context.roots)?;
    tracing::debug!(%agent, ?source, %host, "identity");
    match identity::fate_of(state_dir) {
        Ok(None) => {}
        Ok(Some(fate)) => tracing::warn!(
            folder = %state_dir.display(),
            "the state folder will not last: {fate}. Samples that are not sent by then are lost, and where there is \
             no machine id the agent is a new host at every start. Mount a volume there, or set general.state_dir"
        ),
        Err(error) => tracing::debug!(%error, "the state folder's file system is not known"),
    }
    let made = CollectSettings {
        listeners: super::listeners::listeners(settings)?,
        labels,
        collectors,
        checks,
        check_limits: check_limits(settings),
        srv_interval: settings
            .duration("agent.srv_interval")
            .unwrap_or(CollectSettings::DEFAULT_SRV_INTERVAL),
        interval: settings
            .duration("agent.interval")
            .unwrap_or(CheckSettings::DEFAULT_INTERVAL),
        cycles: settings.count("general.cycles"),
        ..CollectSettings::new(agent, host, context)
    };
    made.validate()
        .map_err(|error| usage(&Place::Default, &error))?;
    Ok(made)
}

/// Lets the program open more files than the usual 1,024, as far as the system allows it: each
/// check that is under way is one, and that there are none left is no fault of the target.
pub(super) fn raise_open_files() {
    const ENOUGH: u64 = 65_536;
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(ENOUGH, |maximum| maximum.min(ENOUGH));
    if limit.current.is_some_and(|current| current < most) {
        let raised = Rlimit {
            current: Some(most),
            ..limit
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
}

fn check_limits(settings: &Settings) -> CheckLimits {
    let default = CheckLimits::default();
    let count = |key: &str, default: usize| {
        let count = settings.count(key).map(usize::try_from);
        count.map_or(default, |count| {
            count.unwrap_or(usize::MAX).min(MOST_CHECKS_AT_ONCE)
        })
    };
    CheckLimits {
        at_once: count("agent.checks_at_once", default.at_once),
        at_once_per_host: count("agent.checks_at_once_per_host", default.at_once_per_host),
    }
}

/// Opens the spool of the state folder.
pub(super) fn spool(settings: &Settings, state_dir: &Path, now_us: i64) -> anyhow::Result<Spool> {
    let bounds = SpoolSettings {
        max_bytes: settings.bytes("agent.spool_bytes").unwrap_or(1 << 30),
        max_age_us: settings
            .duration("agent.spool_age")
            .map_or(i64::MAX, |age| {
                i64::try_from(age.as_micros()).unwrap_or(i64::MAX)
            }),
    };
    let (
        spool,
        Opened {
            set_aside, entries, ..
        },
    ) = Spool::open(&state_dir.join("spool.db"), bounds, now_us)?;
    if let Some(path) = set_aside {
        tracing::error!(path = %path.display(), "the spool was corrupt and was set aside, the loss is counted");
    }
    if entries > 0 {
        tracing::info!(batches = entries, "the spool has batches from before");
    }
    Ok(spool)
}

/// How long a stop waits for what is in the spool to be taken.
pub(super) const MOMENT: Duration = Duration::from_secs(3);

/// Waits until what is in the spool was taken, but not longer: the spool keeps it.
pub(super) async fn emptied(spool: &Spool, deadline: Duration) {
    let empty = async {
        while spool.stats().is_ok_and(|stats| stats.entries > 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(deadline, empty).await.is_err() {
        tracing::info!("some batches stay in the spool for the next start");
    }
}

/// All checks that are asked for, in the configuration and in the file of targets.
pub(super) fn checks(settings: &Settings) -> Result<Vec<CheckSettings>, UsageError> {
    let mut problems = Vec::new();
    let checks = sound_checks(settings, &mut problems);
    match problems.is_empty() {
        true => Ok(checks.into_iter().map(|(check, _)| check).collect()),
        false => Err(UsageError(problems)),
    }
}

/// Those of them that are sound, with their places, and what is wrong with the others.
pub(super) fn sound_checks(
    settings: &Settings,
    problems: &mut Vec<String>,
) -> Vec<(CheckSettings, Place)> {
    let mut checks = Vec::new();
    let mut places = HashMap::new();
    let place = settings.place("agent.check");
    let urls = settings
        .list("agent.check")
        .iter()
        .map(|url| (check(settings, url, &place), place.clone()));
    let listed = settings.path("agent.targets");
    let listed = listed.map_or(Ok(Vec::new()), |path| targets::read(&path));
    let listed = listed.unwrap_or_else(|UsageError(more)| {
        problems.extend(more);
        Vec::new()
    });
    let tables = settings.tables("agent.checks").iter().chain(&listed);
    for (made, place) in
        urls.chain(tables.map(|table| (check_of_table(settings, table), table.place("name"))))
    {
        match made {
            Ok(check) => match places.entry(check.name().to_owned()) {
                Entry::Vacant(first) => {
                    first.insert(place.clone());
                    checks.push((check, place));
                }
                Entry::Occupied(first) => problems.push(format!(
                    "{place}: the check {:?} is already there, at {}; give one another name, or leave it out",
                    first.key(),
                    first.get()
                )),
            },
            Err(UsageError(more)) => problems.extend(more),
        }
    }
    checks
}

/// A check of a URL with what the settings say for all checks.
pub(super) fn check(
    settings: &Settings,
    url: &str,
    place: &Place,
) -> Result<CheckSettings, UsageError> {
    let deadline = settings.duration("agent.check_deadline");
    let made =
        CheckSettings::new(url).and_then(|check| match settings.duration("agent.check_interval") {
            Some(interval) => check.with_interval(interval),
            None => Ok(check),
        });
    let made = made.and_then(|check| match deadline {
        Some(deadline) => check.with_deadline(deadline),
        None => Ok(check),
    });
    made.map_err(|error| usage(place, &error))
}

/// A check of a table of the configuration or of a file of targets.
pub(super) fn check_of_table(
    settings: &Settings,
    table: &FileTable,
) -> Result<CheckSettings, UsageError> {
    let url = table.text("url").unwrap_or_default();
    let mut made = check(settings, url, &table.place("url"))?;
    let refine = |made: Result<CheckSettings, AgentError>, key: &str| {
        made.map_err(|error| usage(&table.place(key), &error))
    };
    if let Some(name) = table.text("name") {
        made = refine(made.with_name(name), "name")?;
    }
    if let Some(interval) = table.duration("interval") {
        made = refine(made.with_interval(interval), "interval")?;
    }
    if let Some(deadline) = table.duration("deadline") {
        made = refine(made.with_deadline(deadline), "deadline")?;
    }
    let refused = |key: &str, problem: &str| {
        UsageError::one(format!("{}: {key}: {problem}", table.place(key)))
    };
    let count = |key: &str| match table.text(key).map(str::parse) {
        None => Ok(1),
        Some(count) => count.map_err(|_| refused(key, "the number is too large")),
    };
    made = refine(made.with_attempts(count("attempts")?), "attempts")?;
    let confirmation = made.with_confirmation(count("confirm_after")?, count("recover_after")?);
    made = refine(confirmation, "confirm_after")?;
    let labels = tags(table.list("labels"), "labels", &table.place("labels"))?;
    made = refine(made.with_labels(labels), "labels")?;
    if let Some(family) = table.text("address_family").and_then(AddressFamily::parse) {
        made = made.with_family(family);
    }
    if let Some(address) = table.text("source_address") {
        let expected = |_| refused("source_address", "expected an address, such as 192.0.2.1");
        made = made.with_source_address(address.parse().map_err(expected)?);
    }
    for own in PROBES.iter().flat_map(|probe| probe.keys) {
        let texts = table.list(own.key);
        let Some(text) = texts.first() else {
            continue;
        };
        let value = match own.kind {
            KeyKind::Count => value::count(text).map(KeyValue::Count),
            KeyKind::Percent => value::percent(text).map(KeyValue::Count),
            KeyKind::Bytes => value::bytes(text).map(KeyValue::Count),
            KeyKind::Duration => value::duration(text).map(KeyValue::Duration),
            KeyKind::Flag => value::flag(text).map(KeyValue::Flag),
            _ => Ok(KeyValue::Texts(texts.to_vec())),
        };
        let value = value.map_err(|problem| refused(own.key, &problem))?;
        made = refine(made.with(own.key, value), own.key)?;
    }
    Ok(made)
}

/// The labels of the host.
pub(super) fn labels(settings: &Settings) -> Result<Tags, UsageError> {
    let place = settings.place("agent.labels");
    tags(settings.list("agent.labels"), "agent.labels", &place)
}

/// Tags from pairs.
pub(super) fn tags(pairs: &[String], key: &str, place: &Place) -> Result<Tags, UsageError> {
    let mut labels = Tags::new();
    let mut problems = Vec::new();
    for pair in pairs {
        let Ok((name, text)) = value::pair(pair) else {
            continue;
        };
        match Name::new(name) {
            Ok(name) => labels.push((name, Cow::Owned(text.to_owned()))),
            Err(error) => problems.push(format!("{place}: {key}: `{name}`: {error}")),
        }
    }
    if problems.is_empty() {
        Ok(labels)
    } else {
        Err(UsageError(problems))
    }
}

pub(super) fn usage(place: &Place, error: &AgentError) -> UsageError {
    UsageError::one(format!("{place}: {error}"))
}
