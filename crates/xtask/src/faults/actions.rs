//! The faults themselves. Each runs on a thread of its own: those of one process or server wait
//! for each other, all others overlap.

use super::fleet::{Agent, Place, Sink, rest};
use super::oracle::Finding;
use super::plan::{Fault, Kind, Plan, SESSION_MS};
use super::servers::Servers;
use anyhow::Context;
use rustix::process::Signal;
use std::io::Write;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tidegauge_testkit::postgres_query;
use tidegauge_testkit::proxy::Proxy;

/// Between two cuts of one fault: time to connect again and be in the middle of something.
const BETWEEN_CUTS: Duration = Duration::from_millis(300);
/// How long the database is held before the sinks are put to sleep: by then each that has something
/// to do waits for an answer in the middle of a step.
const UNTIL_IN_FLIGHT: Duration = Duration::from_millis(300);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// A sink that was just started stores something by then.
const FLOWS_WITHIN: Duration = Duration::from_secs(6);
/// After the disk has room again: until the losses that were only in memory are stored. An agent
/// killed before that could not tell them.
const UNTIL_COUNTED: Duration = Duration::from_millis(400);

/// What a run works on.
pub(super) struct Stage<'a> {
    pub(super) servers: &'a Servers,
    pub(super) place: Place<'a>,
    pub(super) plan: &'a Plan,
    pub(super) agents: Vec<Agent>,
    pub(super) sinks: Vec<Sink>,
    /// The database, without the proxy.
    pub(super) database: &'a str,
    pub(super) partitions: AtomicI32,
    /// Shared by the faults that break a server; one that needs them all whole has it alone.
    pub(super) servers_break: RwLock<()>,
    pub(super) began: Instant,
    pub(super) diary: Mutex<String>,
    pub(super) findings: Mutex<Vec<Finding>>,
}

