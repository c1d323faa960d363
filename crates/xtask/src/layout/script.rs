//! The linker script: functions by the names of their sections, in groups that run in the same programs.
//!
//! A compiler gives each function a section of its own, `.text.` and its symbol. Symbols of Rust change with
//! every compiler, version and profile, by a hash that a `*` stands for; so one script serves all builds. Only
//! where that would take in many copies of a generic function, of which few run, those are named in full.

use std::collections::{BTreeMap, BTreeSet};

/// The part of the program that the script makes.
pub(super) const SECTION: &str = ".text.often";

const HEAD: &str = "\
/* What a started program runs, put side by side by the linker.

   The kernel maps 64 kB around each page of code that is used. Spread over all of the program, these functions
   made it take several MB more of memory.

   Written by `cargo xtask layout`, which runs the programs that each group names and takes what they run once
   they are started. A pattern without a counterpart does nothing, and a function without a pattern only lies
   elsewhere. build.rs hands it to the linker. */
";

/// The script for what each program ran, in the order of the programs. `sizes` has the bytes of all functions of
/// the builds, by symbol.
pub(super) fn script(
    programs: &[(&str, BTreeSet<String>)],
    sizes: &BTreeMap<String, u64>,
) -> String {
    let sparse = sparse_patterns(programs, sizes);
    let mut ran_in: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for (index, (_, symbols)) in programs.iter().enumerate() {
        for symbol in symbols {
            let mut pattern = pattern(symbol);
            if sparse.contains(&pattern) {
                pattern = sections(symbol);
            }
            ran_in.entry(pattern).or_default().insert(index);
        }
    }
    let mut groups: BTreeMap<BTreeSet<usize>, Vec<String>> = BTreeMap::new();
    for (pattern, ran_in) in ran_in {
        groups.entry(ran_in).or_default().push(pattern);
    }
    let mut text = format!("{HEAD}SECTIONS {{\n  {SECTION} : {{\n");
    let mut group = |names: &str, patterns: &mut dyn Iterator<Item = &String>| {
        text.push_str(&format!("    /* {names} */\n"));
        for pattern in patterns {
            text.push_str(&format!("    *({pattern})\n"));
        }
    };
    for (ran_in, patterns) in &groups {
        let names: Vec<&str> = ran_in.iter().map(|&index| programs[index].0).collect();
        group(&names.join("; "), &mut patterns.iter());
    }
    group(
        "Copies that did not run, or that another build calls otherwise.",
        &mut sparse.iter(),
    );
    text.push_str("  }\n} INSERT BEFORE .text;\n");
    text
}

/// Patterns of functions that a program has many copies of, one for each type, of which by bytes less than half ran.
fn sparse_patterns(
    programs: &[(&str, BTreeSet<String>)],
    sizes: &BTreeMap<String, u64>,
) -> BTreeSet<String> {
    let ran: BTreeSet<&String> = programs.iter().flat_map(|(_, symbols)| symbols).collect();
    let mut bytes: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (symbol, size) in sizes {
        let (all, of_those_that_ran) = bytes.entry(pattern(symbol)).or_default();
        *all += size;
        if ran.contains(symbol) {
            *of_those_that_ran += size;
        }
    }
    let sparse = bytes
        .into_iter()
        .filter(|(_, (all, ran))| *ran > 0 && ran * 2 < *all);
    sparse.map(|(pattern, _)| pattern).collect()
}

/// Bytes of the functions of a program, as `nm --portability` tells them: `symbol t 1a2b 3c`.
pub(super) fn sizes(symbols: &str) -> impl Iterator<Item = (String, u64)> {
    symbols.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let symbol = fields.next()?;
        let is_code = matches!(fields.next()?, "t" | "T" | "w" | "W");
        let bytes = u64::from_str_radix(fields.nth(1)?, 16).ok()?;
        is_code.then(|| (symbol.to_owned(), bytes))
    })
}

/// The sections that a function of this symbol is in, whichever build it comes from.
fn pattern(symbol: &str) -> String {
    if let Some(name) = symbol.strip_prefix("_R") {
        return sections(&format!("_R{}", without_disambiguators(name)));
    }
    if symbol.starts_with("_ZN")
        && let Some(hash) = symbol.rfind("17h")
    {
        return sections(&format!("{}17h*", &symbol[..hash]));
    }
    // Copies that the C compiler made for some callers: `.constprop.0`, `.isra.0`, `.part.0`.
    let name = symbol.split_once('.').map_or(symbol, |(name, _)| name);
    format!(".text.{name} .text.{name}.*")
}

