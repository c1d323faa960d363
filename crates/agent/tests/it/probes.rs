//! The probe `http` against servers in this process: every reason, and what is measured with it.

use crate::http_server::{Behaviour, Server, reply};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tidegauge_agent::probes::{CheckReason, CheckResult, CheckSettings, ProbeContext, check_once};
use tidegauge_model::{SystemClock, Value, catalog};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

async fn check(settings: CheckSettings) -> CheckResult {
    let result = check_once(settings, &ProbeContext::new(), &SystemClock).await;
    let result = result.expect("settings that can be used");
    let known = catalog::measurement(result.measurement.as_str()).expect("in the catalog");
    let point = result.clone().into_point();
    for (name, _) in point.fields() {
        assert!(
            known.field(name.as_str()).is_some(),
            "{name} is in the catalog"
        );
    }
    assert_eq!(point.value("up"), Some(&Value::Bool(result.is_up())));
    assert_eq!(point.value("detail").is_none(), result.is_up(), "{point:?}");
    assert!(seconds(&result, "total_seconds").is_some());
    result
}

fn settings(url: &str) -> CheckSettings {
    CheckSettings::new(url).expect("a URL")
}

fn seconds(result: &CheckResult, name: &str) -> Option<f64> {
    match result.value(name)? {
        Value::Float(seconds) => Some(*seconds),
        other => panic!("{name} is {other:?}"),
    }
}

type Change = fn(CheckSettings) -> CheckSettings;

#[tokio::test]
async fn answers_and_what_they_mean() {
    let foobar: Change = |settings| settings.with_body_regexp("foobar").expect("a pattern");
    let begin: Change = |settings| settings.with_body_regexp("^foobar h").expect("a pattern");
    let missing: Change = |settings| settings.with("expect_status", "404").expect("a status");
    let little: Change = |settings| {
        settings
            .with_body_regexp("needle")
            .expect("a pattern")
            .with("max_body_bytes", 100)
            .expect("a size")
    };
    let little_without_pattern: Change =
        |settings| settings.with("max_body_bytes", 100).expect("a size");
    let same: Change = |settings| settings;
    let large = vec![b'.'; 100_000];
    let chunked =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nfoo\r\n3\r\nbar\r\n0\r\n\r\n";
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_vec();
    let ok = CheckReason::Ok;
    // Name, bytes of the server, settings, reason, status, bytes read, whether the body matched.
    let table = [
        (
            "match at byte 0",
            reply(200, b"foobar here"),
            foobar,
            ok,
            Some(200.0),
            Some(11.0),
            Some(true),
        ),
        (
            "anchored match",
            reply(200, b"foobar here"),
            begin,
            ok,
            Some(200.0),
            Some(11.0),
            Some(true),
        ),
        (
            "no pattern",
            reply(200, b"foobar here"),
            same,
            ok,
            Some(200.0),
            Some(11.0),
            None,
        ),
        (
            "match over chunks",
            chunked.to_vec(),
            foobar,
            ok,
            Some(200.0),
            Some(6.0),
            Some(true),
        ),
        (
            "mismatch",
            reply(200, b"foo"),
            foobar,
            CheckReason::BodyMismatch,
            Some(200.0),
            Some(3.0),
            Some(false),
        ),
        (
            "redirect",
            reply(302, b""),
            same,
            ok,
            Some(302.0),
            Some(0.0),
            None,
        ),
        (
            "404",
            reply(404, b"foobar"),
            foobar,
            CheckReason::Status,
            Some(404.0),
            Some(6.0),
            Some(true),
        ),
        (
            "404 is expected",
            reply(404, b""),
            missing,
            ok,
            Some(404.0),
            Some(0.0),
            None,
        ),
        (
            "500",
            reply(500, b"oh"),
            same,
            CheckReason::Status,
            Some(500.0),
            Some(2.0),
            None,
        ),
        (
            "garbage",
            b"SSH-2.0-OpenSSH_9.9\r\n\r\n".to_vec(),
            same,
            CheckReason::Protocol,
            None,
            None,
            None,
        ),
        (
            "nothing",
            Vec::new(),
            same,
            CheckReason::ConnectionLost,
            None,
            None,
            None,
        ),
        (
            "cut off",
            cut,
            same,
            CheckReason::ConnectionLost,
            Some(200.0),
            None,
            None,
        ),
        (
            "too large",
            reply(200, &large),
            little,
            CheckReason::TooLarge,
            Some(200.0),
            Some(100.0),
            Some(false),
        ),
        (
            "large",
            reply(200, &large),
            little_without_pattern,
            ok,
            Some(200.0),
            Some(100.0),
            None,
        ),
    ];
    for (name, bytes, change, reason, status, body_bytes, matched) in table {
        let server = Server::start(Behaviour::Reply(bytes), None).await;
        let result = check(change(settings(&server.url("http", "127.0.0.1")))).await;
        assert_eq!(result.finding.reason, reason, "{name}: {result:?}");
        assert_eq!(seconds(&result, "status"), status, "{name}");
        assert_eq!(seconds(&result, "body_bytes"), body_bytes, "{name}");
        assert_eq!(
            result.value("body_matched"),
            matched.map(Value::Bool).as_ref(),
            "{name}"
        );
        assert!(seconds(&result, "connect_seconds").is_some(), "{name}");
        assert_eq!(
            seconds(&result, "resolve_seconds"),
            None,
            "{name}: an address needs no lookup"
        );
        assert_eq!(seconds(&result, "tls_seconds"), None, "{name}");
        let address = Value::from(server.address.to_string());
        assert_eq!(result.value("address"), Some(&address), "{name}");
    }
}

