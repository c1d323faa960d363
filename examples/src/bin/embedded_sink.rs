//! The sink as a part of another program: stores what waits in spools, exactly once.
//!
//! `embedded_sink STORE FOLDER…`, for instance `embedded_sink sqlite:metrics.db /var/lib/mine`. A
//! broker is a source as well: `tidegauge_sink::KafkaSource` in place of the spool's.

use anyhow::Context;
use std::path::Path;
use tidegauge_examples::{open_spool, store_spool};
use tidegauge_sink::SinkSettings;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the number is the program's answer")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments
        .next()
        .context("say where to store: sqlite:path")?;
    let mut rows = 0;
    for folder in arguments {
        let spool = open_spool(Path::new(&folder))?;
        rows += store_spool(spool, &url, SinkSettings::default()).await?;
    }
    println!("{rows} rows");
    Ok(())
}