/// Those of a name. `#[cold]` makes the second, which runs now and then all the same.
fn sections(name: &str) -> String {
    format!(".text.{name} .text.unlikely.{name}")
}

/// `Cs`, a number, `_` and the crate's name: the number is another with each version of the crate.
fn without_disambiguators(symbol: &str) -> String {
    let mut text = String::new();
    let mut rest = symbol;
    while let Some(begin) = rest.find("Cs") {
        let (before, after) = rest.split_at(begin + 2);
        text.push_str(before);
        rest = after;
        let number = after.find(|letter: char| !letter.is_ascii_alphanumeric());
        if let Some(end) = number
            && after[end..].starts_with('_')
            && after[end + 1..].starts_with(|letter: char| letter.is_ascii_digit())
        {
            text.push('*');
            rest = &after[end..];
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_with_each_build_is_a_star() {
        for (symbol, expected) in [
            (
                "_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE",
                ".text._ZN4core3fmt5Write9write_fmt17h* .text.unlikely._ZN4core3fmt5Write9write_fmt17h*",
            ),
            (
                "_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE.llvm.42",
                ".text._ZN4core3fmt5Write9write_fmt17h* .text.unlikely._ZN4core3fmt5Write9write_fmt17h*",
            ),
            (
                "_RINvNtCsjrHSEGnQ3l9_3std2io19default_read_to_endNtNtB4_2fs4FileEB4_",
                ".text._RINvNtCs*_3std2io19default_read_to_endNtNtB4_2fs4FileEB4_ \
                 .text.unlikely._RINvNtCs*_3std2io19default_read_to_endNtNtB4_2fs4FileEB4_",
            ),
            (
                "sqlite3VdbeExec",
                ".text.sqlite3VdbeExec .text.sqlite3VdbeExec.*",
            ),
            (
                "rd_kafka_q_serve.part.0",
                ".text.rd_kafka_q_serve .text.rd_kafka_q_serve.*",
            ),
        ] {
            assert_eq!(pattern(symbol), expected);
        }
    }

    #[test]
    fn of_functions_with_many_copies_those_that_ran_come_first() {
        let copy = |number: u32| format!("_ZN4poll17h000000000000000{number}E");
        let symbols = format!(
            "{} t 10 64\n{} T 74 c8\nmain T 0 40\nhalf.part.0 t 0 40\nhalf t 0 40\ndata d 0 8\nstart T 1\n",
            copy(1),
            copy(2)
        );
        let sizes: BTreeMap<_, _> = sizes(&symbols).collect();
        assert_eq!(sizes.get(&copy(2)), Some(&200));
        assert_eq!(sizes.len(), 5);
        let ran = BTreeSet::from([copy(1), "half".to_owned()]);
        let text = script(&[("up", ran)], &sizes);
        let expected = "\
    /* up */
    *(.text._ZN4poll17h0000000000000001E .text.unlikely._ZN4poll17h0000000000000001E)
    *(.text.half .text.half.*)
    /* Copies that did not run, or that another build calls otherwise. */
    *(.text._ZN4poll17h* .text.unlikely._ZN4poll17h*)
  }
";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn a_pattern_stands_once_in_the_group_of_the_programs_that_run_it() {
        let ran = |symbols: &[&str]| symbols.iter().map(|&symbol| symbol.to_owned()).collect();
        let text = script(
            &[
                (
                    "up",
                    ran(&["b.part.0", "b", "_ZN1a17h0000000000000001E", "c"]),
                ),
                (
                    "agent",
                    ran(&[
                        "_ZN1a17h0000000000000002E",
                        "_ZN1a17h0000000000000003E",
                        "d",
                    ]),
                ),
            ],
            &BTreeMap::new(),
        );
        let body = text.strip_prefix(HEAD).unwrap();
        let expected = "\
SECTIONS {
  .text.often : {
    /* up */
    *(.text.b .text.b.*)
    *(.text.c .text.c.*)
    /* up; agent */
    *(.text._ZN1a17h* .text.unlikely._ZN1a17h*)
    /* agent */
    *(.text.d .text.d.*)
    /* Copies that did not run, or that another build calls otherwise. */
  }
} INSERT BEFORE .text;
";
        assert_eq!(body, expected);
    }
}
