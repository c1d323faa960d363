//! `tidegauge check URL…`: phases and verdict of each URL; exit status 1 when one fails.

use crate::settings::{Place, Settings};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::process::ExitCode;
use tidegauge_agent::AgentError;
use tidegauge_agent::probes::{CheckResult, CheckSettings, ProbeContext, check_once};
use tidegauge_model::{SystemClock, Value};

/// The phases in the order in which they happen, with the field that has their seconds.
const PHASES: &[(&str, &str)] = &[
    ("resolve", "resolve_seconds"),
    ("connect", "connect_seconds"),
    ("starttls", "starttls_seconds"),
    ("tls", "tls_seconds"),
    ("dialogue", "dialogue_seconds"),
    ("answer", "answer_seconds"),
    ("first byte", "first_byte_seconds"),
    ("transfer", "transfer_seconds"),
    ("fastest", "rtt_min_seconds"),
    ("mean", "rtt_mean_seconds"),
    ("slowest", "rtt_max_seconds"),
];
/// What the verdict also says, where a probe tells it.
const SAID: &[(&str, &str)] = &[
    ("status", "status"),
    ("code", "rcode"),
    ("answer", "answer"),
    ("health", "health"),
    ("packets answered", "packets_received"),
    ("version", "tls_version"),
    ("issuer", "issuer"),
];
/// Characters of the longest bar.
const BAR: f64 = 40.0;

pub(super) fn shape(command: Command) -> Command {
    command
        .arg(
            Arg::new("url")
                .required(true)
                .action(ArgAction::Append)
                .value_name("URL")
                .help("What to check"),
        )
        .arg(
            Arg::new("body-regexp")
                .long("body-regexp")
                .value_name("REGEXP")
                .help("The body must match this regular expression"),
        )
        .arg(
            Arg::new("expect-status")
                .long("expect-status")
                .value_name("LIST")
                .help("The status codes that are fine, such as 200,300-399"),
        )
        .arg(
            Arg::new("ca-file")
                .long("ca-file")
                .value_name("PATH")
                .help("Trust the certificates of this PEM file instead of the platform's"),
        )
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("WORD")
                .value_parser(["table", "json"])
                .default_value("table")
                .help("How results are printed"),
        )
}

pub(super) fn run(settings: &Settings, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let urls = matches.get_many::<String>("url").into_iter().flatten();
    let mut checks = Vec::new();
    for url in urls {
        let check = super::host::check(settings, url, &Place::Flag("url"))?;
        checks.push(
            refine(check, matches)
                .map_err(|error| super::host::usage(&Place::Flag("check"), &error))?,
        );
    }
    let json = matches
        .get_one::<String>("format")
        .is_some_and(|format| format == "json");
    let failed = super::runtime(1)?.block_on(work(checks, json))?;
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn refine(mut check: CheckSettings, matches: &ArgMatches) -> Result<CheckSettings, AgentError> {
    if let Some(pattern) = matches.get_one::<String>("body-regexp") {
        check = check.with_body_regexp(pattern)?;
    }
    if let Some(ranges) = matches.get_one::<String>("expect-status") {
        check = check.with_expect_status(&ranges.parse()?)?;
    }
    if let Some(path) = matches.get_one::<String>("ca-file") {
        check = check.with_ca_file(path)?;
    }
    Ok(check)
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
async fn work(checks: Vec<CheckSettings>, json: bool) -> anyhow::Result<bool> {
    let context = ProbeContext::new();
    let mut failed = false;
    for check in checks {
        let url = check.url().to_owned();
        let result = check_once(check, &context, &SystemClock).await?;
        failed |= !result.is_up();
        if json {
            println!("{}", serde_json::to_string(&as_json(&url, &result))?);
        } else {
            println!("{}", as_text(&url, &result));
        }
    }
    Ok(failed)
}

fn as_text(url: &str, result: &CheckResult) -> String {
    let seconds = |field: &str| match result.value(field) {
        Some(Value::Float(seconds)) => Some(*seconds),
        _ => None,
    };
    let verdict = if result.is_up() { "up" } else { "down" };
    let mut text = format!("{url}: {verdict} ({})", result.finding.reason.as_str());
    for (word, field) in SAID {
        match result.value(field) {
            Some(Value::Float(number)) => text.push_str(&format!(", {word} {number}")),
            Some(Value::Text(said)) => text.push_str(&format!(", {word} {said}")),
            Some(Value::Bool(_)) | None => {}
        }
    }
    if let Some(detail) = &result.finding.detail {
        text.push_str(&format!(", {detail}"));
    }
    let longest = PHASES
        .iter()
        .filter_map(|(_, field)| seconds(field))
        .fold(0.0, f64::max);
    for (name, field) in PHASES {
        let Some(seconds) = seconds(field) else {
            continue;
        };
        let length = if longest > 0.0 {
            (seconds / longest * BAR).ceil() as usize
        } else {
            0
        };
        text.push_str(&format!(
            "\n  {name:<10} {:>9.2} ms  {}",
            seconds * 1e3,
            "▇".repeat(length)
        ));
    }
    if let Some(total) = seconds("total_seconds") {
        text.push_str(&format!("\n  {:<10} {:>9.2} ms", "total", total * 1e3));
    }
    text
}

fn as_json(url: &str, result: &CheckResult) -> serde_json::Value {
    let mut object = serde_json::Map::new();
    object.insert("url".to_owned(), url.into());
    object.insert("up".to_owned(), result.is_up().into());
    object.insert("reason".to_owned(), result.finding.reason.as_str().into());
    if let Some(detail) = &result.finding.detail {
        object.insert("detail".to_owned(), detail.clone().into());
    }
    for (name, value) in &result.finding.fields {
        let value = match value {
            Value::Float(number) => serde_json::Value::from(*number),
            Value::Bool(truth) => (*truth).into(),
            Value::Text(text) => text.as_ref().into(),
        };
        object.insert(name.to_string(), value);
    }
    object.into()
}
