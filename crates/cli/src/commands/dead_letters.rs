//! `tidegauge dead-letters`: list, show, export, replay, delete.

mod print;
mod select;

pub(super) use print::one_line;

use crate::settings::{Settings, UsageError};
use anyhow::Context;
use clap::{Arg, ArgMatches, Command};
use select::{Pages, filter};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tidegauge_sink::{Replayed, Replayer, SinkSettings};
use tidegauge_store::{DeadLetterFilter, Store, open_store};

pub(super) fn shape(command: Command) -> Command {
    let list = Command::new("list")
        .about("The newest ones: where they came from and why they were not stored")
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("NUMBER")
                .value_parser(clap::value_parser!(u32).range(1..))
                .default_value("100")
                .help("At most so many"),
        )
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("WORD")
                .value_parser(["table", "json"])
                .default_value("table")
                .help("How they are printed"),
        );
    let show = Command::new("show")
        .about("All about one, with its message")
        .arg(
            Arg::new("id")
                .value_name("ID")
                .required(true)
                .value_parser(clap::value_parser!(i64))
                .help("Its number"),
        );
    let export = Command::new("export")
        .about("Write them to a new file, one JSON object per line")
        .arg(
            Arg::new("to")
                .long("to")
                .value_name("FILE")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf))
                .help("The file; it must not be there"),
        );
    let replay = Command::new("replay").about(
        "Store their messages the usual way, after a fix; what is stored is taken out of the list",
    );
    let delete = Command::new("delete").about("Delete them for good");
    command
        .subcommand_required(true)
        .subcommand(select::with_filters(list))
        .subcommand(show)
        .subcommand(select::with_filters(export))
        .subcommand(select::with_filters_or_all(replay))
        .subcommand(select::with_filters_or_all(delete))
}

pub(super) fn run(settings: &Settings, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (name, matches) = matches.subcommand().expect("clap asks for one");
    let store = open_store(
        &super::store::url(settings)?,
        &super::sink::options(settings),
    )?;
    super::runtime(2)?.block_on(async {
        match name {
            "list" => list(store, matches).await,
            "show" => show(store, matches).await,
            "export" => export(store, matches).await,
            "replay" => replay(store, settings, matches).await,
            _ => delete(store, matches).await,
        }
    })
}

async fn list(mut store: Box<dyn Store>, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let limit = matches.get_one::<u32>("limit").copied().unwrap_or(100);
    let filter = DeadLetterFilter {
        limit: limit as usize,
        ..filter(matches)?
    };
    let letters = store.dead_letters(&filter).await?;
    let format = matches.get_one::<String>("format");
    match format.is_some_and(|format| format == "json") {
        true => print::lines(&letters)?,
        false => print::table(&letters)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(mut store: Box<dyn Store>, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let id = matches.get_one::<i64>("id").copied().unwrap_or_default();
    let filter = DeadLetterFilter {
        ids: vec![id],
        ..DeadLetterFilter::default()
    };
    let Some(letter) = store.dead_letters(&filter).await?.pop() else {
        return Err(UsageError::one(format!("there is no dead letter {id}")).into());
    };
    print::whole(&letter)?;
    Ok(ExitCode::SUCCESS)
}

async fn export(mut store: Box<dyn Store>, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let path = matches
        .get_one::<PathBuf>("to")
        .expect("clap asks for a file");
    let mut pages = Pages::of(filter(matches)?);
    let file = File::create_new(path).with_context(|| format!("making {}", path.display()))?;
    let mut file = BufWriter::new(file);
    let mut count = 0;
    while let Some(letters) = pages.next(store.as_mut()).await? {
        count += letters.len();
        for letter in &letters {
            serde_json::to_writer(&mut file, &print::object(letter))
                .and_then(|()| file.write_all(b"\n").map_err(serde_json::Error::io))
                .with_context(|| format!("writing {}", path.display()))?;
        }
    }
    let file = file.into_inner().map_err(|error| error.into_error());
    file.and_then(|file| file.sync_all())
        .with_context(|| format!("writing {}", path.display()))?;
    say!("{count} exported to {}", path.display())?;
    Ok(ExitCode::SUCCESS)
}

async fn replay(
    store: Box<dyn Store>,
    settings: &Settings,
    matches: &ArgMatches,
) -> anyhow::Result<ExitCode> {
    let mut pages = Pages::of(filter(matches)?);
    let limits = super::sink::limits(settings);
    let sink = SinkSettings {
        limits,
        foreign: Arc::new(super::sink::foreign(settings)?),
        ..SinkSettings::default()
    };
    let mut replayer = Replayer::new(store, sink);
    let (mut stored, mut stored_rows, mut split, mut refused, mut gone) = (0, 0, 0, 0, 0);
    while let Some(letters) = pages.next(replayer.store()).await? {
        for letter in &letters {
            match replayer.replay(letter).await? {
                Replayed::Stored { rows, rejected } => {
                    stored += 1;
                    stored_rows += rows;
                    split += rejected;
                }
                Replayed::Refused(why) => {
                    refused += 1;
                    say!("{} stays: {}", letter.id, print::one_line(&why))?;
                }
                Replayed::Gone => gone += 1,
            }
        }
    }
    say!("{stored} replayed, which made {stored_rows} rows; {refused} stay")?;
    if split > 0 {
        say!("{split} of their points cannot be stored and are dead letters of their own now")?;
    }
    if gone > 0 {
        say!("{gone} were replayed or deleted by somebody else")?;
    }
    Ok(match refused + split {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

async fn delete(mut store: Box<dyn Store>, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut pages = Pages::of(filter(matches)?);
    let mut deleted = 0;
    while let Some(letters) = pages.next(store.as_mut()).await? {
        let ids: Vec<i64> = letters.iter().map(|letter| letter.id).collect();
        deleted += store.delete_dead_letters(&ids).await?;
    }
    say!("{deleted} deleted")?;
    Ok(ExitCode::SUCCESS)
}
