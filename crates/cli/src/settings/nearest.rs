//! The word that was probably meant.

/// A hint at the known word that is nearest to another one, to stand behind an error; empty if none is
/// near.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    // Another number is no slip of the finger: SCRAM-SHA-1 is something else than SCRAM-SHA-512.
    let letters = |word: &str| word.replace(|letter: char| letter.is_ascii_digit(), "");
    let known = known.filter(|known| letters(known) != letters(word));
    let best = known.map(|known| (distance(word, known), known)).min();
    match best {
        Some((far, known)) if far <= 2.max(word.len() / 3) && far < known.len() => {
            format!("; did you mean `{known}`?")
        }
        _ => String::new(),
    }
}

/// How many bytes have to be inserted, removed or replaced (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.bytes().enumerate() {
            let cost = (diagonal + usize::from(from != to))
                .min(row[j] + 1)
                .min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = cost;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_is_hinted_at() {
        let known = ["url", "name", "expect_status", "interval", "sha-512"];
        for (word, hint) in [
            ("urll", "; did you mean `url`?"),
            ("expected_status", "; did you mean `expect_status`?"),
            ("intervall", "; did you mean `interval`?"),
            ("nmae", "; did you mean `name`?"),
            ("x", ""),
            ("sha-1", ""),
            ("something", ""),
        ] {
            assert_eq!(did_you_mean(word, known.into_iter()), hint, "{word}");
        }
    }
}
