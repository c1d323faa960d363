//! `tidegauge dead-letters list`.

use crate::settings::{Settings, UsageError};
use clap::{Arg, ArgMatches, Command};
use std::process::ExitCode;
use tidegauge_model::Reason;
use tidegauge_store::{DeadLetterFilter, DeadLetterRow, open_store};

pub(super) fn shape(command: Command) -> Command {
    let reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    command.subcommand_required(true).subcommand(
        Command::new("list")
            .about("The newest ones: where they came from and why they were not stored")
            .arg(
                Arg::new("reason")
                    .long("reason")
                    .value_name("WORD")
                    .value_parser(reasons)
                    .help("Only with this reason"),
            )
            .arg(
                Arg::new("of")
                    .long("of")
                    .value_name("TOPIC")
                    .help("Only of this topic"),
            )
            .arg(
                Arg::new("limit")
                    .long("limit")
                    .value_name("NUMBER")
                    .value_parser(clap::value_parser!(u32))
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
            ),
    )
}

pub(super) fn run(settings: &Settings, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let Some(("list", matches)) = matches.subcommand() else {
        return Err(UsageError::one("there is only `dead-letters list`").into());
    };
    let filter = DeadLetterFilter {
        reason: matches
            .get_one::<String>("reason")
            .and_then(|word| Reason::parse(word)),
        topic: matches.get_one::<String>("of").cloned(),
        limit: matches
            .get_one::<u32>("limit")
            .map_or(100, |limit| *limit as usize),
        ..DeadLetterFilter::default()
    };
    let mut store = open_store(
        &super::store::url(settings)?,
        &super::sink::options(settings),
    )?;
    let letters = super::runtime(1)?.block_on(store.dead_letters(&filter))?;
    let json = matches
        .get_one::<String>("format")
        .is_some_and(|format| format == "json");
    print(&letters, json)?;
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn print(letters: &[DeadLetterRow], json: bool) -> anyhow::Result<()> {
    if json {
        for letter in letters {
            let line = serde_json::json!({
                "id": letter.id,
                "stored": super::time(letter.stored_us),
                "topic": letter.topic,
                "partition": letter.partition,
                "offset": letter.offset,
                "index": letter.index,
                "reason": letter.reason,
                "detail": letter.detail,
                "encoding": letter.encoding,
                "payload": String::from_utf8_lossy(&letter.payload),
            });
            println!("{}", serde_json::to_string(&line)?);
        }
        return Ok(());
    }
    if letters.is_empty() {
        println!("there are no dead letters");
        return Ok(());
    }
    let mut table = super::table();
    table.set_header([
        "id",
        "stored",
        "topic",
        "partition",
        "offset",
        "point",
        "reason",
        "detail",
    ]);
    for letter in letters {
        table.add_row([
            letter.id.to_string(),
            super::time(letter.stored_us),
            letter.topic.clone(),
            letter.partition.to_string(),
            letter.offset.to_string(),
            letter
                .index
                .map_or_else(|| "all".to_owned(), |index| index.to_string()),
            letter.reason.clone(),
            letter.detail.clone(),
        ]);
    }
    println!("{table}");
    Ok(())
}
