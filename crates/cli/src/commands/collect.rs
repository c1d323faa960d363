//! `tidegauge collect`: the collectors once, their points as a table, JSON or Influx lines.

use crate::settings::Settings;
use clap::{Arg, ArgAction, ArgMatches, Command};
use comfy_table::Table;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_agent::collect::collect_once;
use tidegauge_agent::collectors::{COLLECTORS, CollectorContext, availability};
use tidegauge_model::{Point, SystemClock, Value, chain};

/// Between the two readings that values of an interval need.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) fn shape(command: Command) -> Command {
    command
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("WORD")
                .value_parser(["table", "json", "influx"])
                .default_value("table")
                .help("How the points are printed"),
        )
        .arg(
            Arg::new("list")
                .long("list")
                .action(ArgAction::SetTrue)
                .help("List the collectors instead"),
        )
}

pub(super) fn run(settings: &Settings, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let context = super::host::context(settings);
    if matches.get_flag("list") {
        say!("{}", list(&context))?;
        return Ok(ExitCode::SUCCESS);
    }
    let collectors = super::host::collectors(settings)?;
    let clock = Arc::new(SystemClock);
    let collected =
        super::runtime(2)?.block_on(collect_once(&collectors, &context, clock, PAUSE))?;
    match matches
        .get_one::<String>("format")
        .map_or("table", String::as_str)
    {
        "json" => {
            for point in &collected.points {
                say!("{}", serde_json::to_string(&json(point))?)?;
            }
        }
        "influx" => {
            for point in &collected.points {
                say!("{}", influx(point))?;
            }
        }
        _ => say!("{}", table(&collected.points))?,
    }
    // Who asks for a collector by name wants to know why it says nothing.
    let by_name = !settings.list("agent.collectors").is_empty();
    for (collector, detail) in collected.unavailable.iter().filter(|_| by_name) {
        tracing::warn!(collector, detail, "not available on this host");
    }
    for failure in &collected.failures {
        let detail = failure.detail.as_deref().unwrap_or_default();
        tracing::warn!(
            collector = failure.collector,
            reason = failure.reason,
            detail,
            "a collector failed"
        );
    }
    Ok(if collected.points.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// All collectors, and whether each works on this host.
fn list(context: &CollectorContext) -> Table {
    let mut table = super::table();
    table.set_header(["collector", "on", "on this host", "reads"]);
    for (entry, (_, outcome)) in COLLECTORS.iter().zip(availability(context, &SystemClock)) {
        let state = match outcome {
            Ok(()) => "works".to_owned(),
            Err(error) if error.is_unavailable() => format!("not available: {}", chain(&error)),
            Err(error) => format!("fails: {}", chain(&error)),
        };
        let on = match entry.default_on {
            true => "by default",
            false => "if asked for",
        };
        table.add_row([entry.name, on, &state, entry.description]);
    }
    table
}

fn table(points: &[Point]) -> Table {
    let mut table = super::table();
    table.set_header(["measurement", "tags", "field", "value"]);
    for point in points {
        let tags: Vec<String> = point
            .tags()
            .iter()
            .map(|(name, text)| format!("{name}={text}"))
            .collect();
        for (name, value) in point.fields() {
            table.add_row([
                point.measurement().as_str(),
                &tags.join(","),
                name.as_str(),
                &plain(value),
            ]);
        }
    }
    table
}

fn json(point: &Point) -> serde_json::Value {
    let tags: serde_json::Map<String, serde_json::Value> = point
        .tags()
        .iter()
        .map(|(name, text)| (name.to_string(), text.as_ref().into()))
        .collect();
    let fields: serde_json::Map<String, serde_json::Value> = point
        .fields()
        .iter()
        .map(|(name, value)| {
            let value = match value {
                Value::Float(number) => serde_json::Value::from(*number),
                Value::Bool(truth) => (*truth).into(),
                Value::Text(text) => text.as_ref().into(),
            };
            (name.to_string(), value)
        })
        .collect();
    serde_json::json!({
        "measurement": point.measurement().as_str(),
        "time_us": point.time_us(),
        "tags": tags,
        "fields": fields,
    })
}

/// One line of the Influx line protocol (v2, nanoseconds).
fn influx(point: &Point) -> String {
    let escape = |text: &str| {
        text.replace('\\', "\\\\")
            .replace(',', "\\,")
            .replace('=', "\\=")
            .replace(' ', "\\ ")
    };
    let mut line = point.measurement().to_string();
    for (name, text) in point.tags().iter().filter(|(_, text)| !text.is_empty()) {
        line.push_str(&format!(",{name}={}", escape(text)));
    }
    let fields: Vec<String> = point
        .fields()
        .iter()
        .map(|(name, value)| match value {
            Value::Text(text) => format!(
                "{name}=\"{}\"",
                text.replace('\\', "\\\\").replace('"', "\\\"")
            ),
            other => format!("{name}={}", plain(other)),
        })
        .collect();
    format!(
        "{line} {} {}",
        fields.join(","),
        i128::from(point.time_us()) * 1_000
    )
}

fn plain(value: &Value) -> String {
    match value {
        Value::Float(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Text(text) => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegauge_model::name;

    #[test]
    fn influx_lines_are_escaped() {
        let point = Point::new(name!("filesystem"), 1_000_001)
            .tag(name!("mount"), "/my disk,a=b")
            .field(name!("used_percent"), 1.5)
            .field(name!("read_only"), false)
            .field(name!("note"), "say \"hi\"");
        let expected = "filesystem,mount=/my\\ disk\\,a\\=b used_percent=1.5,read_only=false,note=\"say \\\"hi\\\"\" 1000001000";
        assert_eq!(influx(&point), expected);
    }
}
