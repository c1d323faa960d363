//! What the program says of itself: version, commit, features.

/// The version alone, for the log and `tidegauge_build_info`.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it was built from; `None` for a build without git. `-dirty` behind it: the files were
/// not those of the commit.
pub(crate) const COMMIT: Option<&str> = option_env!("TIDEGAUGE_COMMIT");

const FEATURES: &[(&str, bool)] = &[
    ("agent", cfg!(feature = "agent")),
    ("stores", cfg!(feature = "stores")),
    ("systemd", cfg!(feature = "systemd")),
];

/// What `--version` prints behind the program's name.
pub(crate) fn long() -> String {
    let features: Vec<&str> = FEATURES
        .iter()
        .filter_map(|(name, on)| on.then_some(*name))
        .collect();
    format!(
        "{VERSION}\ncommit {}\nfeatures {}",
        COMMIT.unwrap_or("unknown"),
        features.join(", ")
    )
}
