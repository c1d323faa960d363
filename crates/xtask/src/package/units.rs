//! The units of systemd are accepted by systemd itself, and as closed as we say.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tidegauge_testkit::skip;

use crate::run::root;

/// `systemd-analyze security` gives 0 for closed to 10 for open, here in tenths.
const MOST_EXPOSED: &str = "25";

fn units() -> Vec<PathBuf> {
    let folder = root().join("deploy/systemd");
    let mut units: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    units.sort();
    assert_eq!(units.len(), 3, "agent, dashboard, sink");
    units
}

fn analyze(arguments: &[&str]) -> Option<(bool, String)> {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .output()
        .ok()?;
    let said = [output.stdout, output.stderr].concat();
    Some((
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

#[test]
fn systemd_accepts_the_units_and_finds_them_closed() {
    if analyze(&["--version"]).is_none() {
        skip(
            "xtask: systemd accepts the units",
            "systemd-analyze is not installed",
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for unit in units() {
        // The program need not be installed here; one that is must be named.
        let text = fs::read_to_string(&unit).unwrap();
        let here = folder.path().join(unit.file_name().unwrap());
        fs::write(&here, text.replace("/usr/bin/tidegauge ", "/bin/sh ")).unwrap();
        let here = here.to_str().unwrap();
        let (good, said) = analyze(&["verify", "--man=no", here]).unwrap();
        assert!(good && said.is_empty(), "{}: {said}", unit.display());

        let threshold = format!("--threshold={MOST_EXPOSED}");
        let security = ["security", "--offline=true", "--no-pager", &threshold, here];
        let (good, said) = analyze(&security).unwrap();
        assert!(good, "{}: {said}", unit.display());
        assert!(said.contains("Overall exposure level"), "{said}");
    }
}

#[test]
fn each_unit_reads_its_own_configuration_that_is_shipped() {
    for unit in units() {
        let text = fs::read_to_string(&unit).unwrap();
        let start = text
            .lines()
            .find(|line| line.starts_with("ExecStart="))
            .unwrap();
        let words: Vec<&str> = start.split(' ').collect();
        let ["ExecStart=/usr/bin/tidegauge", command, "--config", file] = words[..] else {
            panic!("{start}");
        };
        let name = format!("tidegauge-{command}.service");
        assert_eq!(unit.file_name().unwrap().to_str(), Some(&*name));
        let shipped = file.strip_prefix("/etc/tidegauge/").unwrap();
        assert!(
            root().join("deploy/config").join(shipped).is_file(),
            "{file}"
        );
    }
}
