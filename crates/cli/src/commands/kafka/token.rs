//! Tokens for `OAUTHBEARER`: from a file or a command, read again for each, or from an OpenID Connect
//! provider by the client credentials grant.
//!
//! Source: RFC 6749, sections 2.3.1, 4.4 and 5; RFC 7519 for the claims `sub` and `exp`. librdkafka is built
//! without a client of HTTP, so the request is made here, over verified TLS.

use super::{refused, secrets};
use crate::settings::{Settings, UsageError};
use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tidegauge_kafka::{Token, Tokens};
use tidegauge_model::{Clock, SystemClock};
use tidegauge_serve::pem_problem;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

/// The keys of `[kafka.sasl]` that are for tokens.
pub(super) const KEYS: &[&str] = &[
    "token",
    "token_file",
    "token_command",
    "token_url",
    "token_ca_file",
    "client_id",
    "client_secret",
    "client_secret_file",
    "client_secret_command",
    "scope",
    "audience",
];

/// A request for a token may take so long.
const DEADLINE: Duration = Duration::from_secs(10);
const MOST_BYTES: usize = 64 * 1_024;
/// How long a token is used that does not say when it expires.
const UNSAID_LIFE_MS: i64 = 300_000;

/// What to do about a provider that cannot be reached.
const LOOK_AT_URL: &str = "is the provider up, and is kafka.sasl.token_url right?";

/// Where tokens come from, by the settings. Nothing is connected yet; files are read once, so that one
/// that is missing is an error of the start.
pub(super) fn tokens(settings: &Settings) -> Result<Tokens, UsageError> {
    const URL: &str = "kafka.sasl.token_url";
    let Some(text) = settings.text(URL) else {
        let of_provider = [
            "token_ca_file",
            "client_id",
            "client_secret_file",
            "scope",
            "audience",
        ];
        for key in of_provider.map(|key| format!("kafka.sasl.{key}")) {
            if settings.text(&key).is_some() {
                return Err(refused(settings, &key, "it needs kafka.sasl.token_url"));
            }
        }
        said_token(settings)?;
        let settings = settings.clone();
        return Ok(Tokens::new(move || {
            let text = said_token(&settings).map_err(|error| error.to_string())?;
            token(text, None)
        }));
    };
    if let Some(key) = ["token", "token_file", "token_command"]
        .map(|key| format!("kafka.sasl.{key}"))
        .into_iter()
        .find(|key| settings.text(key).is_some())
    {
        return Err(refused(
            settings,
            &key,
            "kafka.sasl.token_url is said too: take one of them",
        ));
    }
    let url = address(text).map_err(|problem| refused(settings, URL, &problem))?;
    let needed = |key: &str| {
        let missing = || {
            refused(
                settings,
                key,
                "it is missing: kafka.sasl.token_url needs it",
            )
        };
        settings.text(key).map(str::to_owned).ok_or_else(missing)
    };
    let client_id = needed("kafka.sasl.client_id")?;
    client_secret(settings)?;
    let ca_file = settings.path("kafka.sasl.token_ca_file");
    if let Some(file) = &ca_file {
        roots(Some(file)).map_err(|error| {
            refused(settings, "kafka.sasl.token_ca_file", &format!("{error:#}"))
        })?;
    }
    let provider = Provider {
        form: form(settings),
        url,
        client_id,
        ca_file,
    };
    let settings = settings.clone();
    Ok(Tokens::new(move || {
        let secret = client_secret(&settings).map_err(|error| error.to_string())?;
        let answer = provider.ask(&secret);
        let answer = answer.map_err(|error| format!("{}: {error:#}", provider.url))?;
        token(answer.access_token, answer.expires_in)
    }))
}

fn said_token(settings: &Settings) -> Result<String, UsageError> {
    let missing = || {
        let problem = "it is missing: OAUTHBEARER needs it, or kafka.sasl.token_file or kafka.sasl.token_command";
        refused(settings, "kafka.sasl.token_url", problem)
    };
    secrets::secret(settings, "kafka.sasl.token")?.ok_or_else(missing)
}

