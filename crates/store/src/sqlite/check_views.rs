//! The views of checks: their texts, and bringing them up to date (see `checks.rs`).

use super::bookkeeping::parsed;
use super::tables::{NOW_US, quoted, table};
use crate::checks::{CERTIFICATE_DAYS, CheckTable, CheckTables, VIEWS, union_or};
use rusqlite::{Connection, params};
use tidegauge_model::{ValueType, catalog};

const DAY_US: i64 = 86_400_000_000;

/// What every view says of a series, of `series` s and its `host` h.
const WHO: &str = r#"h."name" as "host",
       coalesce(json_extract(s."tags", '$.location'), json_extract(h."labels", '$.location'))
           as "location",
       json_extract(s."tags", '$.target') as "target""#;

/// What else says which series it is.
const FROM_SERIES: &str =
    r#"join "series" s on s."id" = c."series_id" join "host" h on h."id" = s."host_id""#;

/// A time as people read it; null for none.
fn readable(us: &str) -> String {
    format!(
        "strftime('%Y-%m-%dT%H:%M:%S', {us} / 1000000, 'unixepoch')
           || printf('.%06dZ', {us} % 1000000)"
    )
}

/// The times at which each target was down, from the changes of its state: what an agent says anew
/// when it begins is no change.
fn outages(tables: &CheckTables) -> String {
    let states = match tables.has_states {
        true => format!(
            r#"select "series_id", "time", "up", "reason",
                cast(round("since_seconds" * 1e6) as integer) as "since_us",
                lag("up") over (partition by "series_id" order by "time") as "up_before"
            from {}"#,
            table("check_state")
        ),
        false => r#"select null as "series_id", null as "time", null as "up", null as "reason",
                null as "since_us", null as "up_before"
            where false"#
            .to_owned(),
    };
    format!(
        r#"select "series_id", "reason", "up", "since_us" as "from_us",
            lead("since_us") over (partition by "series_id" order by "time") as "to_us"
        from ({states})
        where "up" is not "up_before""#
    )
}

fn checks(tables: &CheckTables) -> String {
    let per_day = |check: &CheckTable| {
        let counts = match check.has_repeated {
            true => r#""repeated" is not true"#,
            false => "true",
        };
        format!(
            r#"select '{}' as "probe", "series_id", "time" / {DAY_US} as "day",
            count("up") filter (where {counts}) as "checks",
            count(*) filter (where not "up" and {counts}) as "failed"
        from {} group by "series_id", "time" / {DAY_US}"#,
            check.probe(),
            table(&check.measurement)
        )
    };
    union_or(
        tables.checks.iter().map(per_day).collect(),
        r#"select null as "probe", null as "series_id", null as "day", 0 as "checks", 0 as "failed"
        where false"#,
    )
}

fn uptime(tables: &CheckTables) -> String {
    format!(
        r#"with "outage" as (
    select s."host_id", s."tags", o."from_us", coalesce(o."to_us", {NOW_US}) as "to_us"
    from ({outages}) o join "series" s on s."id" = o."series_id" where not o."up"
)
select date("day" * 86400, 'unixepoch') as "day", "host", "location", "target", "probe",
       "checks", "failed",
       cast("checks" - "failed" as real) / "checks" as "availability",
       count("seconds") as "outages",
       coalesce(max("seconds"), 0.0) as "longest_outage_seconds",
       coalesce(sum("seconds"), 0.0) as "down_seconds",
       "tags"
from (
    select c."day", {WHO}, c."probe", c."checks", c."failed", s."tags", c."series_id",
        (min(o."to_us", (c."day" + 1) * {DAY_US}) - max(o."from_us", c."day" * {DAY_US})) / 1e6
            as "seconds"
    from ({checks}) c
    {FROM_SERIES}
    left join "outage" o on o."host_id" = s."host_id" and o."tags" = s."tags"
        and o."from_us" < (c."day" + 1) * {DAY_US} and o."to_us" > c."day" * {DAY_US}
    where c."checks" > 0
)
group by "day", "host", "location", "target", "probe", "checks", "failed", "tags", "series_id""#,
        outages = outages(tables),
        checks = checks(tables)
    )
}

