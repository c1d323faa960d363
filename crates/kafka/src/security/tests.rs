//! What is refused before there is a connection, with its text.

use std::fs;

use super::*;
use crate::KafkaSettings;

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        tidegauge_testkit::servers::write_certificates(folder.path()).expect("written");
        Self(folder)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.0.path().join(name))
    }

    fn write(&self, name: &str, content: &str) -> Option<PathBuf> {
        fs::write(self.0.path().join(name), content).expect("written");
        self.path(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).expect("readable")
    }

    fn good(&self) -> Tls {
        Tls {
            ca_file: self.path("ca.pem"),
            certificate_file: self.path("client.pem"),
            key_file: self.path("client.key"),
            ..Tls::default()
        }
    }

    /// The text of the refusal, without the folder.
    fn refusal(&self, tls: Tls) -> String {
        let settings = KafkaSettings {
            brokers: vec!["127.0.0.1:1".to_owned()],
            tls: Some(tls),
            ..KafkaSettings::default()
        };
        let error = settings.check().expect_err("refused").to_string();
        error.replace(&format!("{}/", self.0.path().display()), "")
    }
}

#[test]
fn good_files_are_accepted() {
    let files = Files::new();
    check(Some(&files.good()), None).expect("fine");
    check(Some(&Tls::default()), None).expect("the system's authorities");
    let encrypted = Tls {
        key_file: files.path("encrypted.key"),
        key_password: Some("opensesame".to_owned().into()),
        ..files.good()
    };
    check(Some(&encrypted), None).expect("the password opens it");
    let traditional = Tls {
        key_file: files.path("traditional.key"),
        ..files.good()
    };
    check(Some(&traditional), None).expect("the older form");
    let store = Tls {
        pkcs12_file: files.path("client.p12"),
        key_password: Some("opensesame".to_owned().into()),
        ..Tls::default()
    };
    check(Some(&store), None).expect("PKCS#12");
}

#[test]
fn d13_half_set_files_are_named() {
    let files = Files::new();
    let no_key = Tls {
        key_file: None,
        ..files.good()
    };
    assert_eq!(
        files.refusal(no_key),
        "kafka.tls.key_file: it is missing: the certificate of kafka.tls.certificate_file needs its key"
    );
    let no_certificate = Tls {
        certificate_file: None,
        ..files.good()
    };
    assert_eq!(
        files.refusal(no_certificate),
        "kafka.tls.certificate_file: it is missing: the key of kafka.tls.key_file needs its certificate"
    );
    let password_alone = Tls {
        key_password: Some("opensesame".to_owned().into()),
        ..Tls::default()
    };
    assert_eq!(
        files.refusal(password_alone),
        "kafka.tls.key_password_file: there is no key that it opens: say kafka.tls.key_file or kafka.tls.pkcs12_file too"
    );
    let both = Tls {
        pkcs12_file: files.path("client.p12"),
        ..files.good()
    };
    assert!(files.refusal(both).contains("take one of both"));
}

