//! The client is that of the store; the connection and TLS are those of all probes, so that their phases
//! and reasons are the same. What TLS does not protect is never sent: the server's `no` ends the check.

use super::super::database::{Login, found_version};
use super::super::exchange::{
    Failure, Progress, Target, failure_of_cause, handshake, write_at_once,
};
use super::super::starttls::{self, Courtesy, courtesies};
use super::super::{AgentError, CheckReason, CheckSettings, Finding, Probe, ProbeContext, chain};
use async_trait::async_trait;
use futures_util::TryStreamExt;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;
use tidegauge_model::{Clock, name};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

pub(super) struct PostgresProbe {
    target: Target,
    login: Login,
    tls: Option<Tls>,
    config: Config,
}

struct Tls {
    asking: Vec<Courtesy>,
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
}

/// Whatever carries the messages: the client is in the program once for both.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl PostgresProbe {
    pub(super) fn new(
        settings: &CheckSettings,
        context: &ProbeContext,
    ) -> Result<Self, AgentError> {
        let login = Login::new(settings)?;
        let tls = match &login.tls {
            None => None,
            Some(verify) => Some(Tls {
                asking: courtesies("postgres"),
                config: context.tls.speaking(verify.ca_file.as_deref(), &[])?,
                server: verify.server.clone(),
            }),
        };
        let mut config = Config::new();
        config.user(&login.user).application_name("tidegauge");
        // The stream that it gets speaks TLS already.
        config.ssl_mode(SslMode::Disable);
        if let Some(password) = &login.password {
            config.password(password);
        }
        if let Some(database) = &login.database {
            config.dbname(database);
        }
        Ok(Self {
            target: Target::new(settings, context, Some(5432))?,
            login,
            tls,
            config,
        })
    }

    async fn exchange(&self, progress: &mut Progress) -> Result<(), Failure> {
        let mut stream = self.target.connect(progress).await?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => {
                write_at_once(&stream);
                Box::new(stream)
            }
            Some(tls) => {
                starttls::ask(&tls.asking, &mut stream, progress).await?;
                let (config, server) = (Arc::clone(&tls.config), tls.server.clone());
                Box::new(handshake(config, server, stream, progress).await?)
            }
        };
        progress.phase = "logging in";
        let began = Instant::now();
        let connected = self.config.connect_raw(stream, NoTls).await;
        let (client, connection) = connected
            .map_err(|error| failure("logging in", &error, CheckReason::LoginFailed, progress))?;
        progress.took(name!("login_seconds"), began);
        if let Some(version) = connection.parameter("server_version") {
            found_version(progress, version);
        }
        progress.phase = "waiting for the answer to the query";
        // The connection moves bytes until the client goes, and says goodbye then. Its own errors reach
        // the client.
        let began = Instant::now();
        let asked = async {
            let first = self.first_value(&client).await;
            drop(client);
            first
        };
        let (first, _) = tokio::join!(asked, connection);
        let first =
            first.map_err(|error| failure("asking", &error, CheckReason::QueryFailed, progress))?;
        progress.took(name!("query_seconds"), began);
        self.login.judge(first.as_deref(), progress)
    }

    /// The first column of the first row as text; all else is read and let go.
    async fn first_value(&self, client: &Client) -> Result<Option<String>, tokio_postgres::Error> {
        let mut answer = pin!(client.simple_query_raw(&self.login.query).await?);
        let mut first = None;
        while let Some(message) = answer.try_next().await? {
            if let SimpleQueryMessage::Row(row) = message {
                first.get_or_insert_with(|| row.try_get(0).ok().flatten().map(str::to_owned));
            }
        }
        Ok(first.flatten())
    }
}

#[async_trait]
impl Probe for PostgresProbe {
    async fn check(&self, clock: &dyn Clock) -> Finding {
        let mut progress = Progress::begin();
        let deadline = self.target.deadline;
        let ended = tokio::time::timeout(deadline, self.exchange(&mut progress)).await;
        progress.finding(ended, deadline, clock)
    }
}

/// What the client's error means; `refused` is for what the server itself says.
fn failure(
    doing: &str,
    error: &tokio_postgres::Error,
    refused: CheckReason,
    progress: &mut Progress,
) -> Failure {
    if let Some(said) = error.as_db_error() {
        let detail = format!(
            "the server said: {} ({})",
            said.message(),
            said.code().code()
        );
        return Failure::new(refused, detail);
    }
    if let Some(failure) = failure_of_cause(doing, error, progress) {
        return failure;
    }
    if error.is_closed() {
        let detail = format!("{doing}: the server closed the connection");
        return Failure::new(CheckReason::ConnectionLost, detail);
    }
    // The client tells its other errors apart by their texts alone: beside this one they are that a password
    // is asked for and there is none, or a way to log in that it does not know.
    let reason = match error.to_string().starts_with("unexpected message") {
        true => CheckReason::Protocol,
        false => refused,
    };
    Failure::new(reason, format!("{doing}: {}", chain(error)))
}
