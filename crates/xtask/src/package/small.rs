//! `cargo xtask package --small-agent`: the agent alone, as small as it gets.
//!
//! Without sink, stores and page, and optimised for size (the profile `small`), its C libraries too.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{PACKAGE, can_build, succeed};
use crate::layout;
use crate::run::{command, target};

/// Functions are sections of their own, so that the linker can leave out what nobody calls, and have no tables
/// for unwinding, as no panic passes through them. Of zstd it has the fastest way to compress (every
/// `compression.level` then gives that), one to decompress, and no format from before its version 1, which Kafka
/// never had.
const C_FLAGS: [&str; 15] = [
    "-Os",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-asynchronous-unwind-tables",
    "-DZSTD_NO_INLINE",
    "-DZSTD_EXCLUDE_DFAST_BLOCK_COMPRESSOR",
    "-DZSTD_EXCLUDE_GREEDY_BLOCK_COMPRESSOR",
    "-DZSTD_EXCLUDE_LAZY_BLOCK_COMPRESSOR",
    "-DZSTD_EXCLUDE_LAZY2_BLOCK_COMPRESSOR",
    "-DZSTD_EXCLUDE_BTLAZY2_BLOCK_COMPRESSOR",
    "-DZSTD_EXCLUDE_BTOPT_BLOCK_COMPRESSOR",
    "-DZSTD_EXCLUDE_BTULTRA_BLOCK_COMPRESSOR",
    "-DHUF_FORCE_DECOMPRESS_X1",
    "-DZSTD_FORCE_DECOMPRESS_SEQUENCES_SHORT",
    "-DZSTD_LEGACY_SUPPORT=0",
];

/// What SQLite has and no spool needs; behind the flags of `.cargo/config.toml`.
const SQLITE_FLAGS: [&str; 6] = [
    "-USQLITE_ENABLE_API_ARMOR",
    "-USQLITE_ENABLE_DBSTAT_VTAB",
    "-USQLITE_ENABLE_LOAD_EXTENSION",
    "-DSQLITE_OMIT_LOAD_EXTENSION",
    "-DSQLITE_OMIT_JSON",
    "-USQLITE_SOUNDEX",
];

/// It had 1.7 MB when the layout was made.
const LAID_OUT: layout::Least = layout::Least(1_000_000);

/// Functions of the same code become one. Only the linker that Rust brings for this platform can do that.
const LINK_FLAGS: &[&str] = if cfg!(all(
    target_arch = "x86_64",
    target_os = "linux",
    target_env = "gnu"
)) {
    &["-C", "link-arg=-Wl,--icf=all"]
} else {
    &[]
};

/// Builds it in a folder of its own, as its C libraries differ from those of other builds.
///
/// Returns the stripped program and its size in bytes.
pub(super) fn build() -> anyhow::Result<(PathBuf, u64)> {
    let folder = target().join("small");
    let program = build_in(&folder, &[])?;
    layout::check(&program, LAID_OUT)?;
    let bytes = fs::metadata(&program).context("look at the program")?.len();
    Ok((program, bytes))
}

/// The same for a profiler, below another folder.
pub(crate) fn build_for_profiler(
    folder: &Path,
    environment: &[(&str, &str)],
) -> anyhow::Result<PathBuf> {
    build_in(&folder.join("small"), environment)
}

fn build_in(folder: &Path, environment: &[(&str, &str)]) -> anyhow::Result<PathBuf> {
    can_build()?;
    // Cargo sets it for this program too.
    let mut sqlite_flags = std::env::var("LIBSQLITE3_FLAGS").unwrap_or_default();
    for flag in SQLITE_FLAGS {
        sqlite_flags = format!("{sqlite_flags} {flag}");
    }
    let mut cargo = command("cargo");
    cargo
        .args(["rustc", "--profile", "small", "--locked"])
        .args(["--package", PACKAGE, "--bin", "tidegauge"])
        .args(["--no-default-features", "--features", "agent"])
        .arg("--")
        .args(LINK_FLAGS)
        .env("OPENSSL_NO_VENDOR", "1")
        .env("CARGO_TARGET_DIR", folder)
        .envs(environment.iter().copied())
        .env("CFLAGS", C_FLAGS.join(" "))
        .env("LIBSQLITE3_FLAGS", sqlite_flags);
    succeed("the agent alone (minutes, the first time)", &mut cargo)?;
    Ok(folder.join("small/tidegauge"))
}
