//! The checks whose targets come from DNS (SRV records): looked up at an interval, and begun and ended as the
//! targets come and go.
//!
//! A look-up without an answer changes nothing: the targets that are known stay. An answer that there are
//! none is an answer, and ends all of them.

use crate::CollectSettings;
use crate::probes::{CheckSettings, ProbeContext, ServiceTarget};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long a look-up may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// So many are under way at once.
const AT_ONCE: usize = 16;

pub(super) const LOOK_UPS: &str = "tidegauge_agent_srv_lookups_total";
pub(super) const TARGETS: &str = "tidegauge_agent_srv_targets";

/// What is wanted, and which targets are known.
pub(super) struct Services {
    context: Arc<ProbeContext>,
    interval: Duration,
    /// All checks, if some of them have their targets from DNS: thousands may have not.
    wanted: Vec<CheckSettings>,
    found: HashMap<String, Found>,
    due: Instant,
}

/// What the last look-ups of a service came to.
#[derive(Default)]
struct Found {
    targets: Vec<ServiceTarget>,
    /// Why there was no answer to the last one.
    problem: Option<String>,
}

impl Services {
    pub(super) fn new(settings: &CollectSettings) -> Self {
        let servers = settings.name_servers.clone();
        Self {
            context: Arc::new(ProbeContext::with_name_servers(servers)),
            interval: settings.srv_interval,
            wanted: Vec::new(),
            found: HashMap::new(),
            due: Instant::now(),
        }
    }

    /// Whether there is anything to look up.
    pub(super) const fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// What is to be kept of what is wanted, for [`Self::keep`].
    pub(super) fn of(wanted: &[CheckSettings]) -> Vec<CheckSettings> {
        let has_services = wanted.iter().any(|check| check.service().is_some());
        if has_services {
            wanted.to_vec()
        } else {
            Vec::new()
        }
    }

    /// Takes up what is wanted from now on, and looks up at once.
    pub(super) fn keep(&mut self, wanted: Vec<CheckSettings>) {
        let names: HashSet<_> = wanted.iter().filter_map(CheckSettings::service).collect();
        self.found.retain(|name, _| names.contains(name.as_str()));
        self.wanted = wanted;
        self.due = Instant::now();
    }

    /// The checks to make now.
    pub(super) fn checks(&self) -> Vec<CheckSettings> {
        self.expanded(self.wanted.clone())
    }

    /// The same checks, with those of the known targets in place of those of services.
    pub(super) fn expanded(&self, wanted: Vec<CheckSettings>) -> Vec<CheckSettings> {
        if wanted.iter().all(|check| check.service().is_none()) {
            return wanted;
        }
        let is_service = |check: &CheckSettings| check.service().is_some();
        let (services, mut checks): (Vec<_>, Vec<_>) = wanted.into_iter().partition(is_service);
        let mut names: HashSet<String> =
            checks.iter().map(|check| check.name().to_owned()).collect();
        for service in services {
            let found = service.service().and_then(|name| self.found.get(name));
            for (host, port) in found.map_or(&[][..], |found| &found.targets) {
                match service.at(host, *port) {
                    Ok(check) if names.insert(check.name().to_owned()) => checks.push(check),
                    Ok(check) => {
                        tracing::debug!(check = check.name(), "another check has this target");
                    }
                    Err(error) => {
                        tracing::warn!(service = service.name(), "a target is left out: {error}");
                    }
                }
            }
        }
        checks
    }

    /// Looks up when it is due, until targets are others than before. Giving up the wait loses nothing but
    /// the look-ups that are under way.
    pub(super) async fn changed(&mut self) {
        if self.is_empty() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep_until(self.due).await;
            let answers = self.look_up().await;
            self.due = Instant::now() + self.interval;
            if self.take(answers) {
                return;
            }
        }
    }

    async fn look_up(&self) -> BTreeMap<String, Result<Vec<ServiceTarget>, String>> {
        let names: HashSet<&str> = self
            .wanted
            .iter()
            .filter_map(CheckSettings::service)
            .collect();
        let mut names = names.into_iter().map(str::to_owned);
        let mut under_way = JoinSet::new();
        let mut answers = BTreeMap::new();
        loop {
            while under_way.len() < AT_ONCE
                && let Some(name) = names.next()
            {
                let context = Arc::clone(&self.context);
                under_way.spawn(async move {
                    let asked = context.service_targets(&name);
                    let answer = tokio::time::timeout(DEADLINE, asked).await;
                    let late = |_| Err(format!("no answer within {DEADLINE:?}"));
                    (name, answer.unwrap_or_else(late))
                });
            }
            match under_way.join_next().await {
                None => return answers,
                Some(Ok((name, answer))) => drop(answers.insert(name, answer)),
                Some(Err(error)) => tracing::warn!(%error, "a look-up died"),
            }
        }
    }

    /// Takes the answers; whether targets are others than before. What changes is logged once.
    fn take(&mut self, answers: BTreeMap<String, Result<Vec<ServiceTarget>, String>>) -> bool {
        let mut changed = false;
        for (name, answer) in answers {
            let known = self.found.entry(name.clone()).or_default();
            let result = if answer.is_ok() { "ok" } else { "failed" };
            metrics::counter!(LOOK_UPS, "result" => result).increment(1);
            match answer {
                Ok(targets) => {
                    if known.problem.take().is_some() {
                        tracing::info!("{name}: its targets can be looked up again");
                    }
                    if known.targets != targets {
                        let before = known.targets.len();
                        tracing::info!("{name}: {} targets, {before} before", targets.len());
                        known.targets = targets;
                        changed = true;
                    }
                }
                Err(problem) => {
                    if known.problem.is_none() {
                        let kept = known.targets.len();
                        tracing::warn!(
                            "{name}: its targets cannot be looked up, the {kept} that are known stay: {problem}"
                        );
                    }
                    known.problem = Some(problem);
                }
            }
        }
        let all: usize = self.found.values().map(|found| found.targets.len()).sum();
        metrics::gauge!(TARGETS).set(all as f64);
        changed
    }
}
