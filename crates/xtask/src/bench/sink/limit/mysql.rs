//! MariaDB and MySQL: LOAD DATA LOCAL and multi-row INSERT, whichever is faster, with the settings
//! that the sink's session has.

use super::{Limit, Meter, Plan, ends};
use crate::bench::target::Target;
use anyhow::Context;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row, Value};
use std::fmt::Write as _;

/// A statement has at most about so many bytes, as the sink's have.
const STATEMENT_BYTES: usize = 1 << 20;

/// One measurement's table, its rows in the order of time.
struct Table {
    name: String,
    columns: String,
    rows: Vec<Vec<Value>>,
}

/// What one transaction sends to one table.
enum Load {
    Data { sql: String, text: Bytes },
    Statements(Vec<String>),
}

pub(super) fn better_one(target: &Target, url: &str, plan: Plan) -> anyhow::Result<Limit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let options = OptsBuilder::from_opts(Opts::from_url(url)?).prefer_socket(false);
        let mut connection = Conn::new(options).await.context("connect")?;
        for setting in [
            "set names utf8mb4 collate utf8mb4_bin",
            "set session sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
            "set session time_zone = '+00:00'",
            "set session transaction isolation level read committed",
        ] {
            connection.query_drop(setting).await?;
        }
        let tables = read(&mut connection).await?;
        let data = load(target, &mut connection, &tables, plan, as_data).await?;
        let inserts = load(target, &mut connection, &tables, plan, as_inserts).await?;
        connection.disconnect().await?;
        eprintln!(
            "=== limit: LOAD DATA LOCAL {:.0} rows/s, multi-row INSERT {:.0} rows/s",
            data.rows_per_second(),
            inserts.rows_per_second()
        );
        Ok(if data.rows_per_second() > inserts.rows_per_second() {
            Limit {
                way: "LOAD DATA LOCAL",
                ..data
            }
        } else {
            inserts
        })
    })
}

/// Empties the tables and fills them again.
async fn load(
    target: &Target,
    connection: &mut Conn,
    tables: &[Table],
    plan: Plan,
    encode: fn(&Table, &[&Vec<Value>]) -> Load,
) -> anyhow::Result<Limit> {
    let mut transactions: Vec<Vec<Load>> = Vec::new();
    transactions.resize_with(plan.transactions, Vec::new);
    for table in tables {
        let mut from = 0;
        let cuts = ends(table.rows.len(), plan.transactions);
        for (transaction, to) in transactions.iter_mut().zip(cuts) {
            let mut rows: Vec<&Vec<Value>> = table.rows[from..to].iter().collect();
            // In the order of the primary key within a transaction, as the sink writes them.
            rows.sort_by_key(|row| series(row));
            if !rows.is_empty() {
                transaction.push(encode(table, &rows));
            }
            from = to;
        }
        let truncate = format!("truncate table {}", table.name);
        connection.query_drop(truncate).await?;
    }
    let meter = Meter::start(target)?;
    let mut rows = 0;
    for transaction in transactions {
        connection.query_drop("start transaction").await?;
        for load in transaction {
            match load {
                Load::Data { sql, text } => {
                    connection
                        .set_infile_handler(async move { Ok(stream::iter([Ok(text)]).boxed()) });
                    connection.query_drop(sql).await?;
                    rows += connection.affected_rows();
                }
                Load::Statements(statements) => {
                    for statement in statements {
                        connection.query_drop(statement).await?;
                        rows += connection.affected_rows();
                    }
                }
            }
        }
        connection.query_drop("commit").await?;
    }
    meter.stop("multi-row INSERT", usize::try_from(rows)?, plan)
}

