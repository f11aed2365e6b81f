//! What a scan and the pins cost on a large host: 20 000 files in 2 500 sandboxes, in CPU and wall time.
//!
//! `cargo run --release -p shipper --example host_cost [FOLDER]`; the folder (default: the system's temporary one) is where the
//! host is made, and says which file system is measured.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use shipper::config::Config;
use shipper::rules::Rules;
use shipper::scan::{Answer, Scanner, Seen};
use shipper::spool::Spool;

const SANDBOXES: usize = 2500;
const PROCESSES: [&str; 3] = ["web", "health", "sidecar"];
const PASSES: usize = 50;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let place = std::env::args_os()
        .nth(1)
        .unwrap_or_else(|| std::env::temp_dir().into());
    let folder = tempfile::tempdir_in(place)?;
    make_host(folder.path())?;
    let text = format!(
        "archive = \"file:///archive\"\ncluster = \"aa\"\n[spool]\nfolders = [\"{0}/spool\"]\n[mesos]\nwork_dir = \"{0}/mesos\"\n",
        folder.path().display()
    );
    let config = Config::parse(&text, Path::new("host_cost.toml"), "node7")?;
    let (spool, _) = Spool::open(&config.spool.folders, "machine", &mut || 7)?;
    let mut scanner = Scanner::new(Arc::new(Rules::new(Arc::new(config))));
    let mut out = std::io::stdout();
    let mut pins = Vec::new();
    let mut idle_ms = 0.0;
    // Far after the files' times: no folder is read again for the grain of its time.
    let wall_ns = i64::MAX;
    for pass in 0..PASSES {
        let (cpu, wall) = (cpu_ms(), Instant::now());
        let summary = scanner.scan(wall_ns, &mut |seen| {
            if let Seen::New(found) = seen
                && let Ok((pin, _)) = spool.pin(found, 0, 0)
            {
                pins.push(pin);
            }
            Answer::Kept
        });
        let spent = cpu_ms() - cpu;
        if pass < 2 {
            writeln!(
                out,
                "pass {pass}: {spent:.0} ms of CPU, {} ms; {} folders, {} read, {} files, {} new",
                wall.elapsed().as_millis(),
                summary.folders,
                summary.folders_read,
                summary.files,
                summary.new_files
            )?;
            let (cpu, wall) = (cpu_ms(), Instant::now());
            spool.settle()?;
            let spent = cpu_ms() - cpu;
            writeln!(
                out,
                "  settle: {spent:.0} ms of CPU, {} ms",
                wall.elapsed().as_millis()
            )?;
        } else {
            idle_ms += spent;
        }
    }
    let idle_ms = idle_ms / (PASSES - 2) as f64;
    writeln!(
        out,
        "idle: {idle_ms:.1} ms of CPU a pass, {:.2} % of a core at one each 5 s",
        idle_ms / 50.0
    )?;
    let cpu = cpu_ms();
    let last = pins
        .iter()
        .filter(|pin| pin.stat().is_ok_and(|stat| pin.is_last(&stat)))
        .count();
    writeln!(
        out,
        "stat of {} pins: {:.0} ms of CPU, {last} held by nobody else",
        pins.len(),
        cpu_ms() - cpu
    )?;
    let cpu = cpu_ms();
    drop(pins);
    let listed = spool.list()?.pins.len();
    writeln!(
        out,
        "list of {listed} pins: {:.0} ms of CPU",
        cpu_ms() - cpu
    )?;
    let resident = fs::read_to_string("/proc/self/status")?;
    let resident = resident
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap_or_default();
    writeln!(out, "{resident}")?;
    Ok(())
}

fn make_host(folder: &Path) -> std::io::Result<()> {
    for number in 0..SANDBOXES {
        let task = format!("web-prod-job{number}-3-8a5f0a3e-3c1e-4d58-9a53-{number:012}");
        let run = format!("slaves/S/frameworks/F/executors/thermos-{task}/runs/c{number}");
        let record = folder
            .join("mesos/meta")
            .join(&run)
            .join("tasks")
            .join(&task);
        fs::create_dir_all(&record)?;
        let message = b"\x0a\x0ew/prod/x123456".as_slice();
        let info = [&(message.len() as u32).to_ne_bytes(), message].concat();
        fs::write(record.join("task.info"), info)?;
        let run = folder.join("mesos").join(run);
        for process in PROCESSES {
            let logs = run.join("sandbox/.logs").join(process).join("0");
            fs::create_dir_all(&logs)?;
            fs::write(logs.join("stdout"), "line\n")?;
            fs::write(logs.join("stderr"), "line\n")?;
        }
        fs::write(run.join("stdout"), "line\n")?;
        fs::write(run.join("stderr"), "line\n")?;
    }
    Ok(())
}

/// The CPU time of the process, in ms.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}
