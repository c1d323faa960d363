//! The listener `prometheus`: fetches pages of metrics from exporters, as Prometheus does.
//!
//! Each target has a task, an interval, a deadline and limits of its own, and tells after each
//! fetch in the measurement `scrape` how it went. A line that cannot be read is refused alone and
//! counted; the other lines of the page are kept (D7). Files with secrets are read at each fetch, so
//! that they may change; what is in them is in no text (D13).

use super::{
    AgentError, Bindings, CheckReason, CheckSettings, Fetcher, Intake, Listener, ListenerEntry,
    ListenerSettings, OpenedListener, ProbeContext, Ticks, authorization_of, pages, phase,
};
use async_trait::async_trait;
use hyper::header::HeaderValue;
use std::path::PathBuf;
use tidegauge_model::{Name, Point, Tags, name};
use tidegauge_wire::openmetrics::Dialect;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(super) const ENTRY: ListenerEntry = ListenerEntry {
    name: "prometheus",
    measurement: Some(name!("scrape")),
    description: "Pages of metrics that exporters serve to Prometheus, fetched on an interval.",
    open,
};

/// What a page may be in, the best format first.
const ACCEPT: &str =
    "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
/// What is told of a fetch, of all that a check finds out.
const TOLD: [&str; 5] = [
    "status",
    "body_bytes",
    "total_seconds",
    "address",
    "certificate_expires_seconds",
];

/// Settings of the listener: its targets.
#[derive(Debug, Clone, Default)]
pub struct PrometheusSettings {
    /// The targets, each with a name of its own.
    pub targets: Vec<ScrapeSettings>,
}

/// One target.
#[derive(Debug, Clone)]
pub struct ScrapeSettings {
    /// Its name, address, interval, deadline, certificates, and how large a page may be.
    pub page: CheckSettings,
    /// Who fetches.
    pub credentials: Option<Credentials>,
    /// Tags of all its points; those of the page with such a name get `exported_` before it.
    pub labels: Tags,
    /// Put before all names.
    pub prefix: Option<Name>,
}

/// Who fetches, with a secret in a file.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user; without one the file has a token.
    pub user: Option<String>,
    /// The file with the password or the token.
    pub file: PathBuf,
}

impl Credentials {
    fn authorization(&self) -> Result<HeaderValue, String> {
        let secret = std::fs::read_to_string(&self.file)
            .map_err(|error| format!("read {}: {error}", self.file.display()))?;
        authorization_of(self.user.as_deref(), secret.trim_end_matches(['\r', '\n']))
            .map_err(|problem| format!("{}: {problem}", self.file.display()))
    }
}

fn open(settings: &ListenerSettings, _: &mut Bindings) -> Result<Vec<OpenedListener>, AgentError> {
    let context = ProbeContext::new();
    let targets = settings.prometheus.targets.iter();
    targets
        .map(|target| {
            // A secret that is not there is told at the start, not an hour later.
            if let Some(credentials) = &target.credentials {
                let key = "prometheus.targets";
                let setting = |problem| AgentError::Setting { key, problem };
                credentials.authorization().map_err(setting)?;
            }
            let mut tags = target.labels.clone();
            tags.push((name!("target"), target.page.name().to_owned().into()));
            Ok(OpenedListener {
                name: format!("{}_{}", ENTRY.name, target.page.name()),
                addresses: Vec::new(),
                prefix: target.prefix.clone(),
                listener: Box::new(Scrape {
                    fetcher: Fetcher::new(&target.page, &context, ACCEPT)?,
                    settings: target.clone(),
                    tags,
                    has_no_secret: false,
                }),
            })
        })
        .collect()
}

struct Scrape {
    fetcher: Fetcher,
    settings: ScrapeSettings,
    tags: Tags,
    /// Whether the file with the secret could not be read last.
    has_no_secret: bool,
}

#[async_trait]
impl Listener for Scrape {
    async fn run(mut self: Box<Self>, intake: Intake, cancel: CancellationToken) {
        let page = &self.settings.page;
        let phase = phase(&format!("scrape {}", page.name()), page.interval());
        let mut ticks = Ticks::new(Instant::now(), phase, page.interval());
        let mut failing = None;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let reason = tokio::select! {
                () = cancel.cancelled() => return,
                reason = self.scrape(&intake) => reason,
            };
            let target = self.settings.page.name();
            match (failing, &reason) {
                (None, Some((reason, detail))) => {
                    tracing::warn!(target, %reason, detail, "a page of metrics was not fetched");
                }
                (Some(_), None) => tracing::info!(target, "the page of metrics is there again"),
                _ => {}
            }
            failing = reason.map(|(reason, _)| reason);
        }
    }
}

impl Scrape {
    /// What to send; `None` is what was sent before.
    fn authorization(&mut self) -> Option<HeaderValue> {
        match self.settings.credentials.as_ref()?.authorization() {
            Ok(authorization) => {
                self.has_no_secret = false;
                Some(authorization)
            }
            Err(problem) => {
                if !std::mem::replace(&mut self.has_no_secret, true) {
                    tracing::warn!(problem, "the secret of before is sent on");
                }
                None
            }
        }
    }

    /// Fetches once; why there was no page, if there was none.
    async fn scrape(&mut self, intake: &Intake) -> Option<(CheckReason, String)> {
        let taken_us = intake.now_us();
        let authorization = self.authorization();
        let fetched = self.fetcher.fetch(authorization, intake.clock()).await;
        let finding = fetched.finding;
        let is_up = finding.reason == CheckReason::Ok;
        let mut point = Point::new(name!("scrape"), taken_us)
            .tag(name!("target"), self.settings.page.name().to_owned())
            .field(name!("up"), is_up)
            .field(name!("reason"), finding.reason.as_str())
            .field_if(name!("detail"), finding.detail.clone());
        for (name, value) in finding.fields {
            if TOLD.contains(&name.as_str()) {
                point.set(name, value);
            }
        }
        if is_up {
            let dialect = match &fetched.content_type {
                Some(content_type) => Dialect::of_content_type(content_type),
                None => Dialect::of_page(&fetched.body),
            };
            let read = pages::hand_on(fetched.body, dialect, taken_us, &self.tags, intake).await;
            point = read.told(point);
        }
        intake.tell(point).await;
        let detail = finding.detail.unwrap_or_default();
        (!is_up).then_some((finding.reason, detail))
    }
}