async fn read(connection: &mut Conn) -> anyhow::Result<Vec<Table>> {
    let names: Vec<String> = connection
        .query("select table_name from information_schema.tables where table_schema = database() and table_type = 'BASE TABLE' and table_name like 'm\\_%' order by 1")
        .await?;
    let mut tables = Vec::new();
    for name in names {
        let name = format!("`{name}`");
        let select = format!("select * from {name} order by `time`, `series_id`");
        let rows: Vec<Row> = connection.query(select).await?;
        let columns = rows.first().map(|row| {
            let names = row.columns_ref().iter();
            names
                .map(|column| format!("`{}`", column.name_str()))
                .collect::<Vec<_>>()
                .join(", ")
        });
        tables.push(Table {
            name,
            columns: columns.unwrap_or_default(),
            rows: rows.into_iter().map(Row::unwrap).collect(),
        });
    }
    Ok(tables)
}

/// The first column, which comes as text.
fn series(row: &[Value]) -> u64 {
    let Some(Value::Bytes(text)) = row.first() else {
        return 0;
    };
    text.iter()
        .fold(0, |number, digit| number * 10 + u64::from(digit & 15))
}

fn as_data(table: &Table, rows: &[&Vec<Value>]) -> Load {
    let mut text = Vec::new();
    for row in rows {
        for (at, value) in row.iter().enumerate() {
            if at > 0 {
                text.push(b'\t');
            }
            match value {
                Value::Bytes(bytes) => text.extend_from_slice(bytes),
                _ => text.extend_from_slice(b"\\N"),
            }
        }
        text.push(b'\n');
    }
    Load::Data {
        sql: format!(
            "load data local infile 'rows' into table {} character set utf8mb4 ({})",
            table.name, table.columns
        ),
        text: text.into(),
    }
}

fn as_inserts(table: &Table, rows: &[&Vec<Value>]) -> Load {
    let head = format!("insert into {} ({}) values ", table.name, table.columns);
    let mut statements = Vec::new();
    let mut sql = head.clone();
    for row in rows {
        if sql.len() > STATEMENT_BYTES {
            statements.push(std::mem::replace(&mut sql, head.clone()));
        }
        sql.push(if sql.len() == head.len() { '(' } else { ',' });
        if !sql.ends_with('(') {
            sql.push('(');
        }
        for (at, value) in row.iter().enumerate() {
            if at > 0 {
                sql.push(',');
            }
            match value {
                Value::Bytes(bytes) => push_literal(&mut sql, bytes),
                _ => sql.push_str("null"),
            }
        }
        sql.push(')');
    }
    statements.push(sql);
    Load::Statements(statements)
}

/// Numbers as they are, other texts quoted: made-up rows hold no quotes.
fn push_literal(sql: &mut String, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let is_number = bytes
        .iter()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'+' | b'-'))
        && bytes.first().is_some_and(|byte| *byte != b'e')
        && !bytes[1..].contains(&b'-');
    if is_number {
        sql.push_str(&text);
        return;
    }
    let escaped = text.replace('\\', "\\\\").replace('\'', "''");
    write!(sql, "'{escaped}'").expect("writing into memory does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let value = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        let time = value("2026-01-02 03:04:05.000000");
        Table {
            name: "`m_x`".to_owned(),
            columns: "`series_id`, `time`, `a`, `b`".to_owned(),
            rows: vec![
                vec![value("12"), time.clone(), value("1.5"), Value::NULL],
                vec![value("7"), time, value("-3e20"), value("it's")],
            ],
        }
    }

    #[test]
    fn rows_are_lines_of_data_or_literals() {
        let table = table();
        let rows: Vec<&Vec<Value>> = table.rows.iter().collect();
        let Load::Data { text, .. } = as_data(&table, &rows) else {
            panic!("data");
        };
        assert_eq!(
            text,
            "12\t2026-01-02 03:04:05.000000\t1.5\t\\N\n7\t2026-01-02 03:04:05.000000\t-3e20\tit's\n"
        );
        let Load::Statements(statements) = as_inserts(&table, &rows) else {
            panic!("statements");
        };
        assert_eq!(
            statements,
            ["insert into `m_x` (`series_id`, `time`, `a`, `b`) values \
              (12,'2026-01-02 03:04:05.000000',1.5,null),\
              (7,'2026-01-02 03:04:05.000000',-3e20,'it''s')"]
        );
        assert_eq!(
            rows.iter().map(|row| series(row)).collect::<Vec<_>>(),
            [12, 7]
        );
    }
}
