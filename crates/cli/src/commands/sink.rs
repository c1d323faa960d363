//! `tidegauge sink`: from Kafka into a database.

use super::sink_view;
use crate::health;
use crate::instance::{Instance, Part};
use crate::serve::{self, Pages};
use crate::settings::{Settings, UsageError};
use crate::{progress, service, shutdown};
use clap::{ArgMatches, Command};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_agent::publish::TlsFiles;
use tidegauge_model::{Clock, Host, Limits, SystemClock};
use tidegauge_sink::assemble::Assembler;
use tidegauge_sink::{
    Finished, KafkaSource, KafkaSourceSettings, OnLostMessages, Sink, SinkSettings, SinkStatus,
    UpkeepSettings,
};
use tidegauge_store::{LibpqFiles, OpenOptions, Store, StoreUrl, open_store};
use tidegauge_wire::{ForeignSettings, TimeUnit};
use tokio_util::sync::CancellationToken;

pub(super) fn shape(command: Command) -> Command {
    command
}

pub(super) fn run(settings: &Settings, _matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    settings.required("store.url")?;
    let url = super::store::url(settings)?;
    let kafka = super::kafka::kafka(settings)?;
    let sink = sink_settings(settings)?;
    let upkeep = super::upkeep::upkeep_settings(settings, None)?;
    let source = KafkaSourceSettings {
        kafka,
        topic: settings.required("kafka.topic")?.to_owned(),
        group: settings.required("sink.group")?.to_owned(),
        session_timeout: settings
            .duration("sink.session_timeout")
            .unwrap_or(KafkaSourceSettings::SESSION_TIMEOUT),
    };
    super::runtime(2)?.block_on(work(settings, &url, sink, upkeep, source))
}

