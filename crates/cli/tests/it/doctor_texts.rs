//! What `tidegauge doctor` says of broken set-ups on real servers, word for word, as `tests/golden/doctor/`: the
//! person on call reads nothing else.

use crate::doctor::{Answer, doctor};
use crate::produce::{make_topic, make_topic_with};
use crate::program::{command, text};
use crate::security::{mtls, scram};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::time::Duration;
use tidegauge_testkit::golden::Masks;
use tidegauge_testkit::servers::{
    Distribution, KafkaOptions, KafkaServer, MariadbOptions, MariadbServer, PostgresOptions,
    PostgresServer, USERS, free_port, write_certificates,
};
use tidegauge_testkit::{
    assert_golden, eventually, kafka, kafka_listeners, mysql_query, postgres_database,
    postgres_query, random_topic, skip,
};

/// All that is not well, and what certificates say, one finding after the other.
pub(crate) fn story(answer: &Answer, masks: &Masks) -> String {
    let mut story = format!("status {}\n", answer.status.unwrap_or(-1));
    for (check, verdict, detail) in &answer.findings {
        if verdict != "ok" || check.contains("certificates") {
            let detail = detail.replace('\n', "\n    ");
            story.push_str(&format!("\n{check}: {verdict}\n    {detail}\n"));
        }
    }
    if !answer.errors.is_empty() {
        story.push_str(&format!("\n{}", answer.errors));
    }
    masks.apply(&story)
}

fn port_of(address: &str) -> String {
    format!(":{}", address.rsplit_once(':').unwrap().1)
}

#[test]
fn broken_connections_to_kafka_as_they_are_told() {
    const TEST: &str = "doctor_texts::broken_connections_to_kafka_as_they_are_told";
    let Some(listeners) = kafka_listeners(TEST) else {
        return;
    };
    let (plaintext, ssl, sasl) = (&listeners.plaintext, &listeners.ssl, &listeners.sasl_ssl);
    let certificates = &listeners.certificates;
    let closed = format!("127.0.0.1:{}", free_port());
    let masks = Masks::default()
        .hide(port_of(plaintext), ":PLAINTEXT")
        .hide(port_of(ssl), ":TLS")
        .hide(port_of(sasl), ":SASL")
        .hide(port_of(&closed), ":CLOSED")
        .hide(text(certificates), "CERTIFICATES");
    let by_name = |brokers: &str| format!("[kafka]\nbrokers = \"{brokers}\"\n");
    let ca = certificates.join("ca.pem").display().to_string();
    for (name, kafka) in [
        (
            "wrong_ca",
            mtls(ssl, certificates).replace("/ca.pem", "/other-ca.pem"),
        ),
        (
            "name_mismatch",
            mtls(&ssl.replace("127.0.0.1", "127.1"), certificates),
        ),
        (
            "no_client_certificate",
            format!("{}[kafka.tls]\nca_file = \"{ca}\"\n", by_name(ssl)),
        ),
        (
            "expired_certificate",
            mtls(ssl, certificates).replace("client.", "expired."),
        ),
        (
            "future_certificate",
            mtls(ssl, certificates).replace("client.", "future."),
        ),
        (
            "certificate_of_a_stranger",
            mtls(ssl, certificates).replace("client.", "stranger."),
        ),
        (
            "key_of_another",
            mtls(ssl, certificates).replace("client.key", "expired.key"),
        ),
        (
            "half_of_a_pair",
            mtls(ssl, certificates).replace("key_file", "#"),
        ),
        ("wrong_password", scram(sasl, certificates, "wr0ng")),
        (
            "token_not_accepted",
            format!(
                "{}[kafka.tls]\nca_file = \"{ca}\"\n[kafka.sasl]\nmechanism = \"OAUTHBEARER\"\ntoken_command = \"echo a.b.c\"\n",
                by_name(sasl)
            ),
        ),
        ("tls_to_a_plaintext_port", mtls(plaintext, certificates)),
        ("plaintext_to_a_tls_port", by_name(ssl)),
        ("unknown_name", by_name("none.invalid:9092")),
        ("nobody_listens", by_name(&closed)),
    ] {
        let mut answer = doctor(&kafka, &[]);
        // Which file it is does not matter; that it is named does.
        answer.hide_configuration();
        assert_golden!(&format!("doctor/kafka_{name}"), &story(&answer, &masks));
        assert_ne!(answer.status, Some(0), "{name}");
    }
}

