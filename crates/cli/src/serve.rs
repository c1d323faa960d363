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

/// Listens at `general.listen`, or at `otherwise`; nowhere if neither says where.
///
/// # Errors
/// When a setting of `[web]` cannot be used, when the address is one that others reach and the
/// settings do not allow that, and when it is taken or not ours.
pub(crate) async fn listen(
    settings: &Settings,
    otherwise: Option<SocketAddr>,
) -> anyhow::Result<Option<Listening>> {
    const KEY: &str = "general.listen";
    let door = door(settings, "web")?;
    let Some(address) = settings.address(KEY).or(otherwise) else {
        return Ok(None);
    };
    door.check(address).map_err(|problem| {
        let problem = problem.replace("in the same section", "in [web]");
        UsageError::one(format!("{}: {KEY}: {problem}", settings.place(KEY)))
    })?;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address} (--listen)"))?;
    let address = listener.local_addr()?;
    Ok(Some(Listening {
        listener,
        address,
        door,
    }))
}

/// A socket with its door.
pub(crate) struct Listening {
    pub(crate) listener: TcpListener,
    pub(crate) door: Arc<Door>,
    /// With its real port.
    address: SocketAddr,
}

impl Listening {
    /// Where the page is.
    #[cfg(feature = "stores")]
    pub(crate) fn url(&self) -> String {
        format!("{}://{}/", self.door.scheme(), self.address)
    }

    /// Serves `/metrics` and `/healthz` in a task that ends with the token. Whether it is healthy may be
    /// asked by everybody.
    pub(crate) fn pages(
        self,
        router: Router,
        cancel: CancellationToken,
    ) -> tokio::task::JoinHandle<()> {
        tracing::info!(address = %self.address, "serving /metrics and /healthz");
        tokio::spawn(pages::serve(
            self.listener,
            router,
            self.door,
            &["/healthz"],
            Limits::default(),
            cancel,
        ))
    }
}
