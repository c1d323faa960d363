//! `cargo xtask package --test`: the packages as an administrator meets them. On a fresh Debian with systemd
//! the `.deb` is installed, configured, started, upgraded, removed and purged, while samples flow from the
//! agent through a real Kafka into a real PostgreSQL. The `.rpm` is installed into an empty root by rpm, and
//! must hold the same files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tidegauge_testkit::postgres_query;
use tidegauge_testkit::servers::{Lifetime, free_port};

use super::machine::Machine;
use super::{CARGO_DEB, Release, debian_arch};
use crate::interrupt;
use crate::run::{CannotTry, command, exists};
use crate::services::{Databases, Servers, fetch, make_enterable};

const PATIENCE: Duration = Duration::from_secs(60);
/// Without a person to ask, a file that both we and the administrator changed stays the administrator's.
const INSTALL: &str =
    "apt-get -qq install --yes --no-install-recommends -o Dpkg::Options::=--force-confold";
const SERVICES: [&str; 3] = ["tidegauge-agent", "tidegauge-sink", "tidegauge-dashboard"];

/// What must be there.
pub(super) fn needs() -> anyhow::Result<()> {
    for (program, package) in [
        ("debootstrap", "debootstrap"),
        ("systemd-nspawn", "systemd-container"),
        ("rpm", "rpm"),
    ] {
        if !exists(program, "--version") {
            let why = format!("{program} is not installed (Debian's package {package})");
            return Err(CannotTry(why).into());
        }
    }
    if !rustix::process::geteuid().is_root() {
        return Err(CannotTry("a machine is booted in namespaces: run it as root".into()).into());
    }
    Ok(())
}

/// Tries the packages of this release; an error says what was not as it should be.
pub(super) fn rehearse(release: &Release) -> anyhow::Result<()> {
    interrupt::watch()?;
    let begin = Instant::now();
    rpm(release)?;
    let scratch = tempfile::tempdir().context("make a folder for the rehearsal")?;
    make_enterable(scratch.path())?;
    let distribution = fetch()?;
    let databases = Databases {
        postgres: true,
        mariadb: false,
    };
    let servers = Servers::start(
        &distribution,
        Lifetime::ThisProcess,
        scratch.path(),
        databases,
    )?;
    let given = servers.environment();
    let server = |name: &str| given.get(name).cloned().context("the servers run");
    let (brokers, store) = (server("TEST_KAFKA")?, server("TEST_POSTGRES")?);

    let machine = Machine::boot(&release.folder)?;
    let packages = machine.path("/packages");
    fs::create_dir(&packages).context("make a folder for packages")?;
    let deb = format!("tidegauge_{}-1_{}.deb", release.version, debian_arch());
    fs::copy(release.folder.join(&deb), packages.join(&deb)).context("hand over the package")?;
    let newer = release.deb(
        &CARGO_DEB.installed()?,
        &format!("{}-2", release.version),
        &packages,
    )?;
    let newer = newer
        .file_name()
        .context("a package has a name")?
        .display()
        .to_string();

    let rehearsal = Rehearsal {
        machine,
        brokers,
        store,
    };
    rehearsal.install(&deb, &release.version)?;
    rehearsal.start()?;
    rehearsal.reload()?;
    rehearsal.upgrade(&newer)?;
    rehearsal.remove_and_purge()?;
    println!(
        "the packages are good: {:.0} s",
        begin.elapsed().as_secs_f64()
    );
    Ok(())
}

struct Rehearsal {
    machine: Machine,
    brokers: String,
    store: String,
}

