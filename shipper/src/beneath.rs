//! Opens what jobs own without trusting them: below a folder, through no link, regular files only, never waiting.
//!
//! A job chooses the names in its sandbox. A name may be a link to `/etc/shadow`, a pipe that nobody writes to, or another thing
//! by the time it is opened. So nothing here follows a link that the operator did not make, a file's kind is looked at before it
//! is opened for reading, and all that is said of a file comes from its descriptor.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;

use crate::file_id::{FileStat, STAT_MASK, nanoseconds};

/// The most links that are followed on the way to a root, in links.
const MAX_LINKS: usize = 40;

/// A folder beneath which things are opened.
#[derive(Debug)]
pub struct Beneath {
    root: OwnedFd,
}

/// Why something was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// It is not there (any more).
    #[error("it is not there")]
    Gone,
    /// We may not.
    #[error("permission denied")]
    Denied,
    /// There is a link on the way, or the way leads out of the folder.
    #[error("there is a symbolic link on the way")]
    Link,
    /// A link on the way to a root that neither root nor the agent's user made.
    #[error("a symbolic link on the way belongs to user {0}, who could lead us anywhere")]
    ForeignLink(u32),
    /// It is no regular file, or no folder.
    #[error("it is not of the right kind")]
    Kind,
    /// Somebody holds a lease on it: later.
    #[error("it is busy")]
    Busy,
    /// Anything else.
    #[error("{0}")]
    System(Errno),
}

impl From<Errno> for NotOpened {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT => Self::Gone,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            Errno::LOOP | Errno::XDEV => Self::Link,
            Errno::NOTDIR | Errno::NXIO | Errno::ISDIR => Self::Kind,
            Errno::WOULDBLOCK | Errno::TXTBSY => Self::Busy,
            other => Self::System(other),
        }
    }
}

/// What tells whether a folder has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderStamp {
    /// The device's number.
    pub dev: u64,
    /// The folder's inode.
    pub ino: u64,
    /// When an entry was last added or removed, in ns since 1970.
    pub mtime_ns: i64,
    /// Who owns it.
    pub uid: u32,
}

impl Beneath {
    /// Opens a folder by an absolute path that the operator wrote down. A link on the way is followed if root or the agent's own
    /// user made it: anybody else could lead us anywhere.
    pub fn open(path: &Path) -> Result<Self, NotOpened> {
        let own = rustix::process::geteuid().as_raw();
        let mut links = 0;
        let mut to_go: Vec<PathBuf> = vec![path.to_owned()];
        let mut at = root_folder()?;
        while let Some(next) = to_go.pop() {
            let mut components = next.components();
            let Some(component) = components.next() else {
                continue;
            };
            let rest = components.as_path();
            if !rest.as_os_str().is_empty() {
                to_go.push(rest.to_owned());
            }
            let name = match component {
                Component::RootDir => {
                    at = root_folder()?;
                    continue;
                }
                Component::CurDir | Component::Prefix(_) => continue,
                Component::ParentDir => OsStr::new(".."),
                Component::Normal(name) => name,
            };
            let found = rustix::fs::openat(
                &at,
                name,
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            let stat = stat_of(found.as_fd())?;
            match file_type(&stat) {
                FileType::Directory => at = found,
                FileType::Symlink if stat.stx_uid != 0 && stat.stx_uid != own => {
                    return Err(NotOpened::ForeignLink(stat.stx_uid));
                }
                FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(NotOpened::Link);
                    }
                    let target = rustix::fs::readlinkat(&found, "", Vec::new())?;
                    to_go.push(PathBuf::from(OsString::from_vec(target.into_bytes())));
                }
                _ => return Err(NotOpened::Kind),
            }
        }
        Ok(Self { root: at })
    }

    /// The file system and the mount that the root is on.
    pub fn stat(&self) -> Result<MountStat, NotOpened> {
        Ok(mount_of(&self.root)?)
    }

    /// Opens a folder for listing, and says what tells its changes. The path is relative; empty for the root itself.
    pub fn folder(&self, path: &Path) -> Result<(OwnedFd, FolderStamp), NotOpened> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = self.resolve(path, flags)?;
        let stamp = stamp(&stat_of(folder.as_fd())?);
        Ok((folder, stamp))
    }

    /// What tells a folder's changes, cheaply. It may come from behind a link that a job made, so it says no more than that
    /// [`Beneath::folder`] is worth a call.
    pub fn stamp(&self, path: &Path) -> Result<FolderStamp, NotOpened> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let mask = StatxFlags::TYPE | StatxFlags::MTIME | StatxFlags::INO | StatxFlags::UID;
        let stat = rustix::fs::statx(&self.root, path, AtFlags::SYMLINK_NOFOLLOW, mask)?;
        match file_type(&stat) {
            FileType::Directory => Ok(stamp(&stat)),
            FileType::Symlink => Err(NotOpened::Link),
            _ => Err(NotOpened::Kind),
        }
    }

    /// What kind of thing has this name, for file systems whose listings do not say.
    pub fn kind(&self, path: &Path) -> FileType {
        let stat = rustix::fs::statx(
            &self.root,
            path,
            AtFlags::SYMLINK_NOFOLLOW,
            StatxFlags::TYPE,
        );
        stat.map_or(FileType::Unknown, |stat| file_type(&stat))
    }

    /// Whether there is something of this name, whatever it is.
    pub fn exists(&self, path: &Path) -> bool {
        rustix::fs::statx(
            &self.root,
            path,
            AtFlags::SYMLINK_NOFOLLOW,
            StatxFlags::TYPE,
        )
        .is_ok()
    }

    /// Opens a regular file for reading, and says what it is like.
    pub fn file(&self, path: &Path) -> Result<(File, FileStat), NotOpened> {
        // Not opened yet: a device or a pipe must not even notice.
        let named = self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)?;
        let stat = stat_of(named.as_fd())?;
        match file_type(&stat) {
            FileType::RegularFile => {}
            FileType::Symlink => return Err(NotOpened::Link),
            _ => return Err(NotOpened::Kind),
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::open(by_descriptor(named.as_fd()), flags, Mode::empty())?;
        // By the descriptor that is read from: sizes change.
        let stat = FileStat::from_statx(&stat_of(file.as_fd())?);
        Ok((File::from(file), stat))
    }

    /// Opens a path beneath the root, through no link.
    fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, NotOpened> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
            // An old kernel, or a filter of system calls that has not heard of it.
            Err(Errno::NOSYS | Errno::PERM) => self.resolve_by_steps(path, flags),
            // The kernel met a rename while it looked whether `..` leads out; there is none, so it is a busy folder.
            Err(Errno::AGAIN) => Err(NotOpened::Busy),
            other => Ok(other?),
        }
    }

    /// The same, a component at a time, for kernels without `openat2`.
    fn resolve_by_steps(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, NotOpened> {
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name),
                Component::CurDir => {}
                _ => return Err(NotOpened::Link),
            }
        }
        let last = names.pop().unwrap_or_else(|| OsStr::new("."));
        let step = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at: Option<OwnedFd> = None;
        for name in names {
            let parent = at.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            let next = match rustix::fs::openat(parent, name, step, Mode::empty()) {
                Err(Errno::NOTDIR) if is_link(parent, name) => return Err(NotOpened::Link),
                other => other?,
            };
            at = Some(next);
        }
        let parent = at.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
        match rustix::fs::openat(parent, last, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::NOTDIR) if is_link(parent, last) => Err(NotOpened::Link),
            other => Ok(other?),
        }
    }
}

