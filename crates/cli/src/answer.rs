//! The answer of a command on stdout. Who reads it may have had enough (`tidegauge query … | head`): the
//! command then ends, quietly.

use anyhow::Context;
use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Whoever reads stdout has closed it.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads what is printed")]
pub(crate) struct ReaderGone;

/// Prints a piece of the answer.
pub(crate) fn print(text: Arguments<'_>) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_fmt(text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        written => written.context("printing the answer"),
    }
}

/// A line of the answer, as `println!` has it.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::answer::print(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// A text that ends its lines itself, as `print!` has it.
macro_rules! say_text {
    ($($text:tt)*) => {
        $crate::answer::print(format_args!($($text)*))
    };
}
