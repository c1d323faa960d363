//! Which functions ran, as callgrind wrote it down ("Callgrind Format Specification" of valgrind's manual).
//!
//! Names are long and stand there once, with a number: `fn=(12) name`; from then on it is `fn=(12)`. A name may
//! be told first by a call of it (`cfn=`). Objects (`ob=`, `cob=`) are numbered the same way.

use std::collections::{BTreeSet, HashMap};

/// The symbols of the functions of `object` that ran.
pub(super) fn functions_that_ran(profile: &str, object: &str) -> BTreeSet<String> {
    let (mut objects, mut functions) = (Names::default(), Names::default());
    let (mut within, mut ran) = (String::new(), BTreeSet::new());
    for line in profile.lines() {
        match line.split_once('=') {
            Some(("ob", text)) => within = objects.name(text),
            Some(("cob", text)) => drop(objects.name(text)),
            Some(("cfn", text)) => drop(functions.name(text)),
            Some(("fn", text)) => {
                let name = functions.name(text);
                if within == object && !name.starts_with("0x") {
                    ran.insert(without_depth(&name).to_owned());
                }
            }
            _ => {}
        }
    }
    ran
}

/// Names by their numbers.
#[derive(Debug, Default)]
struct Names<'a>(HashMap<&'a str, &'a str>);

impl<'a> Names<'a> {
    /// What `(12) name`, `(12)` or `name` stands for.
    fn name(&mut self, text: &'a str) -> String {
        let numbered = text.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let Some((number, name)) = numbered else {
            return text.to_owned();
        };
        match name.trim_start() {
            "" => self.0.get(number).copied().unwrap_or_default(),
            name => {
                self.0.insert(number, name);
                name
            }
        }
        .to_owned()
    }
}

/// Without the `'2` of a function that calls itself.
fn without_depth(name: &str) -> &str {
    match name.rsplit_once('\'') {
        Some((name, depth)) if depth.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of a real profile, shortened.
    const PROFILE: &str = "\
# callgrind format
cmd:  ./tidegauge up --interval 2s
positions: line
events: Ir

ob=(4) /usr/lib/x86_64-linux-gnu/libm.so.6
fl=(17) ./math/./w_pow_template.c
fn=(286) pow@@GLIBC_2.29
31 528
cob=(5) /build/tidegauge
cfi=(3) ???
cfn=(290) sqlite3VdbeExec
calls=176 +35
* 18480

ob=(5)
fl=(3)
fn=(290)
0 1
cfn=(300) _ZN4core3fmt5Write9write_fmt17h0123456789abcdefE
calls=1 0
0 7
fn=(310) 0x0000000000010240
0 1
fn=(320) walk'2
0 1

ob=(4)
fn=(290)
0 1
";

    #[test]
    fn functions_of_the_program_alone_by_names_that_stand_there_once() {
        let ran = functions_that_ran(PROFILE, "/build/tidegauge");
        assert_eq!(ran.iter().collect::<Vec<_>>(), ["sqlite3VdbeExec", "walk"]);
        let others = functions_that_ran(PROFILE, "/usr/lib/x86_64-linux-gnu/libm.so.6");
        assert_eq!(
            others.iter().collect::<Vec<_>>(),
            ["pow@@GLIBC_2.29", "sqlite3VdbeExec"]
        );
    }
}
