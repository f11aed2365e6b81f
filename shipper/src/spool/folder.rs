//! One folder of the spool: its lock, its mark, and the links in it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use archive::AgentId;
use rustix::fs::{AtFlags, CWD, FlockOperation, IFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{Description, Hold, Listing, MAX_DESCRIPTION_BYTES, Pin, SpoolError, Unlinked, Usage};
use crate::beneath::{self, MountStat};
use crate::file_id::Src;

/// The largest `agent` file that is read, in bytes.
const MAX_MARK_BYTES: u64 = 4096;

/// The version that is written into it.
const VERSION: u32 = 1;

/// The largest list of mounts that is read, in bytes.
const MAX_MOUNTS_BYTES: u64 = 4 * 1024 * 1024;

/// The most pins of former machines that are set aside, in folders.
const MAX_ASIDE: u32 = 100;

/// A folder of the spool, locked.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Held for its lock.
    _lock: File,
    on: MountStat,
    /// Whether the system itself refuses links to files of quota projects here.
    guard: ProjectGuard,
}

/// What keeps files of quota projects from being linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProjectGuard {
    /// The folder has a project of its own (none), which files must share.
    Set,
    /// That cannot be set here, but no project quotas are in force either.
    NotNeeded,
    /// That cannot be set here, and project quotas are in force.
    Missing,
}

/// Whose a folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) agent: AgentId,
    /// None if the mark was lost, and the agent is that of the pins.
    machine: Option<String>,
    pub(super) adopted: bool,
}

impl Mark {
    pub(super) fn is_of(&self, machine: &str) -> bool {
        self.machine.as_ref().is_none_or(|one| one == machine)
    }
}

#[derive(Serialize, Deserialize)]
struct MarkJson {
    version: u32,
    agent: String,
    machine: String,
}

/// The agent that a folder's mark names.
pub(super) fn recorded(folder: &Path) -> Option<AgentId> {
    let text = read_bounded(&folder.join("agent"), MAX_MARK_BYTES).ok()?;
    let json: MarkJson = serde_json::from_slice(&text).ok()?;
    json.agent.parse().ok()
}