impl Stage<'_> {
    /// Writes down what happens when, for whoever reads the logs of a failed run.
    pub(super) fn note(&self, text: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        let mut diary = self.diary.lock().unwrap_or_else(PoisonError::into_inner);
        diary.push_str(&format!("{seconds:7.3} {text}\n"));
    }

    pub(super) fn found(&self, finding: Option<Finding>) {
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        findings.extend(finding);
    }

    /// Waits for the fault's time and makes it happen, to its end.
    pub(super) fn happen(&self, fault: &Fault) -> anyhow::Result<()> {
        let due = self.began + Duration::from_millis(fault.at_ms);
        rest(due.saturating_duration_since(Instant::now()))?;
        let name = fault.kind.name();
        let breaks = fault.kind.breaks_a_server();
        let _shared = breaks.then(|| self.servers_break.read());
        // Otherwise the steps in flight would be cut, or the new sink could not join.
        let needs_them_whole = fault.kind == Kind::SinksOvertaken;
        let _alone = needs_them_whole.then(|| self.servers_break.write());
        self.note(&format!("{name} begins"));
        self.work(fault)
            .with_context(|| format!("make {name} happen"))?;
        self.note(&format!("{name} is over"));
        Ok(())
    }

    fn work(&self, fault: &Fault) -> anyhow::Result<()> {
        let pause = Duration::from_millis(fault.for_ms);
        let sink = &self.sinks[fault.target % self.plan.sinks];
        let agent = &self.agents[fault.target % self.agents.len()];
        match fault.kind {
            Kind::SinkKilled => self.restart_sink(sink, pause, false),
            Kind::SinkReplaced => self.restart_sink(sink, pause, true),
            Kind::SinkStopped => {
                let running = sink.lock();
                let Some(process) = running.as_ref() else {
                    return Ok(());
                };
                process.signal(Signal::STOP)?;
                rest(pause)?;
                process.signal(Signal::CONT)
            }
            Kind::SinkAdded => self.add_sink(),
            Kind::SinksOvertaken => self.overtake_sinks(pause),
            Kind::AgentKilled => self.restart_agent(agent, pause),
            Kind::BrokerRestarted => {
                let mut kafka = self.servers.kafka();
                kafka.stop()?;
                rest(pause)?;
                kafka.start_again()
            }
            Kind::BrokerKilled => {
                let mut kafka = self.servers.kafka();
                kafka.kill()?;
                rest(pause)?;
                kafka.start_again()
            }
            Kind::BrokerCut => self.cut(&self.servers.kafka_proxy, fault),
            Kind::DatabaseCut => self.cut(&self.servers.postgres_proxy, fault),
            Kind::BrokerHeld => self.hold(&self.servers.kafka_proxy, pause),
            Kind::DatabaseHeld => self.hold(&self.servers.postgres_proxy, pause),
            Kind::DatabaseRestarted => {
                let mut postgres = self.servers.postgres();
                postgres.stop_immediately()?;
                rest(pause)?;
                postgres.start_again()
            }
            Kind::BackendsTerminated => {
                // Not while it restarts.
                let _postgres = self.servers.postgres();
                let sql = "select pg_terminate_backend(pid) from pg_stat_activity \
                           where datname = current_database() and pid <> pg_backend_pid()";
                postgres_query(self.database, sql).map(drop)
            }
            Kind::PartitionsAdded => {
                let kafka = self.servers.kafka();
                let partitions = 1 + self.partitions.load(Ordering::SeqCst);
                kafka.grow_topic(&self.place.topic, partitions)?;
                self.partitions.store(partitions, Ordering::SeqCst);
                drop(kafka);
                // One that runs asks for the partitions every few minutes only.
                self.restart_agent(agent, pause)
            }
            Kind::SpoolFull => {
                let proxy = &self.servers.kafka_proxy;
                proxy.refuse(true);
                proxy.cut();
                rest(pause)?;
                // What the client had taken already may still arrive, given up or not. It cannot
                // when the agent dies before.
                let restarted = match fault.all {
                    true => self.restart_agent(agent, Duration::ZERO),
                    false => Ok(()),
                };
                proxy.refuse(false);
                restarted
            }
            Kind::DiskFull => self.fill_disk(agent, pause),
        }
    }

    fn add_sink(&self) -> anyhow::Result<()> {
        let mut free = self.sinks[self.plan.sinks..].iter();
        let free = free.find_map(|sink| Some((sink, sink.free()?)));
        let (sink, mut place) = free.context("no place for one more sink")?;
        *place = Some(sink.start(&self.place)?);
        Ok(())
    }

    /// Every sink of this moment becomes a zombie with a step in flight: the database works on what
    /// it was sent of it, and waits for the rest. The rest comes when a new sink has taken all
    /// partitions and waits with a step that begins where the old one began, or after `longest`.
    fn overtake_sinks(&self, longest: Duration) -> anyhow::Result<()> {
        let proxy = &self.servers.postgres_proxy;
        // In the order of the sinks, as all that lock several do.
        let sinks = self.sinks.iter().map(Sink::lock);
        let running: Vec<_> = sinks.filter(|sink| sink.is_some()).collect();
        let all = |signal| {
            let mut sinks = running.iter().flat_map(|sink| sink.as_ref());
            sinks.try_for_each(|process| process.signal(signal))
        };
        self.await_flow()?;
        proxy.pause();
        let stopped = rest(UNTIL_IN_FLIGHT).and_then(|()| all(Signal::STOP));
        proxy.resume();
        self.note(&format!("{} sinks sleep", running.len()));
        let overtaken = stopped
            .and_then(|()| self.add_sink())
            .and_then(|()| self.await_overtaken(longest));
        // Whatever happened: one that sleeps for ever cannot be stopped.
        let woken = all(Signal::CONT);
        overtaken.and(woken)
    }

    /// Waits until steps are being committed: the sinks may just have been started, or look for the
    /// broker still.
    fn await_flow(&self) -> anyhow::Result<()> {
        let since = Instant::now();
        let stored = || self.count("select sum(next_offset) from position");
        let (mut before, mut grown) = (stored(), 0);
        while grown < 2 && since.elapsed() < FLOWS_WITHIN {
            rest(BETWEEN_LOOKS)?;
            let now = stored();
            grown = if now > before { grown + 1 } else { 0 };
            before = now;
        }
        Ok(())
    }

    /// A number from the database; 0 while there is none.
    fn count(&self, sql: &str) -> u64 {
        let rows = postgres_query(self.database, sql).unwrap_or_default();
        let number = rows.first().and_then(|row| row.first()?.as_deref());
        number.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Waits until a step waits for another one that began at the same position.
    fn await_overtaken(&self, longest: Duration) -> anyhow::Result<()> {
        let since = Instant::now();
        rest(Duration::from_millis(SESSION_MS))?;
        while since.elapsed() < longest {
            let sql = "select count(*) from pg_stat_activity where datname = current_database() \
                       and wait_event in ('transactionid', 'tuple')";
            if self.count(sql) > 0 {
                self.note("a step waits for one that sleeps");
                return Ok(());
            }
            rest(BETWEEN_LOOKS)?;
        }
        self.note("no step waits for one that sleeps");
        Ok(())
    }

    fn restart_sink(&self, sink: &Sink, pause: Duration, orderly: bool) -> anyhow::Result<()> {
        let mut running = sink.lock();
        if let Some(mut process) = running.take() {
            if orderly {
                self.found(sink.terminate(&mut process)?);
            } else {
                process.end(Signal::KILL, Duration::from_secs(10))?;
            }
        }
        rest(pause)?;
        *running = Some(sink.start(&self.place)?);
        Ok(())
    }

    fn restart_agent(&self, agent: &Agent, pause: Duration) -> anyhow::Result<()> {
        let mut life = agent.lock();
        agent.kill(&mut life)?;
        rest(pause)?;
        agent.start(&mut life, &self.place)
    }

    fn cut(&self, proxy: &Proxy, fault: &Fault) -> anyhow::Result<()> {
        for bytes in fault.cut_bytes {
            match fault.all {
                true => proxy.cut_after(fault.direction, bytes),
                false => proxy.cut_one_after(fault.direction, bytes),
            }
            rest(BETWEEN_CUTS)?;
        }
        Ok(())
    }

    fn hold(&self, proxy: &Proxy, pause: Duration) -> anyhow::Result<()> {
        proxy.pause();
        let rested = rest(pause);
        proxy.resume();
        rested
    }

    /// Takes every byte of the disk, again and again, as the spool finds some to free.
    fn fill_disk(&self, agent: &Agent, pause: Duration) -> anyhow::Result<()> {
        if !agent.has_small_disk() {
            self.note("the disk cannot be made full here: no small file system could be mounted");
            return Ok(());
        }
        // Nobody kills the agent meanwhile: see UNTIL_COUNTED.
        let _life = agent.lock();
        let path = agent.ballast();
        let mut ballast = std::fs::File::create(&path).context("fill the disk")?;
        let until = Instant::now() + pause;
        while Instant::now() < until {
            // Until it is full, with large pieces first.
            for piece in [vec![0_u8; 64 * 1024], vec![0_u8; 512]] {
                while ballast.write_all(&piece).is_ok() {}
            }
            rest(Duration::from_millis(10))?;
        }
        drop(ballast);
        std::fs::remove_file(path).context("give the disk its room back")?;
        rest(UNTIL_COUNTED)
    }
}
