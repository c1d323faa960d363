//! The listener `influx`: the write API of InfluxDB 1 and 2 over HTTP, for clients that write line
//! protocol.
//!
//! An answer of 204 means that all points are in the spool, on disk. Where single lines are wrong the
//! good ones are kept and the answer is 400 with the first bad line, as InfluxDB does. When the
//! spool does not take them in time the answer is 503, and the client sends again. It stores nothing
//! under the name of a database, an organisation or a bucket: these are not looked at.

use super::decoded::{self, Decoded};
use super::http::{Answer, Call, Routes, Server, json_text};
use super::{
    AgentError, Bindings, Intake, Listener, ListenerEntry, ListenerSettings, OpenedListener,
    Refusal, listen_checked,
};
use async_trait::async_trait;
use hyper::header::HeaderMap;
use hyper::{Method, StatusCode};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_model::Name;
use tidegauge_serve::Door;
use tidegauge_wire::TimeUnit;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(super) const ENTRY: ListenerEntry = ListenerEntry {
    name: "influx",
    measurement: None,
    description: "Line protocol as clients of InfluxDB 1 and 2 write it over HTTP.",
    open,
};

/// How long an answer waits for the spool.
const STORE_WITHIN: Duration = Duration::from_secs(8);
/// The version that clients are told; some ask for it before they write.
const VERSION: &str = "1.8.10";
const JSON: &str = "application/json";

/// Settings of the listener.
#[derive(Debug, Clone)]
pub struct InfluxSettings {
    /// Where it listens.
    pub address: SocketAddr,
    /// TLS, and what clients must show.
    pub door: Arc<Door>,
    /// Put before all names.
    pub prefix: Option<Name>,
}

fn open(
    settings: &ListenerSettings,
    bindings: &mut Bindings,
) -> Result<Vec<OpenedListener>, AgentError> {
    const KEY: &str = "influx.listen";
    let Some(settings) = &settings.influx else {
        return Ok(Vec::new());
    };
    let (listener, address) = listen_checked(KEY, settings.address, &settings.door, bindings)?;
    Ok(vec![OpenedListener {
        name: ENTRY.name.to_owned(),
        addresses: vec![format!("{} {address}", settings.door.scheme())],
        prefix: settings.prefix.clone(),
        listener: Box::new(Influx {
            listener,
            door: Arc::clone(&settings.door),
        }),
    }])
}

struct Influx {
    listener: TcpListener,
    door: Arc<Door>,
}

#[async_trait]
impl Listener for Influx {
    async fn run(self: Box<Self>, intake: Intake, cancel: CancellationToken) {
        let server = Server {
            listeners: vec![self.listener],
            door: self.door,
            intake: intake.clone(),
            routes: Arc::new(Api { intake }),
        };
        server.run(cancel).await;
    }
}

struct Api {
    intake: Intake,
}

#[async_trait]
impl Routes for Api {
    fn is_open(&self, path: &str) -> bool {
        matches!(path, "/ping" | "/health")
    }

    async fn answer(&self, call: Call) -> Answer {
        match (&call.method, call.path.as_str()) {
            (&Method::GET | &Method::HEAD, "/ping") => Answer {
                header: Some(("x-influxdb-version", VERSION)),
                ..Answer::empty(StatusCode::NO_CONTENT)
            },
            (&Method::GET, "/health") => {
                let text = format!(
                    r#"{{"name":"influxdb","message":"ready for writes","status":"pass","version":"{VERSION}"}}"#
                );
                Answer::new(StatusCode::OK, JSON, text)
            }
            (&Method::POST, "/write" | "/api/v2/write") => self.write(call).await,
            (&Method::GET | &Method::POST, "/query") => self.query(&call),
            _ => self.problem(StatusCode::NOT_FOUND, "not found", "there is no such page"),
        }
    }

