//! Hosts and series: found or made in bulk, a new fleet's by the thousand.

use super::connect::Session;
use super::values::{Time, json_object, parse_json_object};
use crate::{
    Catalog, HostId, KnownHost, Requirements, SeriesId, SeriesNeed, SeriesSlot, StoreError,
};
use std::collections::{BTreeMap, HashMap};
use tidegauge_model::Reason;

/// Series in one statement.
const CHUNK: usize = 5_000;

/// What is wanted of a host.
struct WantedHost<'a> {
    agent: &'a str,
    name: &'a str,
    /// `None`: whatever it has.
    labels: Option<&'a [(String, String)]>,
}

/// Makes hosts, or brings their names and labels up to date, and learns them.
pub(super) async fn ensure_hosts(
    session: &mut Session,
    needs: &Requirements,
    catalog: &mut Catalog,
) -> Result<(), StoreError> {
    let doing = "making the hosts";
    // By identity, in one order for all writers, so that two of them cannot deadlock.
    let mut wanted = BTreeMap::new();
    for host in needs.series.keys().map(|need| &need.host) {
        let identity = host.identity();
        if catalog.host(&identity).is_none() {
            let (agent, name) = (host.agent.as_str(), host.name.as_str());
            let labels = None;
            wanted.insert(
                identity,
                WantedHost {
                    agent,
                    name,
                    labels,
                },
            );
        }
    }
    for (host, labels) in &needs.hosts {
        let (agent, name) = (host.agent.as_str(), host.name.as_str());
        let labels = Some(labels.as_slice());
        wanted.insert(
            host.identity(),
            WantedHost {
                agent,
                name,
                labels,
            },
        );
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let stored = load_hosts(session, &wanted).await?;
    let missing: Vec<_> = wanted
        .iter()
        .filter(|(identity, _)| !stored.contains_key(*identity))
        .collect();
    let changed: Vec<_> = wanted
        .iter()
        .filter(|(identity, wanted)| {
            let stored = stored.get(*identity);
            stored.is_some_and(|stored| match wanted.labels {
                Some(labels) => stored.name != wanted.name || stored.labels != labels,
                None => false,
            })
        })
        .collect();
    let inserted = "insert into host (identity, agent, name, labels)
                    select identity, agent, name, labels::jsonb
                    from unnest($1::text[], $2::text[], $3::text[], $4::text[])
                    with ordinality as v(identity, agent, name, labels, n) order by n
                    on conflict (identity) do nothing";
    let updated = "update host set name = v.name, labels = v.labels::jsonb
                   from unnest($1::text[], $2::text[], $3::text[], $4::text[])
                   as v(identity, agent, name, labels)
                   where host.identity = v.identity";
    for (rows, sql) in [(&missing, inserted), (&changed, updated)] {
        if rows.is_empty() {
            continue;
        }
        let identities: Vec<&str> = rows.iter().map(|(identity, _)| identity.as_str()).collect();
        let agents: Vec<&str> = rows.iter().map(|(_, host)| host.agent).collect();
        let names: Vec<&str> = rows.iter().map(|(_, host)| host.name).collect();
        let labels: Vec<String> = rows
            .iter()
            .map(|(_, host)| json_object(host.labels.unwrap_or_default()))
            .collect();
        session
            .execute(doing, sql, &[&identities, &agents, &names, &labels])
            .await?;
    }
    let stored = match missing.is_empty() {
        true => stored,
        false => load_hosts(session, &wanted).await?,
    };
    for (identity, wanted) in wanted {
        let Some(stored) = stored.get(&identity) else {
            return Err(super::errors::unexpected(
                doing,
                "a host's row has vanished",
            ));
        };
        let (name, labels) = match wanted.labels {
            Some(labels) => (wanted.name.to_owned(), labels.to_vec()),
            None => (stored.name.clone(), stored.labels.clone()),
        };
        let id = stored.id;
        catalog.learn_host(identity, KnownHost { id, name, labels });
    }
    Ok(())
}

async fn load_hosts(
    session: &mut Session,
    wanted: &BTreeMap<String, WantedHost<'_>>,
) -> Result<HashMap<String, KnownHost>, StoreError> {
    let identities: Vec<&String> = wanted.keys().collect();
    let sql = "select identity, id, name, labels::text from host where identity = any($1)";
    let rows = session
        .query("reading the hosts", sql, &[&identities])
        .await?;
    let hosts = rows.iter().map(|row| {
        let host = KnownHost {
            id: HostId(row.get(1)),
            name: row.get(2),
            labels: parse_json_object(row.get(3)).unwrap_or_default(),
        };
        (row.get(0), host)
    });
    Ok(hosts.collect())
}

/// Notes the youngest samples of series whose hosts have no agent.
pub(super) async fn note_seen(
    session: &mut Session,
    seen: &[(SeriesId, i64)],
) -> Result<(), StoreError> {
    let update = "update host h set last_time = v.last_time
                  from (select s.host_id, max(v.time) as last_time
                        from unnest($1::integer[], $2::timestamptz[]) as v(series_id, time)
                        join series s on s.id = v.series_id group by s.host_id) v
                  where h.id = v.host_id and h.agent = ''
                  and (h.last_time is null or h.last_time < v.last_time)";
    let series: Vec<i32> = seen.iter().map(|(series, _)| series.0).collect();
    let times: Vec<Time> = seen.iter().map(|(_, time_us)| Time(*time_us)).collect();
    let doing = "noting the freshness of hosts";
    session.execute(doing, update, &[&series, &times]).await?;
    Ok(())
}

/// A series that is looked for.
struct Wanted<'a> {
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
        let refused = if need.tags.iter().any(|(_, text)| text.contains('\0')) {
            Some(Reason::BadText)
        } else {
            match catalog.measurement(&need.measurement) {
                Some(Err(reason)) => Some(*reason),
                _ => None,
            }
        };
        if let Some(reason) = refused {
            learn(catalog, raws, SeriesSlot::Refused(reason));
            continue;
        }
        let measurement = catalog.measurement(&need.measurement);
        let host = catalog.host(&need.host.identity());
        let (Some(Ok(measurement)), Some(host)) = (measurement, host) else {
            let what = "its host or measurement was not made";
            return Err(super::errors::unexpected("making the series", what));
        };
        wanted.push(Wanted {
            host: host.id,
            measurement: measurement.id,
            tags: json_object(&need.tags),
            raws,
        });
    }
    for chunk in wanted.chunks(CHUNK) {
        ensure_chunk(session, chunk, catalog).await?;
    }
    Ok(())
}

