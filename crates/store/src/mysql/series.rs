//! Hosts and series: found or made in bulk, a new fleet's by the thousand.
//!
//! Both are found by the SHA-256 of what tells them apart, because an index takes neither texts of
//! any length nor, in a collation that both servers know, blanks at their ends.

use super::connect::{Session, value};
use super::errors;
use super::migrate::{begin_schema_change, end_schema_change};
use super::values::{bytes, json_object, parse_json_object, push_time, text};
use crate::{
    Catalog, HostId, KnownHost, Requirements, SeriesId, SeriesNeed, SeriesSlot, StoreError,
};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use tidegauge_model::Reason;

/// Hosts or series in one statement.
const CHUNK: usize = 2_000;

type Sha = [u8; 32];

fn sha(identity: &str) -> Sha {
    Sha256::digest(identity.as_bytes()).into()
}

/// What is wanted of a host.
struct WantedHost<'a> {
    digest: Sha,
    identity: String,
    agent: &'a str,
    name: &'a str,
    /// `None`: whatever it has.
    labels: Option<&'a [(String, String)]>,
}

impl WantedHost<'_> {
    /// Whether the stored row is to be changed.
    fn differs(&self, stored: &KnownHost) -> bool {
        self.labels
            .is_some_and(|labels| stored.name != self.name || stored.labels != sorted(labels))
    }
}

fn sorted(labels: &[(String, String)]) -> Vec<(String, String)> {
    let labels: BTreeMap<_, _> = labels.iter().cloned().collect();
    labels.into_iter().collect()
}

/// Makes hosts, or brings their names and labels up to date, and learns them.
pub(super) async fn ensure_hosts(
    session: &mut Session,
    needs: &Requirements,
    catalog: &mut Catalog,
) -> Result<(), StoreError> {
    let doing = "making the hosts";
    let asked = needs
        .hosts
        .iter()
        .map(|(host, labels)| (host, Some(labels)));
    let implied = needs.series.keys().map(|need| (&need.host, None));
    let mut wanted: BTreeMap<String, WantedHost<'_>> = BTreeMap::new();
    for (host, labels) in asked.chain(implied) {
        let identity = host.identity();
        if wanted.contains_key(&identity) || labels.is_none() && catalog.host(&identity).is_some() {
            continue;
        }
        let host = WantedHost {
            digest: sha(&identity),
            identity: identity.clone(),
            agent: &host.agent,
            name: &host.name,
            labels: labels.map(Vec::as_slice),
        };
        wanted.insert(identity, host);
    }
    let wanted: Vec<WantedHost<'_>> = wanted.into_values().collect();
    for chunk in wanted.chunks(CHUNK) {
        let mut stored = load_hosts(session, chunk).await?;
        let is_done = |host: &WantedHost<'_>| {
            let stored = stored.get(&host.digest);
            stored.is_some_and(|stored| !host.differs(stored))
        };
        if !chunk.iter().all(is_done) {
            begin_schema_change(session, doing).await?;
            stored = load_hosts(session, chunk).await?;
            write_hosts(session, doing, chunk, &stored).await?;
            stored = load_hosts(session, chunk).await?;
            end_schema_change(session, doing).await?;
        }
        for host in chunk {
            let stored = stored
                .remove(&host.digest)
                .ok_or_else(|| errors::unexpected(doing, "a host's row has vanished"))?;
            catalog.learn_host(host.identity.clone(), stored);
        }
    }
    Ok(())
}

