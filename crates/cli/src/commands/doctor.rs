//! `tidegauge doctor`: looks at all that the program needs and says what to do; changes nothing.
//!
//! Groups of checks run beside each other; within a group a check that fails makes the later ones
//! pointless, so they are left out. Exit status 0, 1 when a check failed, 2 when the configuration
//! itself is refused.

mod certificates;
mod doubts;
mod host;
mod kafka;
#[cfg(feature = "stores")]
mod store;

use crate::settings::{Settings, value};
use clap::{Arg, ArgMatches, Command};
use comfy_table::ContentArrangement;
use serde::Serialize;
use std::process::ExitCode;
use std::time::Duration;

/// The longest that one question may take.
const DEADLINE: Duration = Duration::from_secs(8);

/// Clocks that differ by more are worth a look.
const CLOCKS_APART: Duration = Duration::from_secs(2);

/// Texts are long, and where there is no terminal there is no width to go by.
const WIDTH: u16 = 140;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Failed,
}

/// What a check found.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    /// What was seen; for what is not well, also what to do.
    detail: String,
}

/// The findings of a group, in their order.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, check: &'static str, verdict: Verdict, detail: impl Into<String>) {
        self.0.push(Finding {
            check,
            verdict,
            detail: detail.into(),
        });
    }

    fn ok(&mut self, check: &'static str, detail: impl Into<String>) {
        self.add(check, Verdict::Ok, detail);
    }

    fn warning(&mut self, check: &'static str, detail: impl Into<String>) {
        self.add(check, Verdict::Warning, detail);
    }

    fn failed(&mut self, check: &'static str, detail: impl Into<String>) {
        self.add(check, Verdict::Failed, detail);
    }
}

pub(super) fn shape(command: Command) -> Command {
    command
    .arg(
        Arg::new("format")
            .long("format")
            .value_name("WORD")
            .value_parser(["table", "json"])
            .default_value("table")
            .help("How the findings are printed"),
    )
    .arg(
        Arg::new("outage")
            .long("outage")
            .value_name("DURATION")
            .value_parser(value::duration)
            .default_value("3d")
            .help("The longest that sinks or their database may be away: Kafka must keep messages for so long"),
    )
}

pub(super) fn run(settings: &Settings, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    // What the configuration alone shows is told as every command tells it.
    let brokers = (!settings.list("kafka.brokers").is_empty())
        .then(|| super::kafka::kafka(settings))
        .transpose()?;
    #[cfg(feature = "stores")]
    let url = super::store::url(settings)?;
    #[cfg(feature = "stores")]
    store::check_url(settings, &url)?;
    let mut findings = Findings::default();
    findings.ok("configuration", "no unknown key, no bad value");
    // What listens is opened by no check: only whether it could be, as far as files show it.
    super::listeners::listeners(settings)?;
    crate::serve::door(settings, "web")?;
    let outage = *matches
        .get_one::<Duration>("outage")
        .expect("it has a default");
    let (host, (kafka, log), store) = super::runtime(2)?.block_on(async {
        tokio::join!(
            async { host::check(settings) },
            kafka::check(brokers.as_ref(), settings, outage),
            async {
                #[cfg(feature = "stores")]
                return Some(store::check(settings, &url).await);
                #[cfg(not(feature = "stores"))]
                return None::<(Findings, ())>;
            },
        )
    });
    findings.0.extend(host.0);
    findings.0.extend(kafka.0);
    if let Some((store, progress)) = store {
        findings.0.extend(store.0);
        #[cfg(feature = "stores")]
        if let (Some(log), Some(progress)) = (&log, &progress) {
            store::lag(log, progress, &mut findings);
        }
        #[cfg(not(feature = "stores"))]
        let ((), _) = (progress, log);
    }
    print(&findings.0, matches)?;
    let failed = findings
        .0
        .iter()
        .any(|found| found.verdict == Verdict::Failed);
    Ok(ExitCode::from(u8::from(failed)))
}

fn print(findings: &[Finding], matches: &ArgMatches) -> anyhow::Result<()> {
    if matches.get_one::<String>("format").map(String::as_str) == Some("json") {
        say!("{}", serde_json::to_string_pretty(findings)?)?;
        return Ok(());
    }
    let mut table = super::table();
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if !table.is_tty() {
        table.set_width(WIDTH);
    }
    table.set_header(["check", "", "what was found, and what to do"]);
    for found in findings {
        let verdict = match found.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "FAILED",
        };
        table.add_row([found.check, verdict, &found.detail]);
    }
    say!("{table}")?;
    Ok(())
}
