//! The types of settings: from text, with errors that say what is expected.

use super::nearest::did_you_mean;
use std::net::SocketAddr;
use std::time::Duration;

/// What a setting's text must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    /// Any text but the empty one.
    Text,
    /// A text that is never shown.
    Secret,
    /// A path.
    Path,
    /// A whole number from 1 on.
    Count,
    /// A whole number from 0 to 100.
    Percent,
    /// A duration from one millisecond on: a number and ms, s, m, h or d.
    Duration,
    /// A size from one byte on: a number and B, KiB, MiB, GiB, kB, MB or GB, or nothing for bytes.
    Bytes,
    /// `true` or `false`; as a flag it takes no value.
    Flag,
    /// A list; as text its parts are separated by commas.
    List,
    /// URLs; as text they are separated by spaces.
    Urls,
    /// Pairs name=text.
    Pairs,
    /// An address to listen on, host:port.
    Address,
    /// A level of the log, levels of modules as name=level, or both, separated by commas.
    Levels,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl Type {
    /// The placeholder in help texts.
    pub(crate) const fn placeholder(self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::Secret => "URL",
            Self::Path => "PATH",
            Self::Count => "NUMBER",
            Self::Percent => "PERCENT",
            Self::Duration => "DURATION",
            Self::Bytes => "SIZE",
            Self::Flag => "",
            Self::List => "LIST",
            Self::Urls => "URL",
            Self::Pairs => "NAME=TEXT",
            Self::Address => "HOST:PORT",
            Self::Levels => "LEVELS",
            Self::Choice(_) => "WORD",
        }
    }

    /// Whether the values of several mentions are put together.
    pub(crate) const fn is_many(self) -> bool {
        matches!(self, Self::List | Self::Urls | Self::Pairs)
    }

    /// Checks a text.
    ///
    /// # Errors
    /// What is expected, in words that go after the text itself.
    pub(crate) fn check(self, text: &str) -> Result<(), String> {
        match self {
            Self::Text | Self::Secret | Self::Path | Self::List | Self::Urls if text.is_empty() => {
                Err("it must not be empty".to_owned())
            }
            Self::Text | Self::Secret | Self::Path | Self::List | Self::Urls => Ok(()),
            Self::Count => count(text).map(|_| ()),
            Self::Percent => percent(text).map(|_| ()),
            Self::Duration => duration(text).map(|_| ()),
            Self::Bytes => bytes(text).map(|_| ()),
            Self::Flag => flag(text).map(|_| ()),
            Self::Pairs => pair(text).map(|_| ()),
            Self::Address => address(text).map(|_| ()),
            Self::Levels => levels(text),
            Self::Choice(words) if words.contains(&text) => Ok(()),
            Self::Choice(words) => {
                let hint = did_you_mean(text, words.iter().copied());
                Err(format!("expected one of {}{hint}", words.join(", ")))
            }
        }
    }
}

pub(crate) fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number from 1 on".to_owned()),
        Ok(number) => Ok(number),
    }
}

pub(crate) fn percent(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(share @ 0..=100) => Ok(share),
        _ => Err("expected a whole number from 0 to 100".to_owned()),
    }
}

pub(crate) fn flag(text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| "expected true or false".to_owned())
}

fn levels(text: &str) -> Result<(), String> {
    const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];
    for part in text.split(',') {
        let (module, level) = part.split_once('=').unwrap_or(("all", part));
        let is_module = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
        if module.is_empty() || !module.bytes().all(is_module) || !LEVELS.contains(&level) {
            let hint = did_you_mean(level, LEVELS.iter().copied());
            return Err(format!(
                "expected a level or module=level, separated by commas, where a level is one of {}{hint}",
                LEVELS.join(", ")
            ));
        }
    }
    Ok(())
}

pub(crate) fn pair(text: &str) -> Result<(&str, &str), String> {
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| "expected name=text".to_owned())
}

/// An address: `127.0.0.1:7710`, `[::1]:7710`, `localhost:7710`, or `:7710` for loopback.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let expected = || "expected an address with a port, such as 127.0.0.1:7710".to_owned();
    let text = match text.strip_prefix(':') {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.replace("localhost:", "127.0.0.1:"),
    };
    text.parse().map_err(|_| expected())
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a duration above 0, such as 500ms, 10s, 5m, 2h or 30d".to_owned();
    let (number, unit) = split_unit(text).ok_or_else(expected)?;
    let seconds = match unit {
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3_600.0,
        "d" => number * 86_400.0,
        _ => return Err(expected()),
    };
    if !(0.001..=1e10).contains(&seconds) {
        return Err(expected());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// A duration in its largest whole unit, as a setting has it.
pub(crate) fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let expected = || "expected a size above 0, such as 4096, 16KiB, 100MiB or 1GB".to_owned();
    let (number, unit) = split_unit(text).ok_or_else(expected)?;
    let factor = match unit {
        "" | "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "KiB" => 1_024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        _ => return Err(expected()),
    };
    let size = number * factor;
    if !(1.0..1e15).contains(&size) {
        return Err(expected());
    }
    Ok(size as u64)
}

fn split_unit(text: &str) -> Option<(f64, &str)> {
    let at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number = text[..at].parse().ok()?;
    Some((number, text[at..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes() {
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1_500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7_200)));
        assert_eq!(bytes("1GiB"), Ok(1 << 30));
        assert_eq!(bytes("4096"), Ok(4_096));
        for (seconds, text) in [(90, "90s"), (300, "5m"), (90_000, "25h"), (604_800, "7d")] {
            assert_eq!(duration_text(Duration::from_secs(seconds)), text);
        }
        for bad in ["", "0s", "5", "-1s", "1y", "1 2s", "inf", "1e9d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        for bad in ["", "0", "1TB5", "x", "-5MB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn levels_are_for_all_or_for_a_module() {
        for good in [
            "info",
            "info,tidegauge_sink=debug",
            "tidegauge_sink::run=trace,hyper=off",
        ] {
            assert_eq!(Type::Levels.check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "inof",
            "info,",
            "=debug",
            "tidegauge_sink=",
            "a b=info",
            "tidegauge_sink",
        ] {
            assert!(Type::Levels.check(bad).is_err(), "{bad}");
        }
        let said = Type::Levels
            .check("info,tidegauge_sink=debugg")
            .unwrap_err();
        assert!(said.ends_with("did you mean `debug`?"), "{said}");
    }

    #[test]
    fn addresses_have_ports() {
        assert_eq!(address(":0").unwrap().to_string(), "127.0.0.1:0");
        assert_eq!(
            address("localhost:7710").unwrap().to_string(),
            "127.0.0.1:7710"
        );
        assert!(address("127.0.0.1").is_err() && address("example.org:80").is_err());
    }
}