#[test]
fn d13_bad_files_are_told_with_what_to_do() {
    let files = Files::new();
    let one_line = files.read("client.pem").replace('\n', "");
    let cut = &files.read("client.pem")[..200];
    let cases = [
        (
            Tls {
                ca_file: files.path("none.pem"),
                ..files.good()
            },
            "kafka.tls.ca_file: none.pem: the file cannot be read: No such file or directory (os error 2)",
        ),
        (
            Tls {
                ca_file: files.path("client.key"),
                ..files.good()
            },
            "kafka.tls.ca_file: client.key: it holds a PRIVATE KEY, expected a CERTIFICATE",
        ),
        (
            Tls {
                ca_file: files.write("empty.pem", ""),
                ..files.good()
            },
            "kafka.tls.ca_file: empty.pem: the file is empty",
        ),
        (
            Tls {
                ca_file: files.write("text.pem", "hello\n"),
                ..files.good()
            },
            "kafka.tls.ca_file: text.pem: it is no PEM file: it has no line -----BEGIN CERTIFICATE-----",
        ),
        (
            Tls {
                certificate_file: files.write("line.pem", &one_line),
                ..files.good()
            },
            "kafka.tls.certificate_file: line.pem: the PEM has no line breaks: put them back, after the BEGIN line, every 64 characters, and before the END line",
        ),
        (
            Tls {
                certificate_file: files.write("cut.pem", cut),
                ..files.good()
            },
            "kafka.tls.certificate_file: cut.pem: the PEM is damaged or cut off: copy it again",
        ),
        (
            Tls {
                key_file: files.path("expired.key"),
                ..files.good()
            },
            "kafka.tls.key_file: the key expired.key does not fit the certificate client.pem",
        ),
        (
            Tls {
                certificate_file: files.path("expired.pem"),
                key_file: files.path("expired.key"),
                ..files.good()
            },
            "kafka.tls.certificate_file: expired.pem: the certificate expired at 2021-01-01T00:00:00Z: have a new one made",
        ),
        (
            Tls {
                certificate_file: files.path("future.pem"),
                key_file: files.path("future.key"),
                ..files.good()
            },
            "kafka.tls.certificate_file: future.pem: the certificate is not valid before 2099-01-01T00:00:00Z: wait, or set this host's clock",
        ),
        (
            Tls {
                key_file: files.path("encrypted.key"),
                ..files.good()
            },
            "kafka.tls.key_password_file: it is missing: the key encrypted.key is encrypted",
        ),
    ];
    for (tls, expected) in cases {
        assert_eq!(files.refusal(tls), expected);
    }
    let wrong = Tls {
        key_file: files.path("encrypted.key"),
        key_password: Some("s3cret".to_owned().into()),
        ..files.good()
    };
    let said = files.refusal(wrong);
    assert!(
        said.starts_with("kafka.tls.key_file: the key cannot be read; if it is encrypted, the password of kafka.tls.key_password_file is wrong")
            && !said.contains("s3cret"),
        "{said}"
    );
    let no_store = Tls {
        pkcs12_file: files.write("other.p12", "hello"),
        ca_file: files.path("ca.pem"),
        ..Tls::default()
    };
    let said = files.refusal(no_store);
    assert!(
        said.starts_with("kafka.tls.pkcs12_file: the file cannot be read: it is no PKCS#12 file"),
        "{said}"
    );
}

#[test]
fn plain_passwords_go_over_tls_alone() {
    let plain = Sasl::Password {
        mechanism: SaslMechanism::Plain,
        username: "alice".to_owned(),
        password: "s3cret".to_owned().into(),
    };
    let said = check(None, Some(&plain)).expect_err("refused").to_string();
    assert!(
        said.contains("in clear") && !said.contains("s3cret"),
        "{said}"
    );
    check(Some(&Tls::default()), Some(&plain)).expect("over TLS it is fine");
    let token = Sasl::Token(Arc::new(Tokens::new(|| Err("none".to_owned()))));
    let said = check(None, Some(&token)).expect_err("refused").to_string();
    assert!(said.contains("sends the token in clear"), "{said}");
    check(Some(&Tls::default()), Some(&token)).expect("over TLS it is fine");
    for name in SaslMechanism::WORDS {
        assert_eq!(
            SaslMechanism::parse(name).map(SaslMechanism::name),
            Some(*name)
        );
    }
    assert_eq!(SaslMechanism::parse("plain"), None);
}

#[test]
fn a_token_is_shared_while_it_is_young_and_fetched_again_when_it_is_not() {
    use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
    static FETCHED: AtomicUsize = AtomicUsize::new(0);
    static LIFE_MS: AtomicI64 = AtomicI64::new(60_000);
    #[expect(clippy::disallowed_methods, reason = "tokens expire by the wall clock")]
    let tokens = Tokens::new(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now_ms = i64::try_from(now.expect("after 1970").as_millis()).expect("fits");
        FETCHED.fetch_add(1, Ordering::Relaxed);
        Ok(Token {
            text: "t0ken".to_owned().into(),
            principal: "alice".to_owned(),
            expires_ms: now_ms + LIFE_MS.load(Ordering::Relaxed),
        })
    });
    let shown = format!("{:?} {tokens:?}", tokens.token().expect("one"));
    assert!(
        shown.contains("alice") && !shown.contains("t0ken"),
        "{shown}"
    );
    tokens.token().expect("the same");
    assert_eq!(FETCHED.load(Ordering::Relaxed), 1);
    LIFE_MS.store(20, Ordering::Relaxed);
    let short = Tokens::new(move || tokens.token());
    short.token().expect("the shared one");
    assert_eq!(FETCHED.load(Ordering::Relaxed), 1);
    let none = Tokens::new(|| Err("the endpoint is away".to_owned()));
    assert_eq!(none.token().expect_err("none"), "the endpoint is away");
}
