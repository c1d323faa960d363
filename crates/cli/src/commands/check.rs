//! `tidegauge check URL…`: phases and verdict of each URL, once or several times; exit status 1 when
//! one fails.

use crate::settings::{Place, Settings, value};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::process::ExitCode;
use std::time::Duration;
use tidegauge_agent::AgentError;
use tidegauge_agent::probes::{
    Check, CheckResult, CheckSettings, KeyKind, KeyValue, PROBES, ProbeContext,
};
use tidegauge_model::{SystemClock, Value};

/// The phases in the order in which they happen, with the field that has their seconds.
const PHASES: &[(&str, &str)] = &[
    ("resolve", "resolve_seconds"),
    ("connect", "connect_seconds"),
    ("starttls", "starttls_seconds"),
    ("tls", "tls_seconds"),
    ("dialogue", "dialogue_seconds"),
    ("login", "login_seconds"),
    ("query", "query_seconds"),
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
    ("brokers", "brokers"),
    ("partitions", "partitions"),
    ("packets answered", "packets_received"),
    ("server", "server_version"),
    ("redirects", "redirects"),
    ("at", "final_url"),
];
/// What TLS and the certificate are, where a probe tells it; each is a line.
const TLS: &[(&str, &str)] = &[
    ("version", "tls_version"),
    ("cipher", "cipher"),
    ("subject", "subject"),
    ("names", "names"),
    ("issuer", "issuer"),
    ("sha256", "fingerprint_sha256"),
];
/// When certificates end, and what ends then.
const ENDS: &[(&str, &str)] = &[
    ("certificate", "certificate_expires_seconds"),
    ("chain", "chain_expires_seconds"),
];
/// Settings of probes that are flags here, with the help that they have there.
const OWN_FLAGS: &[&str] = &["username", "password_file", "http_version"];
const DAY_SECONDS: f64 = 86_400.0;
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
            Arg::new("method")
                .long("method")
                .value_name("WORD")
                .help("The method of the request instead of GET"),
        )
        .arg(
            Arg::new("header")
                .long("header")
                .action(ArgAction::Append)
                .value_name("NAME=TEXT")
                .help("A header of the request; may be repeated"),
        )
        .arg(
            Arg::new("follow-redirects")
                .long("follow-redirects")
                .action(ArgAction::SetTrue)
                .help("Follow redirects instead of taking them for answers"),
        )
        .args(OWN_FLAGS.iter().map(|key| {
            let known = PROBES.iter().flat_map(|probe| probe.keys);
            let own = known.into_iter().find(|own| own.key == *key);
            let own = own.expect("a probe has it");
            let placeholder = match own.kind {
                KeyKind::Path => "PATH",
                KeyKind::Choice(_) => "WORD",
                _ => "TEXT",
            };
            Arg::new(own.key)
                .long(own.key.replace('_', "-"))
                .value_name(placeholder)
                .help(own.help.trim_end_matches('.'))
        }))
        .arg(
            Arg::new("repeat")
                .long("repeat")
                .value_name("NUMBER")
                .value_parser(clap::value_parser!(u32).range(1..=1_000_000))
                .default_value("1")
                .help("Check so many times, and sum up at the end"),
        )
        .arg(
            Arg::new("interval")
                .long("interval")
                .value_name("DURATION")
                .value_parser(value::duration)
                .default_value("1s")
                .help("Time from one round of checks to the next"),
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
    let rounds = Rounds {
        count: matches.get_one("repeat").copied().unwrap_or(1),
        interval: matches
            .get_one("interval")
            .copied()
            .unwrap_or(Duration::from_secs(1)),
        json,
    };
    let failed = super::runtime(1)?.block_on(work(checks, &rounds))?;
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
    if let Some(method) = matches.get_one::<String>("method") {
        check = check.with("method", method.as_str())?;
    }
    if let Some(headers) = matches.get_many::<String>("header") {
        check = check.with("headers", KeyValue::Texts(headers.cloned().collect()))?;
    }
    for key in OWN_FLAGS {
        if let Some(text) = matches.get_one::<String>(key) {
            check = check.with(key, text.as_str())?;
        }
    }
    if matches.get_flag("follow-redirects") {
        check = check.with("follow_redirects", true)?;
    }
    Ok(check)
}

