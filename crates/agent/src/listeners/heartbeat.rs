//! The listener `heartbeat`: jobs call `/heartbeat/NAME` when they are done, and one that does not
//! for longer than its period and its grace is down, as a target that does not answer is.
//!
//! Every call is a point of `heartbeat_check` that is up; when one is due and has not come, a point
//! says so, and again after every further period. Changes are points of `check_state`, as those of
//! checks are. Calls are not remembered over a restart of the agent: a job has its whole period again.
//! An answer of 204 means that the point is in the spool, on disk.

use super::http::{Answer, Call, Routes, Server};
use super::{
    AgentError, Bindings, CheckReason, CheckResult, CheckState, Finding, Intake, Listener,
    ListenerEntry, ListenerSettings, OpenedListener, Refusal, listen_checked,
};
use async_trait::async_trait;
use hyper::header::HeaderMap;
use hyper::{Method, StatusCode};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidegauge_model::{Name, Point, Tags, Value, name};
use tidegauge_serve::Door;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const MEASUREMENT: Name = name!("heartbeat_check");

pub(super) const ENTRY: ListenerEntry = ListenerEntry {
    name: "heartbeat",
    measurement: Some(MEASUREMENT),
    description: "Calls of jobs that say that they are alive; one that stops to call is down.",
    open,
};

/// Where jobs call.
const PATH: &str = "/heartbeat/";
/// How long an answer waits for the spool.
const STORE_WITHIN: Duration = Duration::from_secs(8);

/// Settings of the listener.
#[derive(Debug, Clone)]
pub struct HeartbeatSettings {
    /// Where it listens.
    pub address: SocketAddr,
    /// TLS, and what jobs must show.
    pub door: Arc<Door>,
    /// The jobs, at least one; calls for others are refused.
    pub jobs: Vec<JobSettings>,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSettings {
    /// Its name: the last part of the path, and the tag `target`.
    pub name: String,
    /// The longest time between two calls.
    pub period: Duration,
    /// How much later than that one may come.
    pub grace: Duration,
    /// Tags of its points.
    pub labels: Tags,
}

impl JobSettings {
    /// Refuses what cannot be a part of a path, or would be no job.
    fn validate(&self) -> Result<(), String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if self.name.is_empty() || self.name.len() > 200 || !self.name.bytes().all(fits) {
            return Err(format!(
                "the name {:?} must be 1 to 200 letters, digits and -._~, as it is a part of a path",
                self.name
            ));
        }
        if self.period < Duration::from_secs(1) {
            return Err(format!("the period of {} must be at least 1s", self.name));
        }
        if self
            .labels
            .iter()
            .any(|(name, _)| name.as_str() == "target")
        {
            return Err("the label `target` is the name of the job".to_owned());
        }
        Ok(())
    }
}

fn open(
    settings: &ListenerSettings,
    bindings: &mut Bindings,
) -> Result<Vec<OpenedListener>, AgentError> {
    const KEY: &str = "heartbeat.listen";
    const JOBS: &str = "heartbeat.jobs";
    let Some(settings) = &settings.heartbeat else {
        return Ok(Vec::new());
    };
    let refused = |key, problem| Err(AgentError::Setting { key, problem });
    if settings.jobs.is_empty() {
        let problem = "there are none: say [[heartbeat.jobs]] with a name and a period";
        return refused(JOBS, problem.to_owned());
    }
    let mut jobs = HashMap::new();
    for job in &settings.jobs {
        if let Err(problem) = job.validate() {
            return refused(JOBS, problem);
        }
        if jobs
            .insert(job.name.clone(), Job::new(job.clone()))
            .is_some()
        {
            return refused(JOBS, format!("two have the name {:?}", job.name));
        }
    }
    let (listener, address) = listen_checked(KEY, settings.address, &settings.door, bindings)?;
    Ok(vec![OpenedListener {
        name: ENTRY.name.to_owned(),
        addresses: vec![format!("{} {address}", settings.door.scheme())],
        prefix: None,
        listener: Box::new(Heartbeat {
            listener,
            door: Arc::clone(&settings.door),
            jobs: Jobs {
                jobs: Mutex::new(jobs),
                called: Notify::new(),
            },
        }),
    }])
}

/// What is known of a job.
struct Job {
    settings: JobSettings,
    state: CheckState,
    last: Option<Instant>,
    /// When it is missing.
    due: Instant,
}

