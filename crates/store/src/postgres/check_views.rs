//! The views of checks: their texts, and bringing them up to date (see `checks.rs`).

use super::connect::Session;
use super::errors;
use super::migrate::{begin_schema_change, commit_schema_change};
use super::values::{data_table, literal};
use crate::StoreError;
use crate::checks::{CERTIFICATE_DAYS, CheckTable, CheckTables, VIEWS, union_or};
use tidegauge_model::{ValueType, catalog};

/// What every view says of a series, of `series s` and its `host h`.
const WHO: &str = "h.name as host,
       coalesce(s.tags ->> 'location', h.labels ->> 'location') as location,
       s.tags ->> 'target' as target";

/// What else says which series it is.
const FROM_SERIES: &str = "join series s on s.id = c.series_id join host h on h.id = s.host_id";

/// The times at which each target was down, from the changes of its state: what an agent says anew
/// when it begins is no change.
fn outages(tables: &CheckTables) -> String {
    let states = match tables.has_states {
        true => format!(
            "select series_id, time, up, reason, since_seconds,
                  lag(up) over (partition by series_id order by time) as before
             from {}",
            data_table("check_state")
        ),
        false => {
            "select null::integer as series_id, null::timestamptz as time, null::boolean as up,
                  null::text as reason, null::float8 as since_seconds, null::boolean as before
             where false"
                .to_owned()
        }
    };
    format!(
        "select series_id, reason, up, to_timestamp(since_seconds) as from_time,
           to_timestamp(lead(since_seconds) over (partition by series_id order by time)) as to_time
    from ({states}) state
    where up is distinct from before"
    )
}

/// Checks of each day. Days are those of the partitions, so that a query for some of them reads no
/// others.
fn checks(tables: &CheckTables) -> String {
    let per_day = |check: &CheckTable| {
        let counts = match check.has_repeated {
            true => "repeated is not true",
            false => "true",
        };
        format!(
            "select {} as probe, series_id, count(up) filter (where {counts}) as checks,
                   count(*) filter (where not up and {counts}) as failed
            from {} where time >= d.begin_time and time < d.end_time group by series_id",
            literal(check.probe()),
            data_table(&check.measurement)
        )
    };
    union_or(
        tables.checks.iter().map(per_day).collect(),
        "select null::text as probe, null::integer as series_id, null::bigint as checks,
                   null::bigint as failed where false",
    )
}

fn uptime(tables: &CheckTables) -> String {
    let names = tables
        .checks
        .iter()
        .map(|check| literal(&check.measurement));
    let names: Vec<String> = names.collect();
    let of_checks = match names.is_empty() {
        true => "false".to_owned(),
        false => format!("m.name in ({})", names.join(", ")),
    };
    format!(
        "with outage as materialized (
    select o.*, s.host_id, s.tags from ({outages}) o join series s on s.id = o.series_id where not up
)
select day, host, location, target, probe, checks, failed,
       (checks - failed)::float8 / checks as availability,
       count(seconds) as outages,
       coalesce(max(seconds), 0) as longest_outage_seconds,
       coalesce(sum(seconds), 0) as down_seconds,
       tags
from (
    select (c.begin_time at time zone 'UTC')::date as day, {WHO}, c.probe, c.checks, c.failed, s.tags,
       c.series_id,
       case when o.from_time is not null then
           extract(epoch from least(coalesce(o.to_time, now()), c.end_time)
                              - greatest(o.from_time, c.begin_time))::float8
       end as seconds
    from (
        select d.begin_time, d.end_time, c.*
        from (
            select begin_time, begin_time + interval '24 hours' as end_time
            from (
                select distinct date_trunc('day', p.from_time, 'UTC') as begin_time
                from partition p join measurement m on m.id = p.measurement_id where {of_checks}
            ) begins
        ) d cross join lateral ({checks}) c
        where c.checks > 0
    ) c
    {FROM_SERIES}
    left join outage o on o.host_id = s.host_id and o.tags = s.tags
        and o.from_time < c.end_time and coalesce(o.to_time, now()) > c.begin_time
) days
group by day, host, location, target, probe, checks, failed, tags, series_id",
        outages = outages(tables),
        checks = checks(tables)
    )
}

