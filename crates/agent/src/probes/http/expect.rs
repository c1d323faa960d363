//! What is expected of an answer, and which reason stands for what it is not. Looked at in the order
//! status, headers, size, body, certificate, time: the first that fails is told.

use super::super::keys::{MAX_TIME, MIN_DAYS_LEFT, Values};
use super::super::settings::setting;
use super::super::{AgentError, CheckReason};
use super::body::Kept;
use super::{Failure, Progress, StatusRanges};
use hyper::header::{HeaderMap, HeaderName};
use regex::bytes::Regex;
use std::time::Duration;
use tidegauge_model::{Clock, name};

pub(super) struct Expected {
    status: StatusRanges,
    headers: Vec<(HeaderName, Regex)>,
    headers_absent: Vec<(HeaderName, Regex)>,
    body: Option<Regex>,
    body_absent: Option<Regex>,
    json: Option<(String, String)>,
    min_body_bytes: usize,
    max_body_bytes: Option<usize>,
    min_days_left: Option<u64>,
    max_time: Option<Duration>,
}

impl Expected {
    /// `limit` is how much of a body is read.
    pub(super) fn new(own: &Values, limit: usize) -> Result<Self, AgentError> {
        let json = match (own.text("json_pointer"), own.text("json_equals")) {
            (Some(pointer), Some(equals)) if pointer.starts_with('/') => {
                Some((pointer.to_owned(), equals.to_owned()))
            }
            (Some(_), Some(_)) => {
                return Err(setting(
                    "json_pointer",
                    "it must begin with `/`, as /status",
                ));
            }
            (None, Some(_)) => return Err(setting("json_equals", "it needs a `json_pointer`")),
            (Some(_), None) => return Err(setting("json_pointer", "it needs `json_equals`")),
            (None, None) => None,
        };
        let size = |key: &'static str| match own.count(key) {
            Some(bytes) if bytes > limit as u64 => {
                let problem = format!("only {limit} bytes are read; max_body_bytes says how many");
                Err(setting(key, problem))
            }
            bytes => Ok(bytes.map(|bytes| bytes as usize)),
        };
        Ok(Self {
            status: match own.texts("expect_status") {
                [] => StatusRanges::default(),
                texts => texts.join(",").parse()?,
            },
            headers: header_patterns(own, "expect_headers")?,
            headers_absent: header_patterns(own, "expect_headers_absent")?,
            body: own.regexp("body_regexp"),
            body_absent: own.regexp("body_regexp_absent"),
            json,
            min_body_bytes: size("min_body_bytes")?.unwrap_or(0),
            max_body_bytes: size("expect_max_body_bytes")?,
            min_days_left: own.count(MIN_DAYS_LEFT.key),
            max_time: own.duration(MAX_TIME.key),
        })
    }

    /// Whether the bytes of the body are looked at.
    pub(super) const fn wants_body(&self) -> bool {
        self.body.is_some() || self.body_absent.is_some() || self.json.is_some()
    }

    /// Compares an answer with all of it.
    pub(super) fn judge(
        &self,
        status: u16,
        headers: &HeaderMap,
        body: &Kept,
        progress: &mut Progress,
        clock: &dyn Clock,
    ) -> Result<(), Failure> {
        let matched = self
            .body
            .as_ref()
            .map(|pattern| pattern.is_match(&body.bytes));
        if let Some(matched) = matched {
            progress.found(name!("body_matched"), matched);
        }
        if !self.status.contains(status) {
            let detail = format!("status {status}, expected {}", self.status);
            return Err(Failure::new(CheckReason::Status, detail));
        }
        self.judge_headers(headers)?;
        self.judge_size(body)?;
        self.judge_body(matched, body)?;
        progress.expect_days_left(self.min_days_left, clock)?;
        progress.expect_within(self.max_time)
    }

    fn judge_headers(&self, headers: &HeaderMap) -> Result<(), Failure> {
        for (name, pattern) in &self.headers {
            let mut values = headers.get_all(name).iter();
            if values.any(|value| pattern.is_match(value.as_bytes())) {
                continue;
            }
            let what = match headers.contains_key(name) {
                true => "is not as the pattern says",
                false => "is missing",
            };
            let detail = format!("the header {name} {what}");
            return Err(Failure::new(CheckReason::HeaderMismatch, detail));
        }
        for (name, pattern) in &self.headers_absent {
            let mut values = headers.get_all(name).iter();
            if values.any(|value| pattern.is_match(value.as_bytes())) {
                let detail = format!("the header {name} matches the pattern that must be absent");
                return Err(Failure::new(CheckReason::HeaderMismatch, detail));
            }
        }
        Ok(())
    }

    fn judge_size(&self, body: &Kept) -> Result<(), Failure> {
        let length = body.length;
        if length < self.min_body_bytes {
            let detail = format!(
                "the body has {length} bytes, at least {} are expected",
                self.min_body_bytes
            );
            return Err(Failure::new(CheckReason::TooSmall, detail));
        }
        match self.max_body_bytes {
            Some(most) if length > most || !body.whole => Err(Failure::new(
                CheckReason::TooLarge,
                format!("the body has more than the {most} bytes that are expected at most"),
            )),
            _ => Ok(()),
        }
    }

    fn judge_body(&self, matched: Option<bool>, body: &Kept) -> Result<(), Failure> {
        let (length, whole) = (body.length, body.whole);
        match matched {
            Some(false) if whole => {
                let detail = format!("the pattern is not in the {length} bytes of the body");
                return Err(Failure::new(CheckReason::BodyMismatch, detail));
            }
            Some(false) => return Err(cut(length, "the pattern is not in")),
            _ => {}
        }
        if let Some(pattern) = &self.body_absent {
            if pattern.is_match(&body.bytes) {
                let detail = "the pattern that must be absent is in the body";
                return Err(Failure::new(CheckReason::BodyMismatch, detail));
            }
            if !whole {
                return Err(cut(
                    length,
                    "whether the pattern is absent is not known from",
                ));
            }
        }
        let Some((pointer, equals)) = &self.json else {
            return Ok(());
        };
        if !whole {
            return Err(cut(length, "JSON cannot be read from"));
        }
        let mismatch = |detail: String| Err(Failure::new(CheckReason::AnswerMismatch, detail));
        let found: serde_json::Value = match serde_json::from_slice(&body.bytes) {
            Ok(found) => found,
            Err(error) => return mismatch(format!("the body is not JSON: {error}")),
        };
        match found.pointer(pointer) {
            None => mismatch(format!("nothing is at {pointer} in the JSON")),
            Some(value) if is(value, equals) => Ok(()),
            Some(value) => mismatch(format!("{pointer} is {value}, expected {equals}")),
        }
    }
}

