//! Whether the linker did what the script says: the part of the program that it makes is there, and large enough.

use std::path::Path;

use anyhow::{Context, bail};

use super::script::SECTION;
use crate::run::command;

/// Where the linker is that Rust brings, which is known to take the script.
const EXPECTED: bool = cfg!(all(
    target_arch = "x86_64",
    target_os = "linux",
    target_env = "gnu"
));

/// Bytes of the part. Less in a program means that the patterns of the script no longer fit its functions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Least(pub(crate) u64);

/// An error where the script should have made its part of `program` and did not, or made too little of it.
pub(crate) fn check(program: &Path, least: Least) -> anyhow::Result<()> {
    if !EXPECTED {
        return Ok(());
    }
    let mut readelf = command("readelf");
    readelf
        .args(["--section-headers", "--wide"])
        .arg(program)
        .env("LC_ALL", "C");
    let output = readelf.output().context("run readelf")?;
    let headers = String::from_utf8_lossy(&output.stdout);
    match bytes_of(SECTION, &headers) {
        None => bail!(
            "{} has no {SECTION}: its linker did not take crates/cli/layout.ld, and it will need some MB more of memory",
            program.display()
        ),
        Some(bytes) if bytes < least.0 => bail!(
            "{SECTION} of {} has {bytes} bytes, expected are {} or more: functions have other names than in \
             crates/cli/layout.ld; `cargo xtask layout` writes it anew",
            program.display(),
            least.0
        ),
        Some(_) => Ok(()),
    }
}

/// The size of a section: `[14] .text.often  PROGBITS  00000000005503c0 54f3c0 1d2e07 00  AX  0   0 64`.
fn bytes_of(section: &str, headers: &str) -> Option<u64> {
    let line = headers
        .lines()
        .find_map(|line| line.split_once(&format!("] {section} ")))?
        .1;
    u64::from_str_radix(line.split_whitespace().nth(3)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sections_size_is_found_by_its_whole_name() {
        let headers = "Section Headers:\n\
            \x20 [Nr] Name              Type            Address          Off    Size   ES Flg Lk Inf Al\n\
            \x20 [ 9] .rela.dyn         RELA            0000000000000690 000690 000018 18   A  5   0  8\n\
            \x20 [14] .text.often       PROGBITS        00000000005503c0 54f3c0 1d2e07 00  AX  0   0 64\n\
            \x20 [15] .text             PROGBITS        0000000000722f40 721f40 10ae5c7 00  AX  0   0 64\n";
        assert_eq!(bytes_of(".text.often", headers), Some(0x1d_2e07));
        assert_eq!(bytes_of(".text", headers), Some(0x10a_e5c7));
        assert_eq!(bytes_of(".rodata", headers), None);
    }
}
