//! Asking systemd over D-Bus: one connection, kept between collections, with a deadline for each
//! collection.

use super::SystemdSettings;
use crate::collectors::CollectError;
use crate::collectors::linux::patterns::is_like;
use std::path::Path;
use std::time::Duration;
use tidegauge_model::{Point, name};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use zbus::Connection;
use zbus::zvariant::{OwnedObjectPath, OwnedValue};

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// The longest that connecting, or all questions of one collection, may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// What `ListUnits` tells of a unit: name, description, three states, the unit that it follows,
/// its object, and its job by number, kind and object.
type ListedUnit = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

/// The states of units that are counted, in the order of the fields.
const STATES: [&str; 6] = [
    "active",
    "reloading",
    "inactive",
    "failed",
    "activating",
    "deactivating",
];

/// A connection to the bus.
pub(super) struct Bus {
    connection: Connection,
    /// Dropped after the connection.
    runtime: OwnRuntime,
    /// The name of systemd on the bus; a connection without a bus has no names.
    peer: Option<&'static str>,
}

/// A runtime that may be dropped anywhere, also by a task of another one.
struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn new() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self(Some(runtime)))
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        let runtime = self.0.as_ref().expect("is there until it is dropped");
        runtime.block_on(work)
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Bus {
    /// Connects to the bus.
    pub(super) fn connect(socket: &Path) -> Result<Self, CollectError> {
        let runtime = OwnRuntime::new().map_err(failed)?;
        let connecting = async {
            let stream = UnixStream::connect(socket)
                .await
                .map_err(|source| CollectError::from_io(socket, source))?;
            let builder = zbus::connection::Builder::unix_stream(stream);
            builder.build().await.map_err(failed)
        };
        let connected = in_time(&runtime, connecting)?;
        Ok(Self {
            connection: connected?,
            runtime,
            peer: Some(SERVICE),
        })
    }

    /// Asks for the state of the system and of the units.
    pub(super) fn ask(&mut self, settings: &SystemdSettings) -> Result<Answer, CollectError> {
        let Self {
            runtime,
            connection,
            peer,
        } = self;
        let questions = async {
            let questions = Questions {
                connection,
                peer: *peer,
            };
            questions.all(settings).await
        };
        in_time(runtime, questions)?.map_err(failed)
    }
}

/// Waits for an answer, but not longer than the deadline.
fn in_time<T>(runtime: &OwnRuntime, work: impl Future<Output = T>) -> Result<T, CollectError> {
    // A timer is made inside of the runtime that drives it.
    let waiting = async { tokio::time::timeout(DEADLINE, work).await };
    runtime.block_on(waiting).map_err(failed)
}

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CollectError {
    CollectError::Ask {
        service: "systemd",
        source: source.into(),
    }
}

struct Questions<'a> {
    connection: &'a Connection,
    peer: Option<&'static str>,
}

impl Questions<'_> {
    async fn all(&self, settings: &SystemdSettings) -> zbus::Result<Answer> {
        let state = self.property(MANAGER_PATH, MANAGER, "SystemState").await?;
        let reply = self
            .connection
            .call_method(self.peer, MANAGER_PATH, Some(MANAGER), "ListUnits", &())
            .await?;
        let units: Vec<ListedUnit> = reply.body().deserialize()?;
        let mut answer = Answer {
            state: String::try_from(state).ok(),
            counts: STATES.map(|state| units.iter().filter(|unit| unit.3 == state).count() as u64),
            all: units.len() as u64,
            ..Answer::default()
        };
        let mut wanted: Vec<_> = units
            .into_iter()
            .filter(|unit| {
                settings
                    .only
                    .iter()
                    .any(|pattern| is_like(&unit.0, pattern))
            })
            .collect();
        wanted.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        answer.left_out = wanted.len().saturating_sub(settings.most) as u64;
        wanted.truncate(settings.most);
        for (name, _, load_state, state, sub_state, _, object, ..) in wanted {
            let restarts = match name.ends_with(".service") && load_state == "loaded" {
                true => {
                    let interface = "org.freedesktop.systemd1.Service";
                    // One that was just removed does not answer.
                    let told = self.property(object.as_str(), interface, "NRestarts").await;
                    told.ok().and_then(|told| u32::try_from(told).ok())
                }
                false => None,
            };
            answer.units.push(Unit {
                name,
                load_state,
                state,
                sub_state,
                restarts,
            });
        }
        Ok(answer)
    }

    async fn property(
        &self,
        object: &str,
        interface: &str,
        name: &str,
    ) -> zbus::Result<OwnedValue> {
        let properties = Some("org.freedesktop.DBus.Properties");
        let question = (interface, name);
        let reply = self
            .connection
            .call_method(self.peer, object, properties, "Get", &question)
            .await?;
        reply.body().deserialize()
    }
}

/// What systemd answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    state: Option<String>,
    counts: [u64; STATES.len()],
    all: u64,
    left_out: u64,
    units: Vec<Unit>,
}

#[derive(Debug)]
struct Unit {
    name: String,
    load_state: String,
    state: String,
    sub_state: String,
    restarts: Option<u32>,
}

