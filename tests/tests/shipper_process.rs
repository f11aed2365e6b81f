//! The real program, killed by SIGKILL at random moments, against a bucket that fails: what is in the bucket afterwards has to be
//! what was written, by the program's own audit and by an independent reader.
//!
//! `SHIPPER_KILLS=1000 cargo test --release -p e2e --test shipper_process` kills it a thousand times.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use archive::Store;
use archive::store::S3Settings;
use archive::store::s3::S3Store;
use e2e::moto::Moto;
use e2e::processes::{Signal, signal};
use e2e::s3_server::{BUCKET, Fault, On, S3Server};
use e2e::sandboxes::Sandboxes;
use e2e::shipped::Shipped;
use e2e::shipper_toml::ShipperToml;
use e2e::writers::Rng;
use shipper::spool;

/// How often the program is killed where nobody says.
const KILLS: u64 = 20;

/// How long anything may take before a test counts as one that does not end.
const PATIENCE: Duration = Duration::from_mins(2);

/// What happens between two looks at the spool.
const STEPS: u64 = 4;

/// A host: jobs, and where the program keeps its own.
struct Host {
    root: tempfile::TempDir,
}

/// How often the configuration says that something happens; tests wait for it.
const QUICK: &str =
    "flush_seconds = 1\nscan_seconds = 1\nunfinished_line_seconds = 1\nmax_line_bytes = 1024";

impl Host {
    fn new(settings: &S3Settings, encoding: &str) -> Result<Self> {
        let host = Self {
            root: tempfile::tempdir()?,
        };
        host.configure(settings, encoding, QUICK, "")?;
        Ok(host)
    }

    /// Writes the configuration, with these keys and tables.
    fn configure(
        &self,
        settings: &S3Settings,
        encoding: &str,
        keys: &str,
        tables: &str,
    ) -> Result<()> {
        let s3 = format!(
            r#"
[s3]
endpoint = "{endpoint}"
addressing = "path"
region = "{region}"
credentials_file = "{credentials}"
connect_timeout_seconds = 2
{tables}"#,
            endpoint = settings.endpoint.as_deref().context("an endpoint")?,
            region = settings.region.as_deref().context("a region")?,
            credentials = settings
                .credentials_file
                .as_deref()
                .context("credentials")?
                .display(),
        );
        let text = ShipperToml {
            root: self.root.path(),
            archive: Some(&format!("s3://{BUCKET}/some/prefix")),
            encoding,
            keys,
            tables: &s3,
        }
        .text();
        fs::write(self.path("shipper.toml"), text)?;
        Ok(())
    }

    /// Appends to the log of a job.
    fn log(&self, text: &str) -> Result<()> {
        self.append("jobs/job/0/app.log", text)
    }

    fn append(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        let mut file = File::options().append(true).create(true).open(path)?;
        file.write_all(text.as_bytes())?;
        Ok(())
    }

    /// What the program that runs has said.
    fn talk(&self) -> String {
        fs::read_to_string(self.path("talk")).unwrap_or_default()
    }