async fn work(
    settings: &Settings,
    url: &StoreUrl,
    sink: SinkSettings,
    upkeep: UpkeepSettings,
    source: KafkaSourceSettings,
) -> anyhow::Result<ExitCode> {
    let cancel = shutdown::on_signal(settings.duration("general.duration"))?;
    let recorder = health::recorder()?;
    tidegauge_sink::describe_metrics();
    let reloads = super::reload::start(settings)?;
    let status = Arc::new(SinkStatus::default());
    let end = CancellationToken::new();
    let mut tasks = Vec::new();
    let patience = settings.duration("sink.unhealthy_after");
    let patience = patience.unwrap_or(Duration::from_secs(60));
    let health = reloads
        .last()
        .noted(sink_view::health(status.clone(), patience));
    let serving = serve::metrics_and_health(health::router(recorder, health));
    let (pages, served) = Pages::start(settings, None, serving, end.clone())?;
    let instance = Instance::begin_if_possible(settings, Part::Sink);
    reloads.take_up(None, instance, pages, cancel.clone());
    service::ready(cancel.clone());
    tracing::info!(topic = source.topic, group = source.group, store = %url, "sink is starting");
    let options = options(settings);
    let mut store = open_store(url, &options)?;
    if !migrated(store.as_mut(), &status, &cancel).await? {
        return Ok(ExitCode::SUCCESS);
    }
    let line = sink_view::line(status.clone());
    tasks.push(tokio::spawn(progress::status_line(end.clone(), line)));
    let upkeep = super::upkeep::start(
        open_store(url, &options)?,
        upkeep,
        status.clone(),
        end.clone(),
    );
    tasks.push(upkeep);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // One that is to end by itself counts from its start, and is not begun again.
    let begins_again = sink.cycles.is_none() && !sink.until_end;
    let finished = loop {
        let mut files = TlsFiles::of(&source.kafka);
        let reading = KafkaSource::start(source.clone(), open_store(url, &options)?)?;
        let stop = cancel.child_token();
        let running = Sink::new(
            store,
            Box::new(reading),
            Assembler::new(&sink, clock.clone()),
            sink.clone(),
            clock.clone(),
            status.clone(),
            stop.clone(),
        );
        let replaced = async {
            files.replaced().await;
            stop.cancel();
            // The step that is under way ends, and the group is left.
            std::future::pending().await
        };
        let finished = tokio::select! {
            finished = running.run() => finished,
            never = replaced, if begins_again => never,
        };
        if cancel.is_cancelled() || !matches!(finished, Ok(Finished::Stopped)) {
            break finished;
        }
        store = open_store(url, &options)?;
    };
    end.cancel();
    for task in tasks {
        task.await?;
    }
    served.wait().await;
    let report = status.report();
    let (rows, steps, dead_letters) = (report.rows, report.steps, report.dead_letters);
    match finished? {
        Finished::Stopped => tracing::info!(rows, steps, dead_letters, "stopped"),
        Finished::ReachedEnd => tracing::info!(rows, steps, dead_letters, "reached the end"),
        Finished::Cycles => {
            tracing::info!(
                rows,
                steps,
                dead_letters,
                "committed the given number of steps"
            )
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Brings the schema up to date, waiting for the database for as long as it is away (D8). False
/// when the program was told to stop meanwhile.
pub(super) async fn migrated(
    store: &mut dyn Store,
    status: &SinkStatus,
    cancel: &CancellationToken,
) -> anyhow::Result<bool> {
    loop {
        let migrated = tokio::select! {
            () = cancel.cancelled() => return Ok(false),
            migrated = store.migrate() => migrated,
        };
        match migrated {
            Ok(()) => {
                status.store_is_back(&SystemClock);
                return Ok(true);
            }
            Err(error) if error.is_retryable() => {
                status.store_is_away(&SystemClock, "bringing the schema up to date", &error)
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = cancel.cancelled() => return Ok(false),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

pub(super) fn options(settings: &Settings) -> OpenOptions {
    let default = OpenOptions::default();
    OpenOptions {
        connect_deadline: settings
            .duration("store.connect_deadline")
            .unwrap_or(default.connect_deadline),
        statement_deadline: settings
            .duration("store.statement_deadline")
            .unwrap_or(default.statement_deadline),
        // Commands that do not have the setting only read, or have a database of their own.
        manage_schema: settings.text("store.manage_schema").is_none()
            || settings.flag("store.manage_schema"),
        libpq: LibpqFiles::of_environment(|name| std::env::var_os(name), std::env::home_dir()),
        ..default
    }
}

pub(super) fn sink_settings(settings: &Settings) -> Result<SinkSettings, UsageError> {
    let default = SinkSettings::default();
    let number = |key: &str, default: usize| settings.count(key).map_or(default, |n| n as usize);
    let size = |key: &str, default: usize| settings.bytes(key).map_or(default, |n| n as usize);
    Ok(SinkSettings {
        limits: limits(settings),
        encoding: super::kafka::encoding(settings)?,
        foreign: Arc::new(foreign(settings)?),
        step_points: number("sink.step_points", default.step_points),
        step_bytes: size("sink.step_bytes", default.step_bytes),
        on_lost_messages: match settings.text("sink.on_lost_messages") {
            Some("skip_and_record") => OnLostMessages::SkipAndRecord,
            _ => OnLostMessages::Stop,
        },
        cycles: settings.count("general.cycles"),
        until_end: settings.flag("sink.until_end"),
        ..default
    })
}

/// How foreign encodings are read.
pub(super) fn foreign(settings: &Settings) -> Result<ForeignSettings, UsageError> {
    let default_host = settings
        .text("sink.default_host")
        .map(Host::new)
        .transpose();
    let host_tags = settings.list("sink.host_tags");
    Ok(ForeignSettings {
        host_tags: (!host_tags.is_empty()).then(|| host_tags.to_vec()),
        default_host: default_host.map_err(|error| {
            let place = settings.place("sink.default_host");
            UsageError::one(format!("{place}: sink.default_host: {error}"))
        })?,
        time_unit: settings.text("sink.time_unit").and_then(TimeUnit::parse),
    })
}

/// The limits on what is accepted.
pub(super) fn limits(settings: &Settings) -> Limits {
    let limits = Limits::default();
    let number = |key: &str, default: usize| settings.count(key).map_or(default, |n| n as usize);
    let size = |key: &str, default: usize| settings.bytes(key).map_or(default, |n| n as usize);
    let seconds = |key: &str, default: u64| settings.duration(key).map_or(default, |d| d.as_secs());
    Limits {
        measurements: number("limits.measurements", limits.measurements),
        fields_per_measurement: number(
            "limits.fields_per_measurement",
            limits.fields_per_measurement,
        ),
        series_per_host: number("limits.series_per_host", limits.series_per_host),
        tags_per_point: number("limits.tags_per_point", limits.tags_per_point),
        tag_bytes: size("limits.tag_bytes", limits.tag_bytes),
        text_bytes: size("limits.text_bytes", limits.text_bytes),
        message_bytes: size("limits.message_bytes", limits.message_bytes),
        oldest_seconds: seconds("limits.oldest", limits.oldest_seconds),
        ahead_seconds: seconds("limits.ahead", limits.ahead_seconds),
    }
}
