//! How large a collection is: batches that an agent spooled while no broker took them.

use crate::run::command;
use anyhow::{Context, ensure};
use std::path::Path;
use std::process::Stdio;
use tidegauge_model::{BatchRef, Clock, SystemClock};
use tidegauge_spool::{Spool, SpoolSettings};

/// Collections; the last one counts, as figures of an interval need two.
const CYCLES: &str = "3";

/// One collection of the default collectors.
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) points: u64,
    pub(super) values: u64,
    pub(super) json_bytes: u64,
    pub(super) compact_bytes: u64,
}

pub(super) fn sizes(program: &Path, folder: &Path) -> anyhow::Result<Sizes> {
    let json = last_batch(program, folder, "json")?;
    let compact = last_batch(program, folder, "compact")?;
    let mut batch = BatchRef::default();
    let encoding = tidegauge_wire::by_name("json").context("there is JSON")?;
    encoding.decode(&json, &mut batch)?;
    Ok(Sizes {
        points: batch.points().len() as u64,
        values: batch.points().map(|point| point.fields.len() as u64).sum(),
        json_bytes: json.len() as u64,
        compact_bytes: compact.len() as u64,
    })
}

fn last_batch(program: &Path, folder: &Path, encoding: &str) -> anyhow::Result<Vec<u8>> {
    let state = folder.join(format!("batches-{encoding}"));
    let status = command(program)
        .args(["agent", "--interval", "1s", "--cycles", CYCLES])
        .args(["--brokers", "127.0.0.1:1", "--encoding", encoding])
        .arg("--state-dir")
        .arg(&state)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("run an agent")?;
    ensure!(
        status.success(),
        "an agent without a broker ended with {status}"
    );
    let settings = SpoolSettings {
        max_bytes: u64::MAX,
        max_age_us: i64::MAX,
    };
    let (spool, _) = Spool::open(&state.join("spool.db"), settings, SystemClock.now_us())?;
    let mut entries = spool.read(0, 1_000, usize::MAX)?.entries;
    Ok(entries.pop().context("no batch was spooled")?.payload)
}
