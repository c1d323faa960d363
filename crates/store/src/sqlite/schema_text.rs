//! The whole schema as SQL: for who makes the file for a program that makes no tables.
//!
//! What is made here is what `migrate` and `ensure` make by themselves.

use super::check_views;
use super::connection::APPLICATION_ID;
use super::migrate::{HISTORY, MIGRATIONS, checksum, latest_version};
use super::tables::{self, NOW_US};
use crate::{FieldColumn, Measurement};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use tidegauge_model::catalog::{self, MeasurementEntry};

const HEAD: &str = "-- Everything that Tidegauge needs in an SQLite file that is empty.\n";

/// The SQL that makes the whole schema.
#[must_use]
pub fn schema_sql() -> String {
    let mut sql = format!("{HEAD}begin immediate;\n{HISTORY};\n");
    for (version, (name, text)) in (1..).zip(MIGRATIONS) {
        write!(
            sql,
            "\n-- Version {version}: {name}\n{text}\ninsert into \"tidegauge_migration\" values ({version}, {}, {}, {NOW_US});\n",
            literal(name),
            literal(&checksum(text))
        )
        .expect("into memory");
    }
    let version = latest_version();
    write!(
        sql,
        "pragma application_id = {APPLICATION_ID};\npragma user_version = {version};\n"
    )
    .expect("into memory");
    for (id, entry) in (1..).zip(catalog::measurements()) {
        sql.push_str(&measurement(id, entry));
    }
    sql.push_str(&check_views::schema_sql(literal));
    sql.push_str("\ncommit;\n");
    sql
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The table, the view and the bookkeeping rows of a built-in measurement.
fn measurement(id: i32, entry: &MeasurementEntry) -> String {
    let column = |field: &catalog::FieldEntry| FieldColumn {
        name: field.name.to_owned(),
        value_type: field.value_type,
    };
    let measurement = Measurement {
        id,
        name: entry.name.to_owned(),
        kind: entry.kind,
        keyed: false,
        fields: entry.fields.iter().map(column).collect(),
        tags: entry.tags.iter().map(|tag| tag.name.to_owned()).collect(),
        refused: BTreeMap::new(),
    };
    let mut sql = format!(
        "\n-- {}\ninsert into measurement (id, name, kind, description, keyed) values ({id}, {}, 0);\n{};\n",
        entry.name,
        [entry.name, entry.kind.as_str(), entry.description]
            .map(literal)
            .join(", "),
        tables::create_table(entry.name)
    );
    for (ordinal, field) in (0..).zip(entry.fields) {
        let texts = [
            field.name,
            field.value_type.as_str(),
            field.kind.as_str(),
            field.unit,
            field.description,
        ];
        writeln!(
            sql,
            "{};\ninsert into field values ({id}, {}, {ordinal});",
            tables::add_column(entry.name, &column(field)),
            texts.map(literal).join(", ")
        )
        .expect("into memory");
    }
    for tag in &measurement.tags {
        let tag = literal(tag);
        writeln!(sql, "insert into tag values ({id}, {tag});").expect("into memory");
    }
    writeln!(sql, "{};", tables::create_view(&measurement)).expect("into memory");
    sql
}
