//! A task as its Mesos agent recorded it: the contents of `task.info` below the agent's `meta` folder.
//!
//! The file is a length of four bytes in the host's order, and a protobuf message (`mesos.Task`) whose field 1 is
//! `role/env/name`, field 2 the task's id and field 11 its labels. Only these are read, by a reader of its own; everything else
//! is stepped over.

/// The largest record that is worth reading, in bytes.
pub const MAX_TASK_INFO_BYTES: usize = 1024 * 1024;

/// The most labels that are kept, in labels.
const MAX_LABELS: usize = 256;

/// What a record says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskInfo<'a> {
    /// The task's name: for a job of Aurora `role/env/name`.
    pub name: Option<&'a str>,
    /// The task's id.
    pub task_id: Option<&'a str>,
    /// The task's labels, keys and values.
    pub labels: Vec<(&'a str, &'a str)>,
}

impl<'a> TaskInfo<'a> {
    /// Reads a record. Nothing if it is garbled or, since it may be read while it is written, not whole.
    pub fn parse(record: &'a [u8]) -> Option<Self> {
        let (length, message) = record.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
        let mut info = Self::default();
        each_field(message.get(..length)?, |number, value| match number {
            1 => info.name = std::str::from_utf8(value).ok(),
            2 => info.task_id = text_field(value, 1),
            11 => info.push_labels(value),
            _ => {}
        })?;
        Some(info)
    }

    /// Role, environment and name of the job, if the name is made of these three.
    pub fn job(&self) -> Option<(&'a str, &'a str, &'a str)> {
        let mut parts = self.name?.split('/');
        let job = (parts.next()?, parts.next()?, parts.next()?);
        parts.next().is_none().then_some(job)
    }

    /// The value of the first of these labels that there is, in their order.
    pub fn label(&self, keys: &[impl AsRef<str>]) -> Option<&'a str> {
        keys.iter().find_map(|wanted| {
            let mut labels = self.labels.iter();
            labels
                .find(|(key, _)| *key == wanted.as_ref())
                .map(|&(_, value)| value)
        })
    }

    fn push_labels(&mut self, message: &'a [u8]) {
        // What is wrong within one label is that label's matter.
        let _ = each_field(message, |number, label| {
            if number == 1
                && self.labels.len() < MAX_LABELS
                && let Some(key) = text_field(label, 1)
            {
                self.labels
                    .push((key, text_field(label, 2).unwrap_or_default()));
            }
        });
    }
}

/// The last text of this field in a message.
fn text_field(message: &[u8], wanted: u64) -> Option<&str> {
    let mut found = None;
    each_field(message, |number, value| {
        if number == wanted {
            found = Some(value);
        }
    })?;
    std::str::from_utf8(found?).ok()
}

/// Shows every field of a message that is made of bytes. Nothing if the message is garbled.
fn each_field<'a>(mut message: &'a [u8], mut show: impl FnMut(u64, &'a [u8])) -> Option<()> {
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match tag & 7 {
            0 => {
                varint(&mut message)?;
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                let value = message.get(..length)?;
                message = &message[length..];
                show(tag >> 3, value);
            }
            5 => message = message.get(4..)?,
            // Groups died out before Mesos was born.
            _ => return None,
        }
    }
    Some(())
}

/// A number of seven bits a byte, the lowest first.
fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn push_varint(mut number: u64, to: &mut Vec<u8>) {
        while number >= 0x80 {
            to.push(number as u8 | 0x80);
            number >>= 7;
        }
        to.push(number as u8);
    }

    fn push_bytes(field: u64, value: &[u8], to: &mut Vec<u8>) {
        push_varint(field << 3 | 2, to);
        push_varint(value.len() as u64, to);
        to.extend_from_slice(value);
    }

    /// A record as an agent writes it, with this name.
    fn record(name: &str, after: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        push_bytes(1, name.as_bytes(), &mut message);
        message.extend_from_slice(after);
        let mut record = (message.len() as u32).to_ne_bytes().to_vec();
        record.extend_from_slice(&message);
        record
    }

    fn message(fields: &[(u64, &[u8])]) -> Vec<u8> {
        let mut message = Vec::new();
        for (field, value) in fields {
            push_bytes(*field, value, &mut message);
        }
        message
    }

    fn job(record: &[u8]) -> Option<(&str, &str, &str)> {
        TaskInfo::parse(record)?.job()
    }

    #[test]
    fn fields_are_found_among_others() {
        let mut after = message(&[(2, &message(&[(1, b"task-7")]))]);
        after.extend([0x30, 0x96, 0x01]);
        after.extend([0x39, 1, 2, 3, 4, 5, 6, 7, 8]);
        after.extend([0x45, 1, 2, 3, 4]);
        let label = |key: &[u8], value: &[u8]| message(&[(1, key), (2, value)]);
        let bare = message(&[(1, b"bare")]);
        let labels = [
            label(b"tier", b"preferred"),
            label(b"git_sha", b"1f0c"),
            bare,
        ];
        let labels: Vec<(u64, &[u8])> = labels.iter().map(|label| (1, label.as_slice())).collect();
        after.extend(message(&[(11, &message(&labels)), (15, b"role")]));
        let record = record("www-data/prod/hello", &after);
        let info = TaskInfo::parse(&record).expect("a record");
        assert_eq!(info.job(), Some(("www-data", "prod", "hello")));
        assert_eq!(info.task_id, Some("task-7"));
        assert_eq!(info.label(&["none", "git_sha", "tier"]), Some("1f0c"));
        assert_eq!(info.label(&["bare"]), Some(""));
        assert_eq!(info.label(&["none"]), None);
    }

    #[test]
    fn what_is_no_record_of_a_job() {
        assert_eq!(job(b""), None);
        assert_eq!(job(&[0, 0, 0, 0]), None);
        assert_eq!(job(&record("a/b/c", b"\x0b")), None, "a group");
        assert_eq!(job(&record("a/b", b"")), None);
        assert_eq!(job(&record("a/b/c/d", b"")), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = TaskInfo::parse(&bytes);
            let _ = TaskInfo::parse(&record("a/b/c", &bytes));
        }

        #[test]
        fn every_name_is_read_and_no_cut_record_is(
            name in "[a-z/_.-]{0,300}",
            fields in prop::collection::vec((12..2000_u64, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            cut: prop::sample::Index,
        ) {
            let mut after = Vec::new();
            for (field, value) in &fields {
                push_bytes(*field, value, &mut after);
            }
            let record = record(&name, &after);
            prop_assert_eq!(TaskInfo::parse(&record).and_then(|info| info.name), Some(name.as_str()));
            prop_assert_eq!(TaskInfo::parse(&record[..cut.index(record.len())]), None);
        }
    }
}
