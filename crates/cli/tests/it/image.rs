//! Scenario 10 where there is no engine: `Containerfile` is looked through, the command that makes the image's root
//! is run as it stands, and the program runs in that root, as the image's user, with nothing else of this machine.

use crate::containers::{Image, PROGRAM, STATE, repository};
use crate::program::{PATIENCE, text};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tidegauge_testkit::servers::free_port;
use tidegauge_testkit::{eventually, skip};

#[test]
fn the_container_file_is_pinned_whole_and_not_roots() {
    let image = Image::read();
    let mut stages = BTreeSet::new();
    for (word, rest) in &image.instructions {
        let words: Vec<&str> = rest.split_whitespace().collect();
        match word.as_str() {
            "FROM" => {
                let from = words[0];
                let is_pinned = from.rsplit_once(':').is_some_and(|(_, tag)| {
                    tag.split('-').next().unwrap().matches('.').count() == 2
                });
                assert!(from == "scratch" || is_pinned, "{from} is not pinned");
                if let [_, "AS", name] = words[..] {
                    stages.insert(name);
                }
            }
            "COPY" => match words[0].strip_prefix("--from=") {
                Some(stage) => assert!(stages.contains(stage), "{rest}: no such stage"),
                None => {
                    let ignored = std::fs::read_to_string(repository(".containerignore")).unwrap();
                    for file in &words[..words.len() - 1] {
                        assert!(repository(file).exists(), "{file} is not there");
                        let is_ignored = ignored.lines().any(|line| line == format!("/{file}"));
                        assert!(!is_ignored, "{file} is left out by .containerignore");
                    }
                }
            },
            "RUN" | "WORKDIR" | "ARG" | "ENV" | "USER" | "VOLUME" | "HEALTHCHECK"
            | "ENTRYPOINT" | "CMD" => {}
            other => panic!("{other} {rest}"),
        }
    }
    let [user] = image.last_stage("USER")[..] else {
        panic!("one user");
    };
    assert!(!user.starts_with("0") && !user.contains("root"), "{user}");
    // A named volume takes the owner of the image's folder.
    let volumes: Vec<String> = serde_json::from_str(image.last_stage("VOLUME")[0]).unwrap();
    assert_eq!(volumes, [STATE]);
    assert_eq!(image.entry_point(), [PROGRAM]);
    let page = std::fs::read_to_string(repository("web/package.json")).unwrap();
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    for (_, run) in &image.instructions {
        if let Some((_, script)) = run.split_once("npm run ") {
            let script = script.split(' ').next().unwrap();
            assert!(page["scripts"].get(script).is_some(), "npm run {script}");
        }
    }
}

/// A program in a root of its own. Its folders are removed by whoever made them.
struct Inside(Child);

impl Drop for Inside {
    /// The program first, which is the child of `unshare`: the kernel forgets that it was to end with its parent
    /// when it becomes another user.
    fn drop(&mut self) {
        let parent = self.0.id();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            let _gone = Command::new("kill").args(["-9", child]).status();
        }
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// A command in this root, with the kernel's own file systems, which every engine gives, in a mount namespace that
/// goes away with it.
fn inside(root: &Path, image: &Image, listen: &str, arguments: &[&str]) -> Command {
    let [user] = image.last_stage("USER")[..] else {
        panic!("one user");
    };
    let mount = "mkdir -p \"$1/proc\" && mount -t proc proc \"$1/proc\" && root=$1 user=$2 && shift 2 && \
                 exec chroot --userspec=\"$user\" \"$root\" \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--pid", "--fork", "--kill-child"])
        .args(["sh", "-ec", mount, "sh", text(root), user])
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(image.environment())
        .env("TIDEGAUGE_GENERAL_LISTEN", listen)
        .stdin(Stdio::null());
    command
}

#[test]
fn the_root_of_the_image_is_made_as_it_stands_and_the_program_runs_in_it() {
    const TEST: &str =
        "image::the_root_of_the_image_is_made_as_it_stands_and_the_program_runs_in_it";
    let namespaces = Command::new("unshare")
        .args([
            "--mount", "--pid", "--fork", "mount", "-t", "proc", "proc", "/proc",
        ])
        .output();
    if !namespaces.is_ok_and(|made| made.status.success()) {
        return skip(
            TEST,
            "a root of its own cannot be made here (it needs root and namespaces)",
        );
    }
    let image = Image::read();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("image");
    let runs = image.instructions.iter().filter(|(word, _)| word == "RUN");
    let of_root: Vec<&str> = runs
        .map(|(_, run)| run.as_str())
        .filter(|run| run.contains("/image"))
        .collect();
    assert_eq!(of_root.len(), 2, "the root itself, and whose work it is");
    for run in of_root {
        // Where the build is, and where the root comes, and nothing else, is another here.
        let run = run.replace("target/release/tidegauge", env!("CARGO_BIN_EXE_tidegauge"));
        let run = run.replace("/image", text(&root));
        let made = Command::new("sh")
            .args(["-ec", &run])
            .current_dir(repository("."))
            .output()
            .unwrap();
        assert!(made.status.success(), "{run}: {made:?}");
    }
    let documents = root.join("usr/share/doc/tidegauge");
    assert!(documents.join("LICENSE").exists());
    let listed = Command::new("tar")
        .args(["--list", "--file", text(&documents.join("crates.tar.gz"))])
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for part in ["/tokio-1", "/rustls-0", "/librdkafka/LICENSE"] {
        assert!(listed.contains(part), "{part} is not in {listed}");
    }

    let port = free_port().to_string();
    let listen = format!("127.0.0.1:{port}");
    let said = inside(&root, &image, &listen, &[PROGRAM, "--version"])
        .output()
        .unwrap();
    assert!(said.status.success(), "{said:?}");

    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let up = inside(
        &root,
        &image,
        &listen,
        &[PROGRAM, "agent", "--brokers", "127.0.0.1:1"],
    )
    .stdout(log.try_clone().unwrap())
    .stderr(log)
    .spawn()
    .unwrap();
    let _up = Inside(up);
    let check = image.health_check();
    let check: Vec<String> = check
        .iter()
        .map(|word| word.replace(":7711", &format!(":{port}")))
        .collect();
    let words: Vec<&str> = check.iter().map(String::as_str).collect();
    let log = folder.path().join("log");
    // Nothing listens on port 1: the check runs in that root, reaches the program and is told so.
    eventually(
        PATIENCE,
        "the image's own check tells that Kafka is away",
        || {
            let asked = inside(&root, &image, &listen, &words).output().unwrap();
            let said = String::from_utf8_lossy(&asked.stdout).into_owned();
            let log = std::fs::read_to_string(&log).unwrap();
            assert!(!log.contains("error while loading"), "{log}");
            (asked.status.code() == Some(1) && said.contains("503")).then_some(())
        },
    );
    let spool = root.join(STATE.trim_start_matches('/')).join("spool.db");
    assert!(spool.exists(), "the image's user may write its state");
}