impl Rehearsal {
    /// Nothing runs after the installation, and a service without a configuration says what is missing.
    fn install(&self, deb: &str, version: &str) -> anyhow::Result<()> {
        step("install");
        let machine = &self.machine;
        // What it depends on comes from Debian, as it does for an administrator.
        machine.run("apt-get -qq update")?;
        machine.run(&format!("{INSTALL} /packages/{deb}"))?;
        let said = machine.run("tidegauge --version")?;
        ensure!(
            said.starts_with(&format!("tidegauge {version}\n")),
            "{said}"
        );
        let owner = machine.run("stat --format='%U %G %a' /etc/tidegauge")?;
        ensure!(
            owner == "root tidegauge 750",
            "/etc/tidegauge is of {owner}"
        );
        for service in SERVICES {
            let state = machine.run(&format!("systemctl is-active {service} || true"))?;
            ensure!(
                state == "inactive",
                "{service} is {state} after the installation"
            );
            let shown = machine.run(&format!(
                "systemd-analyze verify --man=no {service}.service 2>&1"
            ))?;
            ensure!(shown.is_empty(), "systemd says of {service}: {shown}");
        }
        for file in ["man1/tidegauge-agent.1.gz", "man5/tidegauge.toml.5.gz"] {
            machine.run(&format!("gzip --test /usr/share/man/{file}"))?;
        }
        let start = machine.ask(&["systemctl", "start", "tidegauge-agent"])?;
        ensure!(
            !start.status.success(),
            "an agent without brokers cannot start"
        );
        let journal = machine.journal();
        ensure!(
            journal.contains("kafka.brokers"),
            "what is missing is not named:\n{journal}"
        );
        let restarts =
            machine.run("systemctl show --property=NRestarts --value tidegauge-agent")?;
        ensure!(
            restarts == "0",
            "a wrong configuration was tried {restarts} times again"
        );
        machine.run("systemctl reset-failed")?;
        Ok(())
    }

    /// All three services run as a user without rights, and samples reach the database.
    fn start(&self) -> anyhow::Result<()> {
        step("configure and start");
        let machine = &self.machine;
        let (brokers, store) = (&self.brokers, &self.store);
        let kafka = format!("\n[kafka]\nbrokers = [\"{brokers}\"]\ntopic = \"rehearsal\"\n");
        let listen = || format!("\n[general]\nlisten = \"127.0.0.1:{}\"\n", free_port());
        for (service, text) in [
            (
                "agent",
                format!("{kafka}{}[agent]\ninterval = \"1s\"\n", listen()),
            ),
            ("sink", format!("{kafka}{}", listen())),
            ("dashboard", listen()),
        ] {
            let path = machine.path(&format!("/etc/tidegauge/{service}.toml"));
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        let environment = machine.path("/etc/tidegauge/environment");
        fs::write(environment, format!("TIDEGAUGE_STORE_URL={store}\n"))
            .context("write the environment")?;
        self.give_credential()?;
        for service in SERVICES {
            machine.run(&format!("systemctl enable --now {service}"))?;
        }
        self.rows_grow()?;
        for service in SERVICES {
            let process = self.process(service)?;
            let user = machine.run(&format!("stat --format=%U /proc/{process}"))?;
            ensure!(user == "tidegauge", "{service} runs as {user}");
            let rights = machine.run(&format!("grep CapEff /proc/{process}/status"))?;
            ensure!(
                rights.ends_with("\t0000000000000000"),
                "{service} has {rights}"
            );
        }
        // systemd makes everything read-only for the service, which is not so for the host.
        let writable = "select count(*) from filesystem where not read_only";
        ensure!(
            self.number(writable)? > 0,
            "file systems are told as the service sees them"
        );
        let entries =
            machine.run("journalctl --no-pager --output=json TIDEGAUGE_TOPIC=rehearsal")?;
        ensure!(
            entries.contains("agent is starting"),
            "entries of the journal have no fields: {entries}"
        );
        let page = machine.run("journalctl --no-pager --unit=tidegauge-dashboard")?;
        ensure!(page.contains("Tidegauge is live at"), "{page}");
        Ok(())
    }

    /// The database's password is a file of root's, which systemd hands to the sink as docs/security.md has it. A
    /// password that cannot be read is a wrong configuration: then the sink would not start.
    fn give_credential(&self) -> anyhow::Result<()> {
        const FILE: &str = "/etc/tidegauge/store-password";
        let machine = &self.machine;
        machine.run(&format!("echo rehearsal > {FILE} && chmod 600 {FILE}"))?;
        let folder = machine.path("/etc/systemd/system/tidegauge-sink.service.d");
        let drop_in = format!(
            "[Service]\nLoadCredential=store-password:{FILE}\n\
             Environment=TIDEGAUGE_STORE_PASSWORD_FILE=%d/store-password\n"
        );
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(folder.join("credentials.conf"), drop_in))
            .with_context(|| format!("write into {}", folder.display()))?;
        machine.run("systemctl daemon-reload")?;
        let read = machine.ask(&["runuser", "--user", "tidegauge", "--", "cat", FILE])?;
        ensure!(!read.status.success(), "the service's user may read {FILE}");
        Ok(())
    }

