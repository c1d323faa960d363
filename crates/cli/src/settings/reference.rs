//! The reference page of the settings, made from the table; the test holds it up to date.

use super::table::WHILE_RUNNING;
use super::tables::TABLES;
use super::value::Type;
use super::{For, SETTINGS};
use std::fmt::Write;
use tidegauge_agent::probes::{PROBES, ProbeEntry};

const HEAD: &str = "<!-- Made from the settings table; rewrite it by `UPDATE_GOLDEN=1 cargo xtask test cli reference`. -->
# Configuration

A setting is taken from its flag, else its environment variable, else the TOML file that `--config FILE` or
`TIDEGAUGE_CONFIG` names, else its default. Unknown keys and bad values are refused, all together, each with its place, and
exit status 2. A variable that is set but empty is refused too.

```toml
[kafka]
brokers = [\"kafka-1:9092\", \"kafka-2:9092\"]

[agent]
interval = \"10s\"
labels = { env = \"prod\", room = \"b2\" }

[[agent.checks]]
name = \"shop\"
url = \"https://shop.example.org/\"
body_regexp = \"Welcome\"
```

Durations are a number and `ms`, `s`, `m`, `h` or `d`; sizes are bytes, or a number and `KiB`, `MiB`, `GiB`, `kB`, `MB`
or `GB`. Lists are separated by commas on the command line and in the environment, URLs by spaces; flags of lists may be
repeated. `-v` says more and may be repeated; `--log-level info,tidegauge_sink=debug` says it for single modules. A warning or an
error that says the very same thing again within a minute is counted, and the count is written when the minute is over. Where stderr is systemd's journal
(`JOURNAL_STREAM`), what would be lines are entries with their priority and their fields, as `TIDEGAUGE_HOST`: `journalctl -p warning -u tidegauge-agent`,
`journalctl TIDEGAUGE_TOPIC=metrics --output=json`. With `log.format = \"json\"`, or where the journal takes no entries, they are lines with a priority.

`tidegauge config check` says all that is wrong with a file at once, without a connection, and has exit status 2 then; `config show` prints
what is in effect and where each value comes from, without secrets, as a table, JSON or TOML; `config schema` prints a JSON Schema
for editors; `config example` prints [config/example.toml](../config/example.toml), a file with every setting.

On SIGHUP `agent`, `up`, `sink` and `dashboard` read the file again. While they run, all take up `general.listen` and `web`, and agents also
WHILE_RUNNING (whole sections where no key is named). Of checks and listeners, those that differ begin anew and nothing else does; a listener hands
on what it holds first, and keeps its socket where its address is the same. Other
settings that differ are named in the log and wait for a restart. A file that cannot be used, or an address that is taken, changes nothing. Certificates, tokens and users of
what is served are read again by themselves when their files were replaced ([more](security.md#our-own-listeners)). `tidegauge reload` tells
what runs with the state folder (`agent` or `up`, one `sink`, `dashboard`; `tidegauge reload sink` only that one) to read it, waits for the outcome and
prints it: exit status 0, 1 when the file was refused, 2 when none runs. A sink or a dashboard is reached where the folder is there, or was
said by `--state-dir`. For others say `systemctl reload`, or `kill -HUP` with the id. When the terminal that the program was started on is closed, it stops.
";

fn page() -> String {
    let while_running: Vec<_> = WHILE_RUNNING.iter().map(|key| format!("`{key}`")).collect();
    let mut page = HEAD.replace("WHILE_RUNNING", &while_running.join(", "));
    let mut section = "";
    for setting in SETTINGS {
        let (own, key) = setting.key.rsplit_once('.').unwrap_or_default();
        if own != section {
            section = own;
            write!(page, "\n## [{section}]\n\n| key | flag | commands | default | meaning |\n|---|---|---|---|---|\n").unwrap();
        }
        let flag = match (setting.flag, setting.kind.placeholder()) {
            (None, _) => String::new(),
            (Some(flag), "") => format!("`--{flag}`"),
            (Some(flag), placeholder) => format!("`--{flag} {placeholder}`"),
        };
        let commands: Vec<&str> = setting.commands.iter().map(|of| name(*of)).collect();
        let commands = if commands.len() == 10 {
            "all".to_owned()
        } else {
            commands.join(", ")
        };
        let default = setting
            .default
            .map_or_else(String::new, |text| format!("`{text}`"));
        let mut help = setting.help.to_owned();
        if let Type::Choice(words) = setting.kind {
            write!(help, " One of {}.", words.join(", ")).unwrap();
        }
        writeln!(
            page,
            "| `{key}` | {flag} | {commands} | {default} | {help} |"
        )
        .unwrap();
    }
    for table in TABLES {
        write!(
            page,
            "\n## [[{}]]\n\n| key | value | meaning |\n|---|---|---|\n",
            table.key
        )
        .unwrap();
        for key in (table.keys)() {
            let (name, mut help) = (key.key, key.help.to_owned());
            let value = match key.kind {
                // As a flag a secret is a URL that has one in it.
                Type::Secret => "TEXT",
                kind => kind.placeholder(),
            };
            let of = probes_with(name);
            if table.key == "agent.checks" && !of.is_empty() {
                help = format!("{help} ({})", of.join(", "));
            }
            if let Type::Choice(words) = key.kind {
                write!(help, " One of {}.", words.join(", ")).unwrap();
            }
            writeln!(page, "| `{name}` | {value} | {help} |").unwrap();
        }
    }
    page
}

/// The probes that have a key and others do not.
fn probes_with(key: &str) -> Vec<&'static str> {
    let has = |probe: &&ProbeEntry| probe.keys.iter().any(|own| own.key == key);
    PROBES.iter().filter(has).map(|probe| probe.name).collect()
}

const fn name(of: For) -> &'static str {
    match of {
        For::Up => "up",
        For::Agent => "agent",
        For::Sink => "sink",
        For::Collect => "collect",
        For::Check => "check",
        For::Doctor => "doctor",
        For::Query => "query",
        For::Dashboard => "dashboard",
        For::Store => "store",
        For::DeadLetters => "dead-letters",
        For::Config => "config",
        For::Generate => "generate",
        For::Reload => "reload",
    }
}

#[test]
fn the_reference_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap_or_default(),
        page(),
        "see the head of the page"
    );
}
