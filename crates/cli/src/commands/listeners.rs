//! From settings to the listeners that they ask for.

use super::host::{tags, usage};
use crate::serve::door;
use crate::settings::{FileTable, Place, Settings, UsageError, value};
use tidegauge_agent::AgentError;
use tidegauge_agent::listeners::exec::{ExecSettings, OutputFormat, ProgramSettings};
use tidegauge_agent::listeners::heartbeat::{HeartbeatSettings, JobSettings};
use tidegauge_agent::listeners::influx::InfluxSettings;
use tidegauge_agent::listeners::otlp::OtlpSettings;
use tidegauge_agent::listeners::prometheus::{Credentials, PrometheusSettings, ScrapeSettings};
use tidegauge_agent::listeners::statsd::StatsdSettings;
use tidegauge_agent::listeners::textfile::TextfileSettings;
use tidegauge_agent::listeners::{ListenerLimits, ListenerSettings};
use tidegauge_agent::probes::CheckSettings;
use tidegauge_model::{Name, Tags};

/// The listeners, with their limits.
pub(super) fn listeners(settings: &Settings) -> Result<ListenerSettings, UsageError> {
    Ok(ListenerSettings {
        limits: limits(settings),
        statsd: statsd(settings)?,
        influx: influx(settings)?,
        otlp: otlp(settings)?,
        prometheus: PrometheusSettings {
            targets: targets(settings)?,
        },
        textfile: textfile(settings)?,
        exec: ExecSettings {
            programs: programs(settings)?,
        },
        heartbeat: heartbeat(settings)?,
    })
}

fn limits(settings: &Settings) -> ListenerLimits {
    let default = ListenerLimits::default();
    let size = |number: Option<u64>, default: usize| {
        number.map_or(default, |number| {
            usize::try_from(number).unwrap_or(usize::MAX)
        })
    };
    let count = |key: &str, default| size(settings.count(key), default);
    ListenerLimits {
        measurements: count("listeners.measurements", default.measurements),
        fields_per_measurement: count(
            "listeners.fields_per_measurement",
            default.fields_per_measurement,
        ),
        series: count("listeners.series", default.series),
        message_bytes: size(
            settings.bytes("listeners.message_bytes"),
            default.message_bytes,
        ),
        ..default
    }
}

fn statsd(settings: &Settings) -> Result<Option<StatsdSettings>, UsageError> {
    let default = StatsdSettings::default();
    let statsd = StatsdSettings {
        udp: settings.address("statsd.listen"),
        tcp: settings.address("statsd.listen_tcp"),
        unix: settings.path("statsd.listen_unix"),
        interval: settings
            .duration("statsd.interval")
            .unwrap_or(default.interval),
        expiry: settings.duration("statsd.expiry").unwrap_or(default.expiry),
        prefix: prefix(settings, "statsd.prefix")?,
        allow_insecure: settings.flag("statsd.allow_insecure"),
    };
    let listens = statsd.udp.is_some() || statsd.tcp.is_some() || statsd.unix.is_some();
    Ok(listens.then_some(statsd))
}

fn influx(settings: &Settings) -> Result<Option<InfluxSettings>, UsageError> {
    let Some(address) = settings.address("influx.listen") else {
        return Ok(None);
    };
    Ok(Some(InfluxSettings {
        address,
        door: door(settings, "influx")?,
        prefix: prefix(settings, "influx.prefix")?,
    }))
}

fn otlp(settings: &Settings) -> Result<Option<OtlpSettings>, UsageError> {
    let (http, grpc) = (
        settings.address("otlp.listen"),
        settings.address("otlp.listen_grpc"),
    );
    if http.is_none() && grpc.is_none() {
        return Ok(None);
    }
    Ok(Some(OtlpSettings {
        http,
        grpc,
        door: door(settings, "otlp")?,
        prefix: prefix(settings, "otlp.prefix")?,
    }))
}

fn textfile(settings: &Settings) -> Result<Option<TextfileSettings>, UsageError> {
    let Some(folder) = settings.path("textfile.folder") else {
        return Ok(None);
    };
    Ok(Some(TextfileSettings {
        folder,
        interval: settings
            .duration("textfile.interval")
            .unwrap_or(CheckSettings::DEFAULT_INTERVAL),
        prefix: prefix(settings, "textfile.prefix")?,
    }))
}

/// What was made of each, or the problems of all.
fn all<T>(made: impl Iterator<Item = Result<T, UsageError>>) -> Result<Vec<T>, UsageError> {
    let (mut good, mut problems) = (Vec::new(), Vec::new());
    for made in made {
        match made {
            Ok(made) => good.push(made),
            Err(UsageError(more)) => problems.extend(more),
        }
    }
    match problems.is_empty() {
        true => Ok(good),
        false => Err(UsageError(problems)),
    }
}

fn targets(settings: &Settings) -> Result<Vec<ScrapeSettings>, UsageError> {
    let place = settings.place("prometheus.scrape");
    let urls = settings.list("prometheus.scrape").iter();
    let of_urls = urls.map(|url| {
        Ok(ScrapeSettings {
            page: page(settings, url, &place)?,
            credentials: None,
            labels: Tags::new(),
            prefix: None,
        })
    });
    let tables = settings.tables("prometheus.targets").iter();
    all(of_urls.chain(tables.map(|table| target(settings, table))))
}

