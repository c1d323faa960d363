//! `tidegauge store`: migrate, ledger, freshness; settle and retention are in `upkeep`.

mod freshness;
mod ledger;

use crate::settings::{Settings, UsageError};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::process::ExitCode;
use tidegauge_store::{StoreError, StoreUrl, open_reader, open_store, schema_sql};

pub(super) fn shape(command: Command) -> Command {
    command
        .subcommand_required(true)
        .subcommand(
            Command::new("migrate")
                .about("Create what is missing, bring the schema to this program's version")
                .arg(
                    Arg::new("print-sql")
                        .long("print-sql")
                        .action(ArgAction::SetTrue)
                        .help("Only print the SQL that makes all of it, with the built-in measurements"),
                ),
        )
        .subcommand(with_format(Command::new("ledger").about(
            "Did anything get lost? What came per agent and per partition, and all that was not stored",
        )))
        .subcommand(with_format(
            Command::new("freshness").about("The youngest sample of each host, and its age"),
        ))
        .subcommand(super::upkeep::settle_shape())
        .subcommand(super::upkeep::retention_shape())
}

pub(super) fn run(settings: &Settings, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut store = open_store(&url(settings)?, &super::sink::options(settings))?;
    super::runtime(1)?.block_on(async {
        match matches.subcommand() {
            Some(("migrate", matches)) if matches.get_flag("print-sql") => {
                print_sql(&url(settings)?)
            }
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
            Some(("freshness", matches)) => {
                let reader = open_reader(&url(settings)?, &super::sink::options(settings))?;
                freshness::print(&reader.freshness().await?, wants_json(matches))
            }
            Some((_, matches)) => {
                let reader = open_reader(&url(settings)?, &super::sink::options(settings))?;
                let account = ledger::Account {
                    agents: store.ledger_rows().await?,
                    partitions: reader.progress().await?,
                    losses: reader.losses().await?,
                };
                account.print(wants_json(matches))
            }
            None => unreachable!("clap asks for a subcommand"),
        }
    })
}

fn print_sql(url: &StoreUrl) -> anyhow::Result<ExitCode> {
    say_text!("{}", schema_sql(url)?)?;
    Ok(ExitCode::SUCCESS)
}

fn with_format(command: Command) -> Command {
    command.arg(
        Arg::new("format")
            .long("format")
            .value_name("WORD")
            .value_parser(["table", "json"])
            .default_value("table")
            .help("How it is printed"),
    )
}

fn wants_json(matches: &ArgMatches) -> bool {
    matches.get_one::<String>("format").map(String::as_str) == Some("json")
}

/// The store that is named, else the one of `up`.
pub(super) fn url(settings: &Settings) -> anyhow::Result<StoreUrl> {
    if let Some(url) = named(settings)? {
        return Ok(url);
    }
    let path = crate::state_dir::path(settings)?.join("tidegauge.db");
    Ok(StoreUrl::parse(&format!("sqlite:{}", path.display()))?)
}

/// The store that is named, if one is, with its password.
pub(super) fn named(settings: &Settings) -> Result<Option<StoreUrl>, UsageError> {
    let Some(url) = settings.text("store.url") else {
        return Ok(None);
    };
    let place = settings.place("store.url");
    let refused = |error: StoreError| {
        let cause = std::error::Error::source(&error)
            .map_or_else(String::new, |cause| format!(": {cause}"));
        UsageError::one(format!("{place}: store.url: {error}{cause}"))
    };
    let url = StoreUrl::parse(url).map_err(refused)?;
    match super::secrets::secret(settings, "store.password")? {
        Some(password) => url.with_password(&password).map(Some).map_err(refused),
        None => Ok(Some(url)),
    }
}
