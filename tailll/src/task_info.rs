//! The exact job of a task, from the agent's own record: `task.info` below its `meta` folder.
//!
//! What is in the file is known to [`joblog::task_info`]. It belongs to root, so most users never get to see it.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use joblog::task_id::MAX_TASK_ID_BYTES;
use joblog::task_info::{MAX_TASK_INFO_BYTES, TaskInfo};

/// The most tasks of one run that are looked at, in tasks; Aurora's have one.
const MAX_TASKS: usize = 16;

/// A task as the agent recorded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The task's id.
    pub task_id: String,
    /// The job's role.
    pub role: String,
    /// The job's environment.
    pub env: String,
    /// The job's name.
    pub name: String,
}

/// The tasks that the agent recorded of a run: `tasks` is `<meta run>/tasks`. Nothing where it cannot be read.
pub fn recorded(tasks: &Path) -> Vec<Recorded> {
    let Ok(entries) = fs::read_dir(tasks) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .take(MAX_TASKS)
        .filter_map(|entry| {
            let task_id = entry.file_name().into_string().ok()?;
            if task_id.len() > MAX_TASK_ID_BYTES {
                return None;
            }
            let mut bytes = Vec::new();
            File::open(entry.path().join("task.info"))
                .ok()?
                .take(MAX_TASK_INFO_BYTES as u64)
                .read_to_end(&mut bytes)
                .ok()?;
            let (role, env, name) = TaskInfo::parse(&bytes)?.job()?;
            Some(Recorded {
                task_id,
                role: role.to_owned(),
                env: env.to_owned(),
                name: name.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A short record as an agent writes it, with this name and nothing else.
    pub(crate) fn record(name: &str) -> Vec<u8> {
        let message = [&[0x0a, name.len() as u8], name.as_bytes()].concat();
        [&(message.len() as u32).to_ne_bytes(), message.as_slice()].concat()
    }

    #[test]
    fn a_folder_of_records() {
        let folder = tempfile::tempdir().expect("a folder");
        for (id, name) in [("t-1", "r/e/n"), ("t-2", "r/n"), ("t-3", "a/b/c/d")] {
            let task = folder.path().join(id);
            fs::create_dir(&task).expect("to create");
            fs::write(task.join("task.info"), record(name)).expect("to write");
        }
        assert_eq!(
            recorded(folder.path()),
            [Recorded {
                task_id: "t-1".into(),
                role: "r".into(),
                env: "e".into(),
                name: "n".into()
            }]
        );
        assert_eq!(recorded(&folder.path().join("none")), []);
    }
}
