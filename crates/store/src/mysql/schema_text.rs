//! The whole schema as SQL: for an administrator who makes the tables for a user that may not.
//!
//! What is made here is what `migrate` and `schema` make by themselves.

use super::migrate::{HISTORY, MIGRATIONS, checksum};
use super::schema::sql_type;
use super::values::{data_table, quoted};
use super::{check_views, view};
use std::fmt::Write as _;
use tidegauge_model::catalog::{self, MeasurementEntry};

const HEAD: &str = "\
-- Everything that Tidegauge needs in a database of MariaDB 11 or MySQL 8.4: run it in that database.
-- The statements that make the users of a sink (with `store.manage_schema = false`) and of a page are in
-- docs/storage.md.
set names utf8mb4 collate utf8mb4_bin;
set session sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION';
";

/// The SQL that makes the whole schema.
#[must_use]
pub fn schema_sql() -> String {
    let mut sql = format!("{HEAD}\n{HISTORY};\n");
    for (version, (name, text)) in (1..).zip(MIGRATIONS) {
        write!(
            sql,
            "\n-- Version {version}: {name}\n{};\ninsert into `tidegauge_migration` (`version`, `name`, `checksum`)\n\
             values ({version}, {}, {});\n",
            text.trim_end(),
            literal(name),
            literal(&checksum(text))
        )
        .expect("into memory");
    }
    for entry in catalog::measurements() {
        sql.push_str(&measurement(entry));
    }
    sql.push_str(&check_views::schema_sql(literal));
    sql
}

/// A text that has no backslashes, for people to read.
fn literal(text: &str) -> String {
    debug_assert!(!text.contains('\\'));
    format!("'{}'", text.replace('\'', "''"))
}

/// The table, the view and the bookkeeping rows of a built-in measurement.
fn measurement(entry: &MeasurementEntry) -> String {
    let (name, table) = (literal(entry.name), data_table(entry.name));
    let columns: String = entry
        .fields
        .iter()
        .map(|field| {
            format!(
                "    {} {} null,\n",
                quoted(field.name),
                sql_type(field.value_type)
            )
        })
        .collect();
    let mut sql = format!(
        "\n-- {}\ninsert into `measurement` (`name`, `kind`, `description`, `keyed`)
values ({name}, {}, {}, false);
create table {table} (
    `series_id` int not null,
    `time` datetime(6) not null,
{columns}    primary key (`series_id`, `time`)
) engine = InnoDB row_format = dynamic default character set utf8mb4 collate utf8mb4_bin;
",
        entry.name,
        literal(entry.kind.as_str()),
        literal(entry.description),
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
            "insert into `field` (`measurement_id`, `name`, `value_type`, `kind`, `unit`, `description`, `ordinal`)\n\
             select `id`, {}, {ordinal} from `measurement` where `name` = {name};",
            texts.map(literal).join(", ")
        )
        .expect("into memory");
    }
    let tags: Vec<String> = entry.tags.iter().map(|tag| tag.name.to_owned()).collect();
    for tag in &tags {
        writeln!(
            sql,
            "insert into `tag` (`measurement_id`, `name`) select `id`, {} from `measurement` where `name` = {name};",
            literal(tag)
        )
        .expect("into memory");
    }
    let fields: Vec<String> = entry
        .fields
        .iter()
        .map(|field| field.name.to_owned())
        .collect();
    writeln!(sql, "{};", view::statement(entry.name, &tags, &fields)).expect("into memory");
    sql
}
