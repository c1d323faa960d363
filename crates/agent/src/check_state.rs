//! Whether a target is up or down, from one check after the other: a point of `check_state` whenever
//! that changes, so that how long it was down is one query.
//!
//! Not known at the start: the first success says up, and failures say down once there are as many in
//! a row as the settings ask for. The point also says when the first of them was.

use crate::probes::{CheckReason, CheckResult, CheckSettings};
use tidegauge_model::{Point, Tags, Value, name};

/// The state of one target.
#[derive(Debug)]
pub struct CheckState {
    confirm_after: u32,
    recover_after: u32,
    /// The state, and since when, microseconds since 1970 UTC.
    known: Option<(bool, i64)>,
    /// Checks in a row that say otherwise, and when the first of them was.
    against: Option<(u32, i64)>,
}

impl CheckState {
    /// The state of a target that was never checked.
    #[must_use]
    pub fn new(settings: &CheckSettings) -> Self {
        Self::after(settings.confirm_after(), settings.recover_after())
    }

    /// The same for one that is down after so many failures in a row, and up again after so many
    /// successes.
    #[must_use]
    pub const fn after(confirm_after: u32, recover_after: u32) -> Self {
        Self {
            confirm_after,
            recover_after,
            known: None,
            against: None,
        }
    }

    /// The points of a result: its own, and that of the state if it changed. `decides` is false for an
    /// attempt that is followed by another one, which does not count: its point says so.
    #[must_use]
    pub fn points(&mut self, result: CheckResult, decides: bool) -> (Point, Option<Point>) {
        let up = result.is_up();
        let changed = match decides {
            true => self.take(up, result.time_us),
            false => None,
        };
        let change = changed.map(|change| {
            let about = (
                result.target.as_str(),
                &result.labels,
                result.finding.reason,
            );
            change.point(about, up, result.time_us)
        });
        let mut point = result.into_point();
        if !decides {
            point.set(name!("repeated"), Value::Bool(true));
        }
        (point, change)
    }

    /// Takes one check into account; the change, if it makes one.
    fn take(&mut self, up: bool, time_us: i64) -> Option<Change> {
        if self.known.is_some_and(|(known, _)| known == up) {
            self.against = None;
            return None;
        }
        let (checks, first_us) = match self.against {
            // Before anything is known failures are all that is counted.
            Some((checks, first_us)) => (checks + 1, first_us),
            None => (1, time_us),
        };
        let needed = match (up, self.known) {
            (true, None) => 1,
            (true, Some(_)) => self.recover_after,
            (false, _) => self.confirm_after,
        };
        if checks < needed {
            self.against = Some((checks, first_us));
            return None;
        }
        // The first success ends failures that were too few to say anything.
        let since_us = if self.known.is_none() && up {
            time_us
        } else {
            first_us
        };
        let before = self.known.replace((up, since_us));
        self.against = None;
        Some(Change {
            since_us,
            before_us: before.map(|(_, began_us)| since_us - began_us),
        })
    }
}

/// A change of state.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    since_us: i64,
    /// How long the state before lasted.
    before_us: Option<i64>,
}

impl Change {
    fn point(
        &self,
        (target, labels, reason): (&str, &Tags, CheckReason),
        up: bool,
        time_us: i64,
    ) -> Point {
        let mut point =
            Point::new(name!("check_state"), time_us).tag(name!("target"), target.to_owned());
        for (name, text) in labels {
            point = point.tag(name.clone(), text.clone());
        }
        let seconds = |us: i64| us as f64 / 1e6;
        point
            .field(name!("up"), up)
            .field(name!("reason"), reason.as_str())
            .field(name!("since_seconds"), seconds(self.since_us))
            .field_if(name!("before_seconds"), self.before_us.map(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::Finding;

    fn state(confirm: u32, recover: u32) -> CheckState {
        let settings = CheckSettings::new("http://localhost/").expect("a URL");
        CheckState::new(
            &settings
                .with_confirmation(confirm, recover)
                .expect("counts"),
        )
    }

    #[test]
    fn changes_need_as_many_checks_as_the_settings_say() {
        // Each letter is a check, each capital one that changes the state.
        for (confirm, recover, checks) in [
            (1, 1, "UuDdUuuD"),
            (2, 1, "UduudDdUu"),
            (1, 3, "UDuuduuUu"),
            (2, 1, "dDdU"),
            (3, 2, "ddUdduddDuduU"),
        ] {
            let mut state = state(confirm, recover);
            for (at, check) in checks.chars().enumerate() {
                let up = check.eq_ignore_ascii_case(&'u');
                let changed = state.take(up, at as i64).is_some();
                assert_eq!(changed, check.is_uppercase(), "{checks} at {at}");
            }
        }
    }

    #[test]
    fn an_attempt_that_is_repeated_says_so_and_changes_nothing() {
        let mut state = state(1, 1);
        let result = |reason| CheckResult {
            measurement: name!("http_check"),
            target: "shop".to_owned(),
            labels: Tags::new(),
            time_us: 1,
            finding: Finding::new(reason, None, Vec::new()),
        };
        let (point, change) = state.points(result(CheckReason::Deadline), false);
        assert_eq!(point.value("repeated"), Some(&Value::Bool(true)));
        assert!(change.is_none());
        let (point, change) = state.points(result(CheckReason::Deadline), true);
        assert!(point.value("repeated").is_none() && change.is_some());
    }

    #[test]
    fn a_change_says_since_when_and_how_long_it_was_otherwise() {
        let mut state = state(2, 1);
        let first = state.take(true, 10).expect("becomes known");
        assert_eq!(
            first,
            Change {
                since_us: 10,
                before_us: None
            }
        );
        assert_eq!(state.take(false, 20), None);
        let down = state.take(false, 30).expect("is confirmed");
        assert_eq!(
            down,
            Change {
                since_us: 20,
                before_us: Some(10)
            }
        );
        let up = state.take(true, 40).expect("recovers");
        assert_eq!(
            up,
            Change {
                since_us: 40,
                before_us: Some(20)
            }
        );
        let point = up.point(("shop", &Tags::new(), CheckReason::Ok), true, 40);
        assert_eq!(point.tag_text("target"), Some("shop"));
        assert_eq!(point.value("before_seconds"), Some(&Value::Float(2e-5)));
    }
}
