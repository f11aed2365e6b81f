//! The real program, killed by SIGKILL at random moments, against a bucket that fails: what is in the bucket afterwards has to be
//! what was written, by the program's own audit and by an independent reader.
//!
//! `SHIPPER_KILLS=1000 cargo test --release -p e2e --test shipper_process` kills it a thousand times.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use archive::Store;
use archive::store::S3Settings;
use archive::store::s3::S3Store;
use e2e::moto::Moto;
use e2e::s3_server::{BUCKET, Fault, On, S3Server};
use e2e::sandboxes::Sandboxes;
use e2e::shipped::Shipped;
use e2e::writers::Rng;
use shipper::spool;

/// How often the program is killed where nobody says.
const KILLS: u64 = 20;

/// What happens between two looks at the spool.
const STEPS: u64 = 4;

/// A host: jobs, and where the program keeps its own.
struct Host {
    root: tempfile::TempDir,
}

impl Host {
    fn new(settings: &S3Settings, encoding: &str) -> Result<Self> {
        let root = tempfile::tempdir()?;
        let text = format!(
            r#"
archive = "s3://{BUCKET}/some/prefix"
cluster = "aa"
encoding = "{encoding}"
flush_seconds = 1
scan_seconds = 1
unfinished_line_seconds = 1
max_line_bytes = 1024
[s3]
endpoint = "{endpoint}"
addressing = "path"
region = "{region}"
credentials_file = "{credentials}"
connect_timeout_seconds = 2
[state]
folder = "{root}/state"
reserved_megabytes = 0
[spool]
folders = ["{root}/spool"]
[[files]]
name = "jobs"
paths = ["{root}/jobs/*/*/app.log*"]
job = "aa/www-data/prod/{{1}}"
instance = "{{2}}"
"#,
            endpoint = settings.endpoint.as_deref().context("an endpoint")?,
            region = settings.region.as_deref().context("a region")?,
            credentials = settings
                .credentials_file
                .as_deref()
                .context("credentials")?
                .display(),
            root = root.path().display(),
        );
        fs::write(root.path().join("shipper.toml"), text)?;
        Ok(Self { root })
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
