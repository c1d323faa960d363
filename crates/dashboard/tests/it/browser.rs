//! The page in headless Chromium: `web/test/browser.mjs` over a host that was made up.
//!
//! `TIDEGAUGE_SCREENSHOTS` names a folder for screenshots.

use crate::{Server, demo};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tidegauge_model::{Clock, SystemClock};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

const TEST: &str = "dashboard::browser";
/// Node, Chromium, three page loads and two of npm on a busy machine.
const BROWSER_DEADLINE: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_draws_and_moves_in_a_browser() {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web");
    let chromium = std::env::var_os("CHROMIUM").map_or("/usr/bin/chromium".into(), PathBuf::from);
    if !chromium.is_file() {
        return tidegauge_testkit::skip(TEST, "Chromium is not installed (or name it in CHROMIUM)");
    }
    if run("node", &["--version"], &web).await.is_err() {
        return tidegauge_testkit::skip(TEST, "Node.js is not installed");
    }
    if !web.join("node_modules/playwright-core").is_dir()
        && let Err(said) = run("npm", &["ci", "--prefer-offline"], &web).await
    {
        return tidegauge_testkit::skip(TEST, &format!("npm ci failed: {said}"));
    }

    let server = Server::start(Arc::new(SystemClock), Duration::from_millis(500)).await;
    if server.get("/", "").await.body.contains("has no web page") {
        server.stop().await;
        return tidegauge_testkit::skip(TEST, "this build has no web page");
    }
    let now_us = SystemClock.now_us() / 1_000_000 * 1_000_000;
    demo::fill(&server.reader, now_us, 1_200);
    let feeding = CancellationToken::new();
    let reader = server.reader.clone();
    let feed = async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        for second in 1.. {
            ticks.tick().await;
            demo::sample(&reader, now_us + second * 1_000_000);
        }
    };
    let feeder = tokio::spawn(feeding.clone().run_until_cancelled_owned(feed));

    let url = format!("http://{}", server.address);
    let mut arguments = vec!["test/browser.mjs".to_owned(), url];
    arguments.extend(std::env::var("TIDEGAUGE_SCREENSHOTS"));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = run("node", &arguments, &web).await;
    feeding.cancel();
    feeder.await.expect("the feeder does not panic");
    server.stop().await;
    match outcome {
        Ok(said) => println!("{said}"),
        Err(said) => panic!("the page failed in the browser:\n{said}"),
    }
}

async fn run(program: &str, arguments: &[&str], folder: &Path) -> Result<String, String> {
    let child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(BROWSER_DEADLINE, child).await {
        Ok(output) => output.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("{program} did not end in time")),
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        Err(said)
    }
}