#[test]
fn a_broker_whose_certificate_has_expired_as_it_is_told() {
    const TEST: &str = "doctor_texts::a_broker_whose_certificate_has_expired_as_it_is_told";
    let Some(distribution) = Distribution::of_environment(TEST) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    write_certificates(folder.path()).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let options = KafkaOptions {
        properties: vec![
            format!("ssl.keystore.location={}", file("old-server.pem")),
            format!("ssl.truststore.location={}", file("ca.pem")),
        ],
        ..KafkaOptions::default()
    };
    let broker = KafkaServer::start(&distribution, &options).unwrap();
    let ssl = &broker.listeners().ssl;
    let masks = Masks::default()
        .hide(port_of(ssl), ":TLS")
        .hide(text(folder.path()), "CERTIFICATES");
    let answer = doctor(&mtls(ssl, folder.path()), &[]);
    assert_golden!("doctor/kafka_expired_broker", &story(&answer, &masks));
}

#[test]
fn topics_and_rights_as_they_are_told() {
    const TEST: &str = "doctor_texts::topics_and_rights_as_they_are_told";
    let Some(listeners) = kafka_listeners(TEST) else {
        return;
    };
    let brokers = &listeners.plaintext;
    let of_plaintext = format!("[kafka]\nbrokers = \"{brokers}\"\n");
    for (name, config) in [
        ("compacted", [("cleanup.policy", "compact")]),
        ("too_few_in_sync", [("min.insync.replicas", "2")]),
        ("short_retention", [("retention.ms", "3600000")]),
        ("bounded_by_bytes", [("retention.bytes", "1000000")]),
        ("small_messages", [("max.message.bytes", "100000")]),
    ] {
        let topic = random_topic("settings");
        make_topic_with(brokers, &topic, 1, &config);
        let masks = Masks::default().hide(&topic, "TOPIC");
        let answer = doctor(&of_plaintext, &["--topic", &topic]);
        assert_golden!(&format!("doctor/topic_{name}"), &story(&answer, &masks));
    }
    let topic = random_topic("missing");
    let masks = Masks::default().hide(&topic, "TOPIC");
    let answer = doctor(&of_plaintext, &["--topic", &topic]);
    assert_golden!("doctor/topic_missing", &story(&answer, &masks));

    // Bob has no rights at all.
    let (bob, password) = USERS[1];
    let kafka = scram(&listeners.sasl_ssl, &listeners.certificates, password);
    let (topic, group) = (random_topic("bobs"), random_topic("group"));
    make_topic(brokers, &topic, 1);
    let kafka = kafka.replace(USERS[0].0, bob) + &format!("[sink]\ngroup = \"{group}\"\n");
    let masks = Masks::default()
        .hide(&topic, "TOPIC")
        .hide(&group, "GROUP")
        .hide(port_of(&listeners.sasl_ssl), ":SASL");
    let answer = doctor(&kafka, &["--topic", &topic]);
    assert_golden!("doctor/topic_no_rights", &story(&answer, &masks));
}