/// How often, and how it is told.
struct Rounds {
    count: u32,
    interval: Duration,
    json: bool,
}

/// What came of all checks of one URL.
#[derive(Default)]
struct Sum {
    failed: usize,
    /// Seconds of each check as a whole.
    totals: Vec<f64>,
}

impl Sum {
    fn add(&mut self, result: &CheckResult) {
        self.failed += usize::from(!result.is_up());
        self.totals.extend(seconds(result, "total_seconds"));
    }

    /// The seconds that this share of the checks, in percent, did not exceed.
    fn percentile(&self, percent: usize) -> Option<f64> {
        let mut sorted = self.totals.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied()
    }

    fn tell(&self, url: &str, json: bool) -> String {
        let (checks, failed) = (self.totals.len(), self.failed);
        let (p50, p99) = (self.percentile(50), self.percentile(99));
        if json {
            let object = serde_json::json!({
                "url": url, "checks": checks, "failed": failed, "p50_seconds": p50, "p99_seconds": p99,
            });
            return object.to_string();
        }
        let millis = |seconds: Option<f64>| seconds.unwrap_or_default() * 1e3;
        let (p50, p99) = (millis(p50), millis(p99));
        format!("{url}: {checks} checks, {failed} failed, p50 {p50:.2} ms, p99 {p99:.2} ms")
    }
}

async fn work(settings: Vec<CheckSettings>, rounds: &Rounds) -> anyhow::Result<bool> {
    let context = ProbeContext::new();
    let mut checks = Vec::new();
    for settings in settings {
        for target in context.targets_of(settings).await? {
            let url = target.url().to_owned();
            checks.push((url, Check::new(target, &context)?, Sum::default()));
        }
    }
    let mut beat = tokio::time::interval(rounds.interval);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for _ in 0..rounds.count {
        beat.tick().await;
        for (url, check, sum) in &mut checks {
            let result = check.run(&SystemClock).await;
            sum.add(&result);
            match (rounds.json, rounds.count) {
                (true, _) => say!("{}", as_json(url, &result))?,
                (false, 1) => {
                    let mut lines = vec![verdict(url, &result)];
                    lines.extend(phases(&result));
                    lines.extend(tls(&result));
                    say!("{}", lines.join("\n"))?;
                }
                (false, _) => say!("{}", verdict(url, &result))?,
            }
        }
    }
    if rounds.count > 1 {
        for (url, _, sum) in &checks {
            say!("{}", sum.tell(url, rounds.json))?;
        }
    }
    Ok(checks.iter().any(|(_, _, sum)| sum.failed > 0))
}

fn seconds(result: &CheckResult, field: &str) -> Option<f64> {
    match result.value(field) {
        Some(Value::Float(seconds)) => Some(*seconds),
        _ => None,
    }
}

/// One line: the verdict, its reason and what the answer was.
fn verdict(url: &str, result: &CheckResult) -> String {
    let verdict = if result.is_up() { "up" } else { "down" };
    let mut text = format!("{url}: {verdict} ({})", result.finding.reason.as_str());
    let detail = result.finding.detail.as_deref();
    for (word, field) in SAID {
        let said = match result.value(field) {
            Some(Value::Float(number)) => format!("{word} {number}"),
            Some(Value::Text(said)) => format!("{word} {said}"),
            Some(Value::Bool(_)) | None => continue,
        };
        // Nothing is told twice.
        if !detail.is_some_and(|detail| detail.contains(&said)) {
            text.push_str(&format!(", {said}"));
        }
    }
    if let Some(detail) = detail {
        text.push_str(&format!(", {detail}"));
    }
    text
}