/// What file system, and what mount of it, something is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountStat {
    /// The device's number.
    pub dev: u64,
    /// The mount's number, if the kernel tells (since 5.8).
    pub mount: Option<u64>,
}

/// The file system and the mount of what a descriptor stands for.
pub(crate) fn mount_of(file: impl AsFd) -> rustix::io::Result<MountStat> {
    let stat = rustix::fs::statx(
        file,
        "",
        AtFlags::EMPTY_PATH,
        StatxFlags::BASIC_STATS | StatxFlags::MNT_ID,
    )?;
    let told = stat.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    Ok(MountStat {
        dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        mount: told.then_some(stat.stx_mnt_id),
    })
}

/// What the file of a path is like now; a link is looked at itself.
pub(crate) fn stat_at(folder: impl AsFd, path: &Path) -> io::Result<FileStat> {
    let stat = rustix::fs::statx(folder, path, AtFlags::SYMLINK_NOFOLLOW, STAT_MASK)?;
    Ok(FileStat::from_statx(&stat))
}

/// What a descriptor's file is like now.
pub fn stat(file: impl AsFd) -> io::Result<FileStat> {
    Ok(FileStat::from_statx(&stat_of(file.as_fd())?))
}

/// The path by which the system finds the file of one of our descriptors, whatever it is called.
pub(crate) fn by_descriptor(file: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn root_folder() -> Result<OwnedFd, NotOpened> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, "/", flags, Mode::empty())?)
}

fn stat_of(file: BorrowedFd<'_>) -> rustix::io::Result<Statx> {
    rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, STAT_MASK)
}

fn file_type(stat: &Statx) -> FileType {
    FileType::from_raw_mode(stat.stx_mode.into())
}

fn is_link(parent: BorrowedFd<'_>, name: &OsStr) -> bool {
    rustix::fs::statx(parent, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE)
        .is_ok_and(|stat| file_type(&stat) == FileType::Symlink)
}