impl Answer {
    /// Adds the points of the system and of its units.
    pub(super) fn add_points(self, time_us: i64, points: &mut Vec<Point>) {
        let [
            active,
            reloading,
            inactive,
            failed,
            activating,
            deactivating,
        ] = self.counts;
        points.push(
            Point::new(name!("systemd"), time_us)
                .field_if(name!("state"), self.state)
                .field(name!("units"), self.all)
                .field(name!("units_active"), active)
                .field(name!("units_reloading"), reloading)
                .field(name!("units_inactive"), inactive)
                .field(name!("units_failed"), failed)
                .field(name!("units_activating"), activating)
                .field(name!("units_deactivating"), deactivating)
                .field(name!("units_left_out"), self.left_out),
        );
        points.extend(self.units.into_iter().map(|unit| {
            Point::new(name!("systemd_unit"), time_us)
                .tag(name!("unit"), unit.name)
                .field(name!("active"), unit.state == "active")
                .field(name!("failed"), unit.state == "failed")
                .field(name!("state"), unit.state)
                .field(name!("sub_state"), unit.sub_state)
                .field(name!("load_state"), unit.load_state)
                .field_if(name!("restarts"), unit.restarts.map(u64::from))
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegauge_model::Value;
    use zbus::zvariant::ObjectPath;

    struct Manager;
    struct Service {
        restarts: u32,
    }

    #[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
    impl Manager {
        #[zbus(property)]
        fn system_state(&self) -> String {
            "degraded".to_owned()
        }

        fn list_units(&self) -> Vec<ListedUnit> {
            let object =
                |path: &str| OwnedObjectPath::from(ObjectPath::try_from(path).expect("a path"));
            let unit = |name: &str, load: &str, state: &str, sub: &str, path: &str| {
                let text = str::to_owned;
                let (no_job, none) = (0, String::new());
                let description = text("what it does");
                (
                    text(name),
                    description,
                    text(load),
                    text(state),
                    text(sub),
                    none.clone(),
                    object(path),
                    no_job,
                    none,
                    object("/"),
                )
            };
            vec![
                unit("ssh.service", "loaded", "active", "running", "/unit/ssh"),
                unit("db.service", "loaded", "failed", "failed", "/unit/db"),
                unit(
                    "gone.service",
                    "not-found",
                    "inactive",
                    "dead",
                    "/unit/gone",
                ),
                unit("lost.service", "loaded", "inactive", "dead", "/unit/lost"),
                unit("home.mount", "loaded", "active", "mounted", "/unit/home"),
            ]
        }
    }

    #[zbus::interface(name = "org.freedesktop.systemd1.Service")]
    impl Service {
        #[zbus(property, name = "NRestarts")]
        fn restarts(&self) -> u32 {
            self.restarts
        }
    }

    /// A connection to a systemd that has the units of `Manager`.
    fn bus() -> (Bus, Connection) {
        let runtime = OwnRuntime::new().expect("a runtime");
        let (connection, server) = runtime.block_on(async {
            let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
            let server = zbus::connection::Builder::unix_stream(theirs)
                .server(zbus::Guid::generate())
                .expect("a server")
                .p2p()
                .serve_at(MANAGER_PATH, Manager)
                .expect("a path")
                .serve_at("/unit/ssh", Service { restarts: 0 })
                .expect("a path")
                .serve_at("/unit/db", Service { restarts: 7 })
                .expect("a path");
            let client = zbus::connection::Builder::unix_stream(ours).p2p();
            let (client, server) = tokio::join!(client.build(), server.build());
            (client.expect("connects"), server.expect("serves"))
        });
        let bus = Bus {
            runtime,
            connection,
            peer: None,
        };
        (bus, server)
    }

    #[test]
    fn states_and_restarts_are_told() {
        let (mut bus, _server) = bus();
        for _ in 0..2 {
            let answer = bus.ask(&SystemdSettings::default()).expect("answers");
            let mut points = Vec::new();
            answer.add_points(5, &mut points);
            let number = |point: &Point, field: &str| match point.value(field) {
                Some(Value::Float(number)) => Some(*number),
                None => None,
                other => panic!("{field} is {other:?}"),
            };
            let system = &points[0];
            assert_eq!(system.value("state"), Some(&Value::from("degraded")));
            for (field, expected) in [
                ("units", 5.0),
                ("units_active", 2.0),
                ("units_failed", 1.0),
                ("units_inactive", 2.0),
                ("units_left_out", 0.0),
            ] {
                assert_eq!(number(system, field), Some(expected), "{field}");
            }
            let units: Vec<_> = points[1..]
                .iter()
                .map(|point| {
                    let is_failed = point.value("failed") == Some(&Value::Bool(true));
                    (point.tag_text("unit"), is_failed, number(point, "restarts"))
                })
                .collect();
            let expected = [
                (Some("db.service"), true, Some(7.0)),
                (Some("gone.service"), false, None),
                (Some("lost.service"), false, None),
                (Some("ssh.service"), false, Some(0.0)),
            ];
            assert_eq!(units, expected);
        }
    }

    #[test]
    fn a_task_may_drop_it() {
        let (bus, _server) = bus();
        let runtime = OwnRuntime::new().expect("a runtime");
        runtime.block_on(async { drop(bus) });
    }

    #[test]
    fn units_are_bounded_and_counted() {
        let (mut bus, _server) = bus();
        let settings = SystemdSettings {
            only: vec!["*".to_owned()],
            most: 2,
        };
        let answer = bus.ask(&settings).expect("answers");
        assert_eq!((answer.units.len(), answer.left_out, answer.all), (2, 3, 5));
    }

    #[test]
    fn a_bus_that_is_gone_is_an_error() {
        let (mut bus, server) = bus();
        bus.runtime.block_on(async { server.close().await }).ok();
        let error = bus.ask(&SystemdSettings::default()).expect_err("is gone");
        assert!(matches!(error, CollectError::Ask { .. }), "{error:?}");
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("bus");
        let missing = Bus::connect(&socket).map(drop).expect_err("is not there");
        assert!(
            matches!(missing, CollectError::Unavailable { .. }),
            "{missing:?}"
        );
    }
}
