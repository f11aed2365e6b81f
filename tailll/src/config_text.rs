//! What is in force, as the text of a configuration file: each setting with where it was said, and those that are not set as
//! comments. What is printed can be saved and used.

use std::fmt::Write as _;

use clap::{Arg, Command};

use crate::config::{Config, ConfigFile, Job};
use crate::palette::PaletteSettings;
use crate::settings::{Settings, elsewhere, key_of, settable};

/// The column at which remarks begin, unless the setting is longer.
const REMARK_COLUMN: usize = 40;

/// The text. `command` has the flags, `settings` those that are set, `config` what the file says besides, `file` where it
/// was looked for.
pub fn text(command: &Command, settings: &Settings, config: &Config, file: &ConfigFile) -> String {
    let mut text = String::new();
    head(&mut text, file);
    defaults(&mut text, command, settings);
    tables(&mut text, config);
    text
}

fn head(text: &mut String, file: &ConfigFile) {
    text.push_str("# A flag beats a variable of the environment, that beats the file, and that beats what is built in.\n");
    let mut read = false;
    for path in file.paths() {
        let state = match (path.exists(), read) {
            (true, false) => "read",
            (true, true) => "not read: the one above was",
            (false, _) => "not there",
        };
        read |= path.exists();
        let _ = writeln!(
            text,
            "# file {}: {state}",
            path.display().to_string().escape_debug()
        );
    }
    text.push('\n');
}

fn defaults(text: &mut String, command: &Command, settings: &Settings) {
    text.push_str("[defaults]\n");
    for flag in command.get_arguments().filter(|flag| settable(flag)) {
        let key = key_of(flag);
        let set = settings.set.iter().find(|setting| setting.key == key);
        match (set, elsewhere(&key)) {
            // A key of another table stands here as a comment, so that the text stays a good file.
            (Some(setting), Some(place)) => {
                line(
                    text,
                    &format!("# {place} = {}", setting.value),
                    &setting.origin.to_string(),
                );
            }
            (None, Some(place)) => line(text, &format!("# {place}"), &about(flag)),
            (Some(setting), None) => {
                line(
                    text,
                    &format!("{key} = {}", setting.value),
                    &setting.origin.to_string(),
                );
            }
            (None, None) => line(text, &format!("# {key}"), &about(flag)),
        }
    }
}

fn line(text: &mut String, setting: &str, remark: &str) {
    let _ = writeln!(text, "{setting:<REMARK_COLUMN$} # {remark}");
}

/// The first line of a flag's help.
fn about(flag: &Arg) -> String {
    flag.get_help()
        .map(ToString::to_string)
        .unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// What the other tables hold, in short: they come from files alone.
fn tables(text: &mut String, config: &Config) {
    if config.clusters.is_empty() {
        text.push_str("\n# no [clusters.NAME]\n");
    } else {
        text.push('\n');
    }
    if let Some(archive) = &config.archive {
        let _ = writeln!(text, "# archive: {archive}");
    }
    let palette = &config.palette;
    if *palette != PaletteSettings::default() {
        let levels = palette.levels.iter().flatten().count();
        let _ = writeln!(
            text,
            "# [palette]: {} colors, {} pins, {levels} levels",
            palette.colors.len(),
            palette.pins.len()
        );
    }
    for (name, cluster) in &config.clusters {
        let default = if config.default_cluster.as_ref() == Some(name) {
            ", the default"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "# [clusters.{name}]: {}, sandboxes below {}{default}",
            cluster.scheduler, cluster.slave_root
        );
        if let Some(command) = &cluster.as_role {
            let _ = writeln!(text, "#   read by `{command}`");
        }
    }
    for folder in &config.jobs_dir {
        let _ = writeln!(text, "# jobs_dir: {}", folder.display());
    }
    for (name, job) in &config.jobs {
        let what = match job {
            Job::Key(key) => key.to_string(),
            Job::Inventory(inventory) => format!(
                "{} hosts, files {}",
                inventory.hosts.len(),
                inventory.files.join(" ")
            ),
            Job::Exec(exec) => format!("instances by `{}`", exec.command.join(" ")),
        };
        let _ = writeln!(text, "# [jobs.{name}]: {}", what.escape_debug());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Args;
    use crate::settings::{Defaults, known_keys};

    fn shown(typed: &[&str], file: &str) -> String {
        let command = Args::command();
        let matches = command
            .clone()
            .mut_args(|arg| arg.required(false))
            .try_get_matches_from([&["tailll"], typed].concat())
            .expect("good flags");
        let config = Config::parse(file, Path::new("c.toml"), None).expect("a good file");
        let settings = Settings::find(
            &command,
            &matches,
            |_| None,
            &config.defaults,
            &known_keys(&command),
        )
        .expect("good settings");
        text(
            &command,
            &settings,
            &config,
            &ConfigFile::Named("/no/such/c.toml".into()),
        )
    }

    #[test]
    fn it_says_what_is_set_and_where() {
        let text = shown(
            &["--tail", "5"],
            "default_cluster = 'aa'\n[clusters.aa]\nscheduler_uri = 'http://h:1'\n[jobs.web]\nkey = 'aa/r/prod/web'\n[defaults]\nexclude = ['a\"b']\n",
        );
        let wanted = [
            "tail = \"5\"                               # command line",
            "exclude = ['a\"b']                        # c.toml:7",
            "# no_follow ",
            "# [ssh] config ",
            "# [clusters.aa]: http://h:1/, sandboxes below /var/lib/mesos, the default",
            "# [jobs.web]: aa/r/prod/web",
            "# file /no/such/c.toml: not there",
        ];
        for line in wanted {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_is_printed_can_be_used() {
        let text = shown(&["-n", "5", "-e", "x\"\n\u{1b}y", "--stderr"], "");
        let config = Config::parse(&text, Path::new("c.toml"), None).expect("a good file");
        let keys: Vec<&str> = config.defaults.keys().map(String::as_str).collect();
        assert_eq!(keys, ["exclude", "stderr", "tail"]);
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert_ne!(config.defaults, Defaults::new());
    }
}
