//! Login accounts with a chosen shell, for tests that need another shell or another user than the one who runs them.
//! Only root can make them; anyone else gets an error that says so.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::processes::{self, Signal};

/// What the names of all accounts made here begin with; the rig's servers let them in.
pub const NAME_PREFIX: &str = "tailll-t";

/// How often a step is tried, since another program may hold the lock of the account files.
const ATTEMPTS: u32 = 50;

/// The pause between two attempts.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(200);

/// The account files have one lock for the machine; tests of one process take turns before they ask for it.
static TURN: Mutex<()> = Mutex::new(());

/// The number of the next account of this process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// An account that exists as long as this value.
#[derive(Debug)]
pub struct Login {
    name: String,
    home: PathBuf,
}

impl Login {
    /// Makes an account whose login shell is `shell` and whose empty home lies in `folder`.
    pub fn add(shell: &Path, folder: &Path) -> Result<Self> {
        if !is_root()? {
            bail!(
                "a login account with the shell {} can only be made by root: run the tests as root",
                shell.display()
            );
        }
        if !shell.exists() {
            bail!("the login shell {} is not installed", shell.display());
        }
        let name = format!(
            "{NAME_PREFIX}{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let home = folder.join(&name);
        fs::create_dir(&home).with_context(|| format!("the home {}", home.display()))?;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o755))?;
        let home_text = home.to_str().context("the home's path is not UTF-8")?;
        let shell_text = shell.to_str().context("the shell's path is not UTF-8")?;
        account_tool(
            "useradd",
            &["-M", "-N", "-d", home_text, "-s", shell_text, &name],
        )?;
        let login = Self { name, home };
        // A fresh account is locked, and a server without PAM lets no locked account in, not even with a key.
        account_tool("usermod", &["-p", "*", &login.name])?;
        Ok(login)
    }

    /// Gives the account a password.
    pub fn set_password(&self, password: &str) -> Result<()> {
        let _turn = TURN
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut complaint = String::new();
        for _ in 0..ATTEMPTS {
            let mut child = Command::new("/usr/sbin/chpasswd")
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .context("chpasswd")?;
            if let Some(mut stdin) = child.stdin.take() {
                writeln!(stdin, "{}:{password}", self.name)?;
            }
            let output = child.wait_with_output()?;
            if output.status.success() {
                return Ok(());
            }
            String::from_utf8_lossy(&output.stderr)
                .trim()
                .clone_into(&mut complaint);
            std::thread::sleep(ATTEMPT_INTERVAL);
        }
        bail!("chpasswd {}: {complaint}", self.name)
    }

    /// The account's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The account's home.
    pub fn home(&self) -> &Path {
        &self.home
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let left: Vec<u32> = processes::with_environment(&format!("USER={}", self.name))
            .into_iter()
            .map(|one| one.pid)
            .collect();
        let _ = processes::signal(&left, Signal::Kill);
        // The force is for a session that is just ending; the home goes with the folder it lies in.
        let _ = account_tool("userdel", &["-f", &self.name]);
    }
}

/// A folder of links to every applet of busybox, to be the only thing on a `PATH`; `sh` in it is busybox's shell.
pub fn busybox_folder(parent: &Path) -> Result<PathBuf> {
    let program = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .map(Path::new)
        .find(|path| path.exists())
        .context("busybox is not installed")?;
    let list = Command::new(program)
        .arg("--list")
        .output()
        .context("busybox --list")?;
    let folder = parent.join("busybox");
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    for applet in String::from_utf8_lossy(&list.stdout).lines() {
        std::os::unix::fs::symlink(program, folder.join(applet))?;
    }
    if !folder.join("tail").exists() {
        bail!("this busybox has no tail");
    }
    Ok(folder)
}

/// A folder to be the only thing on a `PATH`, with tools like those of macOS and the BSDs: a `stat` and a `tail` with other
/// options than GNU's, no `timeout` but Perl. Their insides are this machine's.
pub fn bsd_folder(parent: &Path) -> Result<PathBuf> {
    // Formats are put into GNU's words; without names its input is looked at.
    const STAT: &str = "#!/bin/sh\n[ \"$1\" = -L ] && shift\n\
        [ \"$1\" = -f ] || { echo \"stat: illegal option -- ${1#-}\" >&2; exit 1; }\n\
        f=$(printf %s \"$2\" | /bin/sed 's/%z/%s/;s/%m/%Y/;s/%Xp/%f/;s/%B/%W/;s/%N/%n/'); shift 2\n\
        [ $# -gt 0 ] || set -- /proc/self/fd/0\nexec perl -e 'exec {q(/usr/bin/stat)} q(stat), @ARGV' -- -L -c \"$f\" \"$@\"\n";
    const TAIL: &str = "#!/bin/sh\necho 'usage: tail [-F | -f | -r] [-q] [-b # | -c # | -n #] [file ...]' >&2\nexit 1\n";
    let folder = parent.join("bsd");
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    for tool in [
        "sh", "ls", "dd", "head", "cat", "sleep", "xargs", "perl", "kill",
    ] {
        let program = ["/bin", "/usr/bin"]
            .into_iter()
            .map(|place| Path::new(place).join(tool))
            .find(|path| path.exists())
            .with_context(|| format!("{tool} is not installed"))?;
        std::os::unix::fs::symlink(program, folder.join(tool))?;
    }
    for (name, text) in [("stat", STAT), ("tail", TAIL)] {
        fs::write(folder.join(name), text)?;
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755))?;
    }
    Ok(folder)
}

/// Whether root runs this.
pub fn is_root() -> Result<bool> {
    Ok(id("-u")? == "0")
}

/// The name of the user who runs this.
pub fn own_name() -> Result<String> {
    id("-un")
}

fn id(flag: &str) -> Result<String> {
    let output = Command::new("id").arg(flag).output().context("id")?;
    if !output.status.success() {
        bail!(
            "id {flag}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn account_tool(tool: &str, arguments: &[&str]) -> Result<()> {
    let _turn = TURN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let path = format!("/usr/sbin/{tool}");
    let mut complaint = String::new();
    for _ in 0..ATTEMPTS {
        let output = Command::new(&path)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .context(path.clone())?;
        if output.status.success() {
            return Ok(());
        }
        String::from_utf8_lossy(&output.stderr)
            .trim()
            .clone_into(&mut complaint);
        if !complaint.contains("lock") {
            break;
        }
        std::thread::sleep(ATTEMPT_INTERVAL);
    }
    bail!("{tool} {}: {complaint}", arguments.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sshd::{Settings, Sshd};

    #[test]
    fn an_account_can_log_in_with_its_shell_or_it_is_said_who_can_make_one() {
        let sshd = Sshd::start(Settings {
            addresses: 1,
            hosts: 1,
            ..Settings::default()
        })
        .unwrap();
        let busybox = busybox_folder(sshd.dir()).unwrap();
        let login = Login::add(&busybox.join("sh"), sshd.dir());
        if !is_root().unwrap() {
            assert!(login.unwrap_err().to_string().contains("root"));
            return;
        }
        let login = login.unwrap();
        let output = sshd
            .ssh()
            .args(["-l", login.name(), "h1", "id -un; echo $0"])
            .output()
            .unwrap();
        let expected = format!("{}\nsh\n", login.name());
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            expected,
            "{output:?}"
        );
        let name = login.name().to_owned();
        drop(login);
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        assert!(!passwd.contains(&name), "{name} is still an account");
    }
}
