//! Patterns by which settings of collectors name groups and units.
//!
//! Not a collector, and no regular expressions: `*` is enough for names.

/// Whether a text is like a pattern, in which `*` stands for any text.
pub(in crate::collectors::linux) fn is_like(text: &str, pattern: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return text == pattern;
    };
    let Some(text) = text.strip_prefix(start) else {
        return false;
    };
    let mut ends = (0..=text.len()).filter(|&end| text.is_char_boundary(end));
    rest.is_empty() || ends.any(|end| is_like(&text[end..], rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (text, pattern, expected) in [
            ("postgres", "postgres", true),
            ("postgres", "post*", true),
            ("postgres", "*gres", true),
            ("postgres", "p*g*s", true),
            ("postgres", "*", true),
            ("postgres", "gres", false),
            ("é", "*é", true),
            ("x", "x*y", false),
        ] {
            assert_eq!(is_like(text, pattern), expected, "{text} {pattern}");
        }
    }
}
