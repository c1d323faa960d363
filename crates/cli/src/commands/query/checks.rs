//! `tidegauge query uptime` and `query phases`: checks counted, and where their time goes.

use super::{Rows, pairs, range_us, tags};
use clap::{Arg, ArgAction, ArgMatches, Command};
use tidegauge_query::{CheckDay, ChecksRequest, HostInfo, Query, SeriesInfo};

pub(super) fn uptime_shape(command: Command) -> Command {
    command
        .about("Checks, how many of them failed, and what is left of an error budget")
        .arg(
            Arg::new("days")
                .long("days")
                .action(ArgAction::SetTrue)
                .help("A row per UTC day, not one for all"),
        )
        .arg(
            Arg::new("objective")
                .long("objective")
                .value_name("PERCENT")
                .value_parser(objective)
                .help(
                    "Percent of the checks that are to be good, as 99.9: tells how many may fail",
                ),
        )
}

pub(super) fn phases_shape(command: Command) -> Command {
    command.about("Phases of checks, the slowest first")
}

fn objective(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent < 100.0 => Ok(percent / 100.0),
        _ => Err("a number above 0 and below 100 is needed".to_owned()),
    }
}

/// Who was checked from where: host, location, target, kind of check, further tags.
fn who(series: &SeriesInfo, hosts: &[HostInfo]) -> Vec<String> {
    let host = hosts.iter().find(|host| host.id == series.host);
    let text = |pairs: &[(String, String)], name: &str| {
        let mut pairs = pairs.iter();
        pairs
            .find(|(known, _)| known == name)
            .map(|(_, text)| text.clone())
    };
    let location = text(&series.tags, "location")
        .or_else(|| text(&host?.labels, "location"))
        .unwrap_or_default();
    let mut more = series.tags.clone();
    more.retain(|(name, _)| !["location", "target"].contains(&name.as_str()));
    let probe = series.measurement.trim_end_matches("_check");
    vec![
        host.map_or_else(String::new, |host| host.name.clone()),
        location,
        text(&series.tags, "target").unwrap_or_default(),
        probe.to_owned(),
        pairs(&more),
    ]
}

const WHO: [&str; 5] = ["host", "location", "target", "probe", "tags"];

fn header(columns: &[&str]) -> Vec<String> {
    let names = WHO.iter().chain(columns);
    names.map(|&name| name.to_owned()).collect()
}

async fn request(query: &Query, matches: &ArgMatches) -> anyhow::Result<ChecksRequest> {
    Ok(ChecksRequest {
        host: match matches.get_one::<String>("host") {
            Some(host) => Some(query.host(host).await?.id),
            None => None,
        },
        tags: tags(matches)?,
        range_us: range_us(matches)?,
    })
}

pub(super) async fn uptime(query: &Query, matches: &ArgMatches) -> anyhow::Result<Rows> {
    let checks = query.uptime(&request(query, matches).await?).await?;
    let hosts = query.hosts().await?;
    let by_day = matches.get_flag("days");
    let objective = matches.get_one::<f64>("objective").copied();
    let mut columns = vec!["checks", "failed", "availability_percent"];
    if objective.is_some() {
        columns.extend(["allowed", "budget_left_percent"]);
    }
    let mut header = header(&columns);
    let day = |row: &mut Vec<String>, text: String| {
        if by_day {
            row.insert(0, text);
        }
    };
    day(&mut header, "day".to_owned());
    let rows = checks.iter().flat_map(|check| {
        let days: Vec<CheckDay> = match by_day {
            true => check.days.clone(),
            false => vec![check.total()],
        };
        let who = who(&check.series, &hosts);
        let rows = days.into_iter().map(move |counted| {
            let mut row = who.clone();
            row.extend([counted.checks.to_string(), counted.failed.to_string()]);
            row.push(rounded(counted.availability() * 100.0));
            if let Some(objective) = objective {
                row.push(rounded(counted.allowed(objective)));
                row.push(rounded(counted.budget_left(objective) * 100.0));
            }
            let date = super::super::time(counted.from_us);
            day(&mut row, date.chars().take(10).collect());
            row
        });
        rows.collect::<Vec<_>>()
    });
    let rows = rows.collect();
    Ok(Rows { header, rows })
}

pub(super) async fn phases(query: &Query, matches: &ArgMatches) -> anyhow::Result<Rows> {
    let phases = query
        .slowest_phases(&request(query, matches).await?)
        .await?;
    let hosts = query.hosts().await?;
    let rows = phases.iter().map(|phase| {
        let mut row = who(&phase.series, &hosts);
        row.extend([
            phase.phase.clone(),
            phase.count.to_string(),
            rounded(phase.mean_seconds),
            rounded(phase.max_seconds),
        ]);
        row
    });
    Ok(Rows {
        header: header(&["phase", "checks", "mean_seconds", "max_seconds"]),
        rows: rows.collect(),
    })
}

/// A number of six decimals at most.
fn rounded(number: f64) -> String {
    ((number * 1e6).round() / 1e6).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objective_is_a_percentage_that_leaves_a_budget() {
        assert_eq!(objective("99.5"), Ok(0.995));
        assert_eq!(objective("90%"), Ok(0.9));
        for wrong in ["100", "0", "-1", "much", "NaN"] {
            assert!(objective(wrong).is_err(), "{wrong}");
        }
    }
}
