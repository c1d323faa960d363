//! The limit: the same rows by binary COPY, already encoded, over one connection.

use crate::bench::process::tree_cpu_seconds;
use anyhow::{Context, ensure};
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, TryStreamExt};
use std::pin::pin;
use std::time::Instant;
use tidegauge_testkit::Database;
use tokio_postgres::{Client, NoTls};

/// Signature, flags and length of the extension of binary COPY data (PostgreSQL manual, COPY).
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The field count that ends it.
const TRAILER: &[u8] = &[0xff, 0xff];

/// What the limit was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    rows: u64,
    seconds: f64,
    pub(super) server_cpu_seconds: f64,
}

impl Limit {
    pub(super) fn rows_per_second(&self) -> f64 {
        self.rows as f64 / self.seconds
    }
}

/// One partition's rows, in the order in which they lie, cut into as many parts as there are
/// transactions.
struct Table {
    name: String,
    parts: Vec<Bytes>,
    rows: u64,
}

pub(super) fn copy(database: &Database, rows_per_step: f64, server: u32) -> anyhow::Result<Limit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&database.url, NoTls).await?;
        let connection = tokio::spawn(connection);
        let limit = measure(&client, rows_per_step, server).await;
        drop(client);
        connection.await??;
        limit
    })
}

async fn measure(client: &Client, rows_per_step: f64, server: u32) -> anyhow::Result<Limit> {
    let leaves = "select inhrelid::regclass::text, inhparent::regclass::text from pg_inherits \
                  join pg_class on pg_class.oid = inhrelid where relkind = 'r' order by 1";
    let mut names = Vec::new();
    for row in client.query(leaves, &[]).await? {
        names.push((row.get::<_, String>(0), row.get::<_, String>(1)));
    }
    let counted = client
        .query_one("select coalesce(sum(points), 0)::bigint from position", &[])
        .await?;
    let all = counted.get::<_, i64>(0) as f64;
    let transactions = (all / rows_per_step).ceil().max(1.0) as usize;
    let mut tables = Vec::new();
    for (name, _) in &names {
        tables.push(read(client, name, transactions).await?);
    }
    for table in &tables {
        client
            .batch_execute(&format!("truncate only {}", table.name))
            .await?;
    }
    client.batch_execute("checkpoint").await?;
    let (server_before, begin) = (tree_cpu_seconds(server)?, Instant::now());
    for part in 0..transactions {
        client.batch_execute("begin").await?;
        for table in tables.iter().filter(|table| !table.parts[part].is_empty()) {
            let sql = format!("copy {} from stdin (format binary)", table.name);
            let mut sink = pin!(client.copy_in::<_, Bytes>(&sql).await?);
            sink.send(Bytes::from_static(HEADER)).await?;
            sink.send(table.parts[part].clone()).await?;
            sink.send(Bytes::from_static(TRAILER)).await?;
            sink.finish().await?;
        }
        client.batch_execute("commit").await?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let rows = tables.iter().map(|table| table.rows).sum();
    ensure!(rows as f64 == all, "the limit copied {rows} of {all} rows");
    Ok(Limit {
        rows,
        seconds,
        server_cpu_seconds: tree_cpu_seconds(server)? - server_before,
    })
}

/// Reads a partition as it lies, and cuts it between rows.
async fn read(client: &Client, name: &str, parts: usize) -> anyhow::Result<Table> {
    let sql = format!("copy {name} to stdout (format binary)");
    let mut stream = pin!(client.copy_out(&sql).await?);
    let mut data = BytesMut::new();
    while let Some(chunk) = stream.try_next().await? {
        data.extend_from_slice(&chunk);
    }
    let data = data.freeze();
    let mut ends = Vec::new();
    let mut at = HEADER.len();
    loop {
        let fields = i16::from_be_bytes(data[at..at + 2].try_into()?);
        if fields < 0 {
            break;
        }
        at += 2;
        for _ in 0..fields {
            let length = i32::from_be_bytes(data[at..at + 4].try_into()?);
            at += 4 + usize::try_from(length).unwrap_or(0);
        }
        ends.push(at);
    }
    let mut cut = Vec::with_capacity(parts);
    let mut from = HEADER.len();
    for part in 1..=parts {
        let row = ends.len() * part / parts;
        let to = if row == 0 {
            from
        } else {
            *ends.get(row - 1).context("a row that was counted")?
        };
        cut.push(data.slice(from..to));
        from = to;
    }
    Ok(Table {
        name: name.to_owned(),
        parts: cut,
        rows: ends.len() as u64,
    })
}
