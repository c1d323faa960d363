//! What the examples share: a spool in a folder, and a sink that stores what is in it.
//!
//! `docs/library.md` explains the examples; `tests/` runs them as `src/bin` has them.

use anyhow::Context;
use std::path::Path;
use std::sync::Arc;
use tidegauge_model::{Clock, SystemClock};
use tidegauge_sink::assemble::Assembler;
use tidegauge_sink::{Sink, SinkSettings, SinkStatus, SpoolSource};
use tidegauge_spool::{Spool, SpoolSettings};
use tidegauge_store::{OpenOptions, StoreUrl, open_store};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The spool of a folder: a file in which batches wait until they are stored or sent.
///
/// # Errors
/// When the file cannot be opened or made.
pub fn open_spool(folder: &Path) -> anyhow::Result<Spool> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let bounds = SpoolSettings {
        max_bytes: 64 << 20,
        max_age_us: i64::MAX,
    };
    let now_us = SystemClock.now_us();
    let (spool, _) = Spool::open(&folder.join("spool.db"), bounds, now_us)?;
    Ok(spool)
}

/// Stores all that waits in a spool, once, and tells how many rows that were. The database may be
/// any that Tidegauge knows: `sqlite:path`, `postgres://…`, `mysql://…`.
///
/// # Errors
/// When the database cannot be used; an outage is waited out instead.
pub async fn store_spool(spool: Spool, url: &str, settings: SinkSettings) -> anyhow::Result<u64> {
    let mut store = open_store(&StoreUrl::parse(url)?, &OpenOptions::default())?;
    store.migrate().await?;
    let source = SpoolSource::open(spool, store.as_mut(), Arc::new(Notify::new())).await?;
    let settings = SinkSettings {
        until_end: true,
        ..settings
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let status = Arc::new(SinkStatus::default());
    let sink = Sink::new(
        store,
        Box::new(source),
        Assembler::new(&settings, Arc::clone(&clock)),
        settings,
        clock,
        Arc::clone(&status),
        CancellationToken::new(),
    );
    sink.run().await?;
    Ok(status.report().rows)
}
