//! Errors as one line of text.

use std::error::Error;

/// An error with its causes in one line, for logs and details. A cause that the line already holds is not
/// repeated, because many libraries put it into their own text.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;

    #[derive(Debug)]
    struct Caused(&'static str, Option<Box<Caused>>);

    impl fmt::Display for Caused {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(self.0)
        }
    }

    impl Error for Caused {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn each_cause_is_told_once() {
        let cause = Caused("no route", Some(Box::new(Caused("os error 113", None))));
        let error = Caused("connecting to a: no route", Some(Box::new(cause)));
        assert_eq!(chain(&error), "connecting to a: no route: os error 113");
    }
}
