//! `tidegauge config`: what is wrong, what is in effect, what there is to set.

use crate::program::{command, text};
use std::fs;
use std::path::Path;

/// Exit status, standard output and standard error of `config` with a file.
fn config(arguments: &[&str], file: &Path) -> (Option<i32>, String, String) {
    let output = command(&["config"])
        .args(arguments)
        .args(["--config", text(file)])
        .env("TIDEGAUGE_KAFKA_TOPIC", "of-the-environment")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn check_says_all_that_is_wrong_at_once_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.toml");
    fs::write(
        folder.path().join("targets.yaml"),
        "- url: http://x/\n  intervall: 5s\n",
    )
    .unwrap();
    let bad = "[kafka]\nbrokers = \"a:1\"\nencoding = \"jsn\"\ntopci = \"x\"\n\
               [agent]\ninterval = \"soon\"\ncollectors = [\"cpuu\"]\ntargets = \"FOLDER/targets.yaml\"\n\
               [[agent.checks]]\nurl = \"http://u:s3cret@a/\"\nexpect_statuss = \"2xx\"\n\
               [[agent.checks]]\nurl = \"gopher://u:s3cret@a/\"\n\
               [[agent.checks]]\nurl = \"https://u:s3cret@a/\"\nca_file = \"/nowhere.pem\"\n\
               [log]\nformat = \"jsno\"\n[otlp]\nprefix = \"A B\"\nlisten = \"127.0.0.1:0\"\n\
               [store]\nurl = \"oracle://u:s3cret@h/d\"\n\
               [kafka.sasl]\nmechanism = \"PLAIN\"\npassword = \"s3cret\"\n";
    fs::write(&file, bad.replace("FOLDER", text(folder.path()))).unwrap();
    let (status, said, problems) = config(&["check"], &file);
    assert_eq!((status, said.as_str()), (Some(2), ""));
    assert!(!problems.contains("s3cret"), "{problems}");
    let problems = problems.replace(text(folder.path()), "FOLDER");
    let expected = [
        "FOLDER/t.toml:3: kafka.encoding: `jsn`: expected one of json",
        "FOLDER/t.toml:4: unknown key `kafka.topci`; did you mean `kafka.topic`?",
        "FOLDER/t.toml:6: agent.interval: `soon`: expected a duration",
        "FOLDER/t.toml:7: there is no collector `cpuu`, there are ",
        "FOLDER/t.toml:11: unknown key `expect_statuss` of a check; did you mean `expect_status`?",
        "FOLDER/t.toml:13: checking the setting url: no probe takes the scheme \"gopher\"",
        "FOLDER/t.toml:14: the check \"https://a/\": reading certificate authorities from /nowhere.pem: ",
        "FOLDER/t.toml:18: log.format: `jsno`: expected one of text, json; did you mean `json`?",
        "FOLDER/t.toml:20: otlp.prefix: `A B`: ",
        "FOLDER/t.toml:23: store.url: reading the store's URL",
        "FOLDER/targets.yaml:2: unknown key `intervall` of a check; did you mean `interval`?",
        "kafka.sasl.username: it is missing",
    ];
    let lines: Vec<_> = problems.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{problems}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(
            line.starts_with(&format!("tidegauge: {expected}")),
            "{line}\nis not\n{expected}"
        );
    }
}

#[test]
fn show_tells_values_and_where_they_come_from_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.toml");
    let good = "[kafka]\nbrokers = [\"a:1\", \"b:2\"]\n[agent]\nlabels = { env = \"prod\" }\n\
                [[agent.checks]]\nurl = \"http://u:s3cret@a/\"\nattempts = 2\n\
                [store]\nurl = \"postgres://u:s3cret@h/d\"\n[influx]\ntoken = \"s3cret\"\n";
    fs::write(&file, good).unwrap();
    let (status, said, _) = config(&["check"], &file);
    assert_eq!(
        (status, said.as_str()),
        (Some(0), "the settings are sound\n")
    );

    let (status, said, _) = config(&["show", "--format", "json", "--interval", "5s"], &file);
    assert_eq!(status, Some(0));
    assert!(!said.contains("s3cret"), "{said}");
    let all: serde_json::Value = serde_json::from_str(&said).unwrap();
    let of = |key: &str| {
        (
            all[key]["value"].clone(),
            all[key]["from"].as_str().unwrap(),
        )
    };
    assert_eq!(
        of("kafka.brokers"),
        (
            serde_json::json!(["a:1", "b:2"]),
            &*format!("{}:2", text(&file))
        )
    );
    assert_eq!(
        of("kafka.topic"),
        ("of-the-environment".into(), "TIDEGAUGE_KAFKA_TOPIC")
    );
    assert_eq!(of("agent.interval"), ("5s".into(), "--interval"));
    assert_eq!(of("agent.spool_age"), ("30d".into(), "default"));
    assert_eq!(of("store.url").0, "***");
    assert_eq!(
        all["agent.checks"][0]["value"],
        serde_json::json!({"url": "http://***@a/", "attempts": 2})
    );

    // What it prints as TOML says the same, and is sound.
    let (_, shown, _) = config(&["show", "--format", "toml"], &file);
    let shown = shown.replace("url = \"***\"", "url = \"sqlite:x\"");
    let again = folder.path().join("again.toml");
    fs::write(&again, &shown).unwrap();
    let (status, _, problems) = config(&["check"], &again);
    assert_eq!(status, Some(0), "{problems}\n{shown}");
    let (_, shown_again, _) = config(&["show", "--format", "toml"], &again);
    let values = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with("url = "));
        lines
            .map(|line| line.split(" # ").next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(values(&shown_again), values(&shown));

    let (_, table, _) = config(&["show"], &file);
    assert!(
        table.contains("agent.labels") && table.contains("env=prod"),
        "{table}"
    );
    assert!(!table.contains("s3cret"), "{table}");
}

#[test]
fn services_are_checked_without_a_look_up() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.toml");
    let targets = folder.path().join("targets");
    let write = |service: &str| {
        let listed = "tcp+srv://_x._tcp.example.org\n";
        fs::write(&targets, format!("{listed}https+srv://{service}/\n")).unwrap();
        let config = "[agent]\nsrv_interval = \"1m\"\ntargets = \"TARGETS\"\n\
                      [[agent.checks]]\nurl = \"https+srv://_https._tcp.example.org/health\"\nname = \"shop\"\n";
        fs::write(&file, config.replace("TARGETS", text(&targets))).unwrap();
        config_check(&file)
    };
    assert_eq!(write("_https._tcp.example.org").0, Some(0));
    let (status, problems) = write("_https._tcp.example.org:443");
    assert_eq!(status, Some(2));
    let expected =
        "/targets:2: checking the setting url: with +srv the port is that of the SRV records";
    assert!(problems.contains(expected), "{problems}");
}

fn config_check(file: &Path) -> (Option<i32>, String) {
    let (status, _, problems) = config(&["check"], file);
    (status, problems)
}

#[test]
fn schema_and_example_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none.toml");
    fs::write(&none, "").unwrap();
    let (status, schema, _) = config(&["schema"], &none);
    assert_eq!(status, Some(0));
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(
        schema["properties"]["kafka"]["properties"]["brokers"]["anyOf"][1]["type"],
        "array"
    );
    let (status, example, _) = config(&["example"], &none);
    assert_eq!(status, Some(0));
    fs::write(&none, example).unwrap();
    assert_eq!(config(&["check"], &none).0, Some(0));
}
