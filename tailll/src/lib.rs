//! Every instance's log lines of a job, as they are written, over plain SSH.

pub mod args;
pub mod as_role;
pub mod assemble;
pub mod aurora;
pub mod batch;
pub mod causes;
pub mod chain;
pub mod clock;
pub mod clusters_json;
pub mod color;
pub mod command_line;
pub mod completions;
pub mod condition;
pub mod config;
pub mod config_text;
pub mod connection;
pub mod console;
pub mod dial;
pub mod dialler;
pub mod discovery;
pub mod doctor;
pub mod earlier;
pub mod escape;
pub mod exit;
pub mod fields;
pub mod filter;
pub mod fold;
pub mod follow;
pub mod glob;
pub mod gzip;
pub mod highlight;
pub mod hostlist;
pub mod http;
pub mod instance;
pub mod job_cache;
pub mod job_pattern;
pub mod jobs_dir;
pub mod json;
pub mod known_hosts;
pub mod local;
mod lock;
pub mod login;
pub mod ls;
pub mod merge;
pub mod moment;
pub mod near;
pub mod new_keys;
pub mod open_files;
pub mod options;
pub mod output;
pub mod palette;
pub mod past;
pub mod pool;
pub mod prefix;
pub mod prompt;
pub mod proxy_command;
pub mod ran;
pub mod reach;
pub mod reader;
pub mod remote;
pub mod render;
pub mod replay;
pub mod resolve;
pub mod revoked_keys;
pub mod roster;
pub mod run;
pub mod seams;
pub mod seek;
pub mod selection;
pub mod settings;
pub mod shell;
pub mod signals;
pub mod source;
pub mod ssh;
pub mod ssh_config;
pub mod ssh_pattern;
pub mod ssh_program;
pub mod stamp;
pub mod status;
mod styled;
pub mod talk;
pub mod target;
pub mod task_info;
pub mod tcp;
pub mod template;
pub mod tjson;
pub mod tracker;
pub mod transport;
pub mod tty;
pub mod view;
pub mod zookeeper;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _};

/// How long what is under way may take to tidy up at the end: to close connections, and to end proxy commands.
const STOP_GRACE: Duration = Duration::from_millis(250);

/// Runs the program with the process's arguments, environment and streams.
pub fn main() -> ExitCode {
    match start(&std::env::args_os().collect::<Vec<_>>()) {
        Ok(exit) => exit.into(),
        Err(Failure::Usage(error)) => {
            // Help goes to standard output and is a success; nothing can be done if it cannot be printed.
            let _ = error.print();
            if error.use_stderr() {
                exit::Exit::Usage.into()
            } else {
                ExitCode::SUCCESS
            }
        }
        Err(Failure::Other(error)) => {
            complain(&causes::lines(error.as_ref()));
            exit::Exit::Usage.into()
        }
    }
}

/// Why nothing was begun.
enum Failure {
    /// What was typed; or help was asked for.
    Usage(clap::Error),
    /// Anything else.
    Other(Box<dyn std::error::Error>),
}

impl<E: Into<Box<dyn std::error::Error>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

fn start(typed: &[OsString]) -> Result<exit::Exit, Failure> {
    let environment = options::Environment::of_process();
    let complete = {
        let environment = environment.clone();
        move |word: &str| completions_of(word, &environment)
    };
    match completions::answer(args::Args::command, typed, complete).map_err(Failure::Usage)? {
        completions::Answered::Yes => return Ok(exit::Exit::Success),
        completions::Answered::No => {}
    }
    let given = given(typed, &environment)?;
    match given.args.verb {
        Some(args::Verb::Config(_)) => {
            let text =
                config_text::text(&given.command, &given.settings, &given.config, &given.file);
            Ok(output::print(text.as_bytes())?)
        }
        Some(args::Verb::Ls(args)) => {
            let options = options::Options::resolve((*args).into(), &given.config, &environment)?;
            if options.since.is_some() {
                return begin(ran::run(
                    options,
                    given.config,
                    environment,
                    streams(),
                    clock::Clock::start(),
                ));
            }
            begin(ls::run(
                options,
                given.config,
                environment,
                streams(),
                clock::Clock::start(),
            ))
        }
        Some(args::Verb::Ssh(args)) => {
            let (args, command) = args.split();
            let options = options::Options::resolve(args, &given.config, &environment)?;
            begin(shell::run(
                options,
                given.config,
                environment,
                streams(),
                clock::Clock::start(),
                shell::Request { command },
            ))
        }
        Some(args::Verb::Doctor(args)) => {
            let options = options::Options::resolve((*args).into(), &given.config, &environment)?;
            begin(doctor::run(
                options,
                given.config,
                given.file,
                environment,
                streams(),
                clock::Clock::start(),
            ))
        }
        Some(args::Verb::Completions { shell }) => {
            Ok(output::print(&completions::script(&shell)?)?)
        }
        None => {
            let options = options::Options::resolve(given.args, &given.config, &environment)?;
            begin(run::run(
                options,
                given.config,
                environment,
                streams(),
                clock::Clock::start(),
            ))
        }
    }
}

