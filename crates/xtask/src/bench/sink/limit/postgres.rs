//! PostgreSQL: binary COPY into the open partitions.

use super::{Limit, Meter, Plan, ends};
use crate::bench::target::Target;
use anyhow::Context;
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, TryStreamExt};
use std::pin::pin;
use tokio_postgres::{Client, NoTls};

/// Signature, flags and length of the extension of binary COPY data (PostgreSQL manual, COPY).
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The field count that ends it.
const TRAILER: &[u8] = &[0xff, 0xff];

/// One partition's rows, in the order in which they lie, cut into as many parts as there are
/// transactions.
struct Table {
    name: String,
    parts: Vec<Bytes>,
    rows: usize,
}

pub(super) fn copy(target: &Target, url: &str, plan: Plan) -> anyhow::Result<Limit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let connection = tokio::spawn(connection);
        let limit = measure(target, &client, plan).await;
        drop(client);
        connection.await??;
        limit
    })
}

async fn measure(target: &Target, client: &Client, plan: Plan) -> anyhow::Result<Limit> {
    let leaves = "select inhrelid::regclass::text from pg_inherits \
                  join pg_class on pg_class.oid = inhrelid where relkind = 'r' order by 1";
    let mut tables = Vec::new();
    for row in client.query(leaves, &[]).await? {
        tables.push(read(client, row.get(0), plan.transactions).await?);
    }
    for table in &tables {
        client
            .batch_execute(&format!("truncate only {}", table.name))
            .await?;
    }
    client.batch_execute("checkpoint").await?;
    let meter = Meter::start(target)?;
    for part in 0..plan.transactions {
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
    meter.stop(
        "binary COPY",
        tables.iter().map(|table| table.rows).sum(),
        plan,
    )
}

/// Reads a partition as it lies, and cuts it between rows.
async fn read(client: &Client, name: String, parts: usize) -> anyhow::Result<Table> {
    let sql = format!("copy {name} to stdout (format binary)");
    let mut stream = pin!(client.copy_out(&sql).await?);
    let mut data = BytesMut::new();
    while let Some(chunk) = stream.try_next().await? {
        data.extend_from_slice(&chunk);
    }
    let data = data.freeze();
    let mut row_ends = Vec::new();
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
        row_ends.push(at);
    }
    let mut cut = Vec::with_capacity(parts);
    let mut from = HEADER.len();
    for row in ends(row_ends.len(), parts) {
        let to = match row {
            0 => from,
            row => *row_ends.get(row - 1).context("a row that was counted")?,
        };
        cut.push(data.slice(from..to));
        from = to;
    }
    Ok(Table {
        name,
        parts: cut,
        rows: row_ends.len(),
    })
}
