//! The tidegauge program: finds the command, runs it, and maps its end to an exit status: 0 for
//! success, 1 for a failure, 2 for a usage or configuration error.

#[macro_use]
mod answer;
mod commands;
mod descriptors;
mod health;
mod instance;
mod logging;
#[cfg(feature = "stores")]
#[cfg(test)]
mod metrics_page;
mod progress;
mod serve;
mod service;
mod settings;
mod shutdown;
#[cfg(target_os = "linux")]
mod startup_memory;
mod state_dir;
mod version;

use settings::UsageError;
use std::error::Error;
use std::process::ExitCode;
use tidegauge_agent::AgentError;

fn main() -> ExitCode {
    descriptors::allow_most();
    let matches = commands::command_line().get_matches();
    match commands::run(&matches) {
        Ok(code) => code,
        Err(error) => report(&error),
    }
}

/// Prints an error's chain once and chooses the exit status.
#[expect(
    clippy::print_stderr,
    reason = "the one place where the program's last word is printed"
)]
fn report(error: &anyhow::Error) -> ExitCode {
    // There is nobody to tell, and nothing to say.
    if error.is::<answer::ReaderGone>() {
        return ExitCode::FAILURE;
    }
    let usage = error.chain().any(is_usage);
    let problems = error
        .chain()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ");
    for line in problems.lines() {
        eprintln!("tidegauge: {line}");
    }
    if usage {
        ExitCode::from(2)
    } else {
        ExitCode::FAILURE
    }
}

fn is_usage(error: &(dyn Error + 'static)) -> bool {
    let of_agent = error.downcast_ref::<AgentError>();
    error.is::<UsageError>()
        || matches!(
            of_agent,
            Some(AgentError::Setting { .. } | AgentError::ReadCertificates { .. })
        )
        || is_usage_of_store(error)
}

#[cfg(feature = "stores")]
fn is_usage_of_store(error: &(dyn Error + 'static)) -> bool {
    let error = error.downcast_ref::<tidegauge_store::StoreError>();
    error.is_some_and(|error| error.class() == tidegauge_store::ErrorClass::Usage)
}

#[cfg(not(feature = "stores"))]
const fn is_usage_of_store(_: &(dyn Error + 'static)) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_cannot_be_used_is_no_failure() {
        let setting = AgentError::Setting {
            key: "url",
            problem: "no".to_owned(),
        };
        assert!(is_usage(&setting));
        let authorities = AgentError::ReadCertificates {
            path: "/nowhere.pem".into(),
            source: "no".into(),
        };
        assert!(is_usage(&authorities));
        assert!(!is_usage(&std::io::Error::other("no")));
    }
}