/// A PostgreSQL with TLS, and the folder of its certificates.
fn postgres_with_tls(test: &str) -> Option<(PostgresServer, tempfile::TempDir)> {
    let distribution = Distribution::of_environment(test)?;
    let server = PostgresServer::start(&distribution, &PostgresOptions::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    write_certificates(folder.path()).unwrap();
    let process = server.process_id().unwrap();
    let owner = fs::metadata(format!("/proc/{process}")).unwrap().uid();
    let key = folder.path().join("server.key");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    chown(&key, Some(owner), None).unwrap();
    let query = |sql: &str| postgres_query(server.url(), sql).unwrap();
    let hba = query("show hba_file")[0][0].clone().unwrap();
    let rules = fs::read_to_string(&hba).unwrap();
    fs::write(&hba, format!("host all reader all scram-sha-256\n{rules}")).unwrap();
    query("create role reader login password 's3cret'");
    let folder_text = folder.path().display();
    query(&format!(
        "alter system set ssl_cert_file = '{folder_text}/server.crt'"
    ));
    query(&format!(
        "alter system set ssl_key_file = '{folder_text}/server.key'"
    ));
    query("alter system set ssl = on");
    query("select pg_reload_conf()");
    eventually(Duration::from_secs(30), "the server has TLS", || {
        let shown = postgres_query(server.url(), "show ssl").ok()?;
        (shown[0][0].as_deref() == Some("on")).then_some(())
    });
    Some((server, folder))
}

#[test]
fn broken_connections_to_postgres_as_they_are_told() {
    const TEST: &str = "doctor_texts::broken_connections_to_postgres_as_they_are_told";
    let Some((server, folder)) = postgres_with_tls(TEST) else {
        return;
    };
    let Some(without_tls) = postgres_database(TEST) else {
        return;
    };
    let (port, closed) = (server.port(), free_port());
    let plain_port = port_of(without_tls.url.rsplit_once('/').unwrap().0);
    let masks = Masks::default()
        .hide(format!(":{port}"), ":PORT")
        .hide(format!("port {port}"), "port PORT")
        .hide(format!(":{closed}"), ":CLOSED")
        .hide(&without_tls.name, "DATABASE")
        .hide(plain_port.clone(), ":PLAIN")
        .hide(text(folder.path()), "CERTIFICATES");
    let ca = |name: &str| format!("sslrootcert={}", folder.path().join(name).display());
    let (good, other) = (ca("ca.pem"), ca("other-ca.pem"));
    let url = |user: &str, host: &str, more: &str| {
        format!("postgres://{user}@{host}:{port}/postgres?{more}")
    };
    postgres_query(server.url(), "create database broken").unwrap();
    for (name, url) in [
        (
            "wrong_ca",
            url(
                "postgres",
                "localhost",
                &format!("sslmode=verify-full&{other}"),
            ),
        ),
        (
            "name_mismatch",
            url(
                "postgres",
                "127.0.0.2",
                &format!("sslmode=verify-full&{good}&hostaddr=127.0.0.1"),
            ),
        ),
        (
            "not_verified",
            url("postgres", "localhost", "sslmode=require"),
        ),
        (
            "wrong_password",
            url(
                "reader:wr0ng",
                "localhost",
                &format!("sslmode=verify-full&{good}"),
            ),
        ),
        (
            "no_password",
            url(
                "reader",
                "localhost",
                &format!("sslmode=verify-full&{good}"),
            ),
        ),
        (
            "unknown_user",
            url("nobody_here", "localhost", "sslmode=disable"),
        ),
        (
            "no_such_database",
            url("postgres", "localhost", "sslmode=disable").replace("/postgres?", "/nowhere?"),
        ),
        (
            "no_tls_there",
            format!(
                "postgres://postgres@localhost{plain_port}/{}?sslmode=verify-full&{good}",
                without_tls.name
            ),
        ),
        (
            "prefers_plaintext",
            url("postgres", "localhost", "sslmode=prefer"),
        ),
        (
            "nobody_listens",
            format!("postgres://me:wr0ng@127.0.0.1:{closed}/metrics"),
        ),
        (
            "unknown_name",
            "postgres://me:wr0ng@none.invalid/metrics?sslmode=disable".to_owned(),
        ),
        (
            "no_tables",
            url("postgres", "localhost", "sslmode=disable").replace("/postgres?", "/broken?"),
        ),
    ] {
        let answer = doctor("", &["--store", &url]);
        assert_golden!(&format!("doctor/postgres_{name}"), &story(&answer, &masks));
    }
}

#[test]
fn a_schema_and_a_role_that_will_not_do_as_they_are_told() {
    const TEST: &str = "doctor_texts::a_schema_and_a_role_that_will_not_do_as_they_are_told";
    let Some(database) = postgres_database(TEST) else {
        return;
    };
    let migrated = command(&["store", "migrate", "--store", &database.url])
        .output()
        .unwrap();
    assert!(migrated.status.success(), "{migrated:?}");
    let masks = Masks::default()
        .hide(port_of(database.url.rsplit_once('/').unwrap().0), ":PORT")
        .hide(&database.name, "DATABASE");
    let role = format!("reader_{}", &database.name[database.name.len() - 8..]);
    let masks = masks.hide(&role, "ROLE");
    let query = |sql: &str| database.query(sql).unwrap();
    query(&format!(
        "create role {role} login; grant usage on schema public to {role}"
    ));
    let as_role = database.url.replacen("postgres@", &format!("{role}@"), 1);
    let ask = |name: &str, url: &str| {
        let answer = doctor("", &["--store", url]);
        assert_golden!(&format!("doctor/postgres_{name}"), &story(&answer, &masks));
    };
    ask("role_without_rights", &as_role);
    query(&format!(
        "grant select on all tables in schema public to {role}"
    ));
    ask("role_that_only_reads", &as_role);
    query(&format!("drop owned by {role}; drop role {role}"));
    let newest = "update refinery_schema_history set version = version + 1000 where version = (select max(version) from refinery_schema_history)";
    query(newest);
    ask("schema_newer", &database.url);
}

#[test]
fn broken_connections_to_mysql_as_they_are_told() {
    const TEST: &str = "doctor_texts::broken_connections_to_mysql_as_they_are_told";
    let Some(distribution) = Distribution::of_environment(TEST) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    write_certificates(folder.path()).unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let options = MariadbOptions {
        settings: vec![
            format!("--ssl-cert={}", file("server.crt")),
            format!("--ssl-key={}", file("server.key")),
        ],
        ..MariadbOptions::default()
    };
    let Some(server) = MariadbServer::start(&distribution, &options).unwrap() else {
        skip(TEST, "no MariaDB is published for this machine");
        return;
    };
    mysql_query(&server.url(), "create user reader@'%' identified by 's3cret' require ssl; grant select on tidegauge_services.* to reader@'%'").unwrap();
    let (port, closed) = (server.port(), free_port());
    let masks = Masks::default()
        .hide(format!(":{port}"), ":PORT")
        .hide(format!(":{closed}"), ":CLOSED")
        .hide(text(folder.path()), "CERTIFICATES");
    let url = |user: &str, host: &str, more: &str| {
        format!("mysql://{user}@{host}:{port}/tidegauge_services?{more}")
    };
    let verified = |ca: &str| format!("ssl-mode=verify_identity&ssl-ca={}", file(ca));
    for (name, url) in [
        (
            "wrong_ca",
            url("root", "localhost", &verified("other-ca.pem")),
        ),
        ("name_mismatch", url("root", "127.1", &verified("ca.pem"))),
        (
            "not_verified",
            url("root", "localhost", "ssl-mode=required"),
        ),
        (
            "wrong_password",
            url("reader:wr0ng", "localhost", &verified("ca.pem")),
        ),
        (
            "plaintext_refused",
            url("reader:s3cret", "localhost", "ssl-mode=disabled"),
        ),
        (
            "no_such_database",
            url("root", "localhost", "ssl-mode=disabled")
                .replace("/tidegauge_services?", "/nowhere?"),
        ),
        (
            "nobody_listens",
            format!("mysql://me:wr0ng@127.0.0.1:{closed}/metrics"),
        ),
        (
            "role_that_only_reads",
            url("reader:s3cret", "localhost", &verified("ca.pem")),
        ),
    ] {
        if name == "role_that_only_reads" {
            let migrated = command(&["store", "migrate", "--store", &server.url()])
                .output()
                .unwrap();
            assert!(migrated.status.success(), "{migrated:?}");
        }
        let answer = doctor("", &["--store", &url]);
        assert_golden!(&format!("doctor/mysql_{name}"), &story(&answer, &masks));
    }
}

/// What files and settings show by themselves, before anything is connected: status 2.
#[test]
fn files_and_settings_that_cannot_be_used_as_they_are_told() {
    let folder = tempfile::tempdir().unwrap();
    write_certificates(folder.path()).unwrap();
    let masks = Masks::default().hide(text(folder.path()), "CERTIFICATES");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let one_line = fs::read_to_string(file("client.pem"))
        .unwrap()
        .replace('\n', "");
    fs::write(file("line.pem"), one_line).unwrap();
    let kafka = mtls("127.0.0.1:1", folder.path());
    let sasl = |text: &str| format!("[kafka]\nbrokers = \"127.0.0.1:1\"\n[kafka.sasl]\n{text}");
    for (name, configuration) in [
        (
            "pem_without_line_breaks",
            kafka.replace("client.pem", "line.pem"),
        ),
        ("file_missing", kafka.replace("client.pem", "nowhere.pem")),
        (
            "key_password_missing",
            kafka.replace("client.key", "encrypted.key"),
        ),
        (
            "tls_turned_off",
            kafka.replace("ca_file", "enabled = false\nca_file"),
        ),
        ("mechanism_unknown", sasl("mechanism = \"SCRAM-SHA-1\"\n")),
        (
            "sasl_half_set",
            sasl("mechanism = \"PLAIN\"\nusername = \"alice\"\n"),
        ),
        (
            "property_that_is_ours",
            "[kafka]\nbrokers = \"127.0.0.1:1\"\n[kafka.properties]\nacks = 1\n".to_owned(),
        ),
    ] {
        let mut answer = doctor(&configuration, &[]);
        answer.hide_configuration();
        assert_eq!(answer.status, Some(2), "{name}: {:?}", answer.findings);
        assert_golden!(&format!("doctor/kafka_{name}"), &story(&answer, &masks));
    }
    let postgres = format!(
        "postgres://me@db.example.org/metrics?sslmode=verify-full&sslrootcert={}",
        file("ca.pem")
    );
    let mysql = format!(
        "mysql://me@db.example.org/metrics?ssl-mode=verify_identity&ssl-ca={}",
        file("ca.pem")
    );
    let with = |url: &str, name: &str, key: &str, files: [&str; 2]| {
        format!("{url}&{name}={}&{key}={}", file(files[0]), file(files[1]))
    };
    let cases = [
        (
            "postgres_ca_missing",
            postgres.replace("ca.pem", "nowhere.pem"),
        ),
        (
            "postgres_half_of_a_pair",
            format!("{postgres}&sslcert={}", file("client.pem")),
        ),
        (
            "postgres_key_of_another",
            with(
                &postgres,
                "sslcert",
                "sslkey",
                ["client.pem", "expired.key"],
            ),
        ),
        (
            "postgres_encrypted_key",
            with(
                &postgres,
                "sslcert",
                "sslkey",
                ["client.pem", "encrypted.key"],
            ),
        ),
        (
            "postgres_pem_without_line_breaks",
            with(&postgres, "sslcert", "sslkey", ["line.pem", "client.key"]),
        ),
        (
            "postgres_tls_turned_off",
            postgres.replace("verify-full", "disable"),
        ),
        ("mysql_ca_missing", mysql.replace("ca.pem", "nowhere.pem")),
        (
            "mysql_half_of_a_pair",
            format!("{mysql}&ssl-key={}", file("client.key")),
        ),
        (
            "mysql_key_of_another",
            with(&mysql, "ssl-cert", "ssl-key", ["client.pem", "expired.key"]),
        ),
        (
            "mysql_prefers_plaintext",
            mysql.replace("verify_identity", "preferred"),
        ),
        ("mysql_unknown_parameter", format!("{mysql}&charset=latin1")),
    ];
    for (name, url) in cases {
        let answer = doctor("", &["--store", &url]);
        assert_eq!(answer.status, Some(2), "{name}: {:?}", answer.findings);
        assert_golden!(&format!("doctor/{name}"), &story(&answer, &masks));
    }
}

#[test]
fn state_folders_that_will_not_do_as_they_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let masks = Masks::default().hide(text(folder.path()), "FOLDER");
    let file = folder.path().join("a_file");
    fs::write(&file, "").unwrap();
    let answer = doctor("", &["--state-dir", text(&file)]);
    assert_golden!("doctor/state_is_a_file", &story(&answer, &masks));

    let full = "[agent]\nspool_bytes = \"900000GiB\"\n";
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    let answer = doctor(full, &["--state-dir", text(&state)]);
    assert_golden!("doctor/state_too_small", &story(&answer, &masks));

    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    for (name, folder_mode, file_mode) in
        [("not_writable", 0o500, 0o600), ("of_another", 0o700, 0o400)]
    {
        let spool = closed.join("spool.db");
        fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
        fs::write(&spool, "").unwrap();
        fs::set_permissions(&spool, Permissions::from_mode(file_mode)).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(folder_mode)).unwrap();
        let answer = crate::doctor::doctor_without_rights(&closed);
        assert_golden!(&format!("doctor/state_{name}"), &story(&answer, &masks));
    }
}