async fn ensure_chunk(
    session: &Session,
    wanted: &[Wanted<'_>],
    catalog: &mut Catalog,
) -> Result<(), StoreError> {
    let all: Vec<&Wanted<'_>> = wanted.iter().collect();
    let missing = find(session, all, catalog).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let (missing, too_many) = within_limit(session, missing, catalog).await?;
    for series in too_many {
        let slot = SeriesSlot::Refused(Reason::TooManySeries);
        learn(catalog, series.raws, slot);
    }
    // In the order of the needs, the same for all writers, so that two cannot deadlock.
    let insert = "insert into series (host_id, measurement_id, tags)
                  select host_id, measurement_id, tags::jsonb
                  from unnest($1::integer[], $2::integer[], $3::text[])
                  with ordinality as v(host_id, measurement_id, tags, n) order by n
                  on conflict do nothing returning id";
    let (hosts, measurements, tags) = columns(&missing);
    session
        .query_once("making the series", insert, &[&hosts, &measurements, &tags])
        .await?;
    // Whose identity another one has taken (two texts of one digest) cannot be stored.
    for series in find(session, missing, catalog).await? {
        let slot = SeriesSlot::Refused(Reason::RefusedByDatabase);
        learn(catalog, series.raws, slot);
    }
    Ok(())
}

/// Learns those that are there and answers the others.
async fn find<'a, 'b>(
    session: &Session,
    wanted: Vec<&'a Wanted<'b>>,
    catalog: &mut Catalog,
) -> Result<Vec<&'a Wanted<'b>>, StoreError> {
    // Planned anew each time: the table grows by orders of magnitude between two calls.
    let sql = "select v.n, s.id
               from (select host_id, measurement_id, tags::jsonb as tags, n
                     from unnest($1::integer[], $2::integer[], $3::text[])
                     with ordinality as v(host_id, measurement_id, tags, n)) v
               join series s on s.host_id = v.host_id and s.measurement_id = v.measurement_id
               and md5(s.tags::text) = md5(v.tags::text) and s.tags = v.tags";
    let (hosts, measurements, tags) = columns(&wanted);
    let rows = session
        .query_once("reading the series", sql, &[&hosts, &measurements, &tags])
        .await?;
    let mut found = vec![false; wanted.len()];
    for row in rows {
        let at = usize::try_from(row.get::<_, i64>(0) - 1).unwrap_or(usize::MAX);
        if let (Some(series), Some(found)) = (wanted.get(at), found.get_mut(at)) {
            *found = true;
            let slot = SeriesSlot::Known(SeriesId(row.get(1)));
            learn(catalog, series.raws, slot);
        }
    }
    let missing = wanted.into_iter().zip(found).filter(|(_, found)| !found);
    Ok(missing.map(|(series, _)| series).collect())
}

/// Splits into those that each host may still have and those that are too many (D14).
async fn within_limit<'a, 'b>(
    session: &Session,
    missing: Vec<&'a Wanted<'b>>,
    catalog: &Catalog,
) -> Result<(Vec<&'a Wanted<'b>>, Vec<&'a Wanted<'b>>), StoreError> {
    let mut hosts: Vec<i32> = missing.iter().map(|series| series.host.0).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let sql = "select host_id, count(*) from series where host_id = any($1) group by host_id";
    let rows = session
        .query_once("counting the series", sql, &[&hosts])
        .await?;
    let mut counts: HashMap<i32, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let limit = i64::try_from(catalog.limits.series_per_host).unwrap_or(i64::MAX);
    Ok(missing.into_iter().partition(|series| {
        let count = counts.entry(series.host.0).or_default();
        *count += 1;
        *count <= limit
    }))
}

fn columns<'a>(series: &[&'a Wanted<'_>]) -> (Vec<i32>, Vec<i32>, Vec<&'a str>) {
    (
        series.iter().map(|series| series.host.0).collect(),
        series.iter().map(|series| series.measurement).collect(),
        series.iter().map(|series| series.tags.as_str()).collect(),
    )
}

fn learn(catalog: &mut Catalog, raws: &[Box<[u8]>], slot: SeriesSlot) {
    for raw in raws {
        catalog.learn_series(raw.clone(), slot);
    }
}