    fn refuse(&self, _: &HeaderMap, status: StatusCode, problem: &str) -> Answer {
        let code = match status {
            StatusCode::UNAUTHORIZED => "unauthorized",
            StatusCode::FORBIDDEN => "forbidden",
            StatusCode::PAYLOAD_TOO_LARGE => "request too large",
            _ => "invalid",
        };
        self.problem(status, code, problem)
    }
}

impl Api {
    /// Version 1 has its text in `error`, version 2 in `code` and `message`.
    fn problem(&self, status: StatusCode, code: &str, text: &str) -> Answer {
        let quoted = json_text(text);
        let body = format!(r#"{{"code":"{code}","message":{quoted},"error":{quoted}}}"#);
        Answer::new(status, JSON, body)
    }

    async fn write(&self, call: Call) -> Answer {
        let unit = match call.query("precision") {
            None | Some("" | "n" | "ns") => TimeUnit::Nanoseconds,
            Some("u" | "us" | "µ") => TimeUnit::Microseconds,
            Some("ms") => TimeUnit::Milliseconds,
            Some("s") => TimeUnit::Seconds,
            Some(_) => {
                let problem = "the precision is one of ns, us, ms and s";
                self.intake.refuse(Refusal::Unsupported, 1, problem);
                return self.problem(StatusCode::BAD_REQUEST, "invalid", problem);
            }
        };
        if call.body.iter().all(u8::is_ascii_whitespace) {
            return Answer::empty(StatusCode::NO_CONTENT);
        }
        let (encoding, now_us) = (&tidegauge_wire::influx::Influx, self.intake.now_us());
        let decoded = match decoded::decode(encoding, call.body, Some(unit), now_us).await {
            Ok(decoded) => decoded,
            Err(error) => {
                let text = format!("unable to parse {}: {}", error.at, error.detail);
                self.intake.refuse(error.reason, 1, &text);
                return self.problem(StatusCode::BAD_REQUEST, "invalid", &text);
            }
        };
        let rejected = decoded.count_rejected(&self.intake);
        let Decoded {
            points,
            places,
            rejected: details,
            ..
        } = decoded;
        let receipt = self.intake.hand_on(points).await;
        let dropped = rejected + receipt.refused.len() as u64;
        let mut first = details
            .first()
            .map(|rejected| (rejected.index, rejected.detail.clone()));
        if let Some(refused) = receipt.refused.first()
            && let Some(line) = places.get(refused.index)
            && first.as_ref().is_none_or(|(index, _)| line < index)
        {
            let detail = format!("{}: {}", refused.refusal, refused.detail);
            first = Some((*line, detail));
        }
        let accepted = receipt.accepted as u64;
        let stored = tokio::time::timeout(STORE_WITHIN, receipt.stored()).await;
        if stored != Ok(true) {
            let text = "the points are not stored yet; send them again";
            self.intake.refuse(Refusal::NotStored, accepted, text);
            return self.problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", text);
        }
        match first {
            None => Answer::empty(StatusCode::NO_CONTENT),
            Some((line, detail)) => {
                let text = format!("partial write: line {line}: {detail} dropped={dropped}");
                self.problem(StatusCode::BAD_REQUEST, "invalid", &text)
            }
        }
    }

    /// What clients ask before they write: to make the database. There is nothing to be read here.
    fn query(&self, call: &Call) -> Answer {
        let form: Vec<(String, String)> = form_urlencoded::parse(&call.body).into_owned().collect();
        let in_form = form.iter().find(|(name, _)| name == "q");
        let asked = call
            .query("q")
            .or(in_form.map(|(_, text)| text.as_str()))
            .unwrap_or_default()
            .trim_start()
            .to_ascii_uppercase();
        if asked.starts_with("CREATE ") || asked.starts_with("SHOW ") {
            return Answer::new(StatusCode::OK, JSON, r#"{"results":[{"statement_id":0}]}"#);
        }
        let problem = "this takes writes alone; ask the database of the sink";
        self.problem(StatusCode::BAD_REQUEST, "invalid", problem)
    }
}
