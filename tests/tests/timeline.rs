//! One timeline: what the archive has of a job, then what the live files hold beyond it. `shipper` has run at some time, or not, or
//! was killed in the middle; files were renamed, sandboxes removed and instances moved meanwhile. What is shown has to be what was
//! written, line for line. The archive is a folder or a bucket of moto's, the hosts are a server in this process or OpenSSH's.
//!
//! `TIMELINE_SEEDS=100 cargo test --release -p e2e --test timeline` takes a hundred histories.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::clock;
use e2e::login;
use e2e::moto::{self, Moto};
use e2e::scheduler::Status;
use e2e::small_cluster::{SmallCluster, TaskRun};
use e2e::sshd::{Settings, Sshd};
use e2e::tail_process::{Ended, Reading, TailProcess};
use e2e::writers::Rng;
use jiff::{SignedDuration, Timestamp};
use joblog::{JobKey, Stream};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tailll-dup");
const SHIPPER: &str = env!("CARGO_BIN_EXE_shipper-dup");

/// How many histories there are where nobody says: with a folder, and with a bucket and OpenSSH.
const SEEDS: u64 = 20;
const SEEDS_OVER_WIRES: u64 = 6;

/// What happens in one of them.
const STEPS: u64 = 14;

/// How long an agent runs at most that is killed, in milliseconds: from before it has begun to after its first objects.
const KILLED_AFTER_MS: u64 = 1500;

/// How long any single thing may take; far more than it takes.
const PATIENCE: Duration = Duration::from_mins(2);

/// How far the first line's time lies behind now; each line is a second later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    /// So far that no line is ordered together with those of the live files.
    Old,
    /// So little that all are.
    New,
}

impl Age {
    fn ago(self) -> SignedDuration {
        match self {
            Self::Old => SignedDuration::from_hours(3),
            Self::New => SignedDuration::from_secs(590),
        }
    }
}

/// Where the archive is, and who answers on the hosts.
#[derive(Clone, Copy)]
enum Wires<'a> {
    /// A folder, and a server in this process.
    None,
    /// A bucket, below a prefix of its own for each world, and OpenSSH's server.
    Real {
        moto: &'a Moto,
        sshd: &'a Sshd,
        seed: u64,
    },
}

/// A cluster with a job, an agent of `shipper` for its hosts, and what was written.
struct World {
    cluster: SmallCluster,
    /// The archive's address.
    archive: String,
    key: JobKey,
    age: Age,
    begin: Timestamp,
    running: Vec<TaskRun>,
    /// Every line in the order of its time, with its log.
    written: Vec<(PathBuf, String)>,
    /// How many of them had been written when `shipper` ran last.
    shipped: usize,
    /// The beginning of a line that has no end yet.
    half: Option<(PathBuf, String)>,
}

impl World {
    fn start(age: Age) -> Result<Self> {
        Self::start_with(age, Wires::None)
    }

    fn start_with(age: Age, wires: Wires<'_>) -> Result<Self> {
        let cluster = SmallCluster::start(2)?;
        let archive = match wires {
            Wires::None => {
                let archive = format!("file://{}", cluster.path("archive").display());
                cluster.configure_shipper(&archive, "")?;
                fs::create_dir_all(cluster.path("archive"))?;
                archive
            }
            Wires::Real { moto, sshd, seed } => {
                let archive = format!("s3://{}/timeline-{seed}", moto::BUCKET);
                let settings = moto.settings();
                let s3 = format!(
                    "[s3]\nendpoint = \"{}\"\naddressing = \"path\"\nregion = \"{}\"\ncredentials_file = \"{}\"\n",
                    settings.endpoint.context("an endpoint")?,
                    settings.region.context("a region")?,
                    settings.credentials_file.context("credentials")?.display(),
                );
                cluster.configure_shipper(&archive, &s3)?;
                cluster.configure(&s3)?;
                lead_to(&cluster, sshd)?;
                archive
            }
        };
        let key = JobKey::new("aa", "www", "prod", "hello")?;
        let running = (0..2)
            .map(|n| cluster.launch_recorded(&key, n, &format!("node{}", n + 1)))
            .collect::<Result<_>>()?;
        Ok(Self {
            age,
            begin: clock::now() - age.ago(),
            cluster,
            archive,
            key,
            running,
            written: Vec::new(),
            shipped: 0,
            half: None,
        })
    }

