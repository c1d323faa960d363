//! Puts the page into `OUT_DIR/page`, from where it is embedded.
//!
//! In this order: a page that was built already (`TIDEGAUGE_WEB_DIST`), one built here from `web/`
//! with npm when Node 20 or newer is there, else a plain page that says what is missing. Nothing
//! is written outside of `OUT_DIR`, so that builds that run side by side cannot meet; a missing
//! Node, npm or network never fails the build.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// What the page is built from; a change of any of it builds the page anew.
const SOURCES: &[&str] = &[
    ".npmrc",
    "index.html",
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "vite.config.js",
    "public",
    "src",
];
const LEAST_NODE: u32 = 20;
/// One command of npm may take so long; a network that swallows packets must not stop a build.
const DEADLINE: Duration = Duration::from_secs(300);

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/missing.html");
    println!("cargo:rerun-if-env-changed=TIDEGAUGE_WEB_DIST");
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let page = out.join("page");
    if page.exists() {
        fs::remove_dir_all(&page)?;
    }

    if let Some(dist) = env::var_os("TIDEGAUGE_WEB_DIST") {
        let dist = PathBuf::from(dist);
        if !dist.join("index.html").is_file() {
            return Err(format!("TIDEGAUGE_WEB_DIST={} has no index.html", dist.display()).into());
        }
        println!("cargo:rerun-if-changed={}", dist.display());
        return copy(&dist, &page);
    }

    let web = manifest.join("../../web");
    for source in SOURCES {
        println!("cargo:rerun-if-changed={}", web.join(source).display());
    }
    if let Err(error) = build_page(&web, &out.join("web"), &page) {
        println!("cargo:warning=the web page is left out: {error}");
        if page.exists() {
            fs::remove_dir_all(&page)?;
        }
        fs::create_dir_all(&page)?;
        let plain = fs::read_to_string(manifest.join("src/missing.html"))?;
        let reason = error.to_string().replace('&', "&amp;").replace('<', "&lt;");
        fs::write(page.join("index.html"), plain.replace("{reason}", &reason))?;
    }
    Ok(())
}

fn build_page(web: &Path, work: &Path, page: &Path) -> Outcome<()> {
    check_node()?;
    fs::create_dir_all(work)?;
    for source in SOURCES {
        let (from, to) = (web.join(source), work.join(source));
        if to.is_dir() {
            fs::remove_dir_all(&to)?;
        }
        copy(&from, &to)?;
    }
    // Packages are installed again only when the lock file is another one.
    let (lock, installed) = (work.join("package-lock.json"), work.join("installed.json"));
    let wanted = fs::read(&lock)?;
    if fs::read(&installed).ok() != Some(wanted.clone()) {
        let quick = [
            "--fetch-retries=1",
            "--fetch-timeout=30000",
            "--prefer-offline",
        ];
        let quiet = ["--no-audit", "--no-fund", "--omit=dev"];
        npm(work, &[&["ci"], &quiet[..], &quick[..]].concat())?;
        fs::write(&installed, wanted)?;
    }
    let page = page.to_str().ok_or("the build folder is not UTF-8")?;
    npm(
        work,
        &["run", "build", "--", "--emptyOutDir", "--outDir", page],
    )
}

fn check_node() -> Outcome<()> {
    let missing = |_| "Node.js 20 or newer is not installed";
    let output = Command::new("node")
        .arg("--version")
        .output()
        .map_err(missing)?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let major = version.trim_start_matches('v').split('.').next();
    match major.and_then(|major| major.parse::<u32>().ok()) {
        Some(major) if major >= LEAST_NODE => Ok(()),
        _ => {
            Err(format!("Node.js {LEAST_NODE} or newer is needed, this one is {version:?}").into())
        }
    }
}

/// Runs npm with a deadline; its output goes to a file, of which the end is told on failure.
fn npm(folder: &Path, arguments: &[&str]) -> Outcome<()> {
    let said = folder.join("npm.log");
    let log = fs::File::create(&said)?;
    let mut child = Command::new("npm")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .map_err(|_| "npm is not installed")?;
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begin.elapsed() > DEADLINE {
            child.kill()?;
            child.wait()?;
            return Err(format!("npm {} did not end in time", arguments[0]).into());
        }
        thread::sleep(Duration::from_millis(50));
    };
    if status.success() {
        return Ok(());
    }
    let said = fs::read_to_string(said).unwrap_or_default();
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let end = lines[lines.len().saturating_sub(4)..].join(" | ");
    Err(format!(
        "npm {} failed: {end}",
        arguments[..2.min(arguments.len())].join(" ")
    )
    .into())
}

fn copy(from: &Path, to: &Path) -> Outcome<()> {
    let doing = |error| format!("copying {}: {error}", from.display());
    if !from.is_dir() {
        fs::copy(from, to).map_err(doing)?;
        return Ok(());
    }
    fs::create_dir_all(to).map_err(doing)?;
    for entry in fs::read_dir(from).map_err(doing)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
