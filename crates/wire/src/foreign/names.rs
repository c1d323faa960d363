//! Names of other programs brought into the pattern of ours: the one place for all encodings.
//!
//! 1. A name that fits the pattern is kept as it is.
//! 2. Else every character that is no ASCII letter or digit parts two words, and so does the step
//!    from a small letter or a digit to a capital one, and from capitals to the last capital before
//!    a small letter. Words are in lower case with one `_` between them, none at the ends:
//!    `diskIO` is `disk_io`, `http.server.duration` is `http_server_duration`, `HTTPRequests` is
//!    `http_requests`, `go-gc` is `go_gc`.
//! 3. A name that would begin with a digit gets an `n` before it: `95th` is `n95th`.
//! 4. A name longer than [`Name::MAX_BYTES`] is cut, and ends with `_` and eight hexadecimal digits
//!    of the FNV-1a hash of the name as it came, so that two long names stay apart.
//! 5. A name of which nothing is left cannot be stored.
//!
//! These rules are part of the versions of the encodings: they name tables and columns that exist.

use crate::check::{Checked, wrong};
use crate::error::quote;
use std::borrow::Cow;
use tidegauge_model::{Name, Reason};

/// A `_` and eight digits.
const HASH_BYTES: usize = 9;

/// The name in our pattern; borrowed when it is in it already.
pub(crate) fn name(foreign: Cow<'_, str>) -> Checked<Cow<'_, str>> {
    if Name::check(&foreign).is_ok() {
        return Ok(foreign);
    }
    rewritten(&foreign).map(Cow::Owned)
}

#[cold]
fn rewritten(foreign: &str) -> Checked<String> {
    let mut kept = String::with_capacity(foreign.len() + 8);
    let mut before = None;
    let mut characters = foreign.chars().peekable();
    while let Some(character) = characters.next() {
        if !character.is_ascii_alphanumeric() {
            before = None;
            continue;
        }
        let begins_word = match before {
            None => true,
            Some(before) => {
                let before: char = before;
                let mut next_is_small = || characters.peek().is_some_and(char::is_ascii_lowercase);
                character.is_ascii_uppercase() && (!before.is_ascii_uppercase() || next_is_small())
            }
        };
        if begins_word && !kept.is_empty() {
            kept.push('_');
        }
        if kept.is_empty() && character.is_ascii_digit() {
            kept.push('n');
        }
        kept.push(character.to_ascii_lowercase());
        before = Some(character);
    }
    if kept.is_empty() {
        let detail = format!("{} has no letter and no digit of ASCII", quote(foreign));
        return wrong(Reason::BadName, detail);
    }
    if kept.len() > Name::MAX_BYTES {
        kept.truncate(Name::MAX_BYTES - HASH_BYTES);
        kept.truncate(kept.trim_end_matches('_').len());
        kept.push_str(&format!("_{:08x}", fnv1a(foreign.as_bytes())));
    }
    Ok(kept)
}

/// `le_0_5`, `le_minus_1`: the number as it is written, in characters of names.
pub(crate) fn of_number(begin: &str, number: f64) -> String {
    let text = number.abs().to_string().replace('.', "_");
    match number < 0.0 {
        true => format!("{begin}_minus_{text}"),
        false => format!("{begin}_{text}"),
    }
}

/// `p99`, `p99_9`: a quantile in percent.
pub(crate) fn of_quantile(quantile: f64) -> String {
    // Without what the multiplication adds behind the sixth decimal.
    let percent = (quantile * 1e8).round() / 1e6;
    format!("p{}", percent.abs().to_string().replace('.', "_"))
}

/// FNV-1a of 32 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>).
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(foreign: &str) -> String {
        name(Cow::Borrowed(foreign)).expect(foreign).into_owned()
    }

    #[test]
    fn names_are_brought_into_the_pattern() {
        for (foreign, ours) in [
            ("usage_idle", "usage_idle"),
            ("disk__io_", "disk__io_"),
            ("diskIO", "disk_io"),
            ("http.server.duration", "http_server_duration"),
            ("go-gc", "go_gc"),
            ("HTTPRequests", "http_requests"),
            ("requestsByHTTP2Client", "requests_by_http2_client"),
            ("% Processor Time", "processor_time"),
            ("Percent_Processor_Time", "percent_processor_time"),
            ("__name__", "name"),
            ("_a", "a"),
            ("95th", "n95th"),
            ("0", "n0"),
            (".5", "n5"),
            ("a/b\\c", "a_b_c"),
            ("température", "temp_rature"),
            ("A", "a"),
            ("AB", "ab"),
            ("aB", "a_b"),
            ("1A", "n1_a"),
        ] {
            assert_eq!(named(foreign), ours, "{foreign}");
        }
        for nothing in ["", "_", "%", "温度", " "] {
            let refused = name(Cow::Borrowed(nothing)).expect_err(nothing);
            assert_eq!(refused.reason, Reason::BadName);
        }
    }

    #[test]
    fn bounds_and_quantiles_are_names() {
        for (number, name) in [
            (0.005, "le_0_005"),
            (10_000.0, "le_10000"),
            (-1.5, "le_minus_1_5"),
            (0.0, "le_0"),
        ] {
            assert_eq!(of_number("le", number), name);
            assert!(Name::check(name).is_ok());
        }
        for (quantile, name) in [(0.5, "p50"), (0.999, "p99_9"), (0.0, "p0"), (1.0, "p100")] {
            assert_eq!(of_quantile(quantile), name);
        }
    }

    #[test]
    fn long_names_stay_apart() {
        let long = "apiserver.flowcontrol.priority.level.request.count.watermarks.seconds";
        let (sum, count) = (
            named(&format!("{long}.sum")),
            named(&format!("{long}.count")),
        );
        assert_eq!(
            sum,
            "apiserver_flowcontrol_priority_level_request_count_5965ebe0"
        );
        assert_ne!(sum, count);
        assert_eq!(sum[..50], count[..50]);
        assert_eq!(named(&"a".repeat(60)).len(), 60);
        assert_eq!(named(&"a".repeat(61)).len(), 60);
    }

    #[test]
    fn what_comes_out_is_a_name_and_stays_it() {
        let words = ["a", "B", "é", "_", ".", "7", "XY", " ", "zz-9"];
        for number in 0..words.len().pow(4) {
            let mut rest = number;
            let mut foreign = String::new();
            for _ in 0..4 {
                foreign.push_str(words[rest % words.len()]);
                rest /= words.len();
            }
            if let Ok(ours) = name(Cow::Borrowed(&foreign)) {
                assert!(Name::check(&ours).is_ok(), "{foreign}: {ours}");
                assert_eq!(named(&ours), ours, "{foreign}");
            }
        }
    }
}