fn client_secret(settings: &Settings) -> Result<String, UsageError> {
    let missing = || {
        let problem = "it is missing: kafka.sasl.token_url needs it";
        refused(settings, "kafka.sasl.client_secret_file", problem)
    };
    secrets::secret(settings, "kafka.sasl.client_secret")?.ok_or_else(missing)
}

/// The secret of the client must not be read on the way.
fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let is_loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() => Err(
            "name and secret are said by kafka.sasl.client_id and kafka.sasl.client_secret_file"
                .to_owned(),
        ),
        "https" => Ok(url),
        "http" if is_loopback => Ok(url),
        "http" => Err("http would send the client's secret in clear: take https".to_owned()),
        scheme => Err(format!("`{scheme}`: expected https")),
    }
}

fn form(settings: &Settings) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    for key in ["scope", "audience"] {
        if let Some(text) = settings.text(&format!("kafka.sasl.{key}")) {
            form.append_pair(key, text);
        }
    }
    form.finish()
}

/// The claims that are read, of a token that is a JWT. Whether it is genuine is the broker's to say.
#[derive(Default, Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: Option<f64>,
}

/// A token with what it, or who gave it, says of it.
fn token(text: String, expires_in: Option<f64>) -> Result<Token, String> {
    let part = text.split('.').nth(1).unwrap_or_default();
    let claims = URL_SAFE_NO_PAD.decode(part.trim_end_matches('='));
    let claims = claims
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok());
    let claims: Claims = claims.unwrap_or_default();
    let now_ms = SystemClock.now_us() / 1_000;
    let of_claim = claims.exp.map(|seconds| (seconds * 1_000.0) as i64);
    let of_answer = expires_in.map(|seconds| now_ms.saturating_add((seconds * 1_000.0) as i64));
    let expires_ms = of_claim.or(of_answer).unwrap_or(now_ms + UNSAID_LIFE_MS);
    if expires_ms <= now_ms {
        let ago = (now_ms - expires_ms) / 1_000;
        return Err(format!(
            "the token expired {ago} s ago: have a new one written, and look at this host's clock"
        ));
    }
    Ok(Token {
        text: text.into(),
        principal: claims.sub.unwrap_or_else(|| "tidegauge".to_owned()),
        expires_ms,
    })
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<f64>,
}

#[derive(Default, Deserialize)]
struct Refused {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

/// A provider of OpenID Connect.
struct Provider {
    url: Url,
    client_id: String,
    form: String,
    ca_file: Option<PathBuf>,
}

impl Provider {
    /// Asks on a thread and a runtime of its own: librdkafka's threads have none, and on ours nothing may
    /// block.
    fn ask(&self, secret: &str) -> anyhow::Result<Granted> {
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                let asked = async { tokio::time::timeout(DEADLINE, self.post(secret)).await };
                runtime.block_on(asked).unwrap_or_else(|_| {
                    bail!("no answer within {} s; {LOOK_AT_URL}", DEADLINE.as_secs())
                })
            });
            asking
                .join()
                .unwrap_or_else(|_| bail!("asking for a token failed"))
        })
    }

    async fn post(&self, secret: &str) -> anyhow::Result<Granted> {
        let host = self.url.host_str().context("the URL has no host")?;
        let port = self
            .url
            .port_or_known_default()
            .context("the URL has no port")?;
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((name, port)).await;
        let stream =
            stream.map_err(|error| anyhow::anyhow!("connecting: {error}; {LOOK_AT_URL}"))?;
        if self.url.scheme() == "http" {
            return self.exchange(stream, secret).await;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(self.ca_file.as_deref())?)
            .with_no_client_auth();
        let server = ServerName::try_from(name.to_owned())?;
        let stream = TlsConnector::from(Arc::new(config)).connect(server, stream);
        let stream = stream.await.map_err(of_tls)?;
        self.exchange(stream, secret).await
    }

    async fn exchange<S>(&self, stream: S, secret: &str) -> anyhow::Result<Granted>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let encoded =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let basic = format!("{}:{}", encoded(&self.client_id), encoded(secret));
        let host = &self.url[url::Position::BeforeHost..url::Position::AfterPort];
        let request =
            Request::post(&self.url[url::Position::BeforePath..url::Position::AfterQuery])
                .header(header::HOST, host)
                .header(header::ACCEPT, "application/json")
                .header(
                    header::AUTHORIZATION,
                    format!("Basic {}", STANDARD.encode(basic)),
                )
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Full::new(Bytes::from(self.form.clone())))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Owned by the runtime, which ends with this one request.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("reading the answer: {error}"))?;
        let body = body.to_bytes();
        if status != StatusCode::OK {
            let said: Refused = serde_json::from_slice(&body).unwrap_or_default();
            let said = [said.error, said.error_description].join(" ");
            bail!(
                "the provider answers {}: {}; look at kafka.sasl.client_id, kafka.sasl.client_secret_file, kafka.sasl.scope and kafka.sasl.audience",
                status.as_u16(),
                said.trim()
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(200)
                    .collect::<String>()
            );
        }
        const NO_TOKEN: &str =
            "the provider's answer is no token: is kafka.sasl.token_url its token endpoint?";
        let granted: Granted = serde_json::from_slice(&body).context(NO_TOKEN)?;
        ensure!(!granted.access_token.is_empty(), NO_TOKEN);
        Ok(granted)
    }
}

