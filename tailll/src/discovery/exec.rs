//! A program that says which instances there are: one JSON object a line, run again and again.
//!
//! What it prints is read leniently where it says more than is asked for, and strictly where it says what cannot be. A run that
//! failed, that took too long or that printed a bad line removes nothing. The protocol is in `docs/guide.md`.

use std::collections::{BTreeMap, HashMap};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use joblog::task_id::MAX_TASK_ID_BYTES;
use joblog::{InstanceSet, JobKey};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::{Access, DiscoveryEvent, Health, Outbox, Stopped, Watch};
use crate::causes::plain;
use crate::instance::{Files, Instance, InstanceId, Login, Place, check_host, check_user};
use crate::source::InstanceLabel;
use crate::transport::Pattern;

/// How long one run of the program may take.
pub const EXEC_TIMEOUT: Duration = Duration::from_secs(30);

/// What one run may print, in bytes.
pub const EXEC_OUTPUT_BYTES: usize = 16 * 1024 * 1024;

/// What is kept of what a run says on standard error, in bytes.
pub const EXEC_STDERR_BYTES: usize = 4096;

/// The most instances of one program, in instances.
pub const EXEC_INSTANCES: usize = 20_000;

/// The most patterns of one instance, in patterns.
pub const EXEC_FILES: usize = 100;

/// A program that prints instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// What its job is called where it does not say.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long after a run the next begins, where it is configured.
    pub interval: Option<Duration>,
    /// Which instances; all if it does not say.
    pub instances: Option<InstanceSet>,
    /// Whom to log in as, from the flag; stronger than what the program says.
    pub flag_user: Option<String>,
    /// Whom to log in as where the program does not say, and as whom to read.
    pub access: Access,
    /// The same for jobs of these clusters.
    pub clusters: BTreeMap<String, Access>,
}

/// A line as it is printed; what else stands in it is passed over.
#[derive(Debug, Deserialize)]
struct Line {
    host: String,
    user: Option<String>,
    port: Option<u16>,
    instance: Option<u32>,
    task_id: Option<String>,
    job: Option<String>,
    files: Option<Vec<String>>,
    sandbox: Option<String>,
}

/// What one run found.
#[derive(Debug, Default)]
struct Answer {
    instances: Vec<Instance>,
    /// Why it is not all.
    problem: Option<String>,
}

impl Exec {
    pub(super) async fn watch(self, watch: Watch, outbox: &Outbox) -> Result<(), Stopped> {
        let mut known: HashMap<InstanceId, Arc<InstanceLabel>> = HashMap::new();
        let mut health = Health::Well;
        let mut first = true;
        loop {
            match outbox.unless_stopped(self.ask()).await? {
                Err(problem) => health.trouble(&self.name, problem, outbox).await?,
                Ok(answer) => {
                    let whole = answer.problem.is_none();
                    match answer.problem {
                        Some(problem) => health.trouble(&self.name, problem, outbox).await?,
                        None => health.well(&self.name, outbox).await?,
                    }
                    if whole {
                        self.remove_vanished(&mut known, &answer.instances, outbox)
                            .await?;
                    }
                    for instance in answer.instances {
                        if known
                            .insert(instance.id.clone(), Arc::clone(&instance.label))
                            .is_none()
                        {
                            outbox.send(DiscoveryEvent::Added(instance)).await?;
                        }
                    }
                    if std::mem::take(&mut first) {
                        outbox
                            .send(DiscoveryEvent::Complete {
                                source: self.name.clone(),
                                instances: known.len(),
                            })
                            .await?;
                    }
                }
            }
            let Watch::Every(interval) = watch else {
                return Ok(());
            };
            outbox
                .unless_stopped(tokio::time::sleep(self.interval.unwrap_or(interval)))
                .await?;
        }
    }

    async fn remove_vanished(
        &self,
        known: &mut HashMap<InstanceId, Arc<InstanceLabel>>,
        instances: &[Instance],
        outbox: &Outbox,
    ) -> Result<(), Stopped> {
        let seen: std::collections::HashSet<&InstanceId> =
            instances.iter().map(|instance| &instance.id).collect();
        let mut gone: Vec<InstanceId> = known
            .keys()
            .filter(|id| !seen.contains(id))
            .cloned()
            .collect();
        gone.sort();
        for id in gone {
            if let Some(label) = known.remove(&id) {
                let how = format!("{} no longer names it", self.name);
                outbox
                    .send(DiscoveryEvent::Removed { id, label, how })
                    .await?;
            }
        }
        Ok(())
    }