impl Job {
    fn new(settings: JobSettings) -> Self {
        Self {
            state: CheckState::after(1, 1),
            last: None,
            due: Instant::now() + settings.period + settings.grace,
            settings,
        }
    }

    fn called(&mut self, now: Instant, time_us: i64) -> Vec<Point> {
        let before = self.last.replace(now);
        self.due = now + self.settings.period + self.settings.grace;
        self.points(CheckReason::Ok, None, before, (now, time_us))
    }

    fn missing(&mut self, now: Instant, time_us: i64) -> Vec<Point> {
        // However late this is served, it is missing once for every period from now on.
        self.due = now + self.settings.period;
        let period = self.settings.period;
        let detail = match self.last {
            Some(last) => format!(
                "the last call was {:?} ago, one is due every {period:?}",
                seconds(now - last)
            ),
            None => format!("none has called since the agent began, one is due every {period:?}"),
        };
        self.points(
            CheckReason::Missing,
            Some(&detail),
            self.last,
            (now, time_us),
        )
    }

    fn points(
        &mut self,
        reason: CheckReason,
        detail: Option<&str>,
        last: Option<Instant>,
        (now, time_us): (Instant, i64),
    ) -> Vec<Point> {
        let since = last.map(|last| Value::Float((now - last).as_secs_f64()));
        let fields = since.map(|since| (name!("since_last_seconds"), since));
        let result = CheckResult {
            measurement: MEASUREMENT,
            target: self.settings.name.clone(),
            labels: self.settings.labels.clone(),
            time_us,
            finding: Finding::new(reason, detail, fields.into_iter().collect()),
        };
        let (point, change) = self.state.points(result, true);
        std::iter::once(point).chain(change).collect()
    }
}

/// Whole seconds, for people.
const fn seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

struct Jobs {
    jobs: Mutex<HashMap<String, Job>>,
    /// Told of every call, as it changes when the next one is due.
    called: Notify,
}

impl Jobs {
    /// Whatever panicked, what is known of jobs is whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of those that are missing, until `cancel`.
    async fn watch(&self, intake: &Intake, cancel: &CancellationToken) {
        loop {
            let next = self.lock().values().map(|job| job.due).min();
            let Some(next) = next else { return };
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.called.notified() => continue,
                () = tokio::time::sleep_until(next) => {}
            }
            let (now, time_us) = (Instant::now(), intake.now_us());
            let mut points = Vec::new();
            for job in self.lock().values_mut().filter(|job| job.due <= now) {
                points.extend(job.missing(now, time_us));
            }
            for point in points {
                intake.tell(point).await;
            }
        }
    }
}

struct Heartbeat {
    listener: TcpListener,
    door: Arc<Door>,
    jobs: Jobs,
}

#[async_trait]
impl Listener for Heartbeat {
    async fn run(self: Box<Self>, intake: Intake, cancel: CancellationToken) {
        let jobs = Arc::new(self.jobs);
        let server = Server {
            listeners: vec![self.listener],
            door: self.door,
            intake: intake.clone(),
            routes: Arc::new(Api {
                intake: intake.clone(),
                jobs: Arc::clone(&jobs),
            }),
        };
        tokio::join!(server.run(cancel.clone()), jobs.watch(&intake, &cancel));
    }
}

struct Api {
    intake: Intake,
    jobs: Arc<Jobs>,
}

/// The name of the job in a path, and the token behind it.
fn parts(path: &str) -> Option<(&str, Option<&str>)> {
    let rest = path.strip_prefix(PATH)?;
    Some(match rest.split_once('/') {
        Some((name, token)) => (name, Some(token).filter(|token| !token.is_empty())),
        None => (rest, None),
    })
}

#[async_trait]
impl Routes for Api {
    fn is_open(&self, _: &str) -> bool {
        false
    }

