//! SQL texts of the measurements' tables and views.
//!
//! Names come from the wire: they are checked before they get here and quoted all the same (D14).

use crate::{FieldColumn, Measurement};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use tidegauge_model::{ValueType, catalog};

/// Columns of one table or view that SQLite allows are 2,000; fields get so many of them...
pub(super) const MOST_FIELDS: usize = 1_500;

/// ...and tags so many. Further tags are in `series.tags` alone.
const MOST_TAG_COLUMNS: usize = 400;

/// Microseconds since 1970 UTC by the database's clock, to the millisecond.
pub(super) const NOW_US: &str = "cast(unixepoch('now', 'subsec') * 1000000 as integer)";

/// An identifier as SQL has it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The table of a measurement, quoted.
pub(super) fn table(measurement: &str) -> String {
    quoted(&format!("m_{measurement}"))
}

/// Makes the table of a measurement, without fields.
pub(super) fn create_table(measurement: &str) -> String {
    format!(
        "create table {} (\"series_id\" integer not null, \"time\" integer not null, \
         primary key (\"series_id\", \"time\")) strict, without rowid",
        table(measurement)
    )
}

/// Adds a field to the table of a measurement.
pub(super) fn add_column(measurement: &str, field: &FieldColumn) -> String {
    let column_type = match field.value_type {
        ValueType::Float => "real",
        ValueType::Bool => "integer",
        ValueType::Text => "text",
    };
    let (table, column) = (table(measurement), quoted(&field.name));
    format!("alter table {table} add column {column} {column_type}")
}

/// Inserts a row of all fields, unless its (series, time) is there.
pub(super) fn insert(measurement: &Measurement) -> String {
    let mut sql = format!(
        "insert into {} (\"series_id\", \"time\"",
        table(&measurement.name)
    );
    for field in &measurement.fields {
        sql.push_str(", ");
        sql.push_str(&quoted(&field.name));
    }
    sql.push_str(") values (?, ?");
    sql.push_str(&", ?".repeat(measurement.fields.len()));
    sql.push_str(") on conflict do nothing");
    sql
}

/// Makes the view of a measurement anew: host, time, tags and fields as columns.
///
/// The rows are the innermost loop (`cross join` keeps that order): whoever asks for a host and a
/// range of `time_us` gets it through the series and the primary key.
pub(super) fn create_view(measurement: &Measurement) -> String {
    let view = quoted(&measurement.name);
    // Division and remainder cut towards zero; times before 1970 need the floor.
    let mut sql = format!(
        "drop view if exists {view}; create view {view} as select h.\"name\" as \"host\", \
         strftime('%Y-%m-%dT%H:%M:%S', d.\"time\" / 1000000 - (d.\"time\" % 1000000 < 0), 'unixepoch') \
         || printf('.%06dZ', d.\"time\" % 1000000 + 1000000 * (d.\"time\" % 1000000 < 0)) as \"time\", \
         d.\"time\" as \"time_us\""
    );
    for (tag, column) in tag_columns(measurement) {
        let path = format!("$.\"{tag}\"").replace('\'', "''");
        let column = quoted(&column);
        write!(sql, ", json_extract(s.\"tags\", '{path}') as {column}").expect("into memory");
    }
    for field in &measurement.fields {
        write!(sql, ", d.{}", quoted(&field.name)).expect("into memory");
    }
    let (table, id) = (table(&measurement.name), measurement.id);
    write!(
        sql,
        " from \"series\" s join \"host\" h on h.\"id\" = s.\"host_id\" \
         cross join {table} d on d.\"series_id\" = s.\"id\" where s.\"measurement_id\" = {id}"
    )
    .expect("into memory");
    sql
}

/// The tags that are columns, with the column's name: `tag_` goes before a name that is taken.
fn tag_columns(measurement: &Measurement) -> Vec<(&str, String)> {
    let fields = measurement.fields.iter().map(|field| field.name.clone());
    let reserved = catalog::RESERVED_FIELDS.iter().map(|&name| name.to_owned());
    let mut taken: BTreeSet<String> = fields.chain(reserved).collect();
    let tags = measurement.tags.iter().take(MOST_TAG_COLUMNS);
    tags.map(|tag| {
        let mut column = tag.clone();
        while !taken.insert(column.clone()) {
            column.insert_str(0, "tag_");
        }
        (tag.as_str(), column)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use tidegauge_model::Kind;

    fn measurement(fields: &[&str], tags: &[&str]) -> Measurement {
        Measurement {
            id: 7,
            name: "select".to_owned(),
            kind: Kind::Gauge,
            keyed: false,
            fields: fields
                .iter()
                .map(|name| FieldColumn {
                    name: (*name).to_owned(),
                    value_type: ValueType::Float,
                })
                .collect(),
            tags: tags.iter().map(|name| (*name).to_owned()).collect(),
            refused: BTreeMap::new(),
        }
    }

    #[test]
    fn a_tag_whose_name_is_taken_gets_a_prefix() {
        let measurement = measurement(&["order"], &["cpu", "order", "tag_order", "time"]);
        let columns: Vec<String> = tag_columns(&measurement)
            .into_iter()
            .map(|(_, column)| column)
            .collect();
        assert_eq!(columns, ["cpu", "tag_order", "tag_tag_order", "tag_time"]);
    }

    #[test]
    fn every_identifier_is_quoted() {
        let insert = insert(&measurement(&["order", "a\"b"], &[]));
        assert_eq!(
            insert,
            "insert into \"m_select\" (\"series_id\", \"time\", \"order\", \"a\"\"b\") \
             values (?, ?, ?, ?) on conflict do nothing"
        );
    }
}
