//! Serving pages at `general.listen`, and who comes in there and at the listeners.

use crate::commands::secrets;
use crate::settings::{Place, Settings, UsageError};
use anyhow::Context;
use axum::Router;
use std::net::SocketAddr;
use std::sync::Arc;
use tidegauge_serve::{Door, DoorError, DoorSettings, Limits, Token, pages};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
#[cfg(feature = "stores")]
use {tidegauge_dashboard::DashboardOptions, tidegauge_model::Clock, tidegauge_query::Query};

/// The door of a section: TLS, token, users and names as they are set there.
///
/// # Errors
/// The setting that cannot be used, with its place.
pub(crate) fn door(settings: &Settings, section: &str) -> Result<Arc<Door>, UsageError> {
    let key = |key: &str| format!("{section}.{key}");
    // Read here for what is said twice; a file is read by the door, again and again.
    let token = secrets::secret(settings, &key("token"))?;
    let token_file = settings.path(&key("token_file"));
    let opened = Door::open(DoorSettings {
        certificate_file: settings.path(&key("certificate_file")),
        key_file: settings.path(&key("key_file")),
        token: token.as_deref().map(Token::new),
        token_file,
        users_file: settings.path(&key("users_file")),
        hosts: settings.list(&key("hosts")).to_vec(),
        allow_insecure: settings.flag(&key("allow_insecure")),
    });
    let refused = |DoorError { key: name, problem }| {
        let name = key(name);
        UsageError::one(match settings.place(&name) {
            Place::Default => format!("{name}: {problem}"),
            place => format!("{place}: {name}: {problem}"),
        })
    };
    opened.map(Arc::new).map_err(refused)
}

/// Where pages are served: `general.listen`.
const KEY: &str = "general.listen";

/// Serves connections of a socket until the token is cancelled.
pub(crate) type Serving =
    Box<dyn Fn(TcpListener, Arc<Door>, CancellationToken) -> BoxFuture + Send + Sync>;
/// Where and behind which door pages are to be served from now on; `None`: nowhere.
pub(crate) type Prepared = Option<Listening>;
type BoxFuture = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Pages that are served, and can be served elsewhere or behind another door while the program runs.
pub(crate) struct Pages {
    otherwise: Option<SocketAddr>,
    serving: Serving,
    end: CancellationToken,
    tasks: TaskTracker,
    current: Option<Current>,
}

struct Current {
    listening: Listening,
    stop: CancellationToken,
}

impl Pages {
    /// Begins to serve at `general.listen`, or at `otherwise`; nowhere if neither says where. It ends with
    /// `end`; the tracker has what is under way.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub(crate) fn start(
        settings: &Settings,
        otherwise: Option<SocketAddr>,
        serving: Serving,
        end: CancellationToken,
    ) -> anyhow::Result<(Self, TaskTracker)> {
        let tasks = TaskTracker::new();
        let mut pages = Self {
            otherwise,
            serving,
            end,
            tasks: tasks.clone(),
            current: None,
        };
        let prepared = pages.prepare(settings)?;
        pages.take(prepared)?;
        tasks.close();
        Ok((pages, tasks))
    }

    /// Whether a setting is one of those that pages are served by.
    pub(crate) fn is_of_pages(key: &str) -> bool {
        key == KEY || key.starts_with("web.")
    }

    /// Binds what the settings ask for; what is served goes on. The socket of the same address is kept.
    ///
    /// # Errors
    /// When a setting of `[web]` cannot be used, when the address is one that others reach and the
    /// settings do not allow that, and when it is taken or not ours.
    pub(crate) fn prepare(&self, settings: &Settings) -> anyhow::Result<Prepared> {
        let door = door(settings, "web")?;
        let Some(asked) = settings.address(KEY).or(self.otherwise) else {
            return Ok(None);
        };
        door.check(asked).map_err(|problem| {
            let problem = problem.replace("in the same section", "in [web]");
            UsageError::one(format!("{}: {KEY}: {problem}", settings.place(KEY)))
        })?;
        let held = (self.current.as_ref()).filter(|current| current.listening.asked == asked);
        let bind = || match held {
            Some(current) => current.listening.socket.try_clone(),
            None => std::net::TcpListener::bind(asked),
        };
        let socket = bind().with_context(|| format!("listening on {asked} (--listen)"))?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Some(Listening {
            asked,
            address,
            door,
            socket,
        }))
    }

    /// Serves by what was prepared, instead of as before; answers that are under way still end.
    ///
    /// # Errors
    /// When the system refuses another handle of the socket.
    pub(crate) fn take(&mut self, prepared: Prepared) -> anyhow::Result<()> {
        let new = match prepared {
            None => None,
            Some(listening) => {
                let socket = TcpListener::from_std(listening.socket.try_clone()?)?;
                Some((listening, socket))
            }
        };
        if let Some(before) = self.current.take() {
            before.stop.cancel();
        }
        if let Some((listening, socket)) = new {
            let stop = self.end.child_token();
            let serving = (self.serving)(socket, listening.door.clone(), stop.clone());
            self.tasks.spawn(serving);
            self.current = Some(Current { listening, stop });
        }
        Ok(())
    }

    /// Where the page is, if it is served.
    pub(crate) fn url(&self) -> Option<String> {
        let current = self.current.as_ref()?;
        let (scheme, address) = (current.listening.door.scheme(), current.listening.address);
        Some(format!("{scheme}://{address}/"))
    }
}

/// A socket with its door.
pub(crate) struct Listening {
    /// As it is set.
    asked: SocketAddr,
    /// With its real port.
    address: SocketAddr,
    door: Arc<Door>,
    socket: std::net::TcpListener,
}

/// Serves `/metrics` and `/healthz`. Whether it is healthy may be asked by everybody.
pub(crate) fn metrics_and_health(router: Router) -> Serving {
    Box::new(move |listener, door, cancel| {
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "serving /metrics and /healthz");
        }
        let router = router.clone();
        Box::pin(pages::serve(
            listener,
            router,
            door,
            &["/healthz"],
            Limits::default(),
            cancel,
        ))
    })
}

/// Serves the page over a store.
#[cfg(feature = "stores")]
pub(crate) fn dashboard(query: Query, clock: Arc<dyn Clock>) -> Serving {
    Box::new(move |listener, door, cancel| {
        Box::pin(tidegauge_dashboard::serve(
            listener,
            door,
            query.clone(),
            DashboardOptions::default(),
            clock.clone(),
            cancel,
        ))
    })
}