    fn token_in<'a>(&self, path: &'a str) -> Option<&'a str> {
        parts(path).and_then(|(_, token)| token)
    }

    async fn answer(&self, call: Call) -> Answer {
        let Some((job, _)) = parts(&call.path) else {
            return self.problem(StatusCode::NOT_FOUND, "jobs call /heartbeat/NAME");
        };
        if ![Method::GET, Method::HEAD, Method::POST, Method::PUT].contains(&call.method) {
            return self.problem(StatusCode::METHOD_NOT_ALLOWED, "jobs call with GET or POST");
        }
        let time_us = self.intake.now_us();
        let called = |job: &mut Job| job.called(Instant::now(), time_us);
        let points = self.jobs.lock().get_mut(job).map(called);
        let Some(points) = points else {
            return self.problem(
                StatusCode::NOT_FOUND,
                "there is no job of this name in [[heartbeat.jobs]]",
            );
        };
        self.jobs.called.notify_one();
        let stored = self.intake.tell_stored(points);
        match tokio::time::timeout(STORE_WITHIN, stored).await {
            Ok(true) => Answer::empty(StatusCode::NO_CONTENT),
            _ => {
                let text = "the call is not stored yet; call again";
                self.intake.refuse(Refusal::NotStored, 1, text);
                self.refuse(&call.headers, StatusCode::SERVICE_UNAVAILABLE, text)
            }
        }
    }

    fn refuse(&self, _: &HeaderMap, status: StatusCode, problem: &str) -> Answer {
        Answer::new(status, "text/plain", format!("{problem}\n"))
    }
}

impl Api {
    fn problem(&self, status: StatusCode, problem: &str) -> Answer {
        self.intake.refuse(Refusal::Unsupported, 1, problem);
        Answer::new(status, "text/plain", format!("{problem}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(period: u64, grace: u64) -> Job {
        Job::new(JobSettings {
            name: "backup".to_owned(),
            period: Duration::from_secs(period),
            grace: Duration::from_secs(grace),
            labels: vec![(name!("place"), "cellar".into())],
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_is_missing_after_its_period_and_grace_and_back_with_the_next_call() {
        let mut job = job(60, 5);
        let begun = Instant::now();
        assert_eq!(job.due - begun, Duration::from_secs(65));
        let at = |seconds: u64| {
            (
                begun + Duration::from_secs(seconds),
                seconds as i64 * 1_000_000,
            )
        };
        let (now, time_us) = at(10);
        let points = job.called(now, time_us);
        assert_eq!(points.len(), 2, "the first call says that it is up");
        assert_eq!(points[0].tag_text("target"), Some("backup"));
        assert_eq!(points[0].tag_text("place"), Some("cellar"));
        assert_eq!(points[0].value("up"), Some(&Value::Bool(true)));
        assert_eq!(points[0].value("since_last_seconds"), None);
        assert_eq!(job.due - begun, Duration::from_secs(75));
        let (now, time_us) = at(40);
        let points = job.called(now, time_us);
        assert_eq!(points.len(), 1);
        assert_eq!(
            points[0].value("since_last_seconds"),
            Some(&Value::Float(30.0))
        );

        let (now, time_us) = at(105);
        assert_eq!(job.due, now);
        let points = job.missing(now, time_us);
        assert_eq!(points.len(), 2, "it goes down");
        assert_eq!(
            points[0].value("reason"),
            Some(&Value::Text("missing".into()))
        );
        assert_eq!(
            points[0].value("detail"),
            Some(&Value::Text(
                "the last call was 65s ago, one is due every 60s".into()
            ))
        );
        assert_eq!(points[1].measurement().as_str(), "check_state");
        let (now, time_us) = at(165);
        assert_eq!(job.due, now);
        assert_eq!(job.missing(now, time_us).len(), 1, "it is still down");
        let (now, time_us) = at(170);
        let points = job.called(now, time_us);
        assert_eq!(points.len(), 2, "it is back");
        assert_eq!(
            points[0].value("since_last_seconds"),
            Some(&Value::Float(130.0))
        );
        assert_eq!(points[1].value("before_seconds"), Some(&Value::Float(65.0)));
    }

    #[tokio::test]
    async fn what_is_no_job_is_refused() {
        for (name, period, expected) in [
            ("a b", 60, "letters, digits"),
            ("", 60, "letters, digits"),
            ("a/b", 60, "letters, digits"),
            ("a", 0, "at least 1s"),
        ] {
            let mut settings = job(period, 0).settings;
            settings.name = name.to_owned();
            let problem = settings.validate().expect_err("refused");
            assert!(problem.contains(expected), "{problem}");
        }
        assert_eq!(parts("/heartbeat/a"), Some(("a", None)));
        assert_eq!(parts("/heartbeat/a/"), Some(("a", None)));
        assert_eq!(parts("/heartbeat/a/t/x"), Some(("a", Some("t/x"))));
        assert_eq!(parts("/other/a"), None);
    }
}
