//! One line of StatsD, with the tags and the packed values of DogStatsD:
//! `name:value[:value…]|type[|@rate][|#tag:text,tag]`.
//!
//! Not an encoding of messages on the topic: the agent's listener `statsd` reads it. Not taken: events and service checks of DogStatsD, and samples with a time of their
//! own (`|T…`); they are refused as unsupported. Other further parts (`|c:…`, the container) are
//! stepped over, as DogStatsD asks of servers. Parsing never panics, takes linear time and borrows.

use tidegauge_model::Reason;

/// What a sample is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricType {
    /// `c`: to be added up.
    Counter,
    /// `g`: the last one counts.
    Gauge,
    /// `ms`, `h` or `d`: one of many, told as a distribution.
    Timer,
    /// `s`: counted if it was not there before.
    Set,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Line<'a> {
    /// The name as it came.
    pub name: &'a str,
    /// The type.
    pub metric: MetricType,
    /// The values, still as text; there is one at least.
    values: &'a str,
    /// The share of events that were sent, above 0 and at most 1.
    pub rate: f64,
    /// The tags, still as text.
    tags: &'a str,
}

/// Why a line is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// It cannot be read, or a value has another type than it must have.
    #[error("{1}")]
    Bad(Reason, &'static str),
    /// It is something that is no sample.
    #[error("{0}")]
    Unsupported(&'static str),
}

/// Reads one line, without its newline.
///
/// # Errors
/// When it is no sample.
pub fn parse(line: &[u8]) -> Result<Line<'_>, LineError> {
    let wrong = |detail| Err(LineError::Bad(Reason::Syntax, detail));
    let Ok(line) = std::str::from_utf8(line) else {
        return wrong("the line is no UTF-8");
    };
    if line.starts_with("_e{") {
        return Err(LineError::Unsupported("an event"));
    }
    if line.starts_with("_sc|") {
        return Err(LineError::Unsupported("a service check"));
    }
    let mut parts = line.split('|');
    let sample = parts.next().unwrap_or_default();
    let Some((name, values)) = sample.split_once(':') else {
        return wrong("expected name:value|type");
    };
    if name.is_empty() || values.is_empty() {
        return wrong("expected name:value|type");
    }
    let metric = match parts.next() {
        Some("c") => MetricType::Counter,
        Some("g") => MetricType::Gauge,
        Some("ms" | "h" | "d") => MetricType::Timer,
        Some("s") => MetricType::Set,
        _ => return wrong("expected one of the types c, g, ms, h, d and s"),
    };
    let (mut rate, mut tags) = (1.0, "");
    for part in parts {
        if let Some(text) = part.strip_prefix('@') {
            rate = match text.parse::<f64>() {
                Ok(rate) if rate > 0.0 && rate <= 1.0 => rate,
                _ => return wrong("a sample rate is above 0 and at most 1"),
            };
        } else if let Some(text) = part.strip_prefix('#') {
            tags = text;
        } else if part.starts_with('T') {
            return Err(LineError::Unsupported("a sample with a time of its own"));
        }
    }
    Ok(Line {
        name,
        metric,
        values,
        rate,
        tags,
    })
}

impl<'a> Line<'a> {
    /// The texts of the values. In a set a colon is part of the text, because any text may be one.
    pub fn values(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let most = match self.metric {
            MetricType::Set => 1,
            _ => usize::MAX,
        };
        self.values.splitn(most, ':')
    }

    /// The tags; one without a text has the text `true`, as elsewhere.
    pub fn tags(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let tags = self.tags.split(',').filter(|tag| !tag.is_empty());
        tags.map(|tag| tag.split_once(':').unwrap_or((tag, "true")))
            .filter(|(_, text)| !text.is_empty())
    }
}

/// A number that is finite.
///
/// # Errors
/// When it is none.
pub fn number(text: &str) -> Result<f64, LineError> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(LineError::Bad(Reason::WrongType, "a value is no number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_statsd_and_dogstatsd_are_read() {
        let line = parse(b"page.views:1|c|@0.1|#env:prod,beta,empty:|c:ab12").expect("a sample");
        assert_eq!(line.name, "page.views");
        assert_eq!((line.metric, line.rate), (MetricType::Counter, 0.1));
        assert!(line.values().eq(["1"]));
        assert!(line.tags().eq([("env", "prod"), ("beta", "true")]));
        let packed = parse(b"latency:3:4.5:1e3|ms").expect("a sample");
        assert!(packed.values().eq(["3", "4.5", "1e3"]));
        let set = parse(b"users:a:b|s").expect("a sample");
        assert!(set.values().eq(["a:b"]));
        let tag = parse(b"a:1|g|#url:http://x").expect("a sample");
        assert!(tag.tags().eq([("url", "http://x")]));
    }

    #[test]
    fn other_lines_are_refused_with_a_reason() {
        for (line, word) in [
            (&b""[..], "syntax"),
            (b"a", "syntax"),
            (b"a|c", "syntax"),
            (b":1|c", "syntax"),
            (b"a:|c", "syntax"),
            (b"a:1", "syntax"),
            (b"a:1|x", "syntax"),
            (b"a:1|c|@0", "syntax"),
            (b"a:1|c|@1.5", "syntax"),
            (b"a:1|c|@NaN", "syntax"),
            (b"a:\xff|c", "syntax"),
            (b"_e{1,1}:a|b", "unsupported"),
            (b"_sc|a|0", "unsupported"),
            (b"a:1|c|T1656581400", "unsupported"),
        ] {
            let told = match parse(line).expect_err("refused") {
                LineError::Bad(reason, _) => reason.as_str(),
                LineError::Unsupported(_) => "unsupported",
            };
            assert_eq!(told, word, "{}", line.escape_ascii());
        }
        assert!(number("inf").is_err() && number("x").is_err() && number("-1.5") == Ok(-1.5));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            name in "[a-z][a-zA-Z0-9._-]{0,20}",
            numbers in proptest::collection::vec(-1e9_f64..1e9, 1..5),
            kind in 0_usize..5,
            tags in proptest::collection::vec(("[a-z]{1,5}", "[a-z0-9/:]{1,5}"), 0..4),
        ) {
            let word = ["c", "g", "ms", "h", "d"][kind];
            let values: Vec<String> = numbers.iter().map(f64::to_string).collect();
            let told: Vec<String> = tags.iter().map(|(name, text)| format!("{name}:{text}")).collect();
            let line = format!("{name}:{}|{word}|@0.5|#{}", values.join(":"), told.join(","));
            let read = parse(line.as_bytes()).expect("a sample");
            prop_assert_eq!(read.name, name);
            prop_assert_eq!(read.rate, 0.5);
            let read_numbers: Result<Vec<f64>, _> = read.values().map(number).collect();
            prop_assert_eq!(read_numbers.expect("numbers"), numbers);
            let tags = tags.iter().map(|(name, text)| (name.as_str(), text.as_str()));
            prop_assert!(read.tags().eq(tags));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(line) = parse(&bytes) {
                prop_assert!(line.values().count() > 0 && line.rate > 0.0);
                prop_assert!(line.tags().all(|(_, text)| !text.is_empty()));
            }
        }
    }
}