    fn reload(&self) -> anyhow::Result<()> {
        step("reload");
        for service in SERVICES {
            let before = self.process(service)?;
            self.machine.run(&format!("systemctl reload {service}"))?;
            ensure!(
                self.process(service)? == before,
                "{service} was restarted by a reload"
            );
        }
        self.rows_grow()
    }

    /// What the administrator wrote stays; what runs is started again with the new program, and the agent
    /// keeps its identity.
    fn upgrade(&self, deb: &str) -> anyhow::Result<()> {
        step("upgrade");
        let machine = &self.machine;
        let configuration =
            "cd /etc/tidegauge; cat *.toml environment; stat --format='%U %G %a' /etc/tidegauge";
        let (written, hosts) = (
            machine.run(configuration)?,
            self.number("select count(*) from host")?,
        );
        let before: Vec<String> = SERVICES
            .iter()
            .map(|service| self.process(service))
            .collect::<Result<_, _>>()?;
        machine.run("systemctl disable --now tidegauge-dashboard")?;
        machine.run(&format!("{INSTALL} /packages/{deb}"))?;
        ensure!(
            machine.run(configuration)? == written,
            "the upgrade changed the configuration"
        );
        for (service, before) in SERVICES.iter().zip(&before).take(2) {
            ensure!(
                self.process(service)? != *before,
                "{service} was not restarted"
            );
        }
        let stopped = machine.run("systemctl is-active tidegauge-dashboard || true")?;
        ensure!(
            stopped == "inactive",
            "what was stopped is {stopped} after the upgrade"
        );
        self.rows_grow()?;
        ensure!(
            self.number("select count(*) from host")? == hosts,
            "the agent is another one now"
        );
        ensure!(
            self.number("select count(*) from losses")? == 0,
            "samples were lost"
        );
        Ok(())
    }

    fn remove_and_purge(&self) -> anyhow::Result<()> {
        step("remove");
        let machine = &self.machine;
        machine.run("apt-get -qq remove --yes tidegauge")?;
        let left = machine.run("ls /etc/tidegauge /var/lib/tidegauge")?;
        ensure!(
            left.contains("agent.toml") && left.contains("spool"),
            "a removal keeps {left}"
        );
        let running =
            machine.run("ls /proc/[0-9]*/exe -l 2>/dev/null | grep -c tidegauge || true")?;
        ensure!(running == "0", "{running} programs run after the removal");
        step("purge");
        machine.run("apt-get -qq purge --yes tidegauge")?;
        for path in ["/etc/tidegauge", "/var/lib/tidegauge", "/usr/bin/tidegauge"] {
            ensure!(
                !machine.path(path).exists(),
                "{path} is left after the purge"
            );
        }
        let units = machine.run("systemctl list-unit-files --no-legend 'tidegauge*' || true")?;
        ensure!(units.is_empty(), "units are left after the purge: {units}");
        Ok(())
    }

    fn process(&self, service: &str) -> anyhow::Result<String> {
        let state = self
            .machine
            .run(&format!("systemctl is-active {service} || true"))?;
        ensure!(
            state == "active",
            "{service} is {state}:\n{}",
            self.machine.journal()
        );
        self.machine.run(&format!(
            "systemctl show --property=MainPID --value {service}"
        ))
    }

    fn number(&self, sql: &str) -> anyhow::Result<i64> {
        let rows = postgres_query(&self.store, sql)?;
        let cell = rows
            .first()
            .and_then(|row| row.first())
            .and_then(Option::as_ref);
        cell.context("a number")?
            .parse()
            .with_context(|| format!("{sql}: {rows:?}"))
    }

