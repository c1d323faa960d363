//! The views of checks: their texts, and bringing them up to date (see `checks.rs`).

use super::connect::{Session, value};
use super::errors;
use super::migrate::{begin_schema_change, end_schema_change};
use super::values::{data_table, quoted, text};
use crate::StoreError;
use crate::checks::{CERTIFICATE_DAYS, CheckTable, CheckTables, VIEWS, union_or};
use tidegauge_model::{ValueType, catalog};

/// What every view says of a series, of `series` s and its `host` h.
const WHO: &str = "h.`name` as `host`,
       coalesce(json_unquote(json_extract(s.`tags`, '$.location')),
                json_unquote(json_extract(h.`labels`, '$.location'))) as `location`,
       json_unquote(json_extract(s.`tags`, '$.target')) as `target`";

/// What else says which series it is.
const FROM_SERIES: &str =
    "join `series` s on s.`id` = c.`series_id` join `host` h on h.`id` = s.`host_id`";

/// The name of a kind of check as a literal, for people to read: such names have no quotes.
fn probe(check: &CheckTable) -> String {
    debug_assert!(!check.probe().contains(['\'', '\\']));
    format!("'{}'", check.probe())
}

/// The times at which each target was down, from the changes of its state: what an agent says anew
/// when it begins is no change.
fn outages(tables: &CheckTables) -> String {
    let states = match tables.has_states {
        true => format!(
            "select `series_id`, `time`, `up`, `reason`,
                cast('1970-01-01' as datetime(6))
                    + interval cast(round(`since_seconds` * 1e6) as signed) microsecond as `since`,
                lag(`up`) over (partition by `series_id` order by `time`) as `up_before`
            from {}",
            data_table("check_state")
        ),
        false => "select cast(null as signed) as `series_id`, cast(null as datetime(6)) as `time`,
                cast(null as signed) as `up`, cast(null as char) as `reason`,
                cast(null as datetime(6)) as `since`, cast(null as signed) as `up_before`
            from dual where false"
            .to_owned(),
    };
    format!(
        "select `series_id`, `reason`, `up`, `since` as `from_time`,
            lead(`since`) over (partition by `series_id` order by `time`) as `to_time`
        from ({states}) `state`
        where not (`up` <=> `up_before`)"
    )
}

fn checks(tables: &CheckTables) -> String {
    let per_day = |check: &CheckTable| {
        let counts = match check.has_repeated {
            true => "`repeated` is not true",
            false => "true",
        };
        format!(
            "select {} as `probe`, `series_id`, cast(`time` as date) as `day`,
            count(case when {counts} then `up` end) as `checks`,
            count(case when not `up` and {counts} then 1 end) as `failed`
        from {} group by `series_id`, cast(`time` as date)",
            probe(check),
            data_table(&check.measurement)
        )
    };
    union_or(
        tables.checks.iter().map(per_day).collect(),
        "select cast(null as char) as `probe`, cast(null as signed) as `series_id`,
            cast(null as date) as `day`, 0 as `checks`, 0 as `failed` from dual where false",
    )
}

fn uptime(tables: &CheckTables) -> String {
    format!(
        "with `outage` as (
    select s.`host_id`, s.`tags`, o.`from_time`,
        coalesce(o.`to_time`, utc_timestamp(6)) as `to_time`
    from ({outages}) o join `series` s on s.`id` = o.`series_id` where not o.`up`
)
select `day`, `host`, `location`, `target`, `probe`, `checks`, `failed`,
       (`checks` - `failed`) / cast(`checks` as double) as `availability`,
       count(`seconds`) as `outages`,
       coalesce(max(`seconds`), 0) as `longest_outage_seconds`,
       coalesce(sum(`seconds`), 0) as `down_seconds`,
       `tags`
from (
    select c.`day`, {WHO}, c.`probe`, c.`checks`, c.`failed`, s.`tags`, c.`series_id`,
        timestampdiff(microsecond, greatest(o.`from_time`, cast(c.`day` as datetime(6))),
            least(o.`to_time`, cast(c.`day` as datetime(6)) + interval 1 day)) / 1e6 as `seconds`
    from ({checks}) c
    {FROM_SERIES}
    left join `outage` o on o.`host_id` = s.`host_id` and o.`tags` = s.`tags`
        and o.`from_time` < cast(c.`day` as datetime(6)) + interval 1 day
        and o.`to_time` > cast(c.`day` as datetime(6))
    where c.`checks` > 0
) `days`
group by `day`, `host`, `location`, `target`, `probe`, `checks`, `failed`, `tags`, `series_id`",
        outages = outages(tables),
        checks = checks(tables)
    )
}

