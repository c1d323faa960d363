//! Numbers that the kernel lists by name, in text whose names differ from kernel to kernel:
//! `vmstat`, `meminfo`, `net/snmp`, `net/snmp6`, `net/netstat`.
//!
//! Not a list of all that the kernel tells: a name that no table has is passed over, and one that
//! the kernel does not have leaves its field absent.

use super::{CollectError, CollectorContext, SourceFile, SourceText};
use tidegauge_model::{Clock, Name, Point, name};

/// What the kernel calls a number, and what we call it.
pub(super) type Row = (&'static str, Name);

/// Rows that are found by the kernel's name.
pub(super) struct Table(pub(super) &'static [Row]);

impl Table {
    /// In a `const _`, rows that are not sorted by the kernel's name do not compile.
    pub(super) const fn assert_sorted(&self) {
        let mut at = 1;
        while at < self.0.len() {
            assert!(
                is_less(self.0[at - 1].0, self.0[at].0),
                "the rows are not sorted"
            );
            at += 1;
        }
    }

    /// Our name for what the kernel calls `key`.
    pub(super) fn field(&self, key: &str) -> Option<&Name> {
        let found = self.0.binary_search_by(|(known, _)| (*known).cmp(key));
        found.ok().map(|at| &self.0[at].1)
    }

    /// Adds the numbers of a group whose names are in one line and whose numbers are in the next,
    /// both behind the name of the group and a colon. Tells whether the group is there.
    pub(super) fn set_group(
        &self,
        text: SourceText<'_>,
        group: &str,
        point: &mut Point,
    ) -> Result<bool, CollectError> {
        let mut names: Option<&str> = None;
        for (line, text_of_line) in text.lines() {
            let Some((found, rest)) = text_of_line.split_once(':') else {
                return Err(text.error(line, "there is no colon"));
            };
            if found != group {
                continue;
            }
            let Some(names) = names else {
                names = Some(rest);
                continue;
            };
            let mut numbers = rest.split_ascii_whitespace();
            for name in names.split_ascii_whitespace() {
                let number = numbers.next();
                if let Some(field) = self.field(name) {
                    point.set(field.clone(), text.number::<u64>(line, number)?);
                }
            }
            return Ok(true);
        }
        match names {
            Some(_) => Err(text.error(0, "a group has names and no numbers")),
            None => Ok(false),
        }
    }

    /// Adds the numbers of lines `name number` whose name begins with `prefix`; the table has the
    /// rest of it. Tells whether there were any.
    pub(super) fn set_lines(
        &self,
        text: SourceText<'_>,
        prefix: &str,
        point: &mut Point,
    ) -> Result<bool, CollectError> {
        let mut any = false;
        for (line, text_of_line) in text.lines() {
            let mut words = text_of_line.split_ascii_whitespace();
            let name = words.next().and_then(|name| name.strip_prefix(prefix));
            if let Some(field) = name.and_then(|name| self.field(name)) {
                point.set(field.clone(), text.number::<u64>(line, words.next())?);
                any = true;
            }
        }
        Ok(any)
    }
}

/// A protocol that is counted in `net/snmp` over IPv4 and in `net/snmp6` over IPv6, of the measured
/// namespace; the latter is missing where IPv6 is switched off.
pub(super) struct Protocol {
    v4: SourceFile,
    v6: SourceFile,
}

impl Protocol {
    pub(super) fn new(context: &CollectorContext) -> Self {
        let roots = &context.roots;
        let file = |path| context.sources.file(path);
        Self {
            v4: file(roots.proc_of_namespace("net/snmp")),
            v6: file(roots.proc_of_namespace("net/snmp6")),
        }
    }

    /// Adds a point for each family, from the group of `net/snmp` and the lines with the prefix of
    /// `net/snmp6`.
    pub(super) fn collect(
        &mut self,
        measurement: &Name,
        table: &Table,
        (group, prefix): (&str, &str),
        clock: &dyn Clock,
        points: &mut Vec<Point>,
    ) -> Result<(), CollectError> {
        let of_family = |family: &'static str| {
            Point::new(measurement.clone(), clock.now_us()).tag(name!("family"), family)
        };
        let v4 = self.v4.read_text()?;
        let mut point = of_family("ipv4");
        if !table.set_group(v4, group, &mut point)? {
            return Err(v4.error(0, "there is no group of this protocol"));
        }
        points.push(point);
        if let Some(v6) = self.v6.read_text_if_there()? {
            let mut point = of_family("ipv6");
            if table.set_lines(v6, prefix, &mut point)? {
                points.push(point);
            }
        }
        Ok(())
    }
}

/// Whether `a` comes before `b`; `Ord` cannot be asked while compiling.
const fn is_less(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() {
        if a[at] != b[at] {
            return a[at] < b[at];
        }
        at += 1;
    }
    a.len() < b.len()
}

#[cfg(test)]
mod tests {
    use super::super::SourceFile;
    use super::*;
    use tidegauge_model::{Value, name};

    static TABLE: Table = Table(&[("A", name!("a")), ("AB", name!("ab")), ("B", name!("b"))]);
    const _: () = TABLE.assert_sorted();

    #[test]
    fn a_group_is_found_by_the_names_of_its_own_header() {
        let told = "Ip: A B\nIp: 1 2\nTcp: B New AB\nTcp: 7 -1 9\n";
        let mut file = SourceFile::holding(told);
        let text = file.as_text();
        let mut point = Point::new(name!("test"), 0);
        assert!(TABLE.set_group(text, "Tcp", &mut point).expect("whole"));
        assert_eq!(point.value("b"), Some(&Value::Float(7.0)));
        assert_eq!(point.value("ab"), Some(&Value::Float(9.0)));
        assert_eq!(point.value("a"), None);
        assert!(!TABLE.set_group(text, "Udp", &mut point).expect("whole"));
        for cut in ["Tcp: A", "Tcp: A\nTcp:", "Tcp: A\nTcp: x", "Tcp"] {
            file = SourceFile::holding(cut);
            let outcome = TABLE.set_group(file.as_text(), "Tcp", &mut point);
            assert!(matches!(outcome, Err(CollectError::Parse { .. })), "{cut}");
        }
    }

    #[test]
    fn order_is_that_of_strings() {
        for (a, b) in [
            ("", "a"),
            ("a", "ab"),
            ("A", "a"),
            ("ab", "b"),
            ("a", "a"),
            ("b", "ab"),
        ] {
            assert_eq!(is_less(a, b), a < b, "{a} {b}");
        }
    }
}
