//! `tidegauge query`: hosts, measurements, series and ranges from a store.

mod checks;

use crate::settings::{Settings, UsageError, value};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::process::ExitCode;
use tidegauge_model::{Clock, SystemClock};
use tidegauge_query::{Column, Counters, Frame, Query, RangeRequest};
use tidegauge_store::open_reader;

pub(super) fn shape(command: Command) -> Command {
    let format = Arg::new("format")
        .long("format")
        .value_name("WORD")
        .value_parser(["table", "csv", "json"])
        .default_value("table")
        .help("How the answer is printed");
    let host = Arg::new("host")
        .long("host")
        .value_name("NAME")
        .help("Only of this host, by name or identity");
    let tag = Arg::new("tag")
        .long("tag")
        .value_name("NAME=TEXT")
        .action(ArgAction::Append)
        .help("Only series with this tag; may be repeated");
    let last = |default: &'static str| {
        Arg::new("last")
            .long("last")
            .value_name("DURATION")
            .default_value(default)
            .help("How far back, as 15m or 2d")
    };
    let of_checks = |command: Command, default: &'static str| {
        let command = command.arg(host.clone()).arg(tag.clone());
        command.arg(last(default)).arg(format.clone())
    };
    let uptime = of_checks(checks::uptime_shape(Command::new("uptime")), "30d");
    let phases = of_checks(checks::phases_shape(Command::new("phases")), "1d");
    command
        .subcommand_required(true)
        .subcommand(Command::new("hosts").about("All hosts").arg(format.clone()))
        .subcommand(
            Command::new("measurements")
                .about("All measurements and their fields")
                .arg(format.clone()),
        )
        .subcommand(uptime)
        .subcommand(phases)
        .subcommand(
            Command::new("range")
                .about("Values of one measurement, counters as rates per second")
                .arg(
                    Arg::new("measurement")
                        .required(true)
                        .value_name("MEASUREMENT")
                        .help("Such as cpu; see `query measurements`"),
                )
                .arg(
                    Arg::new("field")
                        .long("field")
                        .value_name("NAME")
                        .action(ArgAction::Append)
                        .value_delimiter(',')
                        .help("Only these fields; by default all numbers"),
                )
                .arg(host)
                .arg(tag)
                .arg(last("15m"))
                .arg(
                    Arg::new("points")
                        .long("points")
                        .value_name("NUMBER")
                        .value_parser(clap::value_parser!(u32).range(1..=100_000))
                        .default_value("60")
                        .help("Times at most; more are summed up"),
                )
                .arg(
                    Arg::new("totals")
                        .long("totals")
                        .action(ArgAction::SetTrue)
                        .help("Counters as they are stored, not as rates"),
                )
                .arg(format),
        )
}

pub(super) fn run(settings: &Settings, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let reader = open_reader(
        &super::store::url(settings)?,
        &super::sink::options(settings),
    )?;
    let query = Query::new(reader);
    let (name, matches) = matches.subcommand().expect("clap asks for one");
    let format = matches
        .get_one::<String>("format")
        .map_or("table", String::as_str);
    let rows = super::runtime(2)?.block_on(async {
        match name {
            "hosts" => hosts(&query).await,
            "measurements" => measurements(&query).await,
            "uptime" => checks::uptime(&query, matches).await,
            "phases" => checks::phases(&query, matches).await,
            _ => range(&query, matches).await,
        }
    })?;
    rows.print(format)?;
    Ok(ExitCode::SUCCESS)
}

