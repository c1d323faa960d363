//! `tidegauge generate`: completions for shells and manual pages, for packages. They come from the command
//! line and the settings table themselves, so they cannot say anything else.

use crate::settings::tables::{TABLES, TableSetting};
use crate::settings::value::Type;
use crate::settings::{SETTINGS, Settings};
use anyhow::Context;
use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn shape(command: Command) -> Command {
    command.hide(true).arg(
        Arg::new("folder")
            .value_name("FOLDER")
            .required(true)
            .value_parser(value_parser!(PathBuf))
            .help("Where to write; made if it is missing"),
    )
}

pub(super) fn run(_settings: &Settings, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let folder: &PathBuf = matches.get_one("folder").context("clap asks for it")?;
    let completions = made(folder, "completions")?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut line = super::command_line();
        clap_complete::generate_to(shell, &mut line, "tidegauge", &completions)
            .with_context(|| format!("writing the completions for {shell}"))?;
    }
    let pages = made(folder, "man")?;
    clap_mangen::generate_to(super::command_line(), &pages)
        .with_context(|| format!("writing manual pages into {}", pages.display()))?;
    let page = pages.join("tidegauge.toml.5");
    fs::write(&page, settings_page().to_roff())
        .with_context(|| format!("writing {}", page.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn made(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    fs::create_dir_all(&path).with_context(|| format!("making the folder {}", path.display()))?;
    Ok(path)
}

/// tidegauge.toml(5): the keys of the configuration file.
fn settings_page() -> Roff {
    let mut page = Roff::new();
    page.control("TH", ["tidegauge.toml", "5"]);
    page.control("SH", ["NAME"]);
    page.text([roman(
        "tidegauge.toml - the configuration file of tidegauge(1)",
    )]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "A TOML file, read where --config or TIDEGAUGE_CONFIG names it. A flag goes before the environment \
         variable, the variable before the file. Unknown keys and bad values are refused, all together, each \
         with its line. Durations are a number and ms, s, m, h or d; sizes are bytes, or a number and KiB, MiB, \
         GiB, kB, MB or GB.",
    )]);
    let mut section = "";
    for setting in SETTINGS {
        let (own, key) = setting.key.rsplit_once('.').unwrap_or_default();
        if own != section {
            section = own;
            page.control("SH", [format!("[{section}]").as_str()]);
        }
        let default = setting
            .default
            .map(|default| format!(" Default: {default}."));
        let more = [
            default.unwrap_or_default(),
            format!(" Variable: {}.", setting.variable()),
            setting
                .flag
                .map_or_else(String::new, |flag| format!(" Flag: --{flag}.")),
        ];
        entry(&mut page, key, setting.kind, setting.help, &more.concat());
    }
    for table in TABLES {
        table_section(&mut page, table);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("tidegauge"), roman("(1)")]);
    page
}

fn table_section(page: &mut Roff, table: &TableSetting) {
    page.control("SH", [format!("[[{}]]", table.key).as_str()]);
    for key in (table.keys)() {
        entry(page, key.key, key.kind, key.help, "");
    }
}

/// One key with its kind and its meaning.
fn entry(page: &mut Roff, key: &str, kind: Type, help: &str, more: &str) {
    page.control("TP", []);
    let mut head: Vec<Inline> = vec![bold(key)];
    if !kind.placeholder().is_empty() {
        head.extend([roman(" = "), italic(kind.placeholder())]);
    }
    page.text(head);
    let words = match kind {
        Type::Choice(words) => format!(" One of {}.", words.join(", ")),
        _ => String::new(),
    };
    page.text([roman(format!("{help}{words}{more}"))]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_the_file_has_every_key() {
        let page = settings_page().render();
        for setting in SETTINGS {
            let (_, key) = setting.key.rsplit_once('.').unwrap();
            // A page of roff has its hyphens escaped.
            let variable = setting.variable();
            assert!(page.contains(&format!("\\fB{key}\\fR")), "{key}");
            assert!(page.contains(&variable), "{variable}");
        }
    }
}
