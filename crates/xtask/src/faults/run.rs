//! One run: start, faults while samples flow, everything comes to rest, judgement.

use super::actions::Stage;
use super::fleet::{Agent, Place, Sink, panics, rest};
use super::oracle::{self, Counts, Evidence, Finding};
use super::plan::{FLOW_MS, Kind, Plan};
use super::servers::Servers;
use super::{journal, tables, topic};
use crate::interrupt;
use anyhow::{Context, anyhow};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicI32;
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};
use tidegauge_testkit::Database;

/// Sinks that a plan may add to its own.
const MORE_SINKS: usize = 6;
/// After the last fault, so that what was given up is told by a batch that follows.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// How long the sinks may take to store what the topic holds, once nothing is broken any more.
const STORE_WITHIN: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(50);

/// The programs that a run starts.
pub(super) struct Programs<'a> {
    pub(super) tidegauge: &'a Path,
    pub(super) xtask: &'a Path,
    /// The sinks log all that they and their Kafka client do.
    pub(super) verbose: bool,
}

/// What a run came to.
pub(super) struct Outcome {
    pub(super) findings: Vec<Finding>,
    pub(super) counts: Counts,
    /// How long the sinks needed to store the rest, after all was sent.
    pub(super) rest: Duration,
}

/// Runs a plan; its logs and its evidence are in `folder` afterwards.
pub(super) fn run(
    servers: &Servers,
    programs: &Programs<'_>,
    plan: &Plan,
    folder: &Path,
) -> anyhow::Result<Outcome> {
    fs::write(
        folder.join("plan.json"),
        serde_json::to_string_pretty(plan)?,
    )
    .context("write the plan")?;
    let database = Database::create(servers.postgres().url())?;
    let topic = tidegauge_testkit::random_topic("faults");
    let brokers = servers.brokers();
    topic::make(&brokers, &topic, plan.partitions)?;
    let agents: anyhow::Result<Vec<Agent>> = plan
        .agents
        .iter()
        .map(|agent| Agent::new(agent.clone(), folder))
        .collect();
    let stage = Stage {
        servers,
        place: Place {
            tidegauge: programs.tidegauge,
            xtask: programs.xtask,
            verbose: programs.verbose,
            brokers,
            topic,
            store: servers.url_through_proxy(&database),
            step_points: plan.step_points,
            folder: folder.to_owned(),
        },
        plan,
        agents: agents?,
        sinks: (0..plan.sinks + MORE_SINKS).map(Sink::new).collect(),
        database: &database.url,
        partitions: AtomicI32::new(plan.partitions),
        servers_break: RwLock::default(),
        began: Instant::now(),
        diary: Mutex::default(),
        findings: Mutex::default(),
    };
    let outcome = play(&stage, &database);
    let diary = stage
        .diary
        .lock()
        .map_or_else(|_| String::new(), |diary| diary.clone());
    fs::write(folder.join("diary"), diary).context("write the diary")?;
    drop(stage);
    servers.clear();
    let mut outcome = outcome?;
    outcome.findings.extend(panics(folder)?);
    if !outcome.findings.is_empty() {
        keep_tables(&database, folder)?;
        servers.keep_logs(folder);
    }
    Ok(outcome)
}

fn play(stage: &Stage<'_>, database: &Database) -> anyhow::Result<Outcome> {
    for sink in &stage.sinks[..stage.plan.sinks] {
        *sink.lock() = Some(sink.start(&stage.place)?);
    }
    for agent in &stage.agents {
        agent.start(&mut agent.lock(), &stage.place)?;
    }
    let faults = stage
        .plan
        .faults
        .iter()
        .map(|fault| move || stage.happen(fault));
    let happened = at_once(faults.collect());
    stage.servers.mend();
    happened?;
    let flow = Duration::from_millis(FLOW_MS).saturating_sub(stage.began.elapsed());
    rest(flow.max(AFTERWARDS))?;
    for sink in &stage.sinks {
        stage.found(sink.ended()?);
    }
    stage.note("stopping the agents");
    let drains = stage
        .agents
        .iter()
        .map(|agent| move || agent.drain(&stage.place));
    at_once(drains.collect())?;
    stage.note("the spools are empty");
    let mut evidence = Evidence {
        ends: topic::ends(&stage.place.brokers, &stage.place.topic)?,
        ..Evidence::default()
    };
    let rest = wait_for_sinks(stage, database, &evidence)?;
    stage.note("stopping the sinks");
    let stops = stage.sinks.iter().map(|sink| {
        move || {
            if let Some(mut process) = sink.lock().take() {
                stage.found(sink.terminate(&mut process)?);
            }
            Ok(())
        }
    });
    at_once(stops.collect())?;
    stage.note("gathering the evidence");
    gather(stage, database, &mut evidence)?;
    let (mut findings, counts) = oracle::judge(&evidence);
    for agent in &stage.agents {
        findings.append(&mut agent.lock().findings);
    }
    findings.extend(
        stage
            .findings
            .lock()
            .map_err(|_| anyhow!("a thread died"))?
            .drain(..),
    );
    stage.note("judged");
    Ok(Outcome {
        findings,
        counts,
        rest,
    })
}