/// A line with a bar for each phase that took place.
fn phases(result: &CheckResult) -> Vec<String> {
    let mut lines = Vec::new();
    let longest = PHASES
        .iter()
        .filter_map(|(_, field)| seconds(result, field))
        .fold(0.0, f64::max);
    for (name, field) in PHASES {
        let Some(seconds) = seconds(result, field) else {
            continue;
        };
        let length = if longest > 0.0 {
            (seconds / longest * BAR).ceil() as usize
        } else {
            0
        };
        lines.push(format!(
            "  {name:<10} {:>9.2} ms  {}",
            seconds * 1e3,
            "▇".repeat(length)
        ));
    }
    if let Some(total) = seconds(result, "total_seconds") {
        lines.push(format!("  {:<10} {:>9.2} ms", "total", total * 1e3));
    }
    lines
}

/// What TLS is spoken and whose certificates the server showed, a line each.
fn tls(result: &CheckResult) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, field) in TLS {
        if let Some(Value::Text(text)) = result.value(field) {
            lines.push(format!("  {name:<11} {text}"));
        }
    }
    for (name, field) in ENDS {
        let Some(left) = seconds(result, field) else {
            continue;
        };
        let days = left.abs() / DAY_SECONDS;
        let ends = match left < 0.0 {
            true => format!("expired {days:.1} days ago"),
            false => format!("{days:.1} days left"),
        };
        let of = match seconds(result, "chain_certificates") {
            Some(count) if *name == "chain" => format!(", the soonest of {count}"),
            _ => String::new(),
        };
        lines.push(format!("  {name:<11} {ends}{of}"));
    }
    lines
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

#[cfg(test)]
mod tests {
    use super::*;
    use tidegauge_agent::probes::{CheckReason, Finding};
    use tidegauge_model::{Name, Tags, name};

    fn result(
        reason: CheckReason,
        detail: Option<&str>,
        fields: Vec<(Name, Value)>,
    ) -> CheckResult {
        CheckResult {
            measurement: name!("tls_check"),
            target: "a".to_owned(),
            labels: Tags::new(),
            time_us: 0,
            finding: Finding::new(reason, detail, fields),
        }
    }

    #[test]
    fn a_verdict_tells_nothing_twice() {
        let told = |detail| {
            let fields = vec![(name!("status"), Value::from(503.0))];
            verdict(
                "http://a/",
                &result(CheckReason::Status, Some(detail), fields),
            )
        };
        assert_eq!(
            told("status 503, expected 2xx"),
            "http://a/: down (status), status 503, expected 2xx"
        );
        assert_eq!(told("no"), "http://a/: down (status), status 503, no");
    }

    #[test]
    fn certificates_are_told_by_the_days_that_they_have_left() {
        let fields = vec![
            (name!("tls_version"), Value::from("TLSv1_3")),
            (name!("names"), Value::from("a.example, b.example")),
            (name!("certificate_expires_seconds"), Value::from(129_600.0)),
            (name!("chain_expires_seconds"), Value::from(-86_400.0)),
            (name!("chain_certificates"), Value::from(3.0)),
        ];
        let result = result(CheckReason::CertificateExpired, None, fields);
        assert_eq!(
            tls(&result),
            [
                "  version     TLSv1_3",
                "  names       a.example, b.example",
                "  certificate 1.5 days left",
                "  chain       expired 1.0 days ago, the soonest of 3",
            ]
        );
    }

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let mut sum = Sum::default();
        assert_eq!(sum.percentile(50), None);
        sum.totals = (1..=200).rev().map(f64::from).collect();
        assert_eq!(
            (sum.percentile(50), sum.percentile(99)),
            (Some(100.0), Some(198.0))
        );
        sum.failed = 3;
        assert_eq!(
            sum.tell("http://a/", false),
            "http://a/: 200 checks, 3 failed, p50 100000.00 ms, p99 198000.00 ms"
        );
    }
}