fn certificates(tables: &CheckTables) -> String {
    // With max() SQLite answers the other columns of that very row.
    let latest = |check: &CheckTable| {
        format!(
            r#"select '{}' as "probe", "series_id", max("time") as "time",
            "certificate_expires_seconds" as "seconds"
        from {} where "time" > {NOW_US} - {CERTIFICATE_DAYS} * {DAY_US}
          and "certificate_expires_seconds" is not null
        group by "series_id""#,
            check.probe(),
            table(&check.measurement)
        )
    };
    let latest = union_or(
        tables.with_certificates().map(latest).collect(),
        r#"select null as "probe", null as "series_id", null as "time", null as "seconds" where false"#,
    );
    let (seen, expires) = (readable(r#"c."time""#), readable(r#"c."expires_us""#));
    format!(
        r#"select {WHO}, c."probe", {seen} as "seen_time", {expires} as "expires_time",
       (c."expires_us" - {NOW_US}) / {DAY_US}.0 as "days_left",
       s."tags"
from (
    select *, "time" + cast(round("seconds" * 1e6) as integer) as "expires_us" from ({latest})
) c
{FROM_SERIES}
order by "days_left""#
    )
}

/// Name and text of each view.
fn texts(tables: &CheckTables) -> [(&'static str, String); 3] {
    let (from, to) = (readable(r#"c."from_us""#), readable(r#"c."to_us""#));
    let outages = format!(
        r#"select {WHO}, {from} as "from_time", {to} as "to_time",
       (coalesce(c."to_us", {NOW_US}) - c."from_us") / 1e6 as "duration_seconds",
       c."reason", s."tags", c."from_us" as "from_time_us", c."to_us" as "to_time_us"
from ({}) c
{FROM_SERIES}
where not c."up""#,
        outages(tables)
    );
    let texts = [uptime(tables), outages, certificates(tables)];
    let mut texts = texts.into_iter();
    VIEWS.map(|name| (name, texts.next().expect("a text for each")))
}

fn create(name: &str, text: &str) -> String {
    let view = quoted(name);
    format!("drop view if exists {view}; create view {view} as {text}")
}

/// The SQL that makes the views of all built-in checks, with this function for literals.
pub(super) fn schema_sql(literal: impl Fn(&str) -> String) -> String {
    let fields = catalog::measurements().flat_map(|entry| {
        let fields = entry.fields.iter();
        fields.map(|field| (entry.name, field.name, field.value_type))
    });
    let one = |(name, text): &(&str, String)| {
        let (create, name, text) = (create(name, text), literal(name), literal(text));
        format!("\n{create};\ninsert into \"tidegauge_view\" values ({name}, {text});\n")
    };
    texts(&CheckTables::of(fields)).iter().map(one).collect()
}

/// Makes those views anew, in the transaction that is under way, that lack checks.
pub(super) fn refresh(connection: &Connection) -> rusqlite::Result<()> {
    let fields: Vec<(String, String, ValueType)> = connection
        .prepare_cached(
            "select m.name, f.name, f.value_type from measurement m
             join field f on f.measurement_id = m.id where m.name like '%check%'",
        )?
        .query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, parsed(row, 2, ValueType::parse)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let fields = fields.iter();
    let fields = fields.map(|(of, name, value_type)| (of.as_str(), name.as_str(), *value_type));
    for (name, text) in texts(&CheckTables::of(fields)) {
        let made: bool = connection
            .prepare_cached(
                "select exists (select 1 from tidegauge_view v
                 join sqlite_schema s on s.type = 'view' and s.name = v.name
                 where v.name = ?1 and v.definition = ?2)",
            )?
            .query_row([name, &text], |row| row.get(0))?;
        if !made {
            connection.execute_batch(&create(name, &text))?;
            connection.execute(
                "insert into tidegauge_view (name, definition) values (?1, ?2)
                 on conflict (name) do update set definition = excluded.definition",
                params![name, text],
            )?;
        }
    }
    Ok(())
}
