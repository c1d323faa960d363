//! New samples as they become visible, pushed to open pages.
//!
//! One task per host that somebody looks at reads the store once per tick for all of them and
//! ends when nobody is left. A page may be told a sample twice (it forgets the repeat by its
//! time), but not be left without one in silence: a page that is too slow is told to read anew.

use crate::error::chain;
use crate::panels::{self, Chart, PANELS, PanelAnswer};
use axum::response::sse::Event;
use futures_util::Stream;
use serde::Serialize;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidegauge_model::Clock;
use tidegauge_query::{HostId, Query, QueryError};
use tokio::sync::broadcast;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Events that wait for a page; one that is further behind is told to read anew.
const EVENTS: usize = 32;
/// One look at all panels may take so long.
const READ_DEADLINE: Duration = Duration::from_secs(10);
/// How far back a look goes at least, for samples that become visible late.
const LEAD_MS: i64 = 10_000;
/// A rate needs the sample before, a gap of 2.5 steps two of them.
const LEAD_STEPS: i64 = 4;
/// How far back a look goes at most, and a page that was away longer reads anew.
const MAX_LEAD_MS: i64 = 600_000;
/// Samples of hosts whose clock is ahead are shown too.
const AHEAD_MS: i64 = 3_600_000;
/// Times per series and look; the rest is for the next time that the page reads all.
const MAX_POINTS: u32 = 5_000;

/// Who looks at which host.
#[derive(Debug)]
pub(crate) struct LiveHub {
    looker: Looker,
    refresh: Duration,
    cancel: CancellationToken,
    tasks: TaskTracker,
    hosts: Arc<Mutex<Hosts>>,
}

type Hosts = HashMap<HostId, broadcast::Sender<LiveEvent>>;

#[derive(Debug, Clone)]
enum LiveEvent {
    Samples { id: i64, data: Arc<str> },
    Trouble { data: Arc<str> },
}

#[derive(Debug, Clone)]
struct Looker {
    query: Query,
    clock: Arc<dyn Clock>,
}

/// What was told already of one host.
#[derive(Debug, Default)]
struct Told {
    /// Where a chart begins that was not seen before.
    begin_ms: i64,
    charts: HashMap<String, i64>,
    /// Newest time and longest step by panel.
    panels: HashMap<&'static str, (i64, i64)>,
}

#[derive(Serialize)]
struct Samples {
    now_ms: i64,
    panels: Vec<PanelAnswer>,
}

