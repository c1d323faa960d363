//! The measurement `agent`: whether the agent keeps up, and what it costs.

use crate::collectors::SourceFile;
use crate::status::AgentFigures;
use tidegauge_model::{Point, name};

/// One point of `agent`; `stat` is `/proc/self/stat`.
pub(crate) fn own_point(figures: &AgentFigures, stat: &mut SourceFile, now_us: i64) -> Point {
    let oldest_us = figures
        .spool
        .oldest_us
        .map_or(0, |oldest_us| now_us.saturating_sub(oldest_us));
    let process = stat.read_bytes().ok();
    let process = process
        .and_then(|stat| std::str::from_utf8(stat).ok())
        .and_then(ProcessFigures::parse);
    Point::new(name!("agent"), now_us)
        .field(name!("spool_batches"), figures.spool.batches)
        .field(name!("spool_bytes"), figures.spool.bytes)
        .field(
            name!("spool_oldest_seconds"),
            (oldest_us.max(0) / 1_000) as f64 / 1e3,
        )
        .field(name!("missed_ticks"), figures.missed_ticks)
        .field(name!("left_out_values"), figures.left_out_values)
        .field(name!("dropped_batches"), figures.dropped_batches)
        .field_if(
            name!("cpu_seconds"),
            process.as_ref().map(ProcessFigures::cpu_seconds),
        )
        .field_if(
            name!("resident_bytes"),
            process.as_ref().map(ProcessFigures::resident_bytes),
        )
}

/// Fields of `/proc/self/stat`, see proc_pid_stat(5).
#[derive(Debug, PartialEq, Eq)]
struct ProcessFigures {
    /// `utime` and `stime` together, in clock ticks.
    cpu_ticks: u64,
    /// `rss`, in pages.
    resident_pages: u64,
}

impl ProcessFigures {
    fn parse(stat: &str) -> Option<Self> {
        // The name of the program may hold anything, so counting begins behind its bracket; the
        // word there is field 3.
        let (_, rest) = stat.rsplit_once(')')?;
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |field: usize| words.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: number(14)? + number(15)?,
            resident_pages: number(24)?,
        })
    }

    fn cpu_seconds(&self) -> f64 {
        self.cpu_ticks as f64 / rustix::param::clock_ticks_per_second() as f64
    }

    fn resident_bytes(&self) -> u64 {
        self.resident_pages * rustix::param::page_size() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegauge_model::{Value, catalog};

    #[test]
    fn the_name_of_the_program_does_not_disturb() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 700 11 12 13 20 0 1 0 99 1000000 321 18446744073709551615 1";
        let figures = ProcessFigures::parse(stat).expect("well-formed");
        assert_eq!(
            figures,
            ProcessFigures {
                cpu_ticks: 711,
                resident_pages: 321
            }
        );
        assert_eq!(ProcessFigures::parse("42 (a) S 1"), None);
        assert_eq!(ProcessFigures::parse(""), None);
    }

    #[test]
    fn this_process_uses_memory_and_all_fields_are_in_the_catalog() {
        let mut stat = SourceFile::new("/proc/self/stat".into());
        let point = own_point(&AgentFigures::default(), &mut stat, 5);
        assert!(matches!(point.value("resident_bytes"), Some(Value::Float(bytes)) if *bytes > 1e5));
        let entry = catalog::measurement("agent").expect("in the catalog");
        assert_eq!(point.fields().len(), entry.fields.len());
        for (name, _) in point.fields() {
            assert!(entry.field(name.as_str()).is_some(), "{name}");
        }
    }
}
