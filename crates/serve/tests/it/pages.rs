//! Who comes in, under which name, and with which headers.

use crate::client::{raw, request, status};
use crate::{DEADLINE, SEEN_AFTER, Server};
use base64::Engine as _;
use std::time::Instant;
use tidegauge_serve::{Door, DoorSettings, Token, hash_password};
use tidegauge_testkit::eventually_async;

fn basic(user: &str, password: &str) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("authorization: Basic {text}\r\n")
}

#[tokio::test]
async fn token_and_password_come_in_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let users = folder.path().join("users");
    let hash = hash_password("pass:wörd").expect("a hash");
    std::fs::write(&users, format!("anna:{hash}\n")).expect("written");
    let server = Server::start(DoorSettings {
        token: Some(Token::new("t0ken")),
        users_file: Some(users.clone()),
        ..DoorSettings::default()
    })
    .await;
    let ask = async |path: &str, headers: &str| {
        raw(
            server.address,
            request(&format!("GET {path}"), headers).as_bytes(),
        )
        .await
    };
    for (headers, expected) in [
        ("authorization: Bearer t0ken\r\n".to_owned(), 200),
        ("authorization: Token t0ken\r\n".to_owned(), 200),
        (basic("", "t0ken"), 200),
        (basic("anna", "pass:wörd"), 200),
        (basic("anna", "pass:wörd"), 200),
        (String::new(), 401),
        ("authorization: Bearer t0ke\r\n".to_owned(), 401),
        ("authorization: Bearer pass:word\r\n".to_owned(), 401),
        ("authorization: Basic !!!\r\n".to_owned(), 401),
        (basic("anna", "pass"), 401),
        (basic("bert", "pass:wörd"), 401),
        (basic("anna", ""), 401),
    ] {
        let answer = ask("/page", &headers).await;
        assert_eq!(status(&answer), expected, "{headers}");
        assert_eq!(answer.contains("the page"), expected == 200, "{answer}");
        let challenged = answer.contains("www-authenticate: Basic realm=\"Tidegauge\"");
        assert_eq!(challenged, expected == 401, "{answer}");
        let open = ask("/open", &headers).await;
        assert!(
            open.ends_with(&format!("known: {}", expected == 200)),
            "{open}"
        );
    }

    // Another password in the file counts, and the one before no more.
    let hash = hash_password("new").expect("a hash");
    std::fs::write(&users, format!("anna:{hash}\nbert:{hash}\n")).expect("written");
    eventually_async(DEADLINE, "the new users come in", || async {
        (status(&ask("/page", &basic("bert", "new")).await) == 200).then_some(())
    })
    .await;
    assert_eq!(
        status(&ask("/page", &basic("anna", "pass:wörd")).await),
        401
    );
    // One that cannot be read lets in whom it let in before.
    std::fs::write(&users, "anna\n").expect("written");
    let written = Instant::now();
    eventually_async(DEADLINE, "the file was looked at", || async {
        assert_eq!(status(&ask("/page", &basic("bert", "new")).await), 200);
        (written.elapsed() > SEEN_AFTER).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_token_in_a_file_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "first\n").expect("written");
    let server = Server::start(DoorSettings {
        token_file: Some(file.clone()),
        ..DoorSettings::default()
    })
    .await;
    let ask = async |token: &str| {
        let header = format!("authorization: Bearer {token}\r\n");
        let request = request("GET /page", &header);
        status(&raw(server.address, request.as_bytes()).await)
    };
    assert_eq!((ask("first").await, ask("second").await), (200, 401));
    std::fs::write(&file, "second\n").expect("written");
    eventually_async(DEADLINE, "the new token comes in", || async {
        (ask("second").await == 200).then_some(())
    })
    .await;
    assert_eq!(ask("first").await, 401);
    std::fs::write(&file, "").expect("written");
    let written = Instant::now();
    eventually_async(DEADLINE, "the file was looked at", || async {
        assert_eq!((ask("second").await, ask("").await), (200, 401));
        (written.elapsed() > SEEN_AFTER).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn names_of_others_are_not_answered() {
    let server = Server::start(DoorSettings {
        hosts: vec!["metrics.example.org".to_owned()],
        ..DoorSettings::default()
    })
    .await;
    let port = server.address.port();
    for (host, expected) in [
        (format!("host: 127.0.0.1:{port}\r\n"), 200),
        (format!("host: localhost:{port}\r\n"), 200),
        ("host: metrics.example.org\r\n".to_owned(), 200),
        (format!("host: evil.example:{port}\r\n"), 421),
        ("host: localhost\r\nhost: evil.example\r\n".to_owned(), 421),
        ("host: \r\n".to_owned(), 421),
    ] {
        for path in ["/page", "/open", "/none"] {
            let request = format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{host}\r\n");
            let answer = raw(server.address, request.as_bytes()).await;
            let expected = if expected == 200 && path == "/none" {
                404
            } else {
                expected
            };
            assert_eq!(status(&answer), expected, "{path} {host}");
            assert!(!answer.contains("evil"), "{answer}");
        }
    }
    // An absolute address counts before the header.
    let absolute =
        "GET http://evil.example/page HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert_eq!(status(&raw(server.address, absolute.as_bytes()).await), 421);
    let old = raw(server.address, b"GET /page HTTP/1.0\r\n\r\n").await;
    assert_eq!(status(&old), 200, "{old}");
    server.stop().await;
}

#[tokio::test]
async fn nothing_can_be_changed_and_every_answer_has_its_headers() {
    let server = Server::start(DoorSettings::default()).await;
    for (line, expected) in [
        ("GET /page", 200),
        ("HEAD /page", 200),
        ("GET /none", 404),
        ("POST /page", 405),
        ("PUT /page", 405),
        ("DELETE /page", 405),
        ("PATCH /page", 405),
        ("OPTIONS /page", 405),
        ("TRACE /page", 405),
        ("CONNECT localhost:1", 405),
        ("BREW /page", 405),
    ] {
        let answer = raw(server.address, request(line, "").as_bytes()).await;
        assert_eq!(status(&answer), expected, "{line}: {answer}");
        for header in [
            "content-security-policy: default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
            "cache-control: no-store",
        ] {
            assert!(
                answer.contains(header),
                "{line}: {header} is not in {answer}"
            );
        }
        assert!(!answer.contains("access-control"), "{answer}");
    }
    server.stop().await;
}

#[test]
fn what_is_half_said_or_open_to_all_is_refused_d13() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.pem");
    let refused = |settings: DoorSettings| {
        let error = Door::open(settings).expect_err("refused");
        error
            .to_string()
            .replace(&folder.path().display().to_string(), "F")
    };
    let (certificate, key) = (Some(file.clone()), Some(file.clone()));
    let half = DoorSettings {
        certificate_file: certificate.clone(),
        ..DoorSettings::default()
    };
    assert_eq!(refused(half), "certificate_file: it needs key_file too");
    let half = DoorSettings {
        key_file: key.clone(),
        ..DoorSettings::default()
    };
    assert_eq!(refused(half), "key_file: it needs certificate_file too");
    let whole = DoorSettings {
        certificate_file: certificate,
        key_file: key,
        ..DoorSettings::default()
    };
    assert_eq!(
        refused(whole.clone()),
        "certificate_file: F/a.pem: I/O error: No such file or directory (os error 2)"
    );
    std::fs::write(&file, "no PEM").expect("written");
    assert_eq!(
        refused(whole),
        "certificate_file: F/a.pem: there is no certificate in PEM form"
    );
    let users = DoorSettings {
        users_file: Some(folder.path().join("none")),
        ..DoorSettings::default()
    };
    assert_eq!(
        refused(users),
        "users_file: F/none: the file cannot be read: No such file or directory (os error 2)"
    );
    let hosts = DoorSettings {
        hosts: vec!["a b".to_owned()],
        ..DoorSettings::default()
    };
    assert!(refused(hosts).starts_with("hosts: `a b`: expected a name"));

    let with = |token: bool, allow_insecure| DoorSettings {
        token: token.then(|| Token::new("t0ken")),
        allow_insecure,
        ..DoorSettings::default()
    };
    for (address, token, insecure, fine) in [
        ("127.0.0.1:1", false, false, true),
        ("[::1]:1", false, false, true),
        ("0.0.0.0:1", false, false, false),
        ("[::]:1", false, false, false),
        ("0.0.0.0:1", true, false, true),
        ("192.0.2.1:1", false, true, true),
    ] {
        let door = Door::open(with(token, insecure)).expect("a door");
        let checked = door.check(address.parse().expect("an address"));
        assert_eq!(checked.is_ok(), fine, "{address}");
    }
}