    /// Runs the program once.
    async fn ask(&self) -> Result<Answer, String> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err("exec: the command is empty".to_owned());
        };
        let shown = plain(program);
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A run that is given up must not go on.
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                format!("`{shown}` cannot be started: {error}; check `exec` in the configuration")
            })?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(format!("`{shown}` has no output"));
        };
        let run = async {
            let (output, complaint) = tokio::join!(
                read_most(stdout, EXEC_OUTPUT_BYTES),
                read_most(stderr, EXEC_STDERR_BYTES)
            );
            let status = child.wait().await;
            (output, complaint, status)
        };
        let (output, complaint, status) =
            tokio::time::timeout(EXEC_TIMEOUT, run).await.map_err(|_| {
                format!(
                    "`{shown}` did not end within {} s; its instances stay as they are",
                    EXEC_TIMEOUT.as_secs()
                )
            })?;
        let complaint = plain(String::from_utf8_lossy(&complaint.0).trim());
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => {
                let said = if complaint.is_empty() {
                    "it said nothing on standard error".to_owned()
                } else {
                    complaint
                };
                return Err(format!("`{shown}` failed ({status}): {said}"));
            }
            Err(error) => return Err(format!("`{shown}`: {error}")),
        }
        if output.1 == Rest::Dropped {
            return Err(format!(
                "`{shown}` printed more than {EXEC_OUTPUT_BYTES} bytes; its instances stay as they are"
            ));
        }
        Ok(self.read(&shown, &output.0))
    }

    /// Reads what a run printed.
    fn read(&self, shown: &str, output: &[u8]) -> Answer {
        let mut answer = Answer::default();
        let mut bad = 0_usize;
        for (at, line) in output.split(|&byte| byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let read = serde_json::from_slice::<Line>(line)
                .map_err(|error| error.to_string())
                .and_then(|line| self.instance(line));
            match read {
                Ok(Some(_)) if answer.instances.len() >= EXEC_INSTANCES => {
                    answer.problem = Some(format!(
                        "`{shown}` names more than {EXEC_INSTANCES} instances; the rest is not followed"
                    ));
                    break;
                }
                Ok(instance) => answer.instances.extend(instance),
                Err(error) => {
                    bad += 1;
                    answer.problem.get_or_insert_with(|| {
                        format!("`{shown}` printed a bad line {}: {}", at + 1, plain(&error))
                    });
                }
            }
        }
        if bad > 1 {
            answer.problem = answer
                .problem
                .map(|problem| format!("{problem} (and {} more like it)", bad - 1));
        }
        answer
    }

    /// The instance that a line names; none if it is not among those that were asked for.
    fn instance(&self, line: Line) -> Result<Option<Instance>, String> {
        check_host(&line.host).map_err(|error| format!("host: {error}"))?;
        if line.port == Some(0) {
            return Err("port: 0 is none".to_owned());
        }
        if let Some(user) = &line.user {
            check_user(user).map_err(|error| format!("user: {error}"))?;
        }
        let key = match &line.job {
            Some(job) => Some(
                job.parse::<JobKey>()
                    .map_err(|error| format!("job: {error}"))?,
            ),
            None => None,
        };
        if let Some(id) = &line.task_id
            && (id.is_empty() || id.len() > MAX_TASK_ID_BYTES || id.chars().any(char::is_control))
        {
            return Err("task_id: it is none".to_owned());
        }
        let files = match (line.files, line.sandbox) {
            (Some(files), None) => {
                if files.is_empty() || files.len() > EXEC_FILES {
                    return Err(format!("files: from 1 to {EXEC_FILES} patterns"));
                }
                for file in &files {
                    check_path("files", file)?;
                }
                Files::Globs(files)
            }
            (None, Some(sandbox)) => {
                check_path("sandbox", &sandbox)?;
                Files::Folder(sandbox.trim_end_matches('/').to_owned())
            }
            _ => return Err("it needs either `files` or `sandbox`".to_owned()),
        };
        if let Some(wanted) = &self.instances
            && !line.instance.is_some_and(|number| wanted.contains(number))
        {
            return Ok(None);
        }
        let access = key
            .as_ref()
            .and_then(|key| self.clusters.get(key.cluster()))
            .unwrap_or(&self.access);
        let login = Login {
            user: self
                .flag_user
                .clone()
                .or(line.user)
                .or_else(|| self.access.user.clone())
                .or_else(|| access.user.clone()),
            host: line.host.clone(),
            port: line.port,
        };
        let as_role = self.access.as_role.as_ref().or(access.as_role.as_ref());
        let role = key.as_ref().map(JobKey::role);
        let as_role = as_role
            .map(|command| command.command(role))
            .transpose()
            .map_err(|error| error.to_string())?;
        let label = InstanceLabel {
            job: key
                .as_ref()
                .map_or_else(|| self.name.clone(), ToString::to_string),
            key,
            instance: line.instance,
            host: line.host,
            task_id: line.task_id,
        };
        // Whatever changes makes another instance of it: what is followed cannot be changed under way.
        let id = format!("exec:{}:{login}:{label:?}:{files:?}", self.name);
        Ok(Some(Instance {
            id: InstanceId(id),
            label: Arc::new(label),
            place: Place::Ssh(login),
            files,
            as_role,
        }))
    }
}