    /// Writes a line, or what is missing of one.
    fn write(&mut self, log: &Path, rng: &mut Rng) -> Result<()> {
        let number = self.written.len();
        let at = self.begin + SignedDuration::from_secs(number as i64);
        let payload = "x".repeat(rng.below(60) as usize);
        let line = format!("{at} INFO n={number} {payload}");
        // Behind the time: of a line without one nobody knows when it was written.
        let cut = rng.range(line.find(" INFO").unwrap_or(0) as u64, line.len() as u64) as usize;
        let (now, later) = if rng.one_in(12) {
            line.split_at(cut)
        } else {
            (line.as_str(), "")
        };
        if later.is_empty() {
            append(log, &format!("{line}\n"))?;
        } else {
            append(log, now)?;
            self.half = Some((log.to_owned(), format!("{later}\n")));
        }
        self.written.push((log.to_owned(), line));
        Ok(())
    }

    /// Finishes what was begun, so that no line comes between its halves.
    fn finish_line(&mut self) -> Result<()> {
        match self.half.take() {
            Some((log, rest)) => append(&log, &rest),
            None => Ok(()),
        }
    }

    fn burst(&mut self, rng: &mut Rng) -> Result<()> {
        for _ in 0..rng.range(1, 30) {
            self.finish_line()?;
            let task = &self.running[rng.below(self.running.len() as u64) as usize];
            let process = *rng.pick(&[&"server", &"cron"]);
            let log = task.log(process, *rng.pick(&[&Stream::Stdout, &Stream::Stderr]));
            self.write(&log, rng)?;
        }
        Ok(())
    }

