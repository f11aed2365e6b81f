//! The ways to instances' files: one pool of connections for the whole program, and each login's files for as long as
//! somebody uses them.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::as_role::Become;
use crate::causes::plain;
use crate::clock::Clock;
use crate::config::SshConfigFile;
use crate::follow::Say;
use crate::instance::{Login, Place};
use crate::local::LocalFiles;
use crate::lock::lock;
use crate::login::{LoginOptions, Logins};
use crate::options::SshOptions;
use crate::output::Pauser;
use crate::pool::{Patience, Pool, PoolOptions, SESSIONS_PER_CONNECTION};
use crate::remote::{HEARTBEAT, RemoteFiles, ShellSettings};
use crate::ssh_program::{EndWith, Program, ProgramOptions, Questions};
use crate::status::State;
use crate::talk::Talker;
use crate::transport::Transport;

/// Reasons for trying again that are told in full, at most; the status line has the beginnings of all.
const REASONS_TOLD: usize = 200;

/// Whether a reason is to be told: the first time, whoever it is the reason of. All hosts behind a jump host that is down have
/// the same.
fn is_new(said: &Mutex<HashSet<String>>, why: &str) -> bool {
    let mut said = lock(said);
    said.len() < REASONS_TOLD && said.insert(why.to_owned())
}

/// A login, and the command that makes another user of it.
pub type Way = (Login, Option<Become>);

/// The ways that are open.
#[derive(Debug)]
pub struct Reach {
    local: LocalFiles,
    pool: Pool,
    #[expect(dead_code, reason = "ends the system's client when dropped")]
    program: Option<EndWith>,
    shell: ShellSettings,
    /// The files by each way, and how many use them.
    remotes: HashMap<Way, (RemoteFiles, usize)>,
    talker: Talker,
}

impl Reach {
    /// No way is open yet. What is known of each login is told to the talker's status line; it is paused while
    /// somebody is asked.
    pub fn new(
        ssh: SshOptions,
        home: Option<PathBuf>,
        patience: Patience,
        clock: Clock,
        talker: Talker,
        pauser: Pauser,
    ) -> Self {
        let say: Say = {
            let talker = talker.clone();
            Arc::new(move |line| talker.say(&line))
        };
        let file = match ssh.config {
            SshConfigFile::Usual => None,
            SshConfigFile::None => Some("none".into()),
            SshConfigFile::File(file) => Some(file),
        };
        let (resolve, program) = if let Some(command) = ssh.command {
            let options = ProgramOptions {
                config: file,
                known_hosts: ssh.known_hosts,
                identity_files: ssh.identity_files,
            };
            let questions = Questions::of_process();
            let seed = clock.started().wall_ns as u64;
            let program = Program::new(command, options, questions, say, seed);
            (program.resolver(), Some(EndWith(program)))
        } else {
            let options = LoginOptions {
                config: file,
                known_hosts: ssh.known_hosts,
                identity_files: ssh.identity_files,
                compression: ssh.compression,
                unknown: ssh.unknown,
                output: Some(pauser),
            };
            (Logins::new(options, clock, say).resolver(), None)
        };
        let pool = Pool::new(PoolOptions {
            resolve,
            report: {
                let talker = talker.clone();
                let said = Mutex::new(HashSet::new());
                Arc::new(move |login: &Login, state| {
                    if let State::Retrying { why } = &state
                        && patience == Patience::Endless
                        && is_new(&said, why)
                    {
                        talker.say(&format!("{login}: {}; it is tried again", plain(why)));
                    }
                    talker.status(|status| status.set(&login.to_string(), state));
                })
            },
            patience,
            sessions_per_connection: ssh
                .sessions_per_connection
                .map_or(SESSIONS_PER_CONNECTION, u32::from),
            seed: clock.started().wall_ns as u64,
        });
        Self {
            local: LocalFiles::new(home),
            pool,
            program,
            shell: ShellSettings {
                heartbeat: ssh.heartbeat.unwrap_or(HEARTBEAT),
                ..ShellSettings::default()
            },
            remotes: HashMap::new(),
            talker,
        }
    }

    /// The way to a place, as the login's own user or by `as_role` as another; give it back with [`Reach::release`].
    pub fn transport(&mut self, place: &Place, as_role: Option<&Become>) -> Transport {
        let login = match place {
            Place::Local => return Transport::Local(self.local.clone()),
            Place::Ssh(login) => login,
        };
        let way = (login.clone(), as_role.cloned());
        let (files, users) = self.remotes.entry(way).or_insert_with(|| {
            self.talker
                .status(|status| status.set(&login.to_string(), State::Waiting));
            let shell = ShellSettings {
                as_role: as_role.cloned(),
                ..self.shell.clone()
            };
            let files = RemoteFiles::new(self.pool.host(login), shell);
            (files, 0)
        });
        *users += 1;
        Transport::Remote(files.clone())
    }

    /// Gives a way back; with its last user a login leaves the status line.
    pub fn release(&mut self, place: &Place, as_role: Option<&Become>) {
        let Place::Ssh(login) = place else { return };
        let way = (login.clone(), as_role.cloned());
        if let Some((_, users)) = self.remotes.get_mut(&way) {
            *users -= 1;
            if *users == 0 {
                self.remotes.remove(&way);
                if !self.remotes.keys().any(|(other, _)| other == login) {
                    self.talker
                        .status(|status| status.remove(&login.to_string()));
                }
            }
        }
    }
}
