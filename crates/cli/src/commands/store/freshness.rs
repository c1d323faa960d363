//! `tidegauge store freshness`: the youngest sample of each host.

use super::super::{dead_letters::one_line, table, time};
use serde_json::json;
use std::process::ExitCode;
use tidegauge_store::HostFreshness;
pub(super) fn print(hosts: &[HostFreshness], as_json: bool) -> anyhow::Result<ExitCode> {
    if as_json {
        let hosts: Vec<_> = hosts
            .iter()
            .map(|host| {
                json!({
                    "host": host.name,
                    "identity": host.identity,
                    "last_sample": host.last_sample_us.map(time),
                    "age_seconds": host.age_seconds,
                })
            })
            .collect();
        say!("{}", serde_json::to_string_pretty(&hosts)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if hosts.is_empty() {
        say!("there are no hosts")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = table();
    rows.set_header(["host", "identity", "youngest sample", "age in seconds"]);
    for host in hosts {
        rows.add_row([
            one_line(&host.name),
            one_line(&host.identity),
            host.last_sample_us.map_or_else(|| "-".to_owned(), time),
            host.age_seconds
                .map_or_else(|| "-".to_owned(), |age| format!("{age:.1}")),
        ]);
    }
    say!("{rows}")?;
    Ok(ExitCode::SUCCESS)
}
