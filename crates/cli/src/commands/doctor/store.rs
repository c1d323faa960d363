//! The database: does it answer, with these rights and this schema; what it counts as not stored.

use super::{DEADLINE, Findings};
use crate::settings::Settings;
use tidegauge_store::{StoreError, StoreUrl, open_reader};
use tokio::time::timeout;

pub(super) async fn check(settings: &Settings, url: &StoreUrl) -> Findings {
    let mut findings = Findings::default();
    let file = url.expose().strip_prefix("sqlite:");
    if settings.text("store.url").is_none()
        && file.is_some_and(|path| !std::path::Path::new(path).exists())
    {
        findings.ok("store", "none is set, and `up` has not run here");
        return findings;
    }
    match timeout(DEADLINE * 2, look(settings, url, &mut findings)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => findings.failed("store", format!("{url}: {}", super::told(&error))),
        Err(_) => findings.failed(
            "store",
            format!("{url}: no answer within {} s", DEADLINE.as_secs() * 2),
        ),
    }
    findings
}

async fn look(
    settings: &Settings,
    url: &StoreUrl,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let reader = open_reader(url, &crate::commands::sink::options(settings))?;
    let summary = reader.summary().await?;
    findings.ok(
        "store",
        format!(
            "{url}: {} hosts, {} series, {} points",
            summary.hosts, summary.series, summary.points
        ),
    );
    match summary.dead_letters {
        0 => findings.ok("dead letters", "none"),
        count => findings.warning(
            "dead letters",
            format!("{count}: `tidegauge dead-letters list` shows them with their reasons"),
        ),
    }
    match reader.losses().await?.len() {
        0 => findings.ok("losses", "nothing was lost"),
        count => findings.warning(
            "losses",
            format!("{count} kinds: `tidegauge store ledger` says what, from where and why"),
        ),
    }
    Ok(())
}