impl Folder {
    /// Makes the folder if it is not there, looks whether it is safe, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, SpoolError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| SpoolError::io("create", path, error))?;
        check_safe(path)?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(&lock_path)
            .map_err(|error| SpoolError::io("open", &lock_path, error))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(SpoolError::Locked {
                    path: path.to_owned(),
                });
            }
            Err(error) => return Err(SpoolError::io("lock", &lock_path, error)),
        }
        let on =
            beneath::mount_of(&lock).map_err(|error| SpoolError::io("look at", path, error))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
            on,
            guard: ProjectGuard::NotNeeded,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn dev(&self) -> u64 {
        self.on.dev
    }

    pub(super) fn mount(&self) -> Option<u64> {
        self.on.mount
    }

    fn pins(&self) -> PathBuf {
        self.path.join("pins")
    }

    /// Whose the folder is; `None` of a new one.
    pub(super) fn mark(&self) -> Result<Option<Mark>, SpoolError> {
        let path = self.path.join("agent");
        let garbled = |problem: &str| SpoolError::Garbled {
            path: path.clone(),
            problem: problem.to_owned(),
        };
        match read_bounded(&path, MAX_MARK_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.mark_of_pins(),
            Err(error) => Err(SpoolError::io("read", &path, error)),
            // An interrupted write of an old kernel or a broken disk.
            Ok(text) if text.iter().all(|&byte| byte == 0) => self.mark_of_pins(),
            Ok(text) => {
                let json: MarkJson = serde_json::from_slice(&text).map_err(|error| {
                    garbled(&format!("it is not what an agent writes ({error}); restore it, or remove it to take the id of the pins"))
                })?;
                if json.version != VERSION {
                    return Err(garbled(&format!(
                        "it has version {}, and this program knows {VERSION}",
                        json.version
                    )));
                }
                let agent = json
                    .agent
                    .parse()
                    .map_err(|error| garbled(&format!("{error}")))?;
                Ok(Some(Mark {
                    agent,
                    machine: Some(json.machine),
                    adopted: false,
                }))
            }
        }
    }

    /// The mark that a folder must have had: its pins carry the agent's id.
    fn mark_of_pins(&self) -> Result<Option<Mark>, SpoolError> {
        let path = self.pins();
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| SpoolError::io("list", &path, error))?,
        };
        let mut agents: Vec<AgentId> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().to_str()?.parse::<Src>().ok()?.agent())
            .collect();
        agents.sort_unstable();
        agents.dedup();
        match agents[..] {
            [] => Ok(None),
            [agent] => Ok(Some(Mark {
                agent,
                machine: None,
                adopted: true,
            })),
            [..] => Err(SpoolError::Garbled {
                path: self.path.join("agent"),
                problem: "it is missing, and the pins are those of several agents".to_owned(),
            }),
        }
    }

    /// Says whose the folder is, for good.
    pub(super) fn set_mark(&mut self, agent: AgentId, machine: &str) -> Result<(), SpoolError> {
        let path = self.path.join("agent");
        let new = self.path.join("agent.new");
        let json = serde_json::to_string_pretty(&MarkJson {
            version: VERSION,
            agent: agent.to_string(),
            machine: machine.to_owned(),
        })
        .unwrap_or_default();
        let written = || {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(json.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            sync_folder(&self.path)
        };
        written().map_err(|error| SpoolError::io("write", &path, error))
    }

    /// Puts the pins of another machine's agent where they do no harm.
    pub(super) fn set_pins_aside(&mut self, old: AgentId) -> Result<(), SpoolError> {
        let pins = self.pins();
        if !pins.exists() {
            return Ok(());
        }
        let aside = (0..MAX_ASIDE)
            .map(|number| self.path.join(format!("pins-of-{old}.{number}")))
            .find(|path| !path.exists())
            .ok_or_else(|| SpoolError::Garbled {
                path: self.path.clone(),
                problem: "too many pins of former machines were set aside; remove them".to_owned(),
            })?;
        fs::rename(&pins, &aside).map_err(|error| SpoolError::io("rename", &pins, error))
    }

    /// Makes the folder of the pins ready.
    pub(super) fn prepare_pins(&mut self) -> Result<(), SpoolError> {
        let pins = self.pins();
        match DirBuilder::new().mode(0o700).create(&pins) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(SpoolError::io("create", &pins, error));
            }
            _ => {}
        }
        check_safe(&pins)?;
        let folder = open_folder(&pins).map_err(|error| SpoolError::io("open", &pins, error))?;
        self.guard = if set_project_guard(&folder).is_ok() {
            ProjectGuard::Set
        } else if self.on.mount.is_some_and(has_project_quotas) {
            ProjectGuard::Missing
        } else {
            ProjectGuard::NotNeeded
        };
        Ok(())
    }

    /// What keeps everything here from being linked, in words.
    pub(super) fn project_problem(&self) -> Option<String> {
        (self.guard == ProjectGuard::Missing).then(|| {
            format!(
                "the file system of {} has project quotas, and links that would carry a project's number cannot be told: \
                 run `chattr +P` on {} once as root, or a newer kernel",
                self.path.display(),
                self.pins().display()
            )
        })
    }

    /// Links a file of our own, and sees whether `root` is on our mount. `XDEV`: it is not.
    pub(super) fn try_link(&self, root: &Path) -> Result<(), Errno> {
        let test = self.path.join("test");
        let link = self.path.join("test.link");
        let clean = || {
            let _ = fs::remove_file(&test);
            let _ = fs::remove_file(&link);
        };
        clean();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let linked = rustix::fs::open(&test, flags, Mode::RUSR | Mode::WUSR)
            .and_then(|file| link_by_descriptor(file.as_fd(), &link));
        clean();
        linked?;
        // A folder cannot be linked, but the system looks at the mounts first.
        let folder = open_folder(root)?;
        let tried = link_by_descriptor(folder.as_fd(), &link);
        match tried {
            Err(Errno::XDEV) => Err(Errno::XDEV),
            _ => Ok(()),
        }
    }

    /// Links an opened file under its name and describes it. The inner error: why it cannot be linked.
    pub(super) fn link(
        &self,
        file: &File,
        description: &Description,
    ) -> Result<Result<PathBuf, Unlinked>, SpoolError> {
        let link = self.pins().join(description.src.as_str());
        if let Ok(there) = beneath::stat_at(CWD, &link) {
            if !description.id.may_be(&there.id) {
                return Err(SpoolError::Replaced {
                    path: link,
                    expected: description.id.inode(),
                });
            }
            return Ok(Ok(link));
        }
        if self.guard == ProjectGuard::Missing {
            return Ok(Err(Unlinked::Project));
        }
        // The description comes first: a link of which nothing is known is worse than a description of nothing.
        let text = description_path(&link);
        let written = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&text)
            .and_then(|mut file| file.write_all(description.to_json().as_bytes()));
        let linked = match written {
            Ok(()) => link_by_descriptor(file.as_fd(), &link),
            Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        };
        let Err(error) = linked else {
            return Ok(Ok(link));
        };
        let _ = fs::remove_file(&text);
        Ok(Err(match error {
            Errno::PERM | Errno::ACCESS => Unlinked::Denied,
            Errno::MLINK => Unlinked::TooManyLinks,
            Errno::XDEV if self.is_on_our_mount(file) && self.guard == ProjectGuard::Set => {
                Unlinked::Project
            }
            Errno::XDEV => Unlinked::OtherMount,
            Errno::NOENT if beneath::stat(file).is_ok_and(|stat| stat.links == 0) => Unlinked::Gone,
            _ => Unlinked::NotSupported,
        }))
    }

    fn is_on_our_mount(&self, file: &File) -> bool {
        beneath::mount_of(file).is_ok_and(|on| on == self.on)
    }

    /// Everything that is pinned here.
    pub(super) fn list(&self, listing: &mut Listing) -> Result<(), SpoolError> {
        let pins = self.pins();
        let failed = |error| SpoolError::io("list", &pins, error);
        let mut descriptions = Vec::new();
        for entry in fs::read_dir(&pins).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if let Some(name) = name.strip_suffix(".json") {
                match name.parse::<Src>() {
                    Ok(_) => descriptions.push(path),
                    Err(_) => listing.strangers.push(path),
                }
                continue;
            }
            let Ok(src) = name.parse::<Src>() else {
                listing.strangers.push(path);
                continue;
            };
            let stat = beneath::stat_at(CWD, &path)
                .map_err(|error| SpoolError::io("look at", &path, error))?;
            let metadata = fs::symlink_metadata(&path)
                .map_err(|error| SpoolError::io("look at", &path, error))?;
            if !metadata.is_file() {
                listing.strangers.push(path);
                continue;
            }
            let description = read_bounded(&description_path(&path), MAX_DESCRIPTION_BYTES)
                .ok()
                .and_then(|text| Description::from_json(&text))
                .filter(|described| described.src == src && described.id.may_be(&stat.id));
            let pin = Pin {
                src,
                id: stat.id,
                hold: Hold::Linked(path),
            };
            listing.pins.push((pin, description));
        }
        for path in descriptions {
            if fs::symlink_metadata(path.with_extension("")).is_err() {
                fs::remove_file(&path).map_err(|error| SpoolError::io("remove", &path, error))?;
                listing.orphans += 1;
            }
        }
        Ok(())
    }

    pub(super) fn sync_pins(&self) -> Result<(), SpoolError> {
        sync_folder(&self.pins()).map_err(|error| SpoolError::io("sync", &self.pins(), error))
    }

    pub(super) fn usage(&self) -> Result<Usage, SpoolError> {
        let stat = rustix::fs::statvfs(&self.path)
            .map_err(|error| SpoolError::io("ask for the size of", &self.path, error))?;
        Ok(Usage {
            folder: self.path.clone(),
            dev: self.on.dev,
            size_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }
}

/// Where the description of a link is.
pub(super) fn description_path(link: &Path) -> PathBuf {
    // A link's name has no dot.
    link.with_extension("json")
}

/// Makes a description durable; one that is gone with its pin need not be.
pub(super) fn sync_description(link: &Path) -> Result<(), SpoolError> {
    let path = description_path(link);
    match File::open(&path).and_then(|file| file.sync_all()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SpoolError::io("sync", &path, error))
        }
        _ => Ok(()),
    }
}