impl LiveHub {
    pub(crate) fn new(
        query: Query,
        clock: Arc<dyn Clock>,
        refresh: Duration,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            looker: Looker { query, clock },
            // An interval of zero is a panic in tokio.
            refresh: refresh.max(Duration::from_millis(10)),
            cancel,
            tasks: TaskTracker::new(),
            hosts: Arc::default(),
        }
    }

    pub(crate) const fn refresh(&self) -> Duration {
        self.refresh
    }

    /// The events of one page: at first what is newer than `since_us`, then what comes. Ends when
    /// the program does.
    pub(crate) fn events(
        &self,
        host: HostId,
        since_us: Option<i64>,
    ) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
        let now_ms = self.looker.clock.now_us() / 1_000;
        let since_ms = since_us.map_or(now_ms, |since| since / 1_000);
        let receiver = self.subscribe(host);
        let (looker, cancel) = (self.looker.clone(), self.cancel.clone());
        let missed = async move {
            if now_ms - since_ms > MAX_LEAD_MS {
                return Some(resync());
            }
            let mut told = Told {
                begin_ms: since_ms,
                ..Told::default()
            };
            looker
                .look(host, &mut told)
                .await
                .map(LiveEvent::into_event)
        };
        let first = futures_util::stream::once(missed);
        let first = futures_util::StreamExt::filter_map(first, std::future::ready);
        let rest = futures_util::stream::unfold(receiver, async |mut receiver| {
            match receiver.recv().await {
                Ok(event) => Some((event.into_event(), receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((resync(), receiver)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        });
        let all = futures_util::StreamExt::chain(first, rest);
        let all = futures_util::StreamExt::map(all, Ok);
        futures_util::StreamExt::take_until(all, cancel.cancelled_owned())
    }

    fn subscribe(&self, host: HostId) -> broadcast::Receiver<LiveEvent> {
        let mut hosts = lock(&self.hosts);
        if let Some(sender) = hosts.get(&host) {
            return sender.subscribe();
        }
        // When it is full the oldest event goes, and the page that has not read it is told.
        let (sender, receiver) = broadcast::channel(EVENTS);
        hosts.insert(host, sender.clone());
        let watch = watch(
            self.looker.clone(),
            host,
            self.refresh,
            sender,
            self.hosts.clone(),
        );
        let cancel = self.cancel.clone();
        self.tasks.spawn(cancel.run_until_cancelled_owned(watch));
        receiver
    }
}

/// Looks at a host once per tick until nobody listens.
async fn watch(
    looker: Looker,
    host: HostId,
    refresh: Duration,
    sender: broadcast::Sender<LiveEvent>,
    hosts: Arc<Mutex<Hosts>>,
) {
    let mut told = Told {
        begin_ms: looker.clock.now_us() / 1_000 - LEAD_MS,
        ..Told::default()
    };
    let mut ticks = tokio::time::interval(refresh);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        {
            // Under the lock under which pages subscribe, so that none is left behind.
            let mut hosts = lock(&hosts);
            if sender.receiver_count() == 0 {
                hosts.remove(&host);
                return;
            }
        }
        if let Some(event) = looker.look(host, &mut told).await {
            // Fails only when the last page has just gone.
            sender.send(event).ok();
        }
    }
}

fn lock(hosts: &Mutex<Hosts>) -> MutexGuard<'_, Hosts> {
    hosts.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Looker {
    /// What is new since the last look, if anything.
    async fn look(&self, host: HostId, told: &mut Told) -> Option<LiveEvent> {
        let now_ms = self.clock.now_us() / 1_000;
        let trouble = |text: &str| LiveEvent::Trouble {
            data: serde_json::json!({ "error": text }).to_string().into(),
        };
        match tokio::time::timeout(READ_DEADLINE, self.read(host, now_ms, told)).await {
            Ok(Ok(panels)) if panels.is_empty() => None,
            Ok(Ok(panels)) => match serde_json::to_string(&Samples { now_ms, panels }) {
                Ok(data) => Some(LiveEvent::Samples {
                    id: now_ms - LEAD_MS,
                    data: data.into(),
                }),
                Err(error) => Some(trouble(&error.to_string())),
            },
            Ok(Err(error)) => {
                tracing::warn!(error = %chain(&error), "looking for new samples");
                Some(trouble(&error.to_string()))
            }
            Err(_) => {
                tracing::warn!(deadline = ?READ_DEADLINE, "the store is too slow for live samples");
                Some(trouble("the store does not answer in time"))
            }
        }
    }

    async fn read(
        &self,
        host: HostId,
        now_ms: i64,
        told: &mut Told,
    ) -> Result<Vec<PanelAnswer>, QueryError> {
        let measurements = self.query.measurements().await?;
        let mut answers = Vec::new();
        for panel in PANELS {
            let (newest_ms, step_ms) = told
                .panels
                .get(panel.name)
                .copied()
                .unwrap_or((told.begin_ms, 0));
            let lead_ms = LEAD_MS.max(step_ms * LEAD_STEPS);
            let from_ms = (newest_ms - lead_ms).max(now_ms - MAX_LEAD_MS);
            let range_us = from_ms * 1_000..(now_ms + AHEAD_MS) * 1_000;
            let read = panels::read(
                &self.query,
                &measurements,
                host,
                panel,
                range_us,
                MAX_POINTS,
            );
            let charts = told.new_of(panel.name, read.await?);
            if !charts.is_empty() {
                answers.push(PanelAnswer::new(panel, now_ms * 1_000, charts));
            }
        }
        Ok(answers)
    }
}

impl Told {
    /// Keeps what was not told yet and counts it as told.
    fn new_of(&mut self, panel: &'static str, mut charts: Vec<Chart>) -> Vec<Chart> {
        charts.retain_mut(|chart| {
            let Some(last_ms) = chart.last_ms() else {
                return false;
            };
            let step_ms = chart.step_ms().unwrap_or(0);
            let known = self.panels.entry(panel).or_insert((last_ms, step_ms));
            *known = (known.0.max(last_ms), known.1.max(step_ms));
            let told_ms = self
                .charts
                .entry(chart.key.clone())
                .or_insert(self.begin_ms);
            if last_ms <= *told_ms {
                return false;
            }
            chart.keep_after(*told_ms);
            *told_ms = last_ms;
            true
        });
        charts
    }
}

impl LiveEvent {
    fn into_event(self) -> Event {
        match self {
            Self::Samples { id, data } => Event::default()
                .event("samples")
                .id(id.to_string())
                .data(&*data),
            Self::Trouble { data } => Event::default().event("trouble").data(&*data),
        }
    }
}

/// Tells a page that it missed something.
fn resync() -> Event {
    Event::default().event("resync").data("{}")
}
