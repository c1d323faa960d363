//! Tells the program which commit it is built from: `TIDEGAUGE_COMMIT` where packages and images set it,
//! else what git says, else nothing; a source archive builds all the same. And has the linker strip releases.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    strip();
    println!("cargo:rerun-if-env-changed=TIDEGAUGE_COMMIT");
    let given = std::env::var("TIDEGAUGE_COMMIT").ok();
    let commit = given.filter(|commit| !commit.is_empty()).or_else(|| {
        // A source archive may lie in the folder of another project, whose commit is not ours.
        git(&["ls-files", "--error-unmatch", "Cargo.toml"])?;
        // Written whenever HEAD moves, by a commit as well as by a checkout.
        for name in ["HEAD", "logs/HEAD"] {
            if let Some(path) = git(&["rev-parse", "--path-format=absolute", "--git-path", name])
                && std::path::Path::new(&path).exists()
            {
                println!("cargo:rerun-if-changed={path}");
            }
        }
        git(&["rev-parse", "--short=12", "HEAD"])
    });
    if let Some(commit) = commit {
        println!("cargo:rustc-env=TIDEGAUGE_COMMIT={commit}");
    }
}

/// As `strip = "symbols"` of the profile says: Cargo forgets it for a package that has a section of its own in the
/// profile. `CARGO_PROFILE_RELEASE_STRIP=none` leaves a profiler its symbols.
fn strip() {
    const WISH: &str = "CARGO_PROFILE_RELEASE_STRIP";
    println!("cargo:rerun-if-env-changed={WISH}");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|is| is == value);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") && !is(WISH, "none") {
        println!("cargo:rustc-link-arg-bins=-Wl,--strip-all");
    }
}

/// What git prints in this crate's folder, if it is there and succeeds.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