fn stamp(stat: &Statx) -> FolderStamp {
    FolderStamp {
        dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        ino: stat.stx_ino,
        mtime_ns: nanoseconds(stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
        uid: stat.stx_uid,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn folder() -> (tempfile::TempDir, Beneath) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("root/a/b")).expect("to create");
        fs::write(folder.path().join("root/a/b/file"), "inside").expect("to write");
        fs::write(folder.path().join("secret"), "outside").expect("to write");
        let beneath = Beneath::open(&folder.path().join("root")).expect("to open");
        (folder, beneath)
    }

    /// Both ways of resolving a path must agree.
    #[track_caller]
    fn check(beneath: &Beneath, path: &str, expected: Result<(), NotOpened>) {
        let path = Path::new(path);
        assert_eq!(beneath.file(path).map(|_| ()), expected, "{path:?}");
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let by_steps = beneath.resolve_by_steps(path, flags).and_then(|found| {
            match file_type(&stat_of(found.as_fd())?) {
                FileType::RegularFile => Ok(()),
                FileType::Symlink => Err(NotOpened::Link),
                _ => Err(NotOpened::Kind),
            }
        });
        assert_eq!(by_steps, expected, "{path:?} by steps");
    }

    #[test]
    fn only_regular_files_beneath_and_through_no_link() {
        let (folder, beneath) = folder();
        let root = folder.path().join("root");
        symlink("../secret", root.join("to-secret")).expect("to link");
        symlink("/etc/passwd", root.join("a/absolute")).expect("to link");
        symlink("a/b", root.join("to-folder")).expect("to link");
        symlink("b/file", root.join("a/to-file")).expect("to link");
        let _socket = UnixListener::bind(root.join("socket")).expect("to bind");
        rustix::fs::mknodat(
            CWD,
            root.join("pipe"),
            FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .expect("to make a pipe");
        for (path, expected) in [
            ("a/b/file", Ok(())),
            ("./a/b/file", Ok(())),
            ("a/b/none", Err(NotOpened::Gone)),
            ("none/none", Err(NotOpened::Gone)),
            ("to-secret", Err(NotOpened::Link)),
            ("a/absolute", Err(NotOpened::Link)),
            ("to-folder/file", Err(NotOpened::Link)),
            ("a/to-file", Err(NotOpened::Link)),
            ("../secret", Err(NotOpened::Link)),
            ("/etc/passwd", Err(NotOpened::Link)),
            ("a", Err(NotOpened::Kind)),
            ("socket", Err(NotOpened::Kind)),
            ("pipe", Err(NotOpened::Kind)),
            ("a/b/file/x", Err(NotOpened::Kind)),
        ] {
            check(&beneath, path, expected);
        }
        let (mut file, stat) = beneath.file(Path::new("a/b/file")).expect("to open");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("to read");
        assert_eq!((text.as_str(), stat.size, stat.links), ("inside", 6, 1));
    }

    #[test]
    fn folders_and_what_tells_their_changes() {
        let (folder, beneath) = folder();
        let before = beneath.stamp(Path::new("a/b")).expect("a folder");
        assert_eq!(
            beneath.folder(Path::new("a/b")).expect("a folder").1,
            before
        );
        assert!(beneath.folder(Path::new("")).is_ok());
        assert!(beneath.stamp(Path::new("")).is_ok());
        fs::remove_file(folder.path().join("root/a/b/file")).expect("to remove");
        fs::remove_dir(folder.path().join("root/a/b")).expect("to remove");
        assert_eq!(beneath.stamp(Path::new("a/b")), Err(NotOpened::Gone));
        symlink("/etc", folder.path().join("root/a/b")).expect("to link");
        assert_eq!(beneath.stamp(Path::new("a/b")), Err(NotOpened::Link));
        assert_eq!(
            beneath.folder(Path::new("a/b")).map(|_| ()),
            Err(NotOpened::Link)
        );
    }

    #[test]
    fn the_way_to_a_root_follows_the_operators_links_only() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("disk/mesos")).expect("to create");
        symlink("disk/mesos", folder.path().join("mesos")).expect("to link");
        symlink("loop", folder.path().join("loop")).expect("to link");
        let through = Beneath::open(&folder.path().join("mesos")).expect("our own link");
        let direct = Beneath::open(&folder.path().join("disk/../disk/mesos")).expect("a folder");
        let ino = |beneath: &Beneath| beneath.stamp(Path::new("")).expect("a stamp").ino;
        assert_eq!(ino(&through), ino(&direct));
        assert_eq!(
            Beneath::open(&folder.path().join("loop")).map(|_| ()),
            Err(NotOpened::Link)
        );
        assert_eq!(
            Beneath::open(&folder.path().join("none")).map(|_| ()),
            Err(NotOpened::Gone)
        );
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(folder.path().join("mesos"), Some(12_345), None)
                .expect("to give away");
            assert_eq!(
                Beneath::open(&folder.path().join("mesos")).map(|_| ()),
                Err(NotOpened::ForeignLink(12_345))
            );
        }
    }
}