/// Why there is no TLS to the provider, and what to do.
fn of_tls(error: std::io::Error) -> anyhow::Error {
    use rustls::{CertificateError as Bad, Error as Tls};
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    let what = match cause {
        Some(Tls::InvalidCertificate(Bad::UnknownIssuer)) => {
            "its authority is not in the file of kafka.sasl.token_ca_file (without it: among the system's)"
        }
        Some(Tls::InvalidCertificate(_)) => {
            "name the provider in kafka.sasl.token_url as its certificate does, which must be valid today"
        }
        _ => "does the port of kafka.sasl.token_url speak TLS?",
    };
    anyhow::anyhow!("TLS: {error}; {what}")
}

/// The authorities of a PEM file, or those of the system.
fn roots(ca_file: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let found = match ca_file {
        None => rustls_native_certs::load_native_certs().certs,
        Some(file) => {
            let found = CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>);
            found.map_err(|error| {
                anyhow::anyhow!(
                    "{}: reading authorities: {}",
                    file.display(),
                    pem_problem(&error)
                )
            })?
        }
    };
    let (taken, _) = roots.add_parsable_certificates(found);
    match ca_file {
        Some(file) if taken == 0 => {
            bail!("{}: there is no certificate in PEM form", file.display())
        }
        _ => Ok(roots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("e30.{}.", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_token_says_for_whom_it_is_and_until_when() {
        let now_ms = SystemClock.now_us() / 1_000;
        let read = |text: &str, expires_in| token(text.to_owned(), expires_in).unwrap();
        let of_claims = read(&jwt(r#"{"sub":"alice","exp":4102444800}"#), Some(60.0));
        assert_eq!(of_claims.principal, "alice");
        assert_eq!(of_claims.expires_ms, 4_102_444_800_000);
        let of_answer = read("opaque", Some(60.0));
        assert!((of_answer.expires_ms - now_ms - 60_000).abs() < 5_000);
        let unsaid = read("a.%%%.c", None);
        assert!((unsaid.expires_ms - now_ms - UNSAID_LIFE_MS).abs() < 5_000);
        let old = token(jwt(r#"{"sub":"alice","exp":1000}"#), None).unwrap_err();
        assert!(
            old.starts_with("the token expired ") && !old.contains("e30"),
            "{old}"
        );
    }

    #[test]
    fn a_secret_is_sent_over_tls_or_loopback_alone() {
        for good in [
            "https://id.example.org/token",
            "http://127.0.0.1:1/t",
            "http://[::1]/t",
            "http://localhost/t",
        ] {
            assert!(address(good).is_ok(), "{good}");
        }
        for (bad, expected) in [
            ("http://id.example.org/token", "in clear"),
            ("http://127.0.0.1.example.org/", "in clear"),
            ("ftp://x/", "expected https"),
            ("https://user:secret@x/", "kafka.sasl.client_id"),
            ("x", "relative URL"),
        ] {
            let said = address(bad).unwrap_err();
            assert!(
                said.contains(expected) && !said.contains("secret@"),
                "{bad}: {said}"
            );
        }
    }
}
