//! Prints every part of a sandbox path: `cargo run -p joblog --example parts -- PATH`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example talks to a person"
)]

use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use joblog::sandbox::{LogFile, RunDir, THERMOS_PREFIX};

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: parts PATH, a path such as");
        eprintln!(
            "/var/lib/mesos/slaves/A/frameworks/F/executors/thermos-TASK/runs/latest/sandbox/.logs/PROCESS/0/stdout"
        );
        return ExitCode::from(2);
    };
    let path = path.into_vec();
    let Some((dir, below)) = RunDir::parse(&path) else {
        eprintln!("this path has no .../slaves/*/frameworks/*/executors/*/runs/* in it");
        return ExitCode::FAILURE;
    };
    let show = |name: &str, value: &[u8]| println!("{name:<13}{}", value.escape_ascii());
    show("work folder", dir.work_dir);
    show("agent", dir.agent);
    show("framework", dir.framework);
    show("executor", dir.executor);
    show("container", dir.container);
    if let Some(task) = dir.task_id(THERMOS_PREFIX).or_else(|| dir.task_id("")) {
        println!("{:<13}{task}", "task");
        println!("{:<13}{}", "role-env-job", task.prefix());
        println!("{:<13}{}", "instance", task.instance());
        println!("{:<13}{}", "uuid", task.uuid());
        if let Some(millis) = task.millis() {
            println!("{:<13}{millis}", "millis");
        }
    }
    match LogFile::parse(below) {
        Some(LogFile::Executor { stream, backup }) => {
            print_file("(the executor)", None, stream.name(), backup);
        }
        Some(LogFile::Process {
            process,
            run,
            stream,
            backup,
        }) => {
            print_file(
                &process.escape_ascii().to_string(),
                Some(run),
                stream.name(),
                backup,
            );
        }
        None => show("other file", below),
    }
    ExitCode::SUCCESS
}

fn print_file(process: &str, run: Option<u32>, stream: &str, backup: Option<u32>) {
    println!("{:<13}{process}", "process");
    if let Some(run) = run {
        println!("{:<13}{run}", "run");
    }
    println!("{:<13}{stream}", "stream");
    if let Some(backup) = backup {
        println!("{:<13}{backup}", "rotated");
    }
}