    fn ship(&mut self) -> Result<()> {
        let output = self
            .cluster
            .command(SHIPPER)
            .arg("--config")
            .arg(self.cluster.path("shipper.toml"))
            .arg("once")
            .output()?;
        ensure!(
            output.status.success(),
            "shipper: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        self.shipped = self.written.len();
        Ok(())
    }

    /// The agent runs for a moment, and is killed.
    fn ship_in_part(&self, rng: &mut Rng) -> Result<()> {
        let mut agent = self
            .cluster
            .command(SHIPPER)
            .arg("--config")
            .arg(self.cluster.path("shipper.toml"))
            .arg("run")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        std::thread::sleep(Duration::from_millis(rng.below(KILLED_AFTER_MS)));
        // SIGKILL: nothing of the process gets to say anything.
        agent.kill()?;
        agent.wait()?;
        Ok(())
    }

    /// Renames a log away, and those that were before it. The program has it open no more.
    fn rotate(&mut self, rng: &mut Rng) -> Result<()> {
        self.finish_line()?;
        let task = &self.running[rng.below(self.running.len() as u64) as usize];
        let live = task.log("server", Stream::Stdout);
        if !live.exists() {
            return Ok(());
        }
        for number in (1..8).rev() {
            let name = |number: u32| live.with_extension(number.to_string());
            if name(number).exists() {
                fs::rename(name(number), name(number + 1))?;
            }
        }
        Ok(fs::rename(&live, live.with_extension("1"))?)
    }

    /// An instance ends and starts again on a host of the scheduler's choice.
    fn reschedule(&mut self, rng: &mut Rng) -> Result<TaskRun> {
        let number = rng.below(self.running.len() as u64) as usize;
        let host = *rng.pick(&[&"node1", &"node2"]);
        self.reschedule_instance(number, host)
    }

    fn reschedule_instance(&mut self, number: usize, host: &str) -> Result<TaskRun> {
        self.finish_line()?;
        self.cluster
            .end(&self.running[number], Status::Finished, "rescheduled");
        let next = self
            .cluster
            .launch_recorded(&self.key, number as u32, host)?;
        Ok(std::mem::replace(&mut self.running[number], next))
    }

    fn command(&self, more: &[&str]) -> TailProcess {
        self.command_of("aa/www/prod/hello", more)
    }

    fn command_of(&self, target: &str, more: &[&str]) -> TailProcess {
        self.command_since(target, "4h", more)
    }

    fn command_since(&self, target: &str, since: &str, more: &[&str]) -> TailProcess {
        let mut command = self.cluster.command(PROGRAM);
        command
            .args([target, "-o", "raw", "--since", since, "--archive"])
            .arg(&self.archive)
            .args(more);
        TailProcess::start(&mut command, Reading::Eager).expect("the program")
    }

    fn shown(&self, more: &[&str]) -> Result<Ended> {
        self.command(more).wait_for_end(PATIENCE)
    }

    /// Every line once, and a good end.
    fn compare(&self, ended: &Ended) -> Result<()> {
        self.compare_lines(ended)?;
        ensure!(ended.status.success(), "{}\n{}", ended.status, ended.talk);
        Ok(())
    }

    /// Every line once; each log's in its order; all that the archive has in the order of time.
    fn compare_lines(&self, ended: &Ended) -> Result<()> {
        let shown: Vec<String> = ended
            .lines
            .iter()
            .map(|line| {
                String::from_utf8_lossy(&line.bytes)
                    .trim_end_matches('\n')
                    .to_owned()
            })
            .collect();
        let talk = &ended.talk;
        let mut expected: Vec<&String> = self.written.iter().map(|(_, line)| line).collect();
        let half = self
            .half
            .as_ref()
            .map(|(_, rest)| rest.trim_end_matches('\n'));
        let halved = half.map(|rest| {
            let last = expected.pop().expect("a line");
            last.strip_suffix(rest).expect("its end").to_owned()
        });
        expected.extend(&halved);
        let count =
            |lines: &[String], line: &String| lines.iter().filter(|one| *one == line).count();
        for line in &expected {
            let times = count(&shown, line);
            ensure!(times == 1, "{times} times: {line}\n{talk}");
        }
        ensure!(
            shown.len() == expected.len(),
            "{} lines too many\n{talk}",
            shown.len() - expected.len()
        );
        let place: BTreeMap<&String, usize> = shown
            .iter()
            .enumerate()
            .map(|(at, line)| (line, at))
            .collect();
        let mut last: BTreeMap<&Path, usize> = BTreeMap::new();
        for ((log, _), line) in self.written.iter().zip(&expected) {
            let at = place[*line];
            let before = last.insert(log, at);
            ensure!(
                before.is_none_or(|before| before < at),
                "out of order: {line}\n{talk}"
            );
        }
        // A line that was cut in two when `shipper` ran is behind the seam.
        let archived = match self.age {
            Age::Old => self.shipped.saturating_sub(1),
            // How long the order waits for a host is a matter of time.
            Age::New => 0,
        };
        let is_ordered = self.written[..archived]
            .iter()
            .map(|(_, line)| line)
            .eq(shown.iter().take(archived));
        ensure!(
            is_ordered,
            "the first {archived} lines are not in the order of time\n{talk}"
        );
        Ok(())
    }
}

fn append(path: &Path, text: &str) -> Result<()> {
    e2e::small_cluster::append(path, text)
}

/// Lets the cluster's hosts be those of a server of OpenSSH's.
fn lead_to(cluster: &SmallCluster, sshd: &Sshd) -> Result<()> {
    let mut text = String::new();
    for number in 1..=2 {
        let address = sshd.address(number);
        writeln!(
            text,
            "Host node{number}\n  HostName {}\n  Port {}",
            address.ip(),
            address.port()
        )?;
    }
    let all = fs::read_to_string(&sshd.files().ssh_config)?;
    fs::write(cluster.path("ssh_config"), text + &all)?;
    let toml = fs::read_to_string(cluster.path("tailll.toml"))?;
    let table = "[clusters.aa]\n";
    ensure!(toml.contains(table), "{toml}");
    let user = format!("{table}ssh_user = \"{}\"\n", login::own_name()?);
    Ok(fs::write(
        cluster.path("tailll.toml"),
        toml.replace(table, &user),
    )?)
}

fn history(seed: u64, wires: Wires<'_>) -> Result<()> {
    let mut rng = Rng::new(seed);
    let age = if seed.is_multiple_of(2) {
        Age::Old
    } else {
        Age::New
    };
    let mut world = World::start_with(age, wires)?;
    let mut left = Vec::new();
    world.burst(&mut rng)?;
    for _ in 0..STEPS {
        match rng.below(10) {
            0..=4 => world.burst(&mut rng)?,
            5 => world.ship_in_part(&mut rng)?,
            6 => {
                world.ship()?;
                // Nothing is lost with what has been shipped.
                if rng.one_in(2)
                    && world.half.is_none()
                    && let Some(task) = left.pop()
                {
                    world.cluster.remove(&task)?;
                }
            }
            7 | 8 => world.rotate(&mut rng)?,
            _ => left.push(world.reschedule(&mut rng)?),
        }
    }
    match rng.below(4) {
        0 => world.ship()?,
        1 => world.ship_in_part(&mut rng)?,
        _ => {}
    }
    world.compare(&world.shown(&["--no-follow"])?)
}

/// Which seeds are taken: as the environment says, or so many from 0 on.
fn seeds(usual: u64) -> Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("TIMELINE_FIRST").unwrap_or(0);
    first..first + number("TIMELINE_SEEDS").unwrap_or(usual)
}