fn certificates(tables: &CheckTables) -> String {
    let latest = |check: &CheckTable| {
        let (table, probe) = (data_table(&check.measurement), probe(check));
        format!(
            "select {probe} as `probe`, d.`series_id`, d.`time`,
            d.`certificate_expires_seconds` as `seconds`
        from {table} d join (
            select `series_id`, max(`time`) as `time` from {table}
            where `time` > utc_timestamp(6) - interval {CERTIFICATE_DAYS} day
              and `certificate_expires_seconds` is not null
            group by `series_id`
        ) `newest` on `newest`.`series_id` = d.`series_id` and `newest`.`time` = d.`time`"
        )
    };
    let latest = union_or(
        tables.with_certificates().map(latest).collect(),
        "select cast(null as char) as `probe`, cast(null as signed) as `series_id`,
            cast(null as datetime(6)) as `time`, cast(null as double) as `seconds`
        from dual where false",
    );
    format!(
        "select {WHO}, c.`probe`, c.`time` as `seen_time`,
       c.`time` + interval cast(round(c.`seconds` * 1e6) as signed) microsecond as `expires_time`,
       (timestampdiff(microsecond, utc_timestamp(6), c.`time`) / 1e6 + c.`seconds`) / 86400
           as `days_left`,
       s.`tags`
from ({latest}) c
{FROM_SERIES}
order by `days_left`"
    )
}

/// Name and text of each view.
fn texts(tables: &CheckTables) -> [(&'static str, String); 3] {
    let outages = format!(
        "select {WHO}, c.`from_time`, c.`to_time`,
       timestampdiff(microsecond, c.`from_time`, coalesce(c.`to_time`, utc_timestamp(6))) / 1e6
           as `duration_seconds`,
       c.`reason`, s.`tags`
from ({}) c
{FROM_SERIES}
where not c.`up`",
        outages(tables)
    );
    let texts = [uptime(tables), outages, certificates(tables)];
    let mut texts = texts.into_iter();
    VIEWS.map(|name| (name, texts.next().expect("a text for each")))
}

/// Makes a view; rights and views that hang on it stay.
fn create(name: &str, text: &str) -> String {
    format!("create or replace view {} as {text}", quoted(name))
}

/// Notes by which text a view was made; name and text are literals.
fn note(name: &str, text: &str) -> String {
    format!(
        "insert into `tidegauge_view` (`name`, `definition`) values ({name}, {text})
         on duplicate key update `definition` = values(`definition`)"
    )
}

/// The SQL that makes the views of all built-in checks, with this function for literals.
pub(super) fn schema_sql(literal: impl Fn(&str) -> String) -> String {
    let fields = catalog::measurements().flat_map(|entry| {
        let fields = entry.fields.iter();
        fields.map(|field| (entry.name, field.name, field.value_type))
    });
    let one = |(name, text): &(&str, String)| {
        let (create, note) = (create(name, text), note(&literal(name), &literal(text)));
        format!("\n-- {name}\n{create};\n{note};\n")
    };
    texts(&CheckTables::of(fields)).iter().map(one).collect()
}

/// Makes the views anew if checks came that they do not have; answers whether one still lacks some. A
/// query that holds one for long does not hold up the rows: then it is tried again later.
pub(super) async fn refresh(session: &mut Session) -> Result<bool, StoreError> {
    if stale(session).await?.is_empty() {
        return Ok(false);
    }
    let doing = "making the views of checks";
    let mut one_lacks = false;
    begin_schema_change(session, doing).await?;
    // Another writer may have been first. What a crash leaves half-way is made once more.
    for (name, definition) in stale(session).await? {
        match session.execute(doing, &create(name, &definition)).await {
            Ok(_) => {
                let note = note(&text(name), &text(&definition));
                session.execute(doing, &note).await?;
            }
            Err(error) if error.code() == Some(errors::LOCK_WAIT_TIMEOUT) => {
                tracing::warn!(view = name, "view lacks new checks for now");
                one_lacks = true;
            }
            Err(error) => return Err(error),
        }
    }
    end_schema_change(session, doing).await?;
    Ok(one_lacks)
}

/// Name and text of each view that was not made by this text.
async fn stale(session: &mut Session) -> Result<Vec<(&'static str, String)>, StoreError> {
    let doing = "reading what the views of checks are made of";
    let sql = "select m.`name`, f.`name`, f.`value_type` from `measurement` m
               join `field` f on f.`measurement_id` = m.`id` where m.`name` like '%check%'";
    let mut fields: Vec<(String, String, ValueType)> = Vec::new();
    for row in session.query(doing, sql).await? {
        let value_type: String = value(doing, &row, 2)?;
        let value_type = ValueType::parse(&value_type)
            .ok_or_else(|| errors::unexpected(doing, "a field has an unknown type"))?;
        fields.push((value(doing, &row, 0)?, value(doing, &row, 1)?, value_type));
    }
    let sql = "select v.`name`, v.`definition` from `tidegauge_view` v
               join information_schema.views i
               on i.table_schema = database() and i.table_name = v.`name`";
    let mut made: Vec<(String, String)> = Vec::new();
    for row in session.query(doing, sql).await? {
        made.push((value(doing, &row, 0)?, value(doing, &row, 1)?));
    }
    let fields = fields.iter();
    let fields = fields.map(|(of, name, value_type)| (of.as_str(), name.as_str(), *value_type));
    let mut texts = texts(&CheckTables::of(fields)).to_vec();
    texts.retain(|(name, text)| !made.iter().any(|made| made.0 == *name && made.1 == *text));
    Ok(texts)
}
