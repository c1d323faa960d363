//! The whole schema as SQL: for an administrator who makes the tables for a role that may not.
//!
//! What is made here is what `migrate`, `schema` and `partitions` make by themselves.

use super::migrate::{self, HISTORY};
use super::schema::sql_type;
use super::values::{data_table, literal, quoted};
use super::{check_views, view};
use std::fmt::Write as _;
use tidegauge_model::catalog::{self, MeasurementEntry};

/// Partitions by hand: for whom a sink makes none.
const FUNCTIONS: &str = include_str!("functions.sql");

const HEAD: &str = "\
-- Everything that Tidegauge needs in a schema of PostgreSQL 14 or newer. Names are not qualified: run
-- it with the schema first in the search_path, as the role that is to own the tables. The statements that
-- make that role, and those of a sink (with `store.manage_schema = false`) and of a page, are in docs/storage.md.
-- Each of its partitions holds a day. Make them ahead, again and again:
--   select tidegauge_make_partitions(current_date - 1, current_date + 14);
";

/// The SQL that makes the whole schema.
#[must_use]
pub fn schema_sql() -> String {
    let mut sql = format!("{HEAD}\nbegin;\n");
    let mut history = format!(
        "create table {HISTORY} (version int4 primary key, name varchar(255),
    applied_on varchar(255), checksum varchar(255));
insert into {HISTORY}
select version, name, to_char(now() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), checksum from (values"
    );
    for (at, (version, name, text, checksum)) in migrate::texts().iter().enumerate() {
        write!(sql, "\n-- Version {version}: {name}\n{text}").expect("into memory");
        let comma = if at == 0 { "" } else { "," };
        let (name, checksum) = (literal(name), literal(checksum));
        write!(history, "{comma}\n    ({version}, {name}, {checksum})").expect("into memory");
    }
    write!(
        sql,
        "\n-- What was made\n{history}) as v(version, name, checksum);\n\n{FUNCTIONS}"
    )
    .expect("into memory");
    for entry in catalog::measurements() {
        sql.push_str(&measurement(entry));
    }
    sql.push_str(&check_views::schema_sql());
    sql.push_str("\ncommit;\n");
    sql
}

/// The table, the view and the bookkeeping rows of a built-in measurement.
fn measurement(entry: &MeasurementEntry) -> String {
    let (name, table) = (literal(entry.name), data_table(entry.name));
    let columns: String = entry
        .fields
        .iter()
        .map(|field| {
            format!(
                ",\n    {} {}",
                quoted(field.name),
                sql_type(field.value_type)
            )
        })
        .collect();
    let rows: Vec<String> = (0..)
        .zip(entry.fields)
        .map(|(ordinal, field)| {
            let texts = [
                field.name,
                field.value_type.as_str(),
                field.kind.as_str(),
                field.unit,
                field.description,
            ];
            format!("    ({}, {ordinal})", texts.map(literal).join(", "))
        })
        .collect();
    let mut sql = format!(
        "\n-- {}\ninsert into measurement (name, kind, description) values ({name}, {}, {});
create table {table} (
    time timestamptz not null,
    series_id integer not null{columns}
) partition by range (time);
insert into field (measurement_id, name, value_type, kind, unit, description, ordinal)
select m.id, v.* from measurement m, (values
{}
) as v(name, value_type, kind, unit, description, ordinal) where m.name = {name};
",
        entry.name,
        literal(entry.kind.as_str()),
        literal(entry.description),
        rows.join(",\n")
    );
    let tags: Vec<String> = entry.tags.iter().map(|tag| tag.name.to_owned()).collect();
    for tag in &tags {
        let tag = literal(tag);
        writeln!(
            sql,
            "insert into tag (measurement_id, name) select id, {tag} from measurement where name = {name};"
        )
        .expect("into memory");
    }
    let fields: Vec<String> = entry
        .fields
        .iter()
        .map(|field| field.name.to_owned())
        .collect();
    let view = view::statements(entry.name, &[], &tags, &fields);
    writeln!(sql, "{view};").expect("into memory");
    sql
}