#[test]
fn what_is_shown_is_what_was_written() -> Result<()> {
    for seed in seeds(SEEDS) {
        history(seed, Wires::None).with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}

#[test]
fn what_is_shown_from_a_bucket_and_over_openssh_is_what_was_written() -> Result<()> {
    let moto = Moto::start(env!("CARGO_TARGET_TMPDIR"))?;
    let sshd = Sshd::start(Settings {
        addresses: 2,
        hosts: 2,
        ..Settings::default()
    })?;
    for seed in seeds(SEEDS_OVER_WIRES) {
        let wires = Wires::Real {
            moto: &moto,
            sshd: &sshd,
            seed,
        };
        history(seed, wires).with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}

#[test]
fn a_job_that_no_longer_runs_is_read_from_the_archive_alone() -> Result<()> {
    let mut rng = Rng::new(1);
    let mut world = World::start(Age::Old)?;
    for _ in 0..3 {
        world.burst(&mut rng)?;
    }
    world.finish_line()?;
    world.ship()?;
    for task in std::mem::take(&mut world.running) {
        world.cluster.end(&task, Status::Finished, "done");
        world.cluster.remove(&task)?;
    }
    world.compare(&world.shown(&["--no-follow"])?)?;
    // A key of a cluster that nobody knows here is enough for the archive.
    fs::write(world.cluster.path("tailll.toml"), "")?;
    for target in [
        "aa/www/prod/hello",
        "www/prod/hello",
        "hello",
        "hel*",
        "*/www/*/hello",
    ] {
        let process = world.command_of(target, &["--no-follow"]);
        world
            .compare(&process.wait_for_end(PATIENCE)?)
            .with_context(|| target.to_owned())?;
    }
    let unknown = world.command_of("hallo", &["--no-follow"]);
    let ended = unknown.wait_for_end(PATIENCE)?;
    ensure!(!ended.status.success() && ended.lines.is_empty());
    Ok(())
}

#[test]
fn hosts_of_ended_instances_are_asked_where_they_may_have_more() -> Result<()> {
    let mut rng = Rng::new(8);
    let mut world = World::start(Age::Old)?;
    for _ in 0..3 {
        world.burst(&mut rng)?;
    }
    world.finish_line()?;
    world.ship()?;
    let end = |world: &World, ago: SignedDuration| {
        let at_ms = (clock::now() - ago).as_millisecond();
        let scheduler = world.cluster.scheduler();
        for task in &world.running {
            let (model, id) = (scheduler.model(), &task.task_id);
            model.set_begin(id, at_ms - 1);
            model.set_status(id, Status::Finished, at_ms, Some("done"));
        }
    };
    let logins = |world: &World| world.cluster.ssh().counters().connections_total;
    // The agent was there after their end, so the archive has all of it.
    end(&world, SignedDuration::from_hours(1));
    let before = logins(&world);
    world.compare(&world.shown(&["--no-follow"])?)?;
    ensure!(logins(&world) == before, "somebody was asked");
    // Nothing of them can be so new.
    let short = world.command_since("aa/www/prod/hello", "30m", &["--no-follow"]);
    let ended = short.wait_for_end(PATIENCE)?;
    ensure!(ended.lines.is_empty(), "{}", ended.talk);
    ensure!(logins(&world) == before, "somebody was asked");
    // It was not there since.
    world.burst(&mut rng)?;
    world.finish_line()?;
    end(&world, SignedDuration::ZERO);
    world.compare(&world.shown(&["--no-follow"])?)?;
    ensure!(logins(&world) > before, "nobody was asked");
    Ok(())
}

/// The objects with rows, in the order in which they were made.
fn objects(world: &World) -> Result<Vec<PathBuf>> {
    let mut objects = Vec::new();
    let mut folders = vec![world.cluster.path("archive/logs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                objects.push(path);
            }
        }
    }
    // `<agent>~<claim>~<number>.parquet`
    objects.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    Ok(objects)
}

#[test]
fn what_an_object_that_is_not_there_yet_will_have_comes_from_the_live_file() -> Result<()> {
    for seed in 0..4 {
        let mut rng = Rng::new(seed);
        let mut world = World::start(Age::New)?;
        for _ in 0..4 {
            world.burst(&mut rng)?;
            world.finish_line()?;
            world.ship()?;
        }
        world.burst(&mut rng)?;
        let objects = objects(&world)?;
        ensure!(objects.len() >= 4, "{objects:?}");
        // Of the newest nobody can see that it is missing.
        fs::remove_file(&objects[rng.below(objects.len() as u64) as usize])?;
        world
            .compare(&world.shown(&["--no-follow"])?)
            .with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}

#[test]
fn what_is_missing_in_an_old_archive_is_said() -> Result<()> {
    let mut rng = Rng::new(7);
    let mut world = World::start(Age::Old)?;
    let log = world.running[0].log("server", Stream::Stdout);
    for _ in 0..3 {
        for _ in 0..10 {
            world.write(&log, &mut rng)?;
            world.finish_line()?;
        }
        world.ship()?;
    }
    let objects = objects(&world)?;
    ensure!(objects.len() == 3, "{objects:?}");
    fs::remove_file(&objects[1])?;
    for task in std::mem::take(&mut world.running) {
        world.cluster.end(&task, Status::Finished, "done");
        world.cluster.remove(&task)?;
    }
    let ended = world.shown(&["--no-follow"])?;
    ensure!(
        ended.lines.len() == 20,
        "{} lines\n{}",
        ended.lines.len(),
        ended.talk
    );
    ensure!(
        ended.talk.contains("the archive does not have these bytes"),
        "{}",
        ended.talk
    );
    ensure!(ended.status.code() == Some(1), "{}", ended.status);
    Ok(())
}

#[test]
fn what_ran_is_listed() -> Result<()> {
    let mut rng = Rng::new(5);
    let mut world = World::start(Age::Old)?;
    let first = world.running[0].clone();
    for number in 0..2 {
        let log = world.running[0].log("server", Stream::Stdout);
        for _ in 0..10 {
            world.write(&log, &mut rng)?;
            world.finish_line()?;
        }
        if number == 0 {
            world.reschedule_instance(0, "node2")?;
        }
    }
    world.ship()?;
    world.cluster.remove(&first)?;
    let list = |more: &[&str]| -> Result<String> {
        let mut command = world.cluster.command(PROGRAM);
        let archive = format!("file://{}", world.cluster.path("archive").display());
        command
            .args(["ls", "aa/www/prod/hello", "--since", "4h", "--archive"])
            .arg(archive)
            .args(more);
        let ended = TailProcess::start(&mut command, Reading::Eager)?.wait_for_end(PATIENCE)?;
        ensure!(ended.status.success(), "{}", ended.talk);
        Ok(ended
            .lines
            .iter()
            .map(|line| String::from_utf8_lossy(&line.bytes).into_owned())
            .collect())
    };
    let raw = list(&["-o", "raw"])?;
    ensure!(
        raw == format!("{}\n{}\n", first.task_id, world.running[0].task_id),
        "{raw}"
    );
    for line in list(&["-o", "json"])?.lines() {
        let task: serde_json::Value = serde_json::from_str(line)?;
        ensure!(task["lines"] == 10 && task["instance"] == 0, "{task}");
    }
    let table = list(&[])?;
    ensure!(table.lines().count() == 3, "{table}");
    Ok(())
}

#[test]
fn a_log_that_is_copied_and_truncated_is_shown_once() -> Result<()> {
    let mut rng = Rng::new(2);
    let mut world = World::start(Age::Old)?;
    let log = world.running[0].log("server", Stream::Stdout);
    let write = |world: &mut World, rng: &mut Rng, count: usize| -> Result<()> {
        for _ in 0..count {
            world.write(&log, rng)?;
            world.finish_line()?;
        }
        Ok(())
    };
    write(&mut world, &mut rng, 30)?;
    world.ship()?;
    fs::copy(&log, log.with_extension("1"))?;
    fs::OpenOptions::new().write(true).open(&log)?.set_len(0)?;
    write(&mut world, &mut rng, 5)?;
    // The archive does not know of it yet.
    let ended = world.shown(&["--no-follow"])?;
    world.compare(&ended)?;
    ensure!(
        ended.talk.contains("before it was truncated or replaced"),
        "{}",
        ended.talk
    );
    world.ship()?;
    write(&mut world, &mut rng, 5)?;
    world.compare(&world.shown(&["--no-follow"])?)
}

#[test]
fn what_is_written_while_it_is_followed_comes_behind() -> Result<()> {
    let mut rng = Rng::new(3);
    let mut world = World::start(Age::Old)?;
    world.burst(&mut rng)?;
    world.finish_line()?;
    world.ship()?;
    world.burst(&mut rng)?;
    world.finish_line()?;
    let mut process = world.command(&[]);
    let mut all = |world: &World| {
        let lines = world.written.len();
        process.wait_for_lines("all lines", PATIENCE, |seen| seen.len() >= lines)
    };
    all(&world)?;
    for _ in 0..3 {
        world.burst(&mut rng)?;
        world.rotate(&mut rng)?;
        world.burst(&mut rng)?;
        world.finish_line()?;
        all(&world)?;
        // What is shipped by now has been shown.
        world.ship()?;
    }
    let ended = process.interrupt(PATIENCE)?;
    // What is ordered came from the archive at the beginning.
    world.shipped = 0;
    world.compare_lines(&ended)
}

#[test]
fn archived_and_live_lines_are_chosen_alike() -> Result<()> {
    let mut rng = Rng::new(4);
    let mut world = World::start(Age::Old)?;
    world.burst(&mut rng)?;
    world.burst(&mut rng)?;
    world.ship()?;
    world.burst(&mut rng)?;
    world.finish_line()?;
    for chosen in [
        &["--include", "n=[0-9]*[05] "][..],
        &["--exclude", "xx"],
        &["--level", "info"],
        &["--level", "error"],
        &["--where", "instance=0 and n>5"],
        &["--stdout"],
        &["-c", "cron", "--stderr"],
        &["--instance", "1"],
        &["--until", "170m"],
    ] {
        let sorted = |more: &[&str]| -> Result<Vec<Vec<u8>>> {
            let ended = world.shown(&[chosen, more].concat())?;
            let mut lines: Vec<Vec<u8>> = ended.lines.into_iter().map(|line| line.bytes).collect();
            lines.sort();
            Ok(lines)
        };
        let with = sorted(&["--no-follow"])?;
        let mut command = world.cluster.command(PROGRAM);
        command
            .args([
                "aa/www/prod/hello",
                "-o",
                "raw",
                "--since",
                "4h",
                "--no-follow",
            ])
            .args(chosen);
        let process = TailProcess::start(&mut command, Reading::Eager)?;
        let mut without: Vec<Vec<u8>> = process
            .wait_for_end(PATIENCE)?
            .lines
            .into_iter()
            .map(|line| line.bytes)
            .collect();
        without.sort();
        ensure!(
            with == without,
            "{chosen:?}: {} and {} lines",
            with.len(),
            without.len()
        );
        ensure!(
            chosen.contains(&"error") || !with.is_empty(),
            "{chosen:?}: none"
        );
    }
    Ok(())
}

#[test]
fn a_number_of_lines_reaches_back_into_the_archive() -> Result<()> {
    let mut rng = Rng::new(6);
    let mut world = World::start(Age::Old)?;
    let write = |world: &mut World, rng: &mut Rng, count: usize| -> Result<()> {
        let log = world.running[0].log("server", Stream::Stdout);
        for _ in 0..count {
            world.write(&log, rng)?;
            world.finish_line()?;
        }
        Ok(())
    };
    let check = |world: &World, lines: usize, what: &str| -> Result<()> {
        let mut command = world.cluster.command(PROGRAM);
        command
            .args(["aa/www/prod/hello", "-o", "raw", "--no-follow", "-n"])
            .arg(lines.to_string())
            .args(["--stdout", "--archive", &world.archive]);
        let ended = TailProcess::start(&mut command, Reading::Eager)?.wait_for_end(PATIENCE)?;
        let shown: Vec<String> = ended
            .lines
            .iter()
            .map(|line| String::from_utf8_lossy(&line.bytes).trim_end().to_owned())
            .collect();
        let expected: Vec<String> = world
            .written
            .iter()
            .skip(world.written.len().saturating_sub(lines))
            .map(|(_, line)| line.trim_end().to_owned())
            .collect();
        ensure!(
            shown == expected,
            "{what}: {shown:#?}\n{expected:#?}\n{}",
            ended.talk
        );
        Ok(())
    };
    write(&mut world, &mut rng, 30)?;
    check(&world, 40, "nothing was shipped")?;
    world.ship()?;
    check(&world, 12, "the live file has enough")?;
    check(&world, 40, "there are no more")?;
    let first = world.reschedule_instance(0, "node2")?;
    write(&mut world, &mut rng, 5)?;
    check(&world, 12, "the instance moved")?;
    world.ship()?;
    world.cluster.remove(&first)?;
    check(&world, 12, "the archive has the new file too")?;
    let live = world.running[0].log("server", Stream::Stdout);
    fs::rename(&live, live.with_extension("1"))?;
    write(&mut world, &mut rng, 3)?;
    check(&world, 7, "the older file is there")?;
    check(&world, 20, "all of the log is there, and more")?;
    fs::remove_file(live.with_extension("1"))?;
    check(&world, 20, "the older file is gone")?;
    world.ship()?;
    fs::OpenOptions::new().write(true).open(&live)?.set_len(0)?;
    write(&mut world, &mut rng, 2)?;
    check(
        &world,
        20,
        "it was truncated, and the archive does not know",
    )?;
    world.ship()?;
    check(&world, 20, "it was truncated")
}
