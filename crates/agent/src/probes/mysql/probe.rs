//! The client is that of the store. It connects and speaks TLS itself, so the login is one phase; names are
//! looked up as for all probes.

use super::super::database::{Login, Verify, found_version};
use super::super::exchange::{Failure, Progress, Target, failure_of_cause};
use super::super::settings::setting;
use super::super::{AgentError, CheckReason, CheckSettings, Finding, Probe, ProbeContext, chain};
use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, IoError, OptsBuilder, SslOpts, Value};
use rustls::pki_types::CertificateDer;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegauge_model::{Clock, name};

/// Said, so that the client does not ask the server for it.
const MAX_PACKET_BYTES: usize = 16 << 20;
const IDLE: Duration = Duration::from_secs(60);

pub(super) struct MysqlProbe {
    target: Target,
    login: Login,
    /// Of the system, where they decide.
    authorities: Arc<[CertificateDer<'static>]>,
}

impl MysqlProbe {
    pub(super) fn new(
        settings: &CheckSettings,
        context: &ProbeContext,
    ) -> Result<Self, AgentError> {
        let login = Login::new(settings)?;
        if settings.source_address().is_some() {
            let problem = "the client of MySQL connects from any address";
            return Err(setting("source_address", problem));
        }
        let authorities = match &login.tls {
            Some(Verify { ca_file: None, .. }) => context.tls.system_certificates(),
            Some(Verify { ca_file, .. }) => {
                // The client reads it again by every connection; what is wrong with it is told here.
                context.tls.trusting(ca_file.as_deref())?;
                Arc::default()
            }
            None => Arc::default(),
        };
        Ok(Self {
            target: Target::new(settings, context, Some(3306))?,
            login,
            authorities,
        })
    }

    fn options(&self, address: SocketAddr) -> OptsBuilder {
        let login = &self.login;
        let tls = login.tls.as_ref().map(|verify| {
            let roots = match &verify.ca_file {
                Some(path) => vec![path.clone().into()],
                None => {
                    let system = self.authorities.iter();
                    system.map(|der| der.to_vec().into()).collect()
                }
            };
            SslOpts::default()
                .with_disable_built_in_roots(true)
                .with_root_certs(roots)
                .with_danger_tls_hostname_override(Some(verify.server.to_str().into_owned()))
        });
        OptsBuilder::default()
            .ip_or_hostname(address.ip().to_string())
            .tcp_port(address.port())
            .user(Some(&login.user))
            .pass(login.password.as_ref())
            .db_name(login.database.as_ref())
            .ssl_opts(tls)
            // Never another way than the one that the URL says.
            .prefer_socket(false)
            .stmt_cache_size(0)
            .max_allowed_packet(Some(MAX_PACKET_BYTES))
            .wait_timeout(Some(IDLE.as_secs() as usize))
            .connect_attribute("program_name", "tidegauge")
    }

    async fn exchange(&self, progress: &mut Progress) -> Result<(), Failure> {
        let addresses = self.target.addresses(progress).await?;
        progress.phase = "connecting and logging in";
        let began = Instant::now();
        let mut connection = self.connect(addresses, progress).await?;
        progress.took(name!("login_seconds"), began);
        let (major, minor, patch) = connection.server_version();
        found_version(progress, &format!("{major}.{minor}.{patch}"));
        progress.phase = "waiting for the answer to the query";
        let began = Instant::now();
        let first = self.first_value(&mut connection).await;
        let first =
            first.map_err(|error| failure("asking", &error, CheckReason::QueryFailed, progress))?;
        progress.took(name!("query_seconds"), began);
        // A server that does not take a goodbye has answered nevertheless.
        connection.disconnect().await.ok();
        self.login.judge(first.as_deref(), progress)
    }

    /// Logs in at the first address that takes the connection.
    async fn connect(
        &self,
        addresses: Vec<SocketAddr>,
        progress: &mut Progress,
    ) -> Result<Conn, Failure> {
        let mut last = None;
        for address in addresses {
            progress.found(name!("address"), address.to_string());
            match Conn::new(self.options(address)).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    let none_there = matches!(&error, Error::Io(IoError::Io(error))
                        if error.kind() == ErrorKind::ConnectionRefused);
                    let doing = format!("connecting to {address}");
                    last = Some(failure(&doing, &error, CheckReason::LoginFailed, progress));
                    if !none_there {
                        break;
                    }
                }
            }
        }
        Err(last.expect("there is at least one address"))
    }

    /// The first column of the first row as text; all else is read and let go.
    async fn first_value(&self, connection: &mut Conn) -> Result<Option<String>, Error> {
        let mut answer = connection.query_iter(self.login.query.as_str()).await?;
        let row = answer.next().await?;
        answer.drop_result().await?;
        Ok(match row.as_ref().and_then(|row| row.as_ref(0)) {
            Some(Value::Bytes(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        })
    }
}

#[async_trait]
impl Probe for MysqlProbe {
    async fn check(&self, clock: &dyn Clock) -> Finding {
        let mut progress = Progress::begin();
        let deadline = self.target.deadline;
        let ended = tokio::time::timeout(deadline, self.exchange(&mut progress)).await;
        progress.finding(ended, deadline, clock)
    }
}

/// What the client's error means; `refused` is for what the server itself says.
fn failure(doing: &str, error: &Error, refused: CheckReason, progress: &mut Progress) -> Failure {
    match error {
        Error::Server(said) => {
            let detail = format!("the server said: {} ({})", said.message, said.code);
            Failure::new(refused, detail)
        }
        Error::Driver(problem) => {
            let reason = match problem {
                mysql_async::DriverError::ConnectionClosed => CheckReason::ConnectionLost,
                mysql_async::DriverError::NoClientSslFlagFromServer => CheckReason::StarttlsRefused,
                _ => CheckReason::Protocol,
            };
            Failure::new(reason, format!("{doing}: {problem}"))
        }
        other => failure_of_cause(doing, other, progress).unwrap_or_else(|| {
            Failure::new(CheckReason::Protocol, format!("{doing}: {}", chain(other)))
        }),
    }
}
