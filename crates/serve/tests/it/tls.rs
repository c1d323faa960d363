//! TLS: what is served over it, and certificates that are replaced while the server runs.

use crate::client::{raw, request, say, status};
use crate::{DEADLINE, SEEN_AFTER, Server};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tidegauge_serve::{Door, DoorSettings};
use tidegauge_testkit::eventually_async;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

struct Files {
    _folder: tempfile::TempDir,
    settings: DoorSettings,
}

impl Files {
    fn new() -> (Self, CertificateDer<'static>) {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = DoorSettings {
            certificate_file: Some(folder.path().join("certificate.pem")),
            key_file: Some(folder.path().join("key.pem")),
            ..DoorSettings::default()
        };
        let files = Self {
            _folder: folder,
            settings,
        };
        let certificate = files.write(true, true);
        (files, certificate)
    }

    /// Writes a new pair, or a half of one.
    fn write(&self, certificate: bool, key: bool) -> CertificateDer<'static> {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let replace = |path: &Option<std::path::PathBuf>, text: String| {
            let path: &Path = path.as_deref().expect("set");
            let beside = path.with_extension("new");
            std::fs::write(&beside, text).expect("written");
            std::fs::rename(beside, path).expect("renamed");
        };
        if certificate {
            replace(&self.settings.certificate_file, cert.pem());
        }
        if key {
            replace(&self.settings.key_file, signing_key.serialize_pem());
        }
        cert.der().clone()
    }
}

async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

async fn is_shown(address: SocketAddr, certificate: &CertificateDer<'static>) -> bool {
    match connect(address, certificate).await {
        Ok(mut stream) => {
            let answer = say(&mut stream, request("GET /page", "").as_bytes()).await;
            assert_eq!(status(&answer), 200, "{answer}");
            true
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("invalid peer certificate"), "{text}");
            false
        }
    }
}

async fn comes(address: SocketAddr, certificate: &CertificateDer<'static>) {
    eventually_async(DEADLINE, "the certificate is shown", || async {
        is_shown(address, certificate).await.then_some(())
    })
    .await;
}

/// Until the files were looked at again.
async fn stays(address: SocketAddr, certificate: &CertificateDer<'static>) {
    let begun = Instant::now();
    eventually_async(DEADLINE, "the files were looked at", || async {
        assert!(is_shown(address, certificate).await);
        (begun.elapsed() > SEEN_AFTER).then_some(())
    })
    .await;
}

#[tokio::test]
async fn pages_are_served_over_tls_and_not_without() {
    let (files, certificate) = Files::new();
    let server = Server::start(files.settings.clone()).await;
    assert!(is_shown(server.address, &certificate).await);
    let answer = raw(server.address, request("GET /page", "").as_bytes()).await;
    assert!(
        !answer.contains("the page") && !answer.contains("200"),
        "{answer}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_that_is_replaced_is_shown_to_the_next() {
    let (files, first) = Files::new();
    let server = Server::start(files.settings.clone()).await;
    // This one is there all the time.
    let mut lasting = connect(server.address, &first).await.expect("TLS");
    let second = files.write(true, true);
    comes(server.address, &second).await;
    assert!(!is_shown(server.address, &first).await);
    // A certificate without its key is not taken, and neither is one that is none.
    let third = files.write(true, false);
    stays(server.address, &second).await;
    assert!(!is_shown(server.address, &third).await);
    let path = files.settings.certificate_file.as_ref().expect("set");
    std::fs::write(path, "no PEM").expect("written");
    stays(server.address, &second).await;
    let fourth = files.write(true, true);
    comes(server.address, &fourth).await;
    let answer = say(&mut lasting, request("GET /page", "").as_bytes()).await;
    assert_eq!(status(&answer), 200, "a connection goes on");
    server.stop().await;
}

#[test]
fn a_key_of_another_certificate_is_an_error_of_the_start() {
    let (files, _) = Files::new();
    files.write(false, true);
    let error = Door::open(files.settings.clone())
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("key.pem: the key does not belong to the certificate in ")
            && error.ends_with("certificate.pem"),
        "{error}"
    );
    let key = files.settings.key_file.as_ref().expect("set");
    std::fs::write(
        key,
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .expect("written");
    let error = Door::open(files.settings).expect_err("refused").to_string();
    assert!(
        error.ends_with("one with a password is not taken"),
        "{error}"
    );
}