/// A page with what the settings say for all pages.
fn page(settings: &Settings, url: &str, place: &Place) -> Result<CheckSettings, UsageError> {
    let interval = settings.duration("prometheus.interval");
    let page = CheckSettings::new(url)
        .and_then(|page| page.with_interval(interval.unwrap_or(CheckSettings::DEFAULT_INTERVAL)));
    let page = page.and_then(|page| page.with("expect_status", "200"));
    let most_bytes = limits(settings).message_bytes as u64;
    page.and_then(|page| page.with("max_body_bytes", most_bytes))
        .map_err(|error| usage(place, &error))
}

fn target(settings: &Settings, table: &FileTable) -> Result<ScrapeSettings, UsageError> {
    let url = table.text("url").unwrap_or_default();
    let mut made = page(settings, url, &table.place("url"))?;
    let refused = |key: &str, error: &AgentError| usage(&table.place(key), error);
    if let Some(name) = table.text("name") {
        made = made
            .with_name(name)
            .map_err(|error| refused("name", &error))?;
    }
    if let Some(interval) = table.duration("interval") {
        let of_interval = made.with_interval(interval);
        made = of_interval.map_err(|error| refused("interval", &error))?;
    }
    if let Some(deadline) = table.duration("deadline") {
        let of_deadline = made.with_deadline(deadline);
        made = of_deadline.map_err(|error| refused("deadline", &error))?;
    }
    if let Some(path) = table.text("ca_file") {
        made = made
            .with_ca_file(path)
            .map_err(|error| refused("ca_file", &error))?;
    }
    if let Some(bytes) = table
        .text("max_bytes")
        .and_then(|text| value::bytes(text).ok())
    {
        let of_bytes = made.with("max_body_bytes", bytes);
        made = of_bytes.map_err(|error| refused("max_bytes", &error))?;
    }
    Ok(ScrapeSettings {
        page: made,
        credentials: credentials(table)?,
        labels: tags(table.list("labels"), "labels", &table.place("labels"))?,
        prefix: prefix_of(table)?,
    })
}

fn credentials(table: &FileTable) -> Result<Option<Credentials>, UsageError> {
    let text = |key| table.text(key).map(str::to_owned);
    let refuse =
        |key: &str, problem: &str| Err(UsageError::one(format!("{}: {problem}", table.place(key))));
    let (user, file) = match (text("token_file"), text("user"), text("password_file")) {
        (None, None, None) => return Ok(None),
        (Some(file), None, None) => (None, file),
        (None, Some(user), Some(file)) => (Some(user), file),
        (Some(_), _, _) => return refuse("token_file", "a target has a token or a user, not both"),
        (None, Some(_), None) => return refuse("user", "`user` needs a `password_file`"),
        (None, None, Some(_)) => return refuse("password_file", "`password_file` needs a `user`"),
    };
    let file = file.into();
    Ok(Some(Credentials { user, file }))
}

fn programs(settings: &Settings) -> Result<Vec<ProgramSettings>, UsageError> {
    let usual = settings.duration("exec.interval");
    let usual = usual.unwrap_or(CheckSettings::DEFAULT_INTERVAL);
    all(settings.tables("exec.programs").iter().map(|table| {
        let interval = table.duration("interval").unwrap_or(usual);
        let pairs = table.list("environment").iter();
        let pairs = pairs.filter_map(|pair| value::pair(pair).ok());
        Ok(ProgramSettings {
            name: table.text("name").unwrap_or_default().to_owned(),
            command: table.list("command").to_vec(),
            interval,
            deadline: table.duration("deadline").unwrap_or(interval.mul_f64(0.8)),
            format: table
                .text("format")
                .and_then(OutputFormat::parse)
                .unwrap_or(OutputFormat::Influx),
            environment: pairs
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .collect(),
            folder: table.text("folder").map(Into::into),
            prefix: prefix_of(table)?,
        })
    }))
}

fn heartbeat(settings: &Settings) -> Result<Option<HeartbeatSettings>, UsageError> {
    let Some(address) = settings.address("heartbeat.listen") else {
        return Ok(None);
    };
    let jobs = all(settings.tables("heartbeat.jobs").iter().map(|table| {
        Ok(JobSettings {
            name: table.text("name").unwrap_or_default().to_owned(),
            period: table.duration("period").unwrap_or_default(),
            grace: table.duration("grace").unwrap_or_default(),
            labels: tags(table.list("labels"), "labels", &table.place("labels"))?,
        })
    }))?;
    Ok(Some(HeartbeatSettings {
        address,
        door: door(settings, "heartbeat")?,
        jobs,
    }))
}

fn prefix_of(table: &FileTable) -> Result<Option<Name>, UsageError> {
    let place = table.place("prefix");
    let name = |text: &str| {
        Name::new(text)
            .map_err(|error| UsageError::one(format!("{place}: prefix: `{text}`: {error}")))
    };
    table.text("prefix").map(name).transpose()
}

fn prefix(settings: &Settings, key: &str) -> Result<Option<Name>, UsageError> {
    let Some(text) = settings.text(key) else {
        return Ok(None);
    };
    let place = settings.place(key);
    Name::new(text)
        .map(Some)
        .map_err(|error| UsageError::one(format!("{place}: {key}: `{text}`: {error}")))
}