/// What the command line says, together with configuration and environment.
struct Given {
    args: args::Args,
    config: config::Config,
    file: config::ConfigFile,
    /// The definition of the flags: the verb's, where there is one.
    command: clap::Command,
    settings: settings::Settings,
}

fn given(typed: &[OsString], environment: &options::Environment) -> Result<Given, Failure> {
    let mut command = args::Args::command();
    command.build();
    let matches = command
        .clone()
        .try_get_matches_from(typed)
        .map_err(Failure::Usage)?;
    let (verb, flags) = match matches.subcommand() {
        Some((verb, flags)) => (Some(verb), flags),
        None => (None, &matches),
    };
    let named: Option<&std::path::PathBuf> = flags.try_get_one("config").ok().flatten();
    let file = environment.config_file(named.map(AsRef::as_ref));
    let aurora = clusters_json::ClustersJson::load(&environment.clusters_json());
    let config = config::Config::load(&file, environment.home.as_deref(), &aurora)?;
    let of_verb = verb.and_then(|verb| command.find_subcommand(verb));
    let settings = settings::Settings::find(
        of_verb.unwrap_or(&command),
        flags,
        |name| std::env::var_os(name),
        &config.defaults,
        &settings::known_keys(&command),
    )?;
    // What was typed comes last, since the last of two words that exclude each other wins.
    let typed_flags = typed.iter().skip(1 + usize::from(verb.is_some())).cloned();
    let words: Vec<OsString> = std::iter::once("tailll".into())
        .chain(verb.map(OsString::from))
        .chain(settings.words.iter().cloned())
        .chain(typed_flags)
        .collect();
    let of_verb = of_verb.unwrap_or(&command).clone();
    let args = command
        .try_get_matches_from(words)
        .and_then(|matches| args::Args::from_arg_matches(&matches))
        .map_err(Failure::Usage)?;
    Ok(Given {
        args,
        config,
        file,
        command: of_verb,
        settings,
    })
}

/// What a word of a command line can become, for a shell. Whatever is wrong makes it less; there is nobody to tell.
fn completions_of(word: &str, environment: &options::Environment) -> Vec<String> {
    let file = environment.config_file(None);
    let aurora = clusters_json::ClustersJson::load(&environment.clusters_json());
    let Ok(config) = config::Config::load(&file, environment.home.as_deref(), &aurora) else {
        return Vec::new();
    };
    let Ok(options) = options::Options::resolve(args::Args::default(), &config, environment) else {
        return Vec::new();
    };
    let clock = clock::Clock::start();
    let context = resolve::Context::new(&options, &config, environment, clock);
    let sources = completions::Sources {
        names: jobs_dir::JobsDir::load(&config.jobs_dir)
            .names()
            .map(str::to_owned)
            .collect(),
        schedulers: resolve::schedulers(&context).into_values().collect(),
        config: &config,
        cache: environment.cache_folder(),
        clock,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(sources.candidates(word)),
        Err(_) => Vec::new(),
    }
}

fn streams() -> console::Streams {
    console::Streams {
        stdout: color::StreamKind::of(&std::io::stdout()),
        stderr: color::StreamKind::of(&std::io::stderr()),
    }
}

/// Runs a verb's course to its end.
fn begin<E: Into<Box<dyn std::error::Error>>>(
    course: impl Future<Output = Result<exit::Exit, E>>,
) -> Result<exit::Exit, Failure> {
    open_files::raise();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let exit = runtime.block_on(course);
    tty::restore();
    // What still waits for a host or a slow reader must not keep the program; the rest tidies up behind itself.
    runtime.shutdown_timeout(STOP_GRACE);
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
