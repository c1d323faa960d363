//! Passwords and tokens: as a value of the environment or the file, from a file, or from a command.
//!
//! Never as a flag, as other users of the machine see command lines; never in a text (D13).

use crate::settings::{Settings, UsageError};
use std::process::{Command, Stdio};

/// The secret `key`, said by `key`, `key_file` or `key_command`, of which one may be said.
///
/// # Errors
/// Two are said; the file or what the command prints cannot be used.
pub(crate) fn secret(settings: &Settings, key: &str) -> Result<Option<String>, UsageError> {
    let names = [
        key.to_owned(),
        format!("{key}_file"),
        format!("{key}_command"),
    ];
    let mut said = names.iter().filter(|name| settings.text(name).is_some());
    let Some(name) = said.next() else {
        return Ok(None);
    };
    let refused =
        |problem: String| UsageError::one(format!("{}: {name}: {problem}", settings.place(name)));
    if let Some(other) = said.next() {
        return Err(refused(format!("{other} is said too: take one of them")));
    }
    let value = settings.text(name).unwrap_or_default();
    let text = if *name == names[1] {
        std::fs::read_to_string(value)
            .map_err(|error| refused(format!("{value}: the file cannot be read: {error}")))?
    } else if *name == names[2] {
        printed(value).map_err(refused)?
    } else {
        value.to_owned()
    };
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(refused("the secret is empty".to_owned()));
    }
    if text.contains(['\n', '\0']) {
        return Err(refused("a secret is one line".to_owned()));
    }
    Ok(Some(text.to_owned()))
}

fn printed(command: &str) -> Result<String, String> {
    let output = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("the shell cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("the command failed: {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| "the command printed no text".to_owned())
}