#[tokio::test]
async fn phases_add_up_to_the_total() {
    let server = Server::start(Behaviour::Reply(reply(200, b"x")), None).await;
    let result = check(settings(&server.url("http", "localhost"))).await;
    let phases = ["connect_seconds", "first_byte_seconds", "transfer_seconds"];
    let sum: f64 = phases
        .iter()
        .map(|phase| seconds(&result, phase).expect("took place"))
        .sum();
    let total = seconds(&result, "total_seconds").expect("always there");
    assert!(sum <= total + 1e-5, "{sum} of {total}");
    assert_eq!(result.value("http_version"), Some(&Value::from("1.1")));
    assert_eq!(
        result.target,
        format!("http://localhost:{}/", server.address.port())
    );
}

#[tokio::test]
async fn the_request_is_complete_and_its_password_stays_secret_d13() {
    let server = Server::start(Behaviour::Echo, None).await;
    let port = server.address.port();
    let pattern = format!(
        "(?s)^GET /a\\?b=c HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nuser-agent: tidegauge/.*\
         authorization: Basic dTpzZWNyZXQ="
    );
    let url = format!("http://u:secret@127.0.0.1:{port}/a?b=c#d");
    let result = check(
        settings(&url)
            .with_body_regexp(&pattern)
            .expect("a pattern"),
    )
    .await;
    assert!(result.is_up(), "{result:?}");
    assert_eq!(result.target, format!("http://127.0.0.1:{port}/a?b=c"));
    assert!(!format!("{result:?}").contains("secret"));
}

#[tokio::test]
async fn a_deadline_holds_in_every_phase() {
    let drip = Behaviour::Drip(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
    let endless_head = Behaviour::Drip(b"HTTP/1.1 200 OK\r\nx: ");
    for (name, behaviour, phase, status) in [
        ("hang", Behaviour::Hang, "waiting for the answer", None),
        ("slow head", endless_head, "waiting for the answer", None),
        ("slow body", drip, "reading the body", Some(200.0)),
    ] {
        let server = Server::start(behaviour, None).await;
        let settings = settings(&server.url("http", "127.0.0.1"));
        let settings = settings
            .with_deadline(Duration::from_millis(150))
            .expect("a deadline");
        let result = check(settings).await;
        assert_eq!(result.finding.reason, CheckReason::Deadline, "{name}");
        let detail = result.finding.detail.as_deref().expect("says where it was");
        assert!(detail.ends_with(phase), "{name}: {detail}");
        assert_eq!(seconds(&result, "status"), status, "{name}");
        let total = seconds(&result, "total_seconds").expect("always there");
        assert!((0.15..2.0).contains(&total), "{name}: {total}");
    }
}

#[tokio::test]
async fn a_handshake_that_hangs_meets_the_deadline() {
    let server = Server::start(Behaviour::Hang, None).await;
    let settings = settings(&server.url("https", "127.0.0.1"));
    let result = check(
        settings
            .with_deadline(Duration::from_millis(150))
            .expect("valid"),
    )
    .await;
    assert_eq!(result.finding.reason, CheckReason::Deadline);
    let detail = result.finding.detail.expect("says where it was");
    assert!(detail.ends_with("in the TLS handshake"), "{detail}");
}

#[tokio::test]
async fn a_closed_port_and_a_name_that_is_none() {
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    let result = check(settings(&format!("http://{address}/"))).await;
    assert_eq!(result.finding.reason, CheckReason::ConnectRefused);
    assert_eq!(seconds(&result, "connect_seconds"), None);
    // RFC 6761, section 6.4: names under `invalid` never exist. Without a network the lookup fails
    // or takes until the deadline.
    let settings = settings("http://host.invalid/").with_deadline(Duration::from_secs(3));
    let result = check(settings.expect("valid")).await;
    let reason = result.finding.reason;
    assert!(
        matches!(reason, CheckReason::ResolveFailed | CheckReason::Deadline),
        "{result:?}"
    );
    assert!(!result.is_up());
}

/// A certificate authority, and the file that makes a client trust it.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    _folder: tempfile::TempDir,
    pub(crate) file: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, certificate.pem()).expect("written");
        Self {
            issuer: Issuer::new(params, key),
            _folder: folder,
            file,
        }
    }

    /// A server's side with a certificate for `name` that ends in the year `until`.
    pub(crate) fn acceptor(&self, name: &str, from: i32, until: i32) -> TlsAcceptor {
        TlsAcceptor::from(Arc::new(self.config(name, from, until)))
    }

    /// The same, of a server that lets in whom this authority knows.
    pub(crate) fn asking_acceptor(&self, name: &str) -> TlsAcceptor {
        let (certificate, key) = self.signed(name, 2020, 2100);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        for authority in CertificateDer::pem_file_iter(&self.file).expect("a file") {
            roots.add(authority.expect("in PEM")).expect("an authority");
        }
        let asks = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(asks.build().expect("a verifier"))
            .with_single_cert(vec![certificate.der().clone()], key);
        TlsAcceptor::from(Arc::new(config.expect("a certificate and its key")))
    }

    /// The paths of a certificate of a client and its key.
    pub(crate) fn identity(&self, folder: &Path) -> (String, String) {
        let (certificate, key) = self.signed("client", 2020, 2100);
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("written");
            path.to_str().expect("a plain path").to_owned()
        };
        let key = write("client.key", key.serialize_pem());
        (write("client.pem", certificate.pem()), key)
    }

    fn signed(&self, name: &str, from: i32, until: i32) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate, key)
    }

    pub(crate) fn config(&self, name: &str, from: i32, until: i32) -> rustls::ServerConfig {
        let (certificate, key) = self.signed(name, from, until);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate and its key")
    }
}