/// Notes the youngest samples of series whose hosts have no agent.
pub(super) async fn note_seen(
    session: &mut Session,
    seen: &[(SeriesId, i64)],
) -> Result<(), StoreError> {
    let doing = "noting the freshness of hosts";
    let mut newest: BTreeMap<i32, i64> = BTreeMap::new();
    for chunk in seen.chunks(CHUNK) {
        let times: HashMap<i32, i64> = chunk.iter().map(|(series, us)| (series.0, *us)).collect();
        let ids: Vec<String> = times.keys().map(ToString::to_string).collect();
        let sql = format!(
            "select s.`id`, s.`host_id` from `series` s join `host` h on h.`id` = s.`host_id`
             where h.`agent` = '' and s.`id` in ({})",
            ids.join(", ")
        );
        for row in session.query(doing, &sql).await? {
            let (series, host): (i32, i32) = (value(doing, &row, 0)?, value(doing, &row, 1)?);
            if let Some(&time_us) = times.get(&series) {
                let newest = newest.entry(host).or_insert(time_us);
                *newest = time_us.max(*newest);
            }
        }
    }
    let update = |(host, time_us): (i32, i64)| {
        let mut time = String::new();
        push_time(&mut time, time_us).then(|| {
            format!(
                "update `host` set `last_time` = greatest(coalesce(`last_time`, {time}), {time})
                 where `id` = {host}"
            )
        })
    };
    let updates: Vec<String> = newest.into_iter().filter_map(update).collect();
    session.affected(doing, &updates).await.map(|_| ())
}