/// Names of headers and the patterns for their values, none where the key is not set.
fn header_patterns(
    own: &Values,
    key: &'static str,
) -> Result<Vec<(HeaderName, Regex)>, AgentError> {
    let read = |(name, pattern): (&str, &str)| {
        let refused = |problem: String| setting(key, format!("{name}: {problem}"));
        let header = name.parse::<HeaderName>();
        let header = header.map_err(|error| refused(error.to_string()))?;
        let pattern = Regex::new(pattern).map_err(|error| refused(error.to_string()))?;
        Ok((header, pattern))
    };
    own.pairs(key).map(read).collect()
}

fn cut(length: usize, what: &str) -> Failure {
    let detail = format!("{what} the first {length} bytes of the body");
    Failure::new(CheckReason::TooLarge, detail)
}

/// Whether a value is the text, or what the text is as JSON.
fn is(value: &serde_json::Value, text: &str) -> bool {
    value.as_str() == Some(text)
        || serde_json::from_str::<serde_json::Value>(text).is_ok_and(|expected| *value == expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_compared_as_text_and_as_json() {
        for (value, text, equal) in [
            (json!("ok"), "ok", true),
            (json!("ok"), "\"ok\"", true),
            (json!("1"), "1", true),
            (json!(1), "1", true),
            (json!(true), "true", true),
            (json!(null), "null", true),
            (json!({"a": [1]}), "{ \"a\": [1] }", true),
            (json!("ok"), "OK", false),
            (json!(2), "1", false),
        ] {
            assert_eq!(is(&value, text), equal, "{value} {text}");
        }
    }
}