#[tokio::test]
async fn certificates_are_told_apart() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let table = [
        (
            "good",
            ours.acceptor("localhost", 2020, 2100),
            CheckReason::Ok,
        ),
        (
            "expired",
            ours.acceptor("localhost", 2020, 2021),
            CheckReason::CertificateExpired,
        ),
        (
            "future",
            ours.acceptor("localhost", 2099, 2100),
            CheckReason::CertificateNotYetValid,
        ),
        (
            "name",
            ours.acceptor("example.org", 2020, 2100),
            CheckReason::CertificateName,
        ),
        (
            "untrusted",
            theirs.acceptor("localhost", 2020, 2100),
            CheckReason::CertificateUntrusted,
        ),
    ];
    for (name, acceptor, reason) in table {
        let server = Server::start(Behaviour::Reply(reply(200, b"x")), Some(acceptor)).await;
        let settings = settings(&server.url("https", "localhost"))
            .with_ca_file(&ours.file)
            .expect("a path");
        let result = check(settings).await;
        assert_eq!(result.finding.reason, reason, "{name}: {result:?}");
        let expires = seconds(&result, "certificate_expires_seconds");
        match reason {
            CheckReason::Ok => {
                assert!(
                    expires.is_some_and(|seconds| seconds > 1e9),
                    "{name}: {expires:?}"
                );
                assert!(seconds(&result, "tls_seconds").is_some());
            }
            CheckReason::CertificateExpired => {
                assert!(
                    expires.is_some_and(|seconds| seconds < -1e7),
                    "{name}: {expires:?}"
                );
            }
            _ => assert!(
                expires.is_some_and(|seconds| seconds > 1e9),
                "{name}: {expires:?}"
            ),
        }
        // What was shown is told whether it is trusted or not.
        let verified = Value::Bool(reason == CheckReason::Ok);
        assert_eq!(result.value("verified"), Some(&verified), "{name}");
        assert_eq!(seconds(&result, "chain_expires_seconds"), expires, "{name}");
        for field in ["issuer", "subject", "names", "fingerprint_sha256"] {
            assert!(result.value(field).is_some(), "{name}: {field}");
        }
    }
}

#[tokio::test]
async fn a_server_without_tls_fails_the_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let answer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .expect("written");
        stream.shutdown().await.expect("closed");
    });
    let result = check(settings(&format!("https://{address}/"))).await;
    assert_eq!(
        result.finding.reason,
        CheckReason::TlsHandshake,
        "{result:?}"
    );
    answer.await.expect("the server ends");
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").expect("written");
    for file in [folder.path().join("missing.pem"), empty] {
        let settings = settings("https://localhost/")
            .with_ca_file(&file)
            .expect("a path");
        let error = check_once(settings, &ProbeContext::new(), &SystemClock).await;
        let error = error.expect_err("no authorities").to_string();
        assert!(
            error.contains(file.to_str().expect("a plain path")),
            "{error}"
        );
    }
}