/// Runs all on threads of their own and waits for them; the first error counts.
fn at_once<W: FnOnce() -> anyhow::Result<()> + Send>(works: Vec<W>) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = works.into_iter().map(|work| scope.spawn(work)).collect();
        let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        for outcome in outcomes {
            outcome.map_err(|_| anyhow!("a thread died"))??;
        }
        Ok(())
    })
}

/// Waits until the positions are at the ends of the topic, or finds that they do not get there;
/// says how long that took.
fn wait_for_sinks(
    stage: &Stage<'_>,
    database: &Database,
    evidence: &Evidence,
) -> anyhow::Result<Duration> {
    let since = Instant::now();
    loop {
        interrupt::check()?;
        // There is no table while no sink got to its schema.
        let positions = tables::positions(database).unwrap_or_default();
        let at_its_end = |(partition, end): (&i32, &u64)| {
            let position = positions.get(partition);
            position.is_some_and(|position| position.next_offset == *end)
        };
        if evidence.ends.iter().all(at_its_end) {
            return Ok(since.elapsed());
        }
        if since.elapsed() > STORE_WITHIN {
            stage.found(Some(Finding {
                kind: "stuck",
                detail: format!(
                    "after {STORE_WITHIN:?} the sinks are at {positions:?}, the ends are {:?}",
                    evidence.ends
                ),
            }));
            return Ok(since.elapsed());
        }
        thread::sleep(LOOK);
    }
}

fn gather(stage: &Stage<'_>, database: &Database, evidence: &mut Evidence) -> anyhow::Result<()> {
    let Place {
        brokers,
        topic,
        folder,
        ..
    } = &stage.place;
    for agent in &stage.agents {
        let name = &agent.plan.name;
        for (epoch, next) in &agent.lock().numbered {
            evidence.numbered.insert((name.clone(), *epoch), *next);
        }
        if agent.plan.numbered {
            let batches = journal::read(&agent.journal(folder))?;
            evidence.journals.insert(name.clone(), batches);
        }
        evidence.allowed.insert(name.clone(), allowed(stage, agent));
    }
    evidence.topic = topic::read(brokers, topic, &evidence.ends, &folder.join("topic"))?;
    evidence.tables = tables::rows(database)?;
    evidence.ledger = tables::ledger(database)?;
    evidence.positions = tables::positions(database)?;
    evidence.dead_letters = tables::dead_letters(database)?;
    Ok(())
}

/// For which reasons this agent may give batches up in this run.
fn allowed(stage: &Stage<'_>, agent: &Agent) -> BTreeSet<String> {
    let planned = |kind: Kind| stage.plan.faults.iter().any(|fault| fault.kind == kind);
    let mut reasons = BTreeSet::new();
    // A small bound is reached whenever the broker is away, whatever took it away.
    let small = planned(Kind::SpoolFull) && agent.plan.spool_bytes < 1 << 20;
    reasons.extend(small.then(|| "spool_full".to_owned()));
    reasons.extend(agent.has_small_disk().then(|| "disk_full".to_owned()));
    reasons
}

/// What a person looks at first when a run has failed.
fn keep_tables(database: &Database, folder: &Path) -> anyhow::Result<()> {
    let mut text = String::new();
    for table in [
        "position",
        "ledger",
        "dead_letter",
        "measurement",
        "partition",
    ] {
        let sql = format!("select row_to_json(t) from {table} t");
        text.push_str(&format!("--- {table}\n"));
        for line in database.query(&sql).unwrap_or_default() {
            text.push_str(&line.into_iter().flatten().collect::<String>());
            text.push('\n');
        }
    }
    fs::write(folder.join("tables"), text).context("write the tables")
}
