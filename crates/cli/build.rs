//! Tells the program which commit it is built from: `TIDEGAUGE_COMMIT` where packages and images set it,
//! else what git says, else nothing; a source archive builds all the same. And has the linker strip releases and
//! lay out optimised programs by `layout.ld`.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    strip();
    lay_out();
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

/// Has the linker put side by side what a started program runs, where it knows how to. `TIDEGAUGE_LAYOUT=none` leaves
/// it out for valgrind, which knows the functions of `.text` alone.
fn lay_out() {
    const WISH: &str = "TIDEGAUGE_LAYOUT";
    println!("cargo:rerun-if-changed=layout.ld");
    println!("cargo:rerun-if-env-changed={WISH}");
    let value = |name: &str| std::env::var(name).unwrap_or_default();
    let can = value("OPT_LEVEL") != "0" && value("CARGO_CFG_TARGET_OS") == "linux";
    if !can || value(WISH) == "none" {
        return;
    }
    let folder = PathBuf::from(value("CARGO_MANIFEST_DIR"));
    let script = format!("-Wl,-T,{}", folder.join("layout.ld").display());
    match try_linker(&script) {
        true => println!("cargo:rustc-link-arg-bins={script}"),
        false => println!(
            "cargo:warning=this linker does not take layout.ld: the program works, and needs some MB more of memory"
        ),
    }
}

/// Whether the linker of this build makes a program when it is given `argument`.
fn try_linker(argument: &str) -> bool {
    let value = |name: &str| std::env::var(name).unwrap_or_default();
    let source = Path::new(&value("OUT_DIR")).join("empty.rs");
    if std::fs::write(&source, "fn main() {}").is_err() {
        return false;
    }
    let mut rustc = Command::new(value("RUSTC"));
    rustc.args([
        "--target",
        &value("TARGET"),
        "-C",
        &format!("link-arg={argument}"),
    ]);
    let linker = value("RUSTC_LINKER");
    if !linker.is_empty() {
        rustc.args(["-C", &format!("linker={linker}")]);
    }
    let flags = value("CARGO_ENCODED_RUSTFLAGS");
    rustc.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    let program = source.with_extension("");
    let output = rustc.arg("-o").arg(program).arg(source).output();
    output.is_ok_and(|output| output.status.success())
}

/// What git prints in this crate's folder, if it is there and succeeds.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