/// An answer, ready to be printed.
struct Rows {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

async fn hosts(query: &Query) -> anyhow::Result<Rows> {
    let header = ["host", "identity", "first seen", "labels"]
        .map(str::to_owned)
        .to_vec();
    let rows = query.hosts().await?.into_iter().map(|host| {
        vec![
            host.name,
            host.identity,
            super::time(host.first_seen_us),
            pairs(&host.labels),
        ]
    });
    Ok(Rows {
        header,
        rows: rows.collect(),
    })
}

async fn measurements(query: &Query) -> anyhow::Result<Rows> {
    let header = [
        "measurement",
        "field",
        "kind",
        "type",
        "unit",
        "description",
    ]
    .map(str::to_owned)
    .to_vec();
    let mut rows = Vec::new();
    for measurement in query.measurements().await? {
        for field in measurement.fields {
            rows.push(vec![
                measurement.name.clone(),
                field.name,
                field.kind.to_string(),
                field.value_type.to_string(),
                field.unit,
                field.description,
            ]);
        }
    }
    Ok(Rows { header, rows })
}

/// What `--last` says, up to now, in microseconds since 1970 UTC.
fn range_us(matches: &ArgMatches) -> Result<std::ops::Range<i64>, UsageError> {
    let last = matches.get_one::<String>("last").expect("has a default");
    let last = value::duration(last)
        .map_err(|problem| UsageError::one(format!("--last: `{last}`: {problem}")))?;
    let to_us = SystemClock.now_us();
    Ok(to_us - i64::try_from(last.as_micros()).unwrap_or(i64::MAX / 2)..to_us)
}

/// What `--tag` says.
fn tags(matches: &ArgMatches) -> Result<Vec<(String, String)>, UsageError> {
    let tags = matches.get_many::<String>("tag").into_iter().flatten();
    let pair = |tag: &String| match value::pair(tag) {
        Ok((name, text)) => Ok((name.to_owned(), text.to_owned())),
        Err(problem) => Err(UsageError::one(format!("--tag: `{tag}`: {problem}"))),
    };
    tags.map(pair).collect()
}

async fn range(query: &Query, matches: &ArgMatches) -> anyhow::Result<Rows> {
    let text = |name: &str| matches.get_one::<String>(name);
    let (range_us, tags) = (range_us(matches)?, tags(matches)?);
    let name = text("measurement").expect("clap asks for it");
    let measurement = query.measurement(name).await?;
    let fields: Vec<String> = match matches.get_many::<String>("field") {
        Some(fields) => fields.cloned().collect(),
        None => {
            let numbers = measurement
                .fields
                .iter()
                .filter(|f| f.value_type != tidegauge_model::ValueType::Text);
            numbers.map(|field| field.name.clone()).collect()
        }
    };
    let host = match text("host") {
        Some(host) => Some(query.host(host).await?.id),
        None => None,
    };
    let request = RangeRequest {
        measurement: name.clone(),
        host,
        tags,
        fields: fields.clone(),
        range_us,
        max_points: matches.get_one::<u32>("points").copied().unwrap_or(60),
        counters: if matches.get_flag("totals") {
            Counters::Totals
        } else {
            Counters::Rates
        },
    };
    let hosts = query.hosts().await?;
    let host_name = |column: &Column| {
        hosts
            .iter()
            .find(|host| host.id == column.host)
            .map_or_else(String::new, |host| host.name.clone())
    };
    let frames = query.range_by_series(&measurement, &request).await?;
    let mut header = vec!["host".to_owned(), "time".to_owned(), "tags".to_owned()];
    header.extend(fields.iter().cloned());
    let rows = frames
        .iter()
        .flat_map(|frame| frame_rows(frame, &fields, &host_name))
        .collect();
    Ok(Rows { header, rows })
}

/// One series as rows: host, time, tags, then the fields in the order asked for.
fn frame_rows(
    frame: &Frame,
    fields: &[String],
    host_name: &dyn Fn(&Column) -> String,
) -> Vec<Vec<String>> {
    let Some(first) = frame.columns.first() else {
        return Vec::new();
    };
    let mut rows = Vec::with_capacity(frame.times_us.len());
    for (at, &time_us) in frame.times_us.iter().enumerate() {
        if frame
            .columns
            .iter()
            .all(|column| column.values[at].is_none())
        {
            continue;
        }
        let mut row = vec![host_name(first), super::time(time_us), pairs(&first.tags)];
        for field in fields {
            let column = frame.columns.iter().find(|column| column.field == *field);
            let value = column.and_then(|column| column.values[at]);
            row.push(value.map_or_else(String::new, |value| {
                ((value * 1e6).round() / 1e6).to_string()
            }));
        }
        rows.push(row);
    }
    rows
}

fn pairs(pairs: &[(String, String)]) -> String {
    pairs
        .iter()
        .map(|(name, text)| format!("{name}={text}"))
        .collect::<Vec<_>>()
        .join(",")
}

impl Rows {
    fn print(&self, format: &str) -> anyhow::Result<()> {
        match format {
            "json" => {
                for row in &self.rows {
                    let object: serde_json::Map<String, serde_json::Value> = self
                        .header
                        .iter()
                        .zip(row)
                        .filter(|(_, text)| !text.is_empty())
                        .map(|(name, text)| (name.clone(), json_value(text)))
                        .collect();
                    say!("{}", serde_json::to_string(&object)?)?;
                }
            }
            "csv" => {
                say!("{}", csv(&self.header))?;
                for row in &self.rows {
                    say!("{}", csv(row))?;
                }
            }
            _ => {
                let mut table = super::table();
                table.set_header(&self.header).add_rows(&self.rows);
                say!("{table}")?;
            }
        }
        Ok(())
    }
}

fn json_value(text: &str) -> serde_json::Value {
    text.parse::<f64>()
        .map_or_else(|_| text.into(), serde_json::Value::from)
}

/// One line of RFC 4180.
fn csv(row: &[String]) -> String {
    let quoted = row
        .iter()
        .map(|text| match text.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text.clone(),
        });
    quoted.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_quotes_what_it_must() {
        assert_eq!(
            csv(&["a".into(), "b,c".into(), "d\"e".into()]),
            "a,\"b,c\",\"d\"\"e\""
        );
    }
}