async fn write_hosts(
    session: &mut Session,
    doing: &str,
    wanted: &[WantedHost<'_>],
    stored: &HashMap<Sha, KnownHost>,
) -> Result<(), StoreError> {
    let mut rows = Vec::new();
    let mut statements = Vec::new();
    for host in wanted {
        let labels = text(&json_object(host.labels.unwrap_or_default()));
        let name = text(host.name);
        match stored.get(&host.digest) {
            Some(stored) if host.differs(stored) => statements.push(format!(
                "update `host` set `name` = {name}, `labels` = {labels} where `id` = {}",
                stored.id.0
            )),
            Some(_) => {}
            None => rows.push(format!(
                "({}, {}, {}, {name}, {labels})",
                bytes(&host.digest),
                text(&host.identity),
                text(host.agent),
            )),
        }
    }
    for rows in rows.chunks(CHUNK) {
        statements.push(format!(
            "insert into `host` (`digest`, `identity`, `agent`, `name`, `labels`) values {}",
            rows.join(", ")
        ));
    }
    session.affected(doing, &statements).await.map(|_| ())
}

async fn load_hosts(
    session: &mut Session,
    wanted: &[WantedHost<'_>],
) -> Result<HashMap<Sha, KnownHost>, StoreError> {
    let doing = "reading the hosts";
    let digests: Vec<String> = wanted.iter().map(|host| bytes(&host.digest)).collect();
    let sql = format!(
        "select `digest`, `id`, `name`, `labels` from `host` where `digest` in ({})",
        digests.join(", ")
    );
    let mut hosts = HashMap::new();
    for row in session.query(doing, &sql).await? {
        let labels: String = value(doing, &row, 3)?;
        let host = KnownHost {
            id: HostId(value(doing, &row, 1)?),
            name: value(doing, &row, 2)?,
            labels: parse_json_object(&labels).unwrap_or_default(),
        };
        hosts.insert(digest_of(doing, value(doing, &row, 0)?)?, host);
    }
    Ok(hosts)
}

fn digest_of(doing: &str, bytes: Vec<u8>) -> Result<Sha, StoreError> {
    bytes
        .try_into()
        .map_err(|_| errors::unexpected(doing, "a digest has another length"))
}

/// A series that is looked for.
struct Wanted<'a> {
    digest: Sha,
    host: HostId,
    measurement: i32,
    tags: String,
    raws: &'a [Box<[u8]>],
}

/// Makes series and learns them, under every raw identity that the needs give.
pub(super) async fn ensure_series(
    session: &mut Session,
    needs: &BTreeMap<SeriesNeed, Vec<Box<[u8]>>>,
    catalog: &mut Catalog,
) -> Result<(), StoreError> {
    let mut wanted = Vec::new();
    for (need, raws) in needs {
        let measurement = catalog.measurement(&need.measurement);
        if let Some(Err(reason)) = measurement {
            let slot = SeriesSlot::Refused(*reason);
            learn(catalog, raws, slot);
            continue;
        }
        let host = catalog.host(&need.host.identity());
        let (Some(Ok(measurement)), Some(host)) = (measurement, host) else {
            let what = "its host or measurement was not made";
            return Err(errors::unexpected("making the series", what));
        };
        let tags = json_object(&need.tags);
        wanted.push(Wanted {
            digest: sha(&format!("{}/{}/{tags}", measurement.id, host.id.0)),
            host: host.id,
            measurement: measurement.id,
            tags,
            raws,
        });
    }
    for chunk in wanted.chunks(CHUNK) {
        ensure_chunk(session, chunk, catalog).await?;
    }
    Ok(())
}

async fn ensure_chunk(
    session: &mut Session,
    wanted: &[Wanted<'_>],
    catalog: &mut Catalog,
) -> Result<(), StoreError> {
    let doing = "making the series";
    let missing = find(session, wanted.iter().collect(), catalog).await?;
    if missing.is_empty() {
        return Ok(());
    }
    begin_schema_change(session, doing).await?;
    // Another program may have been first.
    let missing = find(session, missing, catalog).await?;
    let (missing, too_many) = within_limit(session, missing, catalog).await?;
    for series in too_many {
        let slot = SeriesSlot::Refused(Reason::TooManySeries);
        learn(catalog, series.raws, slot);
    }
    if !missing.is_empty() {
        let rows: Vec<String> = missing
            .iter()
            .map(|series| {
                format!(
                    "({}, {}, {}, {})",
                    series.measurement,
                    series.host.0,
                    bytes(&series.digest),
                    text(&series.tags)
                )
            })
            .collect();
        // Tags are long at times: as many rows in a statement as are sure to fit.
        let statements: Vec<String> = rows
            .chunks(100)
            .map(|rows| {
                format!(
                    "insert into `series` (`measurement_id`, `host_id`, `digest`, `tags`) values {}",
                    rows.join(", ")
                )
            })
            .collect();
        session.affected(doing, &statements).await?;
        if !find(session, missing, catalog).await?.is_empty() {
            return Err(errors::unexpected(doing, "a series' row has vanished"));
        }
    }
    end_schema_change(session, doing).await
}

/// Learns those that are there and answers the others.
async fn find<'a, 'b>(
    session: &mut Session,
    wanted: Vec<&'a Wanted<'b>>,
    catalog: &mut Catalog,
) -> Result<Vec<&'a Wanted<'b>>, StoreError> {
    let doing = "reading the series";
    if wanted.is_empty() {
        return Ok(wanted);
    }
    let digests: Vec<String> = wanted.iter().map(|series| bytes(&series.digest)).collect();
    let sql = format!(
        "select `digest`, `id` from `series` where `digest` in ({})",
        digests.join(", ")
    );
    let mut found = HashMap::new();
    for row in session.query(doing, &sql).await? {
        let id: i32 = value(doing, &row, 1)?;
        found.insert(digest_of(doing, value(doing, &row, 0)?)?, SeriesId(id));
    }
    let mut missing = Vec::new();
    for series in wanted {
        match found.get(&series.digest) {
            Some(id) => learn(catalog, series.raws, SeriesSlot::Known(*id)),
            None => missing.push(series),
        }
    }
    Ok(missing)
}

/// Splits into those that each host may still have and those that are too many (D14).
async fn within_limit<'a, 'b>(
    session: &mut Session,
    missing: Vec<&'a Wanted<'b>>,
    catalog: &Catalog,
) -> Result<(Vec<&'a Wanted<'b>>, Vec<&'a Wanted<'b>>), StoreError> {
    let doing = "counting the series";
    let mut hosts: Vec<String> = missing
        .iter()
        .map(|series| series.host.0.to_string())
        .collect();
    hosts.sort_unstable();
    hosts.dedup();
    let mut counts: HashMap<i32, usize> = HashMap::new();
    if !hosts.is_empty() {
        let sql = format!(
            "select `host_id`, count(*) from `series` where `host_id` in ({}) group by `host_id`",
            hosts.join(", ")
        );
        for row in session.query(doing, &sql).await? {
            counts.insert(value(doing, &row, 0)?, value(doing, &row, 1)?);
        }
    }
    let limit = catalog.limits.series_per_host;
    Ok(missing.into_iter().partition(|series| {
        let count = counts.entry(series.host.0).or_default();
        *count += 1;
        *count <= limit
    }))
}

fn learn(catalog: &mut Catalog, raws: &[Box<[u8]>], slot: SeriesSlot) {
    for raw in raws {
        catalog.learn_series(raw.clone(), slot);
    }
}
