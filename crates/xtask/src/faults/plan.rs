//! What is to happen in a run, all of it from one seed.
//!
//! The plan is the same for the same seed; what comes of it is not, because real processes share
//! real processors. So a seed that failed is run several times to see it fail again.

use serde::Serialize;
use tidegauge_testkit::proxy::Direction;

/// How long samples flow before the agents are stopped, unless a fault lasts longer.
pub(super) const FLOW_MS: u64 = 7_000;
/// The group's session in a run: short, so that its end is short to wait for.
pub(super) const SESSION_MS: u64 = 2_000;
/// A sink that was just started reads by then, and has something to do.
const UNDER_WAY_MS: u64 = 2_500;
/// Of so many runs all but one have a [`Kind::SinksOvertaken`].
const OVERTAKEN_RUNS: u64 = 8;
/// The bound of a spool that is to be full soon.
const SMALL_SPOOL_BYTES: u64 = 6 * 1024;
const LARGE_SPOOL_BYTES: u64 = 64 * 1024 * 1024;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    SinkKilled,
    SinkStopped,
    SinkReplaced,
    SinkAdded,
    SinksOvertaken,
    AgentKilled,
    BrokerRestarted,
    BrokerKilled,
    BrokerCut,
    BrokerHeld,
    DatabaseRestarted,
    DatabaseCut,
    DatabaseHeld,
    BackendsTerminated,
    PartitionsAdded,
    SpoolFull,
    DiskFull,
}

/// All kinds, with their names and what they do.
#[rustfmt::skip]
pub(super) const KINDS: &[(Kind, &str, &str)] = &[
    (Kind::SinkKilled, "sink_killed", "a sink is killed (SIGKILL) and started again"),
    (Kind::BrokerKilled, "broker_killed", "the broker is killed (SIGKILL) and started again"),
    (Kind::DatabaseCut, "database_cut", "connections to the database end after a random byte, several times"),
    (Kind::AgentKilled, "agent_killed", "an agent is killed (SIGKILL) and started again"),
    (Kind::SinkStopped, "sink_stopped", "a sink sleeps (SIGSTOP) for longer than its session and goes on"),
    (Kind::BrokerCut, "broker_cut", "connections to the broker end after a random byte, several times"),
    (Kind::DatabaseRestarted, "database_restarted", "the database is stopped hard (-m immediate) and started again"),
    (Kind::PartitionsAdded, "partitions_added", "the topic gets more partitions, and an agent that uses them is killed"),
    (Kind::SinkAdded, "sink_added", "one more sink joins"),
    (Kind::SpoolFull, "spool_full", "the broker is away until the bound of a spool forces batches out"),
    (Kind::BrokerRestarted, "broker_restarted", "the broker is stopped in an orderly way and started again"),
    (Kind::DatabaseHeld, "database_held", "the network to the database stands still and goes on"),
    (Kind::SinkReplaced, "sink_replaced", "a sink is stopped in an orderly way and started again"),
    (Kind::DiskFull, "disk_full", "the disk of an agent's spool is full for a while (as root only)"),
    (Kind::BrokerHeld, "broker_held", "the network to the broker stands still and goes on"),
    (Kind::BackendsTerminated, "backends_terminated", "an administrator ends all connections of the sinks"),
    (Kind::SinksOvertaken, "sinks_overtaken", "all sinks sleep in the middle of a step while a new one takes their partitions"),
];

impl Kind {
    /// The kind of this name.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let row = KINDS.iter().find(|(_, known, _)| *known == name);
        row.map(|(kind, ..)| *kind)
    }

    pub(super) fn name(self) -> &'static str {
        let row = KINDS.iter().find(|(kind, ..)| *kind == self);
        row.map_or("", |(_, name, _)| name)
    }

    /// Whether a server or the way to it is broken.
    pub(super) const fn breaks_a_server(self) -> bool {
        matches!(
            self,
            Self::BrokerRestarted
                | Self::BrokerKilled
                | Self::BrokerCut
                | Self::BrokerHeld
                | Self::DatabaseRestarted
                | Self::DatabaseCut
                | Self::DatabaseHeld
                | Self::BackendsTerminated
                | Self::SpoolFull
        )
    }

    /// Whether the broker is down for seconds: one such fault is enough for a run.
    const fn takes_the_broker_down(self) -> bool {
        matches!(self, Self::BrokerRestarted | Self::BrokerKilled)
    }
}

/// One fault of a plan.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Fault {
    /// Milliseconds after the flow began.
    pub(super) at_ms: u64,
    pub(super) kind: Kind,
    /// Which sink or agent, where the kind has one.
    pub(super) target: usize,
    /// How long what was taken away stays away.
    pub(super) for_ms: u64,
    /// For cuts: after so many bytes, each time.
    pub(super) cut_bytes: [u64; 6],
    /// For cuts: which way these bytes go.
    #[serde(skip)]
    pub(super) direction: Direction,
    /// For cuts: all connections, or the one that the byte went through. For a full spool: its
    /// agent is killed before the broker is back.
    pub(super) all: bool,
}

/// One agent of a plan.
#[derive(Debug, Clone, Serialize)]
pub(super) struct AgentPlan {
    pub(super) name: String,
    /// A producer of numbered samples with a journal; else the real agent.
    pub(super) numbered: bool,
    pub(super) encoding: &'static str,
    pub(super) interval_ms: u64,
    pub(super) spool_bytes: u64,
    /// Its spool is on a small file system of its own.
    pub(super) small_disk: bool,
}

/// All that happens in one run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) partitions: i32,
    pub(super) sinks: usize,
    pub(super) step_points: u64,
    pub(super) agents: Vec<AgentPlan>,
    pub(super) faults: Vec<Fault>,
}