fn certificates(tables: &CheckTables) -> String {
    let latest = |check: &CheckTable| {
        format!(
            "(select distinct on (series_id) {} as probe, series_id, time,
            certificate_expires_seconds as seconds
     from {} where time > now() - interval '{CERTIFICATE_DAYS} days'
       and certificate_expires_seconds is not null
     order by series_id, time desc)",
            literal(check.probe()),
            data_table(&check.measurement)
        )
    };
    let latest = union_or(
        tables.with_certificates().map(latest).collect(),
        "select null::text as probe, null::integer as series_id, null::timestamptz as time,
            null::float8 as seconds where false",
    );
    format!(
        "select {WHO}, c.probe, c.time as seen_time,
       c.time + c.seconds * interval '1 second' as expires_time,
       (extract(epoch from c.time - now())::float8 + c.seconds) / 86400 as days_left,
       s.tags
from ({latest}) c
{FROM_SERIES}
order by days_left"
    )
}

/// Name and text of each view.
fn texts(tables: &CheckTables) -> [(&'static str, String); 3] {
    let outages = format!(
        "select {WHO}, c.from_time, c.to_time,
       extract(epoch from coalesce(c.to_time, now()) - c.from_time)::float8 as duration_seconds,
       c.reason, s.tags
from ({}) c
{FROM_SERIES}
where not c.up",
        outages(tables)
    );
    let texts = [uptime(tables), outages, certificates(tables)];
    let mut texts = texts.into_iter();
    VIEWS.map(|name| (name, texts.next().expect("a text for each")))
}

/// The statements that make a view and note its text.
fn statements(name: &str, text: &str) -> String {
    let (quoted, noted) = (literal(name), literal(text));
    format!(
        "create or replace view {name} as {text};
insert into tidegauge_view (name, definition) values ({quoted}, {noted})
on conflict (name) do update set definition = excluded.definition"
    )
}

/// The SQL that makes the views of all built-in checks.
pub(super) fn schema_sql() -> String {
    let fields = catalog::measurements().flat_map(|entry| {
        let fields = entry.fields.iter();
        fields.map(|field| (entry.name, field.name, field.value_type))
    });
    texts(&CheckTables::of(fields))
        .iter()
        .map(|(name, text)| format!("\n-- {name}\n{};\n", statements(name, text)))
        .collect()
}

/// Makes the views anew if checks came that they do not have. A query that holds one for long does not
/// hold up the rows: then it is tried again later.
pub(super) async fn refresh(session: &mut Session) -> Result<(), StoreError> {
    if stale(session).await?.is_empty() {
        return Ok(());
    }
    let doing = "making the views of checks";
    begin_schema_change(session, doing).await?;
    // Another writer may have been first.
    for (name, text) in stale(session).await? {
        match session.batch(doing, &statements(name, &text)).await {
            Ok(()) => {}
            // A lock was not had in time.
            Err(error) if error.code() == Some("55P03") => {
                tracing::warn!(view = name, "view lacks new checks for now");
                return session.rollback().await;
            }
            Err(error) => return Err(error),
        }
    }
    commit_schema_change(session, doing).await
}

/// Name and text of each view that was not made by this text.
async fn stale(session: &mut Session) -> Result<Vec<(&'static str, String)>, StoreError> {
    let doing = "reading what the views of checks are made of";
    let fields = "select m.name, f.name, f.value_type from measurement m
                  join field f on f.measurement_id = m.id where m.name like '%check%'";
    let rows = session.query(doing, fields, &[]).await?;
    let mut fields: Vec<(&str, &str, ValueType)> = Vec::new();
    for row in &rows {
        let value_type = ValueType::parse(row.get(2))
            .ok_or_else(|| errors::unexpected(doing, "a field has an unknown type"))?;
        fields.push((row.get(0), row.get(1), value_type));
    }
    let made = "select v.name, v.definition from tidegauge_view v
                join pg_class c on c.relname = v.name and c.relkind = 'v'
                and c.relnamespace = current_schema()::regnamespace";
    let made = session.query(doing, made, &[]).await?;
    let is_made = |(name, text): &(&str, String)| {
        let mut made = made.iter();
        made.any(|row| row.get::<_, &str>(0) == *name && row.get::<_, &str>(1) == text)
    };
    let mut texts = texts(&CheckTables::of(fields)).to_vec();
    texts.retain(|text| !is_made(text));
    Ok(texts)
}
