//! Copies that a rotation left: a file that begins with exactly the bytes of a log that are planned already.
//!
//! A rotation by copy and truncation makes a second file of the same bytes and empties the first. Shipped as a file of its own,
//! the copy would bring every line twice; and what was written between the last plan and the truncation is in the copy alone.
//! So the copy becomes the source of what is left of the truncated log.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::batch::is_still;
use crate::file_id::FileStat;
use crate::log::{Log, Seen};

/// How much of a copy is read at a time, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// How often a file that begins like another log is looked at again before it counts as a file of its own, in scans: whoever
/// copies a file to truncate it does so at once.
pub const MAX_SCANS_IN_DOUBT: u8 = 3;

/// Whether `file`, of `size` bytes, begins with the bytes of the log that are planned. `false` of a log without any: every file
/// begins so.
pub fn begins_with(file: &File, size: u64, log: &Log) -> io::Result<bool> {
    let Some(crc) = log.seen.crc else {
        return Ok(false);
    };
    if log.offset == 0 || size < log.offset || !is_still(file, log) {
        return Ok(false);
    }
    let mut digest = Seen::new().crc();
    let mut buffer = vec![0; READ_BYTES];
    let mut at = 0;
    while at < log.offset {
        let wanted = buffer.len().min((log.offset - at) as usize);
        match file.read_at(&mut buffer[..wanted], at) {
            Ok(0) => return Ok(false),
            Ok(got) => {
                digest.update(&buffer[..got]);
                at += got as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(digest.state() == Some(crc))
}

/// Whether a file can be a copy of another one that was emptied after it was made: nobody has written to it since.
pub fn is_before(copy: &FileStat, emptied: &FileStat) -> bool {
    copy.mtime_ns <= emptied.mtime_ns
}

/// Whether two files may be a log and its copy by where they lie: in one folder, of one task, and the log under its own name,
/// which it keeps when it is emptied.
pub fn are_near(one: &Log, other: &crate::spool::Description) -> bool {
    let (a, b) = (&one.description.origin, &other.origin);
    one.description.path.parent() == other.path.parent()
        && one.description.path != other.path
        && one.description.cluster == other.cluster
        && (&a.role, &a.env, &a.job, a.instance, &a.task_id)
            == (&b.role, &b.env, &b.job, b.instance, &b.task_id)
}