fn check_path(key: &str, path: &str) -> Result<(), String> {
    if !path.starts_with('/') || path == "/" {
        return Err(format!(
            "{key}: `{}` is no absolute path",
            path.escape_debug()
        ));
    }
    match Pattern::new(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{key}: {error}")),
    }
}

/// Whether there was more than was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    None,
    Dropped,
}

/// Reads to the end, and keeps the first bytes.
async fn read_most(mut from: impl AsyncRead + Unpin, limit: usize) -> (Vec<u8>, Rest) {
    let mut kept = Vec::new();
    let mut rest = Rest::None;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return (kept, rest),
            Ok(n) => {
                let room = limit.saturating_sub(kept.len());
                kept.extend_from_slice(&buffer[..n.min(room)]);
                if n > room {
                    rest = Rest::Dropped;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::super::Source;
    use super::super::tests::Watched;
    use super::*;

    fn exec(command: &[&str]) -> Exec {
        Exec {
            name: "cmdb".to_owned(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            interval: None,
            instances: None,
            flag_user: None,
            access: Access::default(),
            clusters: BTreeMap::new(),
        }
    }

    /// What an answer says, a line for each instance, and its problem.
    fn said(exec: &Exec, output: &str) -> Vec<String> {
        let answer = exec.read("p", output.as_bytes());
        let mut lines: Vec<String> = answer
            .instances
            .iter()
            .map(|instance| {
                let Place::Ssh(login) = &instance.place else {
                    panic!("over SSH")
                };
                let as_role = instance.as_role.as_ref().map(ToString::to_string);
                format!(
                    "{} {login} {:?} {}",
                    instance.label.name(),
                    instance.files,
                    as_role.unwrap_or_default()
                )
            })
            .collect();
        lines.extend(answer.problem);
        lines
    }

    #[test]
    fn each_line_is_an_instance() {
        let output = r#"{"host": "web1", "files": ["/a/*.log", "/b"]}

{"host": "::1", "user": "me", "port": 2222, "instance": 3, "task_id": "t-3", "job": "aa/www/prod/hello", "sandbox": "/s/x/", "zone": {"a": 1}}
"#;
        assert_eq!(
            said(&exec(&["p"]), output),
            [
                "web1 web1 Globs([\"/a/*.log\", \"/b\"]) ",
                "hello/3 on ::1 me@[::1]:2222 Folder(\"/s/x\") ",
            ]
        );
        let mut cluster = exec(&["p"]);
        cluster.instances = Some("0-3".parse().expect("a set"));
        cluster.clusters.insert(
            "aa".to_owned(),
            Access {
                user: Some("ops".to_owned()),
                as_role: Some("sudo -n -u {role}".parse().expect("a command")),
            },
        );
        let hello = r#"{"host": "h", "instance": 3, "job": "aa/www/prod/hello", "sandbox": "/s"}"#;
        assert_eq!(
            said(&cluster, &format!("{output}{hello}")),
            [
                "hello/3 on ::1 me@[::1]:2222 Folder(\"/s/x\") sudo -n -u www",
                "hello/3 on h ops@h Folder(\"/s\") sudo -n -u www",
            ]
        );
    }

    #[test]
    fn a_bad_line_is_said_and_the_others_are_taken() {
        for (line, expected) in [
            ("hello", "expected value"),
            ("{}", "missing field `host`"),
            (r#"{"host": "-x", "files": ["/a"]}"#, "begins with `-`"),
            (r#"{"host": "h", "files": ["a"]}"#, "no absolute path"),
            (r#"{"host": "h", "files": []}"#, "from 1 to"),
            (r#"{"host": "h"}"#, "either `files` or `sandbox`"),
            (
                r#"{"host": "h", "files": ["/a"], "sandbox": "/b"}"#,
                "either",
            ),
            (r#"{"host": "h", "files": ["/a"], "port": 0}"#, "port"),
            (r#"{"host": "h", "files": ["/a"], "port": 70000}"#, "70000"),
            (r#"{"host": "h", "files": ["/a"], "user": "a b"}"#, "user"),
            (r#"{"host": "h", "files": ["/a"], "job": "a/b"}"#, "job"),
            (
                r#"{"host": "h", "files": ["/a"], "task_id": ""}"#,
                "task_id",
            ),
        ] {
            let good = r#"{"host": "g", "files": ["/g"]}"#;
            let lines = said(&exec(&["p"]), &format!("{line}\n{good}"));
            assert_eq!(lines.len(), 2, "{lines:?}");
            assert!(lines[0].starts_with("g g "), "{lines:?}");
            assert!(
                lines[1].starts_with("`p` printed a bad line 1: ") && lines[1].contains(expected),
                "{lines:?}"
            );
        }
    }

    fn script(folder: &Path, body: &str) {
        // Written beside and moved, so that no run sees half of it.
        let new = folder.join("new");
        fs::write(&new, body).expect("to write");
        fs::rename(new, folder.join("body")).expect("to move");
    }

    #[tokio::test]
    async fn instances_come_and_go_and_stay_through_trouble() {
        let folder = tempfile::tempdir().expect("a folder");
        let line = |host: &str| format!("echo '{{\"host\": \"{host}\", \"files\": [\"/x\"]}}'\n");
        script(folder.path(), &format!("{}{}", line("a"), line("b")));
        let body = folder.path().join("body");
        let source = Source::Exec(exec(&["sh", body.to_str().expect("UTF-8")]));
        let mut watched = Watched::start(vec![source]);
        assert_eq!(
            watched.some(3).await,
            ["+ cmdb@a", "+ cmdb@b", "complete cmdb: 2"]
        );
        script(
            folder.path(),
            &format!("{}echo no luck >&2\nexit 3\n", line("a")),
        );
        assert_eq!(
            watched.next().await,
            "trouble cmdb: `sh` failed (exit status: 3): no luck"
        );
        script(folder.path(), &format!("{}echo '{{'\n", line("c")));
        let said = watched.some(2).await;
        assert!(
            said[0].starts_with("trouble cmdb: `sh` printed a bad line 2: "),
            "{said:?}"
        );
        assert_eq!(
            said[1], "+ cmdb@c",
            "what is good is taken, and nothing is removed"
        );
        script(folder.path(), &line("c"));
        assert_eq!(
            watched.some(3).await,
            [
                "recovered cmdb",
                "- cmdb@a: cmdb no longer names it",
                "- cmdb@b: cmdb no longer names it"
            ]
        );
        watched.stop().await;
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_or_prints_endlessly_is_said() {
        let missing = exec(&["/none/such"]).ask().await.expect_err("no program");
        assert!(
            missing.contains("`/none/such` cannot be started"),
            "{missing}"
        );
        let endless = format!("head -c {} /dev/zero", EXEC_OUTPUT_BYTES + 1);
        let endless = exec(&["sh", "-c", &endless])
            .ask()
            .await
            .expect_err("too much");
        assert!(endless.contains("more than 16777216 bytes"), "{endless}");
    }

    #[tokio::test]
    async fn stopping_does_not_wait_for_the_program() {
        let watched = Watched::start(vec![Source::Exec(exec(&["sleep", "1000"]))]);
        tokio::time::sleep(Duration::from_millis(50)).await;
        watched.stop().await;
    }

    proptest! {
        #[test]
        fn nothing_panics(output in "[\\PC\n]{0,200}", host in "\\PC{0,20}", file in "\\PC{0,20}") {
            let _ = said(&exec(&["p"]), &output);
            let line = serde_json::json!({"host": host, "files": [file], "sandbox": null}).to_string();
            let _ = said(&exec(&["p"]), &line);
        }
    }
}