/// Links what a descriptor stands for, whatever its names are by now.
fn link_by_descriptor(file: std::os::fd::BorrowedFd<'_>, link: &Path) -> Result<(), Errno> {
    let path = beneath::by_descriptor(file);
    rustix::fs::linkat(CWD, path, CWD, link, AtFlags::SYMLINK_FOLLOW)
}

/// Gives the folder a quota project of its own that files must share to be linked into it: none, as new folders have.
fn set_project_guard(folder: &OwnedFd) -> Result<(), Errno> {
    let flags = rustix::fs::ioctl_getflags(folder)?;
    if flags.contains(IFlags::PROJECT_INHERIT) {
        return Ok(());
    }
    rustix::fs::ioctl_setflags(folder, flags | IFlags::PROJECT_INHERIT)
}

/// Whether a mount is of a file system with project quotas in force.
fn has_project_quotas(mount: u64) -> bool {
    let mounts = read_bounded(Path::new("/proc/self/mountinfo"), MAX_MOUNTS_BYTES);
    mounts.is_ok_and(|text| project_quotas_of(&String::from_utf8_lossy(&text), mount))
}

fn project_quotas_of(mounts: &str, mount: u64) -> bool {
    let line = mounts
        .lines()
        .find(|line| line.split(' ').next().and_then(|id| id.parse::<u64>().ok()) == Some(mount));
    line.and_then(|line| line.rsplit(' ').next())
        .is_some_and(|options| {
            options
                .split(',')
                .any(|option| matches!(option, "prjquota" | "pquota" | "pqnoenforce"))
        })
}