impl Plan {
    /// The plan of a seed. Consecutive seeds begin with consecutive rows of [`KINDS`], so that a
    /// few runs have them all; the others are random. All faults are of the kinds in `only`, if it
    /// has any.
    pub(super) fn of_seed(seed: u64, only: &[Kind]) -> Self {
        let mut random = Random(seed);
        let sinks = random.between(1, 3) as usize;
        let mut agents: Vec<AgentPlan> = (0..4)
            .map(|number| AgentPlan {
                name: match number < 2 {
                    true => format!("numbered-{number}"),
                    false => format!("agent-{}", number - 2),
                },
                numbered: number < 2,
                encoding: random.pick(&["json", "compact"]),
                interval_ms: match number < 2 {
                    true => random.between(10, 40),
                    false => random.between(50, 150),
                },
                spool_bytes: LARGE_SPOOL_BYTES,
                small_disk: false,
            })
            .collect();
        let possible: Vec<Kind> = match only {
            [] => KINDS.iter().map(|(kind, ..)| *kind).collect(),
            _ => only.to_vec(),
        };
        let mut kinds = vec![possible[(seed % possible.len() as u64) as usize]];
        for _ in 0..random.between(2, 4) {
            let kind = random.pick(&possible);
            let twice =
                |known: &Kind| known.takes_the_broker_down() && kind.takes_the_broker_down();
            if !kinds.iter().any(twice) {
                kinds.push(kind);
            }
        }
        // The one fault that shows whether a position is a fence: chance alone rarely stops a sink
        // with a step in flight for as long as another one needs to take its partition.
        if only.is_empty()
            && !kinds.contains(&Kind::SinksOvertaken)
            && random.below(OVERTAKEN_RUNS) > 0
        {
            kinds.push(Kind::SinksOvertaken);
        }
        let mut faults: Vec<Fault> = kinds
            .into_iter()
            .map(|kind| fault(kind, &mut random))
            .collect();
        faults.sort_by_key(|fault| fault.at_ms);
        for fault in &faults {
            let agent = fault.target % agents.len();
            match fault.kind {
                Kind::SpoolFull => agents[agent].spool_bytes = SMALL_SPOOL_BYTES,
                Kind::DiskFull => agents[agent].small_disk = true,
                _ => {}
            }
        }
        Self {
            seed,
            partitions: random.between(1, 6) as i32,
            sinks,
            step_points: random.pick(&[40, 300, 100_000]),
            agents,
            faults,
        }
    }
}

fn fault(kind: Kind, random: &mut Random) -> Fault {
    let for_ms = match kind {
        Kind::SinkStopped => SESSION_MS + random.between(500, 2_000),
        // A new sink starts, joins, and the group waits for the end of the others' sessions.
        Kind::SinksOvertaken => SESSION_MS + random.between(5_000, 6_000),
        // An agent's smallest spool holds less than what comes in this time.
        Kind::SpoolFull => random.between(3_500, 4_500),
        Kind::DiskFull => random.between(1_000, 2_500),
        Kind::BrokerHeld | Kind::DatabaseHeld => random.between(500, 3_500),
        _ => random.between(0, 1_500),
    };
    // Small numbers end a request in its middle; larger ones let some pass before.
    let cut_bytes = [(); 6].map(|()| match random.below(3) {
        0 => random.below(200),
        1 => random.below(4_000),
        _ => random.below(60_000),
    });
    let from_ms = match kind {
        Kind::SinksOvertaken => UNDER_WAY_MS,
        _ => 200,
    };
    Fault {
        at_ms: random.between(from_ms, FLOW_MS - 1_000),
        kind,
        target: random.below(12) as usize,
        for_ms,
        cut_bytes,
        direction: random.pick(&[Direction::FromClient, Direction::FromServer]),
        all: random.below(2) == 0,
    }
}

/// Numbers from a seed (SplitMix64): the same on every machine, for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Both ends are possible.
    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_same_seed_is_the_same_plan() {
        let text = |seed| format!("{:?}", Plan::of_seed(seed, &[]));
        for seed in 0..50 {
            assert_eq!(text(seed), text(seed));
            assert_ne!(text(seed), text(seed + 1));
        }
    }

    #[test]
    fn as_many_runs_as_there_are_kinds_have_them_all_and_each_is_short() {
        let mut seen = BTreeSet::new();
        for seed in 1_000..1_000 + KINDS.len() as u64 {
            let plan = Plan::of_seed(seed, &[]);
            assert!((1..=3).contains(&plan.sinks) && plan.faults.len() <= 6);
            let down = |fault: &&Fault| fault.kind.takes_the_broker_down();
            assert!(plan.faults.iter().filter(down).count() <= 1, "{plan:?}");
            assert!(plan.faults.iter().all(|fault| fault.at_ms < FLOW_MS));
            seen.extend(plan.faults.iter().map(|fault| fault.kind.name()));
        }
        assert_eq!(seen.len(), KINDS.len(), "{seen:?}");
    }

    #[test]
    fn most_runs_have_sinks_that_are_overtaken() {
        let has = |seed: &u64| {
            let plan = Plan::of_seed(*seed, &[]);
            let overtaken = |fault: &Fault| fault.kind == Kind::SinksOvertaken;
            plan.faults.iter().any(overtaken)
        };
        let runs = (2_000..2_200).filter(has).count();
        assert!((170..200).contains(&runs), "{runs} of 200");
    }

    #[test]
    fn names_are_found_and_only_means_only() {
        for &(kind, name, _) in KINDS {
            assert_eq!(Kind::of_name(name), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), name);
            let plan = Plan::of_seed(7, &[kind]);
            assert!(plan.faults.iter().all(|fault| fault.kind == kind));
        }
        assert_eq!(Kind::of_name("none"), None);
    }
}
