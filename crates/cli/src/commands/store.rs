//! `tidegauge store`: migrate, ledger; settle and retention are in `upkeep`.

use crate::settings::Settings;
use clap::{ArgMatches, Command};
use comfy_table::Table;
use std::process::ExitCode;
use tidegauge_store::{LedgerKey, LedgerRow, Store, StoreUrl, open_store};

pub(super) fn shape(command: Command) -> Command {
    command
        .subcommand_required(true)
        .subcommand(Command::new("migrate").about("Create what is missing, bring the schema to this program's version"))
        .subcommand(
            Command::new("ledger")
                .about("Did anything get lost? What came, what is missing, what was given up, per agent and epoch"),
        )
        .subcommand(super::upkeep::settle_shape())
        .subcommand(super::upkeep::retention_shape())
}

pub(super) fn run(settings: &Settings, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut store = open_store(&url(settings)?, &super::sink::options(settings))?;
    super::runtime(1)?.block_on(async {
        match matches.subcommand() {
            Some(("migrate", _)) => {
                store.migrate().await?;
                tracing::info!("the schema is up to date");
                Ok(ExitCode::SUCCESS)
            }
            Some(("settle", matches)) => {
                super::upkeep::settle(settings, matches, store.as_mut()).await
            }
            Some(("retention", matches)) => {
                super::upkeep::retention(settings, matches, store.as_mut()).await
            }
            _ => ledger(store.as_mut()).await,
        }
    })
}

/// The store that is named, else the one of `up`.
pub(super) fn url(settings: &Settings) -> anyhow::Result<StoreUrl> {
    if let Some(url) = settings.text("store.url") {
        return Ok(StoreUrl::parse(url)?);
    }
    let path = crate::state_dir::path(settings)?.join("tidegauge.db");
    Ok(StoreUrl::parse(&format!("sqlite:{}", path.display()))?)
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
async fn ledger(store: &mut dyn Store) -> anyhow::Result<ExitCode> {
    let rows = store.ledger_rows().await?;
    println!("{}", ledger_table(&rows));
    let missing: u64 = rows.iter().map(|(_, row)| row.missing.count()).sum();
    let dropped: u64 = rows.iter().map(|(_, row)| row.dropped_batches()).sum();
    match (missing, dropped) {
        (0, 0) => println!("nothing is missing"),
        _ => println!("{missing} batches are missing, {dropped} were given up by their agents"),
    }
    Ok(ExitCode::SUCCESS)
}

fn ledger_table(rows: &[(LedgerKey, LedgerRow)]) -> Table {
    let mut table = super::table();
    table.set_header([
        "agent",
        "epoch",
        "batches",
        "points",
        "next",
        "missing",
        "given up",
        "repeated",
        "conflicts",
        "youngest sample",
    ]);
    for (key, row) in rows {
        table.add_row([
            key.agent.to_string(),
            super::time(key.epoch),
            row.batches.to_string(),
            row.points.to_string(),
            row.next_sequence.to_string(),
            row.missing.to_text(),
            row.dropped_text(),
            row.duplicate_batches.to_string(),
            row.conflicts.to_string(),
            super::time(row.last_time_us),
        ]);
    }
    table
}