    fn wait_for(&self, what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
        let begun = Instant::now();
        while !is_so() {
            ensure!(
                begun.elapsed() < PATIENCE,
                "{what} does not come to pass:\n{}",
                self.talk()
            );
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn wait_until_told(&self, what: &str) -> Result<()> {
        self.wait_for(what, || self.talk().contains(what))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shipper-dup"));
        command
            .arg("--config")
            .arg(self.path("shipper.toml"))
            .arg(verb)
            // What the machine has of its own must not be used.
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_PROFILE")
            .stdin(Stdio::null());
        command
    }

    fn start(&self) -> Result<Child> {
        let talk = File::options()
            .append(true)
            .create(true)
            .open(self.path("talk"))?;
        let child = self
            .command("run")
            .stdout(Stdio::null())
            .stderr(talk)
            .spawn()?;
        Ok(child)
    }

    fn ask(&self, verb: &str) -> Result<Output> {
        Ok(self.command(verb).output()?)
    }

    /// The names of all files that are pinned now.
    fn pinned(&self) -> BTreeSet<String> {
        let names = fs::read_dir(self.path("spool").join("pins"))
            .into_iter()
            .flatten();
        names
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| Path::new(name).extension().is_none())
            .collect()
    }
}

fn succeeded(output: &Output, host: &Host) -> Result<()> {
    ensure!(
        output.status.success(),
        "{}\n{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        fs::read_to_string(host.path("talk")).unwrap_or_default()
    );
    Ok(())
}

/// Everything that a bucket can do wrong, a few times in a thousand requests each.
fn storm(server: &S3Server, seed: u64) {
    server.storm(
        seed,
        &[
            (On::Put, Fault::BreakAfter, 60),
            (On::Put, Fault::BreakBefore, 60),
            (On::Put, Fault::Late { after: 3 }, 40),
            (On::Put, Fault::ErrorAsSuccess("InternalError"), 40),
            (
                On::Put,
                Fault::Refuse(409, "ConditionalRequestConflict"),
                30,
            ),
            (On::Any, Fault::Refuse(503, "SlowDown"), 60),
            (On::Any, Fault::Refuse(500, "InternalError"), 30),
            (On::Any, Fault::Refuse(403, "ExpiredToken"), 30),
        ],
    );
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "what many kills came to is the point of them"
)]
fn a_process_that_is_killed_again_and_again_ships_every_byte_once() -> Result<()> {
    let kills = std::env::var("SHIPPER_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(KILLS);
    let runtime = tokio::runtime::Runtime::new()?;
    let server = runtime.block_on(S3Server::start())?;
    let host = Host::new(&server.settings(), "parquet")?;
    let seed = u64::from(std::process::id());
    let mut rng = Rng::new(seed);
    let mut world = Sandboxes::new(&host.path("jobs"), seed)?;
    let mut discovered = BTreeSet::new();
    storm(&server, seed);
    for _ in 0..kills {
        let mut child = host.start()?;
        for _ in 0..rng.range(10, 100) {
            for _ in 0..STEPS {
                world.step()?;
            }
            discovered.extend(host.pinned());
            sleep(Duration::from_millis(rng.range(5, 45)));
        }
        // SIGKILL: nothing of the process gets to say anything.
        child.kill()?;
        child.wait()?;
    }
    server.heal();
    server.land_late();
    succeeded(&host.ask("once")?, &host).with_context(|| format!("seed {seed}"))?;
    discovered.extend(host.pinned());
    succeeded(&host.ask("audit")?, &host).with_context(|| format!("seed {seed}"))?;

    let agent = spool::recorded_agent(&[host.path("spool")]).context("an agent")?;
    for file in world.files.values_mut() {
        file.discovered = discovered.contains(file.id.src(agent, 0).as_str());
    }
    let store: Arc<dyn Store> = Arc::new(S3Store::new(BUCKET, "some/prefix", &server.settings()));
    let shipped = runtime.block_on(Shipped::read(&*store))?;
    let compared = shipped
        .compare(&world, agent)
        .with_context(|| format!("seed {seed}"))?;
    let twice = server
        .objects()
        .values()
        .filter(|object| object.writes > 1)
        .count();
    ensure!(twice == 0, "{twice} objects were written twice");
    ensure!(compared.bytes > 0, "nothing was shipped");
    println!(
        "seed {seed}, {kills} kills, {} objects: {} bytes in rows, {} truncated before they were read, {} of those declared",
        shipped.objects, compared.bytes, compared.truncated, compared.declared
    );
    Ok(())
}

#[test]
fn once_and_audit_over_an_independent_server() -> Result<()> {
    let moto = Moto::start(env!("CARGO_TARGET_TMPDIR"))?;
    for encoding in ["parquet", "ndjson"] {
        let host = Host::new(&moto.settings(), encoding)?;
        let mut world = Sandboxes::new(&host.path("jobs"), 7)?;
        for _ in 0..200 {
            world.step()?;
        }
        succeeded(&host.ask("once")?, &host)?;
        let audit = host.ask("audit")?;
        succeeded(&audit, &host)?;
        let text = String::from_utf8_lossy(&audit.stdout);
        ensure!(text.contains("whole"), "{text}");
    }
    Ok(())
}

/// All lines in the archive, in no order.
fn lines(server: &S3Server) -> Result<Vec<String>> {
    let store: Arc<dyn Store> = Arc::new(S3Store::new(BUCKET, "some/prefix", &server.settings()));
    let shipped = tokio::runtime::Runtime::new()?.block_on(Shipped::read(&*store))?;
    let rows = shipped.rows.into_values().flat_map(BTreeMap::into_values);
    let lines = rows
        .flatten()
        .filter_map(|row| String::from_utf8(row.line?).ok());
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    Ok(lines)
}

fn has_objects(server: &S3Server) -> bool {
    let objects = server.objects();
    objects.keys().any(|key| key.contains("/logs/v1/"))
}

fn start_server() -> Result<(tokio::runtime::Runtime, S3Server)> {
    let runtime = tokio::runtime::Runtime::new()?;
    let server = runtime.block_on(S3Server::start())?;
    Ok((runtime, server))
}

/// Asks the program to stop, and waits until it has.
fn terminate(mut child: Child, host: &Host) -> Result<()> {
    signal(&[child.id()], Signal::Terminate)?;
    let mut status = None;
    host.wait_for("the end of the program", || {
        status = child.try_wait().ok().flatten();
        status.is_some()
    })?;
    ensure!(
        status.and_then(|status| status.code()) == Some(143),
        "{status:?}\n{}",
        host.talk()
    );
    Ok(())
}

#[test]
fn a_hang_up_reads_the_configuration_again_and_refuses_a_wrong_one() -> Result<()> {
    let (_runtime, server) = start_server()?;
    let settings = server.settings();
    let host = Host::new(&settings, "ndjson")?;
    host.log("first\n")?;
    let child = host.start()?;
    host.wait_for("an object", || has_objects(&server))?;
    // A wrong one is told with its place, and changes nothing.
    host.configure(&settings, "ndjson", "flush_seconds = 0", "")?;
    signal(&[child.id()], Signal::HangUp)?;
    host.wait_until_told("the old one stays")?;
    let told = host.talk();
    ensure!(
        told.contains("shipper.toml:5") && told.contains("flush_seconds"),
        "{told}"
    );
    host.log("second\n")?;
    host.wait_for("the second line", || {
        lines(&server).is_ok_and(|lines| lines.len() == 2)
    })?;
    // A good one is followed: a rule for files that no rule took, and a mask.
    let more = format!(
        "[[files]]\nname = \"extra\"\npaths = [\"{}/*.log\"]\njob = \"aa/x/y/z\"\n\
         [[redact]]\nname = \"word\"\npattern = \"swordfish\"\nmask = \"*\"\n",
        host.path("extra").display()
    );
    host.append("extra/a.log", "the word is swordfish\n")?;
    host.configure(&settings, "ndjson", QUICK, &more)?;
    signal(&[child.id()], Signal::HangUp)?;
    host.wait_until_told("the configuration was read again")?;
    host.wait_for("the extra line", || {
        lines(&server).is_ok_and(|lines| lines.len() == 3)
    })?;
    terminate(child, &host)?;
    ensure!(lines(&server)? == ["first", "second", "the word is *"]);
    succeeded(&host.ask("audit")?, &host)
}

#[test]
fn a_stop_ships_what_is_there_first() -> Result<()> {
    let (_runtime, server) = start_server()?;
    let host = Host::new(&server.settings(), "parquet")?;
    host.configure(
        &server.settings(),
        "parquet",
        "flush_seconds = 3600\nscan_seconds = 1",
        "",
    )?;
    host.log("first\n")?;
    let child = host.start()?;
    host.wait_for("a pin", || !host.pinned().is_empty())?;
    host.log("second\n")?;
    // A file that no scan has seen yet.
    host.append("jobs/job/1/app.log", "third\n")?;
    terminate(child, &host)?;
    ensure!(lines(&server)? == ["first", "second", "third"]);
    Ok(())
}

#[test]
fn a_stop_ends_at_its_deadline_whatever_the_bucket_does() -> Result<()> {
    for fault in [Fault::Refuse(503, "SlowDown"), Fault::Silence] {
        let (_runtime, server) = start_server()?;
        let host = Host::new(&server.settings(), "ndjson")?;
        host.configure(
            &server.settings(),
            "ndjson",
            "flush_seconds = 1\nscan_seconds = 1\nshutdown_seconds = 1",
            "",
        )?;
        let child = host.start()?;
        host.wait_for("a claim", || {
            let objects = server.objects();
            objects.keys().any(|key| key.contains("/_state/v1/agents/"))
        })?;
        server.fault(On::Put, fault, u32::MAX);
        host.log("line\n")?;
        host.wait_for("a pin", || !host.pinned().is_empty())?;
        terminate(child, &host)?;
        let told = host.talk();
        ensure!(told.contains("wait for the next start"), "{told}");
        ensure!(!has_objects(&server));
        server.heal();
        succeeded(&host.ask("once")?, &host)?;
        ensure!(lines(&server)? == ["line"]);
    }
    Ok(())
}

#[test]
fn two_agents_on_one_host_are_one_too_many() -> Result<()> {
    let (_runtime, server) = start_server()?;
    let host = Host::new(&server.settings(), "ndjson")?;
    host.log("line\n")?;
    let child = host.start()?;
    host.wait_for("an object", || has_objects(&server))?;
    for verb in ["once", "run", "recover"] {
        let refused = host.ask(verb)?;
        let told = String::from_utf8_lossy(&refused.stderr);
        ensure!(refused.status.code() == Some(2), "{verb}: {told}");
        ensure!(told.contains("another agent holds this spool"), "{told}");
    }
    terminate(child, &host)?;
    ensure!(lines(&server)? == ["line"]);
    succeeded(&host.ask("once")?, &host)
}

/// What became of the state folder while no agent ran.
#[derive(Debug, Clone, Copy)]
enum Mishap {
    Lost,
    /// It is what it was a while ago.
    RolledBack,
}

#[test]
fn a_state_that_was_lost_or_rolled_back_is_recovered_and_nothing_comes_twice() -> Result<()> {
    for mishap in [Mishap::Lost, Mishap::RolledBack] {
        let (runtime, server) = start_server()?;
        let host = Host::new(&server.settings(), "parquet")?;
        let mut world = Sandboxes::new(&host.path("jobs"), 11)?;
        let mut discovered = BTreeSet::new();
        let live = |world: &mut Sandboxes, discovered: &mut BTreeSet<String>| -> Result<()> {
            for _ in 0..40 {
                world.step()?;
            }
            succeeded(&host.ask("once")?, &host)?;
            discovered.extend(host.pinned());
            Ok(())
        };
        live(&mut world, &mut discovered)?;
        let state = host.path("state");
        let old = host.path("old-state");
        fs::create_dir(&old)?;
        fs::copy(state.join("state.db"), old.join("state.db"))?;
        live(&mut world, &mut discovered)?;
        fs::remove_dir_all(&state)?;
        if let Mishap::RolledBack = mishap {
            fs::rename(&old, &state)?;
        }
        for _ in 0..20 {
            world.step()?;
        }
        // It does not go on by itself.
        let refused = host.ask("once")?;
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(refused.status.code() == Some(5), "{mishap:?}: {told}");
        ensure!(told.contains("shipper recover"), "{told}");
        succeeded(&host.ask("recover")?, &host)?;
        live(&mut world, &mut discovered)?;
        succeeded(&host.ask("audit")?, &host).with_context(|| format!("{mishap:?}"))?;
        let agent = spool::recorded_agent(&[host.path("spool")]).context("an agent")?;
        for file in world.files.values_mut() {
            file.discovered = discovered.contains(file.id.src(agent, 0).as_str());
        }
        let store: Arc<dyn Store> =
            Arc::new(S3Store::new(BUCKET, "some/prefix", &server.settings()));
        let shipped = runtime.block_on(Shipped::read(&*store))?;
        let compared = shipped
            .compare(&world, agent)
            .with_context(|| format!("{mishap:?}"))?;
        ensure!(compared.bytes > 0, "nothing was shipped");
    }
    Ok(())
}