    /// Waits for new rows: agent, broker and sink work together.
    fn rows_grow(&self) -> anyhow::Result<()> {
        let begin = Instant::now();
        // The table is not there before the first step.
        let rows = || self.number("select count(*) from cpu").unwrap_or(0);
        let before = rows();
        while rows() <= before {
            interrupt::check()?;
            if begin.elapsed() > PATIENCE {
                bail!("no new row in {PATIENCE:?}:\n{}", self.machine.journal());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}

fn step(name: &str) {
    eprintln!("=== rehearsal: {name}");
}

/// Installs the `.rpm` into an empty root, without its scripts, as there is no system in it.
fn rpm(release: &Release) -> anyhow::Result<()> {
    step("rpm");
    let root = tempfile::tempdir().context("make an empty root")?;
    let arch = std::env::consts::ARCH;
    let package = release
        .folder
        .join(format!("tidegauge-{}-1.{arch}.rpm", release.version));
    let rpm = |arguments: &[&str]| -> anyhow::Result<String> {
        let mut rpm = command("rpm");
        let output = rpm
            .arg("--root")
            .arg(root.path())
            .args(arguments)
            .output()
            .context("run rpm")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "rpm {arguments:?}: {text}{said}");
        Ok(text)
    };
    let file = package.display().to_string();
    rpm(&["--initdb"])?;
    rpm(&["--install", "--nodeps", "--noscripts", "--ignoreos", &file])?;
    let changed = rpm(&["--verify", "--nodeps", "--noscripts", "tidegauge"])?;
    ensure!(
        changed.is_empty(),
        "rpm finds other files than it installed: {changed}"
    );
    let configuration: BTreeSet<String> = lines(&rpm(&["--query", "--configfiles", "tidegauge"])?);
    let shipped = ["agent.toml", "dashboard.toml", "environment", "sink.toml"];
    let shipped = shipped.map(|name| format!("/etc/tidegauge/{name}"));
    ensure!(
        configuration == shipped.into(),
        "configuration files: {configuration:?}"
    );
    let needed = rpm(&["--query", "--requires", "tidegauge"])?;
    ensure!(needed.contains("libc.so.6"), "it needs {needed}");
    ensure!(needed.contains("libssl.so.3"), "it needs {needed}");
    let scripts = rpm(&["--query", "--scripts", "tidegauge"])?;
    for script in ["preinstall", "postinstall", "preuninstall", "postuninstall"] {
        ensure!(
            scripts.contains(&format!("{script} scriptlet")),
            "no {script} in {scripts}"
        );
    }
    let mut program = command(root.path().join("usr/bin/tidegauge"));
    let said = program
        .arg("--version")
        .output()
        .context("run the installed program")?;
    ensure!(said.status.success(), "the installed program does not run");

    let ours = lines(&rpm(&["--query", "--list", "tidegauge"])?);
    let theirs = deb_files(release)?;
    // What both have under names of their own: completions of zsh, licences, compressed pages.
    let same = |files: &BTreeSet<String>| -> BTreeSet<String> {
        let own = ["/zsh/", "/licenses/", "/doc/", "/usr/share/man/"];
        let kept = files
            .iter()
            .filter(|file| own.iter().all(|own| !file.contains(own)));
        kept.cloned().collect()
    };
    ensure!(same(&ours) == same(&theirs), "rpm {ours:?}\ndeb {theirs:?}");
    Ok(())
}

/// The files of the `.deb`, without folders.
fn deb_files(release: &Release) -> anyhow::Result<BTreeSet<String>> {
    let name = format!("tidegauge_{}-1_{}.deb", release.version, debian_arch());
    let mut dpkg = command("dpkg-deb");
    let output = dpkg
        .arg("--contents")
        .arg(release.folder.join(name))
        .output()
        .context("run dpkg-deb")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let files = text.lines().filter_map(|line| line.split(" ./").nth(1));
    Ok(files
        .filter(|file| !file.ends_with('/'))
        .map(|file| Path::new("/").join(file).display().to_string())
        .collect())
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}
