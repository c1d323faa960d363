//! `tidegauge agent`: measure, check, spool, publish.

use crate::health::{self, Health};
use crate::instance::{Instance, Part};
use crate::serve::{self, Pages};
use crate::settings::Settings;
use crate::{progress, service, shutdown, state_dir};
use anyhow::Context;
use clap::{ArgMatches, Command};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_agent::collect::changeable;
use tidegauge_agent::{
    AgentStatus, CollectSettings, PublishSettings, PublishState, collect, describe_metrics, publish,
};
use tidegauge_model::{Clock, SystemClock};
use tidegauge_spool::Spool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long threads that still wait for something at the end may take.
const LEFT_BEHIND_AFTER: Duration = Duration::from_secs(1);

/// The producer's looks at the clock may be a tenth of the interval late, but no more than this: it makes the
/// beginning of a connection and retries slower.
const MOST_TIMER_SLACK: Duration = Duration::from_secs(1);

pub(super) fn shape(command: Command) -> Command {
    command
}

pub(super) fn run(settings: &Settings, _matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let kafka = super::kafka::kafka(settings)?;
    let topic = settings.required("kafka.topic")?;
    let state_dir = state_dir::prepare(settings)?;
    super::host::raise_open_files();
    let collect = CollectSettings {
        encoding: super::kafka::encoder(settings)?,
        ..super::host::collect_settings(settings, &state_dir)?
    };
    let number = |key: &str| {
        settings
            .count(key)
            .map_or(-1, |n| i32::try_from(n).unwrap_or(i32::MAX))
    };
    let publish = PublishSettings {
        partitions: number("kafka.partitions"),
        replication: number("kafka.replication"),
        timer_slack: MOST_TIMER_SLACK.min(collect.interval / 10),
        ..PublishSettings::new(kafka, topic, collect.agent.clone())
    };
    let runtime = super::runtime(1)?;
    let ended = runtime.block_on(work(settings, &state_dir, collect, publish));
    // All that counts was waited for. A question to a broker that is away would have its whole deadline.
    runtime.shutdown_timeout(LEFT_BEHIND_AFTER);
    ended
}

async fn work(
    settings: &Settings,
    state_dir: &std::path::Path,
    collect: CollectSettings,
    publish: PublishSettings,
) -> anyhow::Result<ExitCode> {
    let cancel = shutdown::on_signal(settings.duration("general.duration"))?;
    let recorder = health::recorder()?;
    describe_metrics();
    let (handle, asked) = changeable();
    let reloads = super::reload::start(settings)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let spool = super::host::spool(settings, state_dir, clock.now_us())?;
    let status = AgentStatus::new();
    let end = CancellationToken::new();
    let mut tasks = Vec::new();
    let router = health::router(recorder, reloads.last().noted(health(status.clone())));
    let serving = serve::metrics_and_health(router);
    let (pages, served) = Pages::start(settings, None, serving, end.clone())?;
    let instance = Instance::begin(state_dir, Part::Agent)?;
    reloads.take_up(Some(handle), instance, pages, cancel.clone());
    service::ready(cancel.clone());
    tracing::info!(host = %collect.host, agent = %collect.agent, topic = publish.topic, "agent is starting");
    tasks.push(tokio::spawn(progress::status_line(
        end.clone(),
        line(status.clone()),
    )));
    let appended = Arc::new(Notify::new());
    let published = tokio::spawn(publish::run(
        publish,
        spool.clone(),
        clock.clone(),
        appended.clone(),
        status.clone(),
        end.clone(),
    ));
    // On the runtime's own thread, where collectors and checks are: this one would have to be woken
    // for each of them.
    let collected = tokio::spawn(collect::run_with(
        collect,
        Some(asked),
        spool.clone(),
        clock,
        appended,
        status.clone(),
        cancel.clone(),
    ));
    let collected = collected.await.context("collecting")?;
    // A start that failed, because a port is taken for example, is told at once.
    if collected.is_ok() {
        send_the_rest(&spool, &status, &cancel).await;
    }
    end.cancel();
    published.await??;
    for task in tasks {
        task.await?;
    }
    served.wait().await;
    collected?;
    let figures = status.figures();
    tracing::info!(
        batches = figures.batches,
        acknowledged = figures.acknowledged_batches,
        waiting = spool.stats()?.entries,
        "stopped"
    );
    Ok(ExitCode::SUCCESS)
}

/// What was collected last is still sent (D12): in a moment after a signal, and with the time that
/// it takes to find the broker after the given number of collections.
async fn send_the_rest(spool: &Spool, status: &AgentStatus, cancel: &CancellationToken) {
    const PATIENCE: Duration = Duration::from_secs(30);
    if !cancel.is_cancelled() {
        tokio::select! {
            () = super::host::emptied(spool, PATIENCE) => {}
            () = cancel.cancelled() => {}
        }
    } else if !matches!(status.figures().publish, PublishState::Away { .. }) {
        super::host::emptied(spool, super::host::MOMENT).await;
    }
}

fn health(status: AgentStatus) -> Health {
    Arc::new(move || {
        let figures = status.figures();
        let text = format!(
            "{} collections, {} batches wait in the spool",
            figures.collections, figures.spool.batches
        );
        match figures.publish {
            PublishState::Away { since_us, cause } => {
                let seconds = (SystemClock.now_us() - since_us) / 1_000_000;
                Err(format!(
                    "kafka is away since {seconds} s, samples are kept: {cause}\n{text}"
                ))
            }
            _ => Ok(text),
        }
    })
}

fn line(status: AgentStatus) -> impl Fn() -> progress::Line + Send {
    move || {
        let figures = status.figures();
        let sent = figures.acknowledged_batches;
        let waiting = figures.spool.batches;
        let mut text = format!(
            "{} points, {sent} batches sent, {waiting} waiting",
            figures.points
        );
        if let PublishState::Away { cause, .. } = figures.publish {
            text.push_str(&format!(", kafka is away: {cause}"));
        }
        progress::Line {
            text,
            ..progress::Line::default()
        }
    }
}
