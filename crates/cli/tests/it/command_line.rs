//! Usage errors, `collect` and `query`: exit statuses and what is said.

use crate::program::command;

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = command(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn a_missing_setting_is_named_with_status_2() {
    let (status, _, said) = run(&["sink", "--brokers", "127.0.0.1:1"]);
    assert_eq!(status, Some(2));
    assert!(
        said.contains("store.url")
            && said.contains("--store")
            && said.contains("TIDEGAUGE_STORE_URL"),
        "{said}"
    );
    let (status, _, said) = run(&["agent"]);
    assert_eq!(status, Some(2));
    assert!(
        said.contains("kafka.brokers") && said.contains("TIDEGAUGE_KAFKA_BROKERS"),
        "{said}"
    );
}

#[test]
fn answers_end_quietly_when_nobody_reads_them() {
    for arguments in [
        &["config", "schema"][..],
        &["config", "show"],
        &["collect", "--list"],
        &["collect", "--format", "influx"],
    ] {
        let mut program = command(arguments)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(program.stdout.take());
        let output = program.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        let complains = said.contains("panicked") || said.contains("tidegauge:");
        assert!(!complains, "{arguments:?}: {said}");
    }
}

#[test]
fn all_problems_of_a_configuration_come_together_with_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    std::fs::write(
        &path,
        "[kafka]\nbrokerss = \"a:1\"\n[agent]\ninterval = \"soon\"\n",
    )
    .unwrap();
    let (status, _, said) = run(&["agent", "--config", path.to_str().unwrap()]);
    assert_eq!(status, Some(2));
    assert!(
        said.contains("t.toml:2: unknown key `kafka.brokerss`; did you mean `kafka.brokers`?"),
        "{said}"
    );
    assert!(
        said.contains("t.toml:4: agent.interval: `soon`: expected a duration"),
        "{said}"
    );
    let (status, _, said) = run(&["agent", "--interval", "0s", "--brokers", "a:1"]);
    assert_eq!(status, Some(2));
    assert!(said.contains("--interval"), "{said}");
}

#[test]
fn a_bad_store_url_has_status_2_and_no_password_in_it() {
    let (status, _, said) = run(&[
        "sink",
        "--brokers",
        "127.0.0.1:1",
        "--store",
        "oracle://me:s3cret@db/x",
    ]);
    assert_eq!(status, Some(2));
    assert!(
        said.contains("postgres://") && !said.contains("s3cret"),
        "{said}"
    );
}

#[test]
fn collect_prints_this_machine() {
    let (status, said, errors) = run(&["collect", "--format", "json"]);
    assert_eq!(status, Some(0), "{errors}");
    let points: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let find = |name: &str| points.iter().find(|point| point["measurement"] == name);
    for name in [
        "cpu",
        "load",
        "memory",
        "swap",
        "filesystem",
        "network",
        "system",
    ] {
        assert!(find(name).is_some(), "{name} is not in\n{said}");
    }
    assert!(
        find("memory").unwrap()["fields"]["total_bytes"]
            .as_f64()
            .unwrap()
            > 1e6
    );
    let (status, said, _) = run(&["collect", "--collectors", "load", "--format", "table"]);
    assert_eq!(status, Some(0));
    assert!(
        said.contains("load1") && !said.contains("user_percent"),
        "{said}"
    );
    let (status, said, _) = run(&["collect", "--list"]);
    assert_eq!(status, Some(0));
    let load = said.lines().find(|line| line.contains(" load "));
    assert!(load.is_some_and(|line| line.contains("works")), "{said}");
    let away = ["--collectors", "load", "--proc-root", "/nonexistent"];
    let (status, _, said) = run(&[&["collect"], &away[..]].concat());
    assert_eq!(status, Some(1));
    assert!(said.contains("/nonexistent/loadavg"), "{said}");
    let (status, _, said) = run(&["collect", "--collectors", "lod"]);
    assert_eq!(status, Some(2));
    assert!(said.contains("lod") && said.contains("load"), "{said}");
}
