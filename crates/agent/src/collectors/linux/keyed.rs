//! Numbers that the kernel lists by name, in text whose names differ from kernel to kernel:
//! `vmstat`, `meminfo`, `net/snmp`, `net/snmp6`, `net/netstat`.
//!
//! Not a list of all that the kernel tells: a name that no table has is passed over, and one that
//! the kernel does not have leaves its field absent.

use super::heads::{Heads, first_word};
use super::{CollectError, CollectorContext, SourceFile, SourceText, words};
use memchr::memchr;
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
    pub(super) fn field(&self, key: &str) -> Option<&'static Name> {
        let found = self.0.binary_search_by(|(known, _)| (*known).cmp(key));
        found.ok().map(|at| &self.0[at].1)
    }
}

/// A group of a text such as `net/snmp`: its names are in one line and its numbers in the next, both
/// behind the name of the group and a colon.
pub(super) struct Group {
    table: &'static Table,
    name: &'static str,
    /// The line of names at the last reading, and the field of each.
    names: String,
    fields: Vec<Option<&'static Name>>,
}

impl Group {
    pub(super) const fn new(table: &'static Table, name: &'static str) -> Self {
        Self {
            table,
            name,
            names: String::new(),
            fields: Vec::new(),
        }
    }

    /// Adds the numbers that the table has. Tells whether the group is there.
    pub(super) fn set(
        &mut self,
        text: SourceText<'_>,
        point: &mut Point,
    ) -> Result<bool, CollectError> {
        let mut names_found = false;
        for (line, text_of_line) in text.lines() {
            let Some(colon) = memchr(b':', text_of_line.as_bytes()) else {
                return Err(text.error(line, "there is no colon"));
            };
            if &text_of_line[..colon] != self.name {
                continue;
            }
            let rest = &text_of_line[colon + 1..];
            if !std::mem::replace(&mut names_found, true) {
                self.know(rest);
                continue;
            }
            let mut numbers = words(rest);
            for field in &self.fields {
                let number = numbers.next();
                if let Some(field) = *field {
                    point.set(field.clone(), text.number::<u64>(line, number)?);
                }
            }
            return Ok(true);
        }
        match names_found {
            true => Err(text.error(0, "a group has names and no numbers")),
            false => Ok(false),
        }
    }

    /// Looks the names up, unless they are those of the last reading.
    fn know(&mut self, names: &str) {
        if self.names != names {
            names.clone_into(&mut self.names);
            self.fields.clear();
            let fields = words(names);
            self.fields
                .extend(fields.map(|name| self.table.field(name)));
        }
    }
}

/// Lines `name number` of a text such as `net/snmp6`.
pub(super) struct Listed {
    table: &'static Table,
    prefix: &'static str,
    heads: Heads<&'static Name>,
}

impl Listed {
    /// Of the lines whose name begins with `prefix`; the table has the rest of it.
    pub(super) fn new(table: &'static Table, prefix: &'static str) -> Self {
        Self {
            table,
            prefix,
            heads: Heads::default(),
        }
    }

    /// Adds the numbers that the table has. Tells whether there were any.
    pub(super) fn set(
        &mut self,
        text: SourceText<'_>,
        point: &mut Point,
    ) -> Result<bool, CollectError> {
        let mut any = false;
        let (table, prefix) = (self.table, self.prefix);
        let look_up = |name: &str| table.field(name.strip_prefix(prefix)?);
        for (line, told) in self.heads.lines(text, first_word, look_up) {
            if let Some((Some(field), rest)) = told {
                let number = words(rest).next();
                point.set(field.clone(), text.number::<u64>(line, number)?);
                any = true;
            }
        }
        Ok(any)
    }
}

/// A protocol that is counted in `net/snmp` over IPv4 and in `net/snmp6` over IPv6, of the measured
/// namespace; the latter is missing where IPv6 is switched off.
pub(super) struct Protocol {
    v4: (SourceFile, Group),
    v6: (SourceFile, Listed),
}

impl Protocol {
    /// Counted in the group of `net/snmp`, and in the lines with the prefix of `net/snmp6`.
    pub(super) fn new(
        context: &CollectorContext,
        table: &'static Table,
        (group, prefix): (&'static str, &'static str),
    ) -> Self {
        let roots = &context.roots;
        let file = |path| {
            let path = roots.proc_of_namespace(path);
            context.sources.file(path).of_one_record()
        };
        Self {
            v4: (file("net/snmp"), Group::new(table, group)),
            v6: (file("net/snmp6"), Listed::new(table, prefix)),
        }
    }

    /// Adds a point for each family.
    pub(super) fn collect(
        &mut self,
        measurement: &Name,
        clock: &dyn Clock,
        points: &mut Vec<Point>,
    ) -> Result<(), CollectError> {
        let room = self.v4.1.table.0.len();
        let of_family = |family: &'static str| {
            Point::new(measurement.clone(), clock.now_us())
                .with_room(room)
                .tag(name!("family"), family)
        };
        let (file, group) = &mut self.v4;
        let v4 = file.read_text()?;
        let mut point = of_family("ipv4");
        if !group.set(v4, &mut point)? {
            return Err(v4.error(0, "there is no group of this protocol"));
        }
        points.push(point);
        let (file, lines) = &mut self.v6;
        if let Some(v6) = file.read_text_if_there()? {
            let mut point = of_family("ipv6");
            if lines.set(v6, &mut point)? {
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
        let (mut tcp, mut udp) = (Group::new(&TABLE, "Tcp"), Group::new(&TABLE, "Udp"));
        let mut point = Point::new(name!("test"), 0);
        assert!(tcp.set(file.as_text(), &mut point).expect("whole"));
        assert_eq!(point.value("b"), Some(&Value::Float(7.0)));
        assert_eq!(point.value("ab"), Some(&Value::Float(9.0)));
        assert_eq!(point.value("a"), None);
        assert!(!udp.set(file.as_text(), &mut point).expect("whole"));
        for cut in ["Tcp: A", "Tcp: A\nTcp:", "Tcp: A\nTcp: x", "Tcp"] {
            file = SourceFile::holding(cut);
            let outcome = tcp.set(file.as_text(), &mut point);
            assert!(matches!(outcome, Err(CollectError::Parse { .. })), "{cut}");
        }
    }

    #[test]
    fn names_may_change_from_reading_to_reading() {
        let mut group = Group::new(&TABLE, "G");
        let mut listed = Listed::new(&TABLE, "G");
        for (names, a, b) in [
            (["A", "B"], Some(1.0), Some(2.0)),
            (["A", "B"], Some(1.0), Some(2.0)),
            (["B", "A"], Some(2.0), Some(1.0)),
            (["New", "A"], Some(2.0), None),
            (["BB", "B"], None, Some(2.0)),
        ] {
            let [first, second] = names;
            for (is_group, told) in [
                (true, format!("G: {first} {second}\nG: 1 2\n")),
                (false, format!("G{first} 1\nG{second}\t2\nA 3\n")),
            ] {
                let file = SourceFile::holding(&told);
                let mut point = Point::new(name!("test"), 0);
                let any = match is_group {
                    true => group.set(file.as_text(), &mut point),
                    false => listed.set(file.as_text(), &mut point),
                };
                assert!(any.expect("whole"), "{told}");
                assert_eq!(point.value("a"), a.map(Value::Float).as_ref(), "{told}");
                assert_eq!(point.value("b"), b.map(Value::Float).as_ref(), "{told}");
            }
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