#[test]
fn a_broker_that_is_well_and_a_database_behind_it() {
    const TEST: &str = "doctor_texts::a_broker_that_is_well_and_a_database_behind_it";
    let Some(brokers) = kafka(TEST) else { return };
    let Some(database) = postgres_database(TEST) else {
        return;
    };
    let topic = random_topic("behind");
    make_topic(&brokers, &topic, 1);
    let bad = vec![("k".to_owned(), b"not json".to_vec())];
    crate::produce::send(&brokers, &topic, &bad);
    crate::program::sink_to_the_end(&brokers, &topic, &database.url);
    crate::produce::send(&brokers, &topic, &crate::produce::numbered(0..3, 1));
    crate::produce::delete_before(&brokers, &topic, 0, 3);
    let masks = Masks::default()
        .hide(port_of(&brokers), ":BROKER")
        .hide(port_of(database.url.rsplit_once('/').unwrap().0), ":PORT")
        .hide(&database.name, "DATABASE")
        .hide(&topic, "TOPIC");
    let kafka = format!("[kafka]\nbrokers = \"{brokers}\"\n");
    let answer = doctor(&kafka, &["--topic", &topic, "--store", &database.url]);
    assert_golden!(
        "doctor/dead_letters_and_lost_messages",
        &story(&answer, &masks),
    );
}
