//! From settings to the listeners that they ask for.

use crate::settings::{Settings, UsageError};
use tidegauge_agent::listeners::influx::InfluxSettings;
use tidegauge_agent::listeners::otlp::OtlpSettings;
use tidegauge_agent::listeners::statsd::StatsdSettings;
use tidegauge_agent::listeners::{ListenerLimits, ListenerSettings, Token};
use tidegauge_model::Name;

/// The listeners, with their limits.
pub(super) fn listeners(settings: &Settings) -> Result<ListenerSettings, UsageError> {
    Ok(ListenerSettings {
        limits: limits(settings),
        statsd: statsd(settings)?,
        influx: influx(settings)?,
        otlp: otlp(settings)?,
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
        token: settings.text("influx.token").map(Token::new),
        prefix: prefix(settings, "influx.prefix")?,
        allow_insecure: settings.flag("influx.allow_insecure"),
    }))
}

fn otlp(settings: &Settings) -> Result<Option<OtlpSettings>, UsageError> {
    let otlp = OtlpSettings {
        http: settings.address("otlp.listen"),
        grpc: settings.address("otlp.listen_grpc"),
        token: settings.text("otlp.token").map(Token::new),
        prefix: prefix(settings, "otlp.prefix")?,
        allow_insecure: settings.flag("otlp.allow_insecure"),
    };
    let listens = otlp.http.is_some() || otlp.grpc.is_some();
    Ok(listens.then_some(otlp))
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
