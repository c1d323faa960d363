//! `tidegauge up`: agent, sink and dashboard in one process, on SQLite; needs no configuration.

use crate::instance::{Instance, Part};
use crate::serve::{self, Pages};
use crate::settings::{Place, Settings};
use crate::{progress, service, shutdown, state_dir};
use anyhow::Context;
use clap::{ArgMatches, Command};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_agent::collect::changeable;
use tidegauge_agent::{AgentStatus, CollectSettings, collect};
use tidegauge_model::{Clock, SystemClock};
use tidegauge_query::Query;
use tidegauge_sink::assemble::Assembler;
use tidegauge_sink::{Sink, SinkStatus, SpoolSource};
use tidegauge_store::{StoreUrl, open_reader, open_store};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Where the page is served unless told otherwise.
pub(super) const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7710);
/// `up` is there to be looked at, so it measures every second.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn shape(command: Command) -> Command {
    command
}

pub(super) fn run(settings: &Settings, _matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let state_dir = state_dir::prepare(settings)?;
    super::host::raise_open_files();
    let mut collect = super::host::collect_settings(settings, &state_dir)?;
    if settings.place("agent.interval") == Place::Default {
        collect.interval = DEFAULT_INTERVAL;
    }
    collect.first_at_once = true;
    super::runtime(2)?.block_on(work(settings, &state_dir, collect))
}

async fn work(
    settings: &Settings,
    state_dir: &Path,
    collect: CollectSettings,
) -> anyhow::Result<ExitCode> {
    let cancel = shutdown::on_signal(settings.duration("general.duration"))?;
    let (handle, asked) = changeable();
    let reloads = super::reload::start(settings)?;
    let end = CancellationToken::new();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let spool = super::host::spool(settings, state_dir, clock.now_us())?;
    let database = state_dir.join("tidegauge.db");
    let url = StoreUrl::parse(&format!("sqlite:{}", database.display()))?;
    let options = super::sink::options(settings);
    let mut store = open_store(&url, &options)?;
    let sink_status = Arc::new(SinkStatus::default());
    let agent_status = AgentStatus::new();
    if !super::sink::migrated(store.as_mut(), &sink_status, &cancel).await? {
        return Ok(ExitCode::SUCCESS);
    }
    let query = Query::new(open_reader(&url, &options)?);
    let serving = serve::dashboard(query, clock.clone());
    let (pages, served) = Pages::start(settings, Some(DEFAULT_LISTEN), serving, end.clone())?;
    announce(&pages.url().unwrap_or_default(), &database);
    let instance = Instance::begin(state_dir, Part::Agent)?;
    reloads.take_up(Some(handle), instance, pages, cancel.clone());
    service::ready(cancel.clone());

    let appended = Arc::new(Notify::new());
    let sink_settings = super::sink::sink_settings(settings)?;
    let own_retention = Some(super::upkeep::OWN_RETENTION);
    let upkeep = super::upkeep::upkeep_settings(settings, own_retention)?;
    let assembler = Assembler::new(&sink_settings, clock.clone());
    let source = SpoolSource::open(spool.clone(), store.as_mut(), appended.clone()).await?;
    // The sink goes on until the collecting has ended, so that the last batch is stored too.
    let sink_settings = tidegauge_sink::SinkSettings {
        cycles: None,
        until_end: false,
        ..sink_settings
    };
    let sink = Sink::new(
        store,
        Box::new(source),
        assembler,
        sink_settings,
        clock.clone(),
        sink_status.clone(),
        end.clone(),
    );
    let sink = tokio::spawn(sink.run());
    let upkeep = super::upkeep::start(
        open_store(&url, &options)?,
        upkeep,
        sink_status.clone(),
        end.clone(),
    );

    let line = line(
        agent_status.clone(),
        sink_status.clone(),
        database,
        clock.clone(),
    );
    let line = tokio::spawn(progress::status_line(end.clone(), line));

    // On the runtime's own thread, as in `agent`.
    let collected = tokio::spawn(collect::run_with(
        collect,
        Some(asked),
        spool.clone(),
        clock,
        appended,
        agent_status,
        cancel,
    ));
    let collected = collected.await.context("collecting")?;
    if collected.is_ok() {
        super::host::emptied(&spool, super::host::MOMENT).await;
    }
    end.cancel();
    sink.await.context("running the sink")??;
    upkeep.await.context("looking after the database")?;
    served.wait().await;
    line.await?;
    collected?;
    tracing::info!(rows = sink_status.report().rows, "stopped");
    Ok(ExitCode::SUCCESS)
}

fn announce(url: &str, database: &Path) {
    let told = say!(
        "Tidegauge is live at {url}\n\
         SQL: sqlite3 {} \"select host, time, user_percent from cpu limit 3\"",
        database.display()
    );
    // It is live without anybody who reads that.
    told.ok();
}

fn line(
    agent: AgentStatus,
    sink: Arc<SinkStatus>,
    database: std::path::PathBuf,
    clock: Arc<dyn Clock>,
) -> impl Fn() -> progress::Line + Send {
    move || {
        let (figures, report) = (agent.figures(), sink.report());
        let last = figures.last_collection_us.map_or_else(
            || "no collection yet".to_owned(),
            |last_us| {
                format!(
                    "last collection {:.1} s ago",
                    (clock.now_us() - last_us) as f64 / 1e6
                )
            },
        );
        let bytes = std::fs::metadata(&database).map_or(0, |metadata| metadata.len());
        let mut text = format!(
            "{} points stored, {last}, {}",
            report.rows,
            progress::size(bytes)
        );
        if let Some((_, why)) = report.outage {
            text.push_str(&format!(", the database cannot be written: {why}"));
        }
        progress::Line {
            text,
            ..progress::Line::default()
        }
    }
}
