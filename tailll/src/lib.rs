//! Every instance's log lines of a job, as they are written, over plain SSH.

pub mod args;
pub mod assemble;
pub mod aurora;
pub mod batch;
pub mod causes;
pub mod chain;
pub mod clock;
pub mod color;
pub mod config;
pub mod dial;
pub mod discovery;
pub mod escape;
pub mod exit;
pub mod filter;
pub mod follow;
pub mod glob;
pub mod highlight;
pub mod hostlist;
pub mod http;
pub mod instance;
pub mod json;
pub mod known_hosts;
pub mod local;
pub mod login;
pub mod merge;
pub mod near;
pub mod options;
pub mod output;
pub mod palette;
pub mod pool;
pub mod prefix;
pub mod reader;
pub mod remote;
pub mod render;
pub mod resolve;
pub mod run;
pub mod selection;
pub mod signals;
pub mod source;
pub mod ssh;
pub mod ssh_config;
pub mod ssh_pattern;
pub mod status;
pub mod talk;
pub mod target;
pub mod tracker;
pub mod transport;
pub mod view;

use std::process::ExitCode;

use clap::Parser as _;

/// Runs the program with the process's arguments, environment and streams.
pub fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help goes to standard output and is a success; nothing can be done if it cannot be printed.
            let _ = error.print();
            return if error.use_stderr() {
                exit::Exit::Usage.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match start(args) {
        Ok(exit) => exit.into(),
        Err(error) => {
            complain(&causes::lines(error.as_ref()));
            exit::Exit::Usage.into()
        }
    }
}

fn start(args: args::Args) -> Result<exit::Exit, Box<dyn std::error::Error>> {
    let environment = options::Environment::of_process();
    let file = environment.config_file(args.connection.config.as_deref());
    let config = config::Config::load(&file, environment.home.as_deref())?;
    let options = options::Options::resolve(args, &config, &environment)?;
    let streams = run::Streams {
        stdout: color::StreamKind::of(&std::io::stdout()),
        stderr: color::StreamKind::of(&std::io::stderr()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let exit = runtime.block_on(run::run(
        options,
        config,
        environment,
        streams,
        clock::Clock::start(),
    ));
    // What still waits for a host or a slow reader must not keep the program.
    runtime.shutdown_background();
    Ok(exit?)
}

/// Says what is wrong before there is anybody else to say it.
fn complain(lines: &[String]) {
    use std::io::Write as _;
    for line in lines {
        // There is no other place to say that this fails.
        let _ = writeln!(std::io::stderr(), "tailll: {line}");
    }
}