/// A folder that others can write to, or own, could be filled with links of their choice.
fn check_safe(path: &Path) -> Result<(), SpoolError> {
    let stat =
        fs::symlink_metadata(path).map_err(|error| SpoolError::io("look at", path, error))?;
    let own = rustix::process::geteuid().as_raw();
    let problem = if !stat.is_dir() {
        "it is no folder".to_owned()
    } else if stat.uid() != own && own != 0 {
        format!(
            "it belongs to user {}, and the agent is user {own}",
            stat.uid()
        )
    } else if stat.mode() & 0o022 != 0 {
        format!("others can write to it (mode {:o})", stat.mode() & 0o7777)
    } else {
        return Ok(());
    };
    Err(SpoolError::Unsafe {
        path: path.to_owned(),
        problem,
    })
}

fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

fn sync_folder(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::fsync(open_folder(path)?)?)
}

fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_quotas_are_read_from_the_list_of_mounts() {
        let mounts = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,errors=remount-ro\n\
                      30 22 8:1 / /data rw,relatime - xfs /dev/sda1 rw,attr2,inode64,prjquota\n";
        assert!(project_quotas_of(mounts, 30));
        assert!(!project_quotas_of(mounts, 22));
        assert!(!project_quotas_of(mounts, 7));
        assert!(!project_quotas_of("", 7));
    }
}
