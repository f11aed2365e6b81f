//! What stands before a line: whose it is, as short as it can be said.
//!
//! Owns the text `job/instance[@host] process stream` of every open source, shortened to what differs between them,
//! in columns that change their width rarely. Colours and the separator are `render.rs`'s.
//!
//! What is left out: leading parts that all jobs share; the domain that all hosts share; the host of a numbered
//! instance unless two hosts have the same one; the process, the stream or the path if there is only one of them; the
//! directories that all paths share; the name if there is one host and several paths. Something always remains.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use joblog::Stream;

use crate::escape;
use crate::source::{FileLabel, InstanceLabel, Source, SourceId};

/// What an executor's own output is called where a process's name would stand.
const EXECUTOR: &str = "executor";

/// The most columns of a name; longer ones lose their middle.
pub const NAME_COLUMNS: usize = 40;

/// The most columns of a process or a path; longer ones lose their middle.
pub const FILE_COLUMNS: usize = 32;

/// By how many columns everything must have become shorter for a column to shrink.
const SHRINK_COLUMNS: usize = 8;

/// The texts of all open sources.
#[derive(Debug, Default)]
pub struct Prefixes {
    entries: HashMap<SourceId, Entry>,
    /// Every label, by job, number and host.
    labels: BTreeMap<(String, Option<u32>, String), usize>,
    /// The hosts of every numbered instance.
    hosts_of: HashMap<(String, u32), BTreeMap<String, usize>>,
    /// How many numbered instances are on more than one host.
    contested: usize,
    jobs: BTreeMap<Vec<String>, usize>,
    /// Hosts as labels from the right.
    domains: BTreeMap<Vec<String>, usize>,
    processes: BTreeMap<String, usize>,
    streams: BTreeMap<Stream, usize>,
    paths: BTreeMap<Vec<String>, usize>,
    shape: Shape,
    widths: [usize; 3],
    generation: u64,
}

#[derive(Debug)]
struct Entry {
    source: Arc<Source>,
    cells: [String; 3],
    text: String,
}

/// What is shown; the texts of all depend on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Shape {
    shared_job_parts: usize,
    shared_domain_labels: usize,
    shared_path_parts: usize,
    contested: usize,
    name: Name,
    jobs: Column,
    processes: Column,
    streams: Column,
    paths: Column,
}

/// Whether a part differs between sources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Column {
    #[default]
    Same,
    Differs,
}

/// Whether the name is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Name {
    #[default]
    Shown,
    /// The path says enough.
    LeftOut,
}

impl Column {
    fn of<K>(counts: &BTreeMap<K, usize>) -> Self {
        if counts.len() > 1 {
            Self::Differs
        } else {
            Self::Same
        }
    }
}

impl Prefixes {
    /// No source is open.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a source in.
    pub fn open(&mut self, id: SourceId, source: Arc<Source>) {
        self.close(id);
        self.count(&source, add);
        self.entries.insert(
            id,
            Entry {
                source,
                cells: Default::default(),
                text: String::new(),
            },
        );
        self.reshape(Some(id));
    }

    /// Lets a source go.
    pub fn close(&mut self, id: SourceId) {
        if let Some(entry) = self.entries.remove(&id) {
            self.count(&entry.source, subtract);
            self.reshape(None);
        }
    }

    /// The text of an open source, padded.
    pub fn text(&self, id: SourceId) -> Option<&str> {
        self.entries.get(&id).map(|entry| entry.text.as_str())
    }

    /// An open source.
    pub fn source(&self, id: SourceId) -> Option<&Arc<Source>> {
        self.entries.get(&id).map(|entry| &entry.source)
    }

    /// The text for something that is about a host, padded like the others.
    pub fn host_text(&self, host: &str) -> String {
        let columns: usize = self
            .widths
            .iter()
            .map(|width| if *width > 0 { width + 1 } else { 0 })
            .sum();
        let name = shorten(&escape::text(self.short_host(host)), NAME_COLUMNS);
        let name = if name.is_empty() {
            "?".to_string()
        } else {
            name
        };
        format!("{name:0$}", columns.saturating_sub(1))
    }

    /// Changes whenever the text of a source that was open before has changed.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    fn count(&mut self, source: &Source, change: Change) {
        let InstanceLabel {
            job,
            instance,
            host,
            ..
        } = &*source.instance;
        change_count(
            &mut self.labels,
            (job.clone(), *instance, host.clone()),
            change,
        );
        if let Some(number) = instance {
            let key = (job.clone(), *number);
            let hosts = self.hosts_of.entry(key.clone()).or_default();
            let before = hosts.len();
            change_count(hosts, host.clone(), change);
            let after = hosts.len();
            if after == 0 {
                self.hosts_of.remove(&key);
            }
            self.contested += usize::from(before < 2 && after > 1);
            self.contested -= usize::from(before > 1 && after < 2);
        }
        change_count(&mut self.jobs, parts(job, '/'), change);
        if !is_address(host) {
            let mut labels = parts(host, '.');
            labels.reverse();
            change_count(&mut self.domains, labels, change);
        }
        match &source.file {
            FileLabel::Process {
                process, stream, ..
            } => {
                change_count(&mut self.processes, process.clone(), change);
                change_count(&mut self.streams, *stream, change);
            }
            FileLabel::Executor { stream } => {
                change_count(&mut self.processes, EXECUTOR.to_owned(), change);
                change_count(&mut self.streams, *stream, change);
            }
            FileLabel::Plain { path } => change_count(&mut self.paths, parts(path, '/'), change),
        }
    }

    /// Makes the texts fit the open sources. If nothing else changed, only that of `new`.
    fn reshape(&mut self, new: Option<SourceId>) {
        let shape = self.wanted_shape();
        if shape == self.shape {
            let Some((id, entry)) = new.and_then(|id| Some((id, self.entries.get(&id)?))) else {
                return;
            };
            let cells = self.cells(&entry.source);
            let grown: [usize; 3] =
                std::array::from_fn(|at| self.widths[at].max(columns(&cells[at])));
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.cells = cells;
            }
            if grown == self.widths {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.text = padded(&entry.cells, self.widths);
                }
                return;
            }
            self.widths = grown;
        } else {
            self.shape = shape;
            let all: Vec<(SourceId, [String; 3])> = self
                .entries
                .iter()
                .map(|(id, entry)| (*id, self.cells(&entry.source)))
                .collect();
            let mut needed = [0; 3];
            for (id, cells) in all {
                for (needed, cell) in needed.iter_mut().zip(&cells) {
                    *needed = columns(cell).max(*needed);
                }
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.cells = cells;
                }
            }
            for (width, needed) in self.widths.iter_mut().zip(needed) {
                if needed > *width || needed == 0 || needed + SHRINK_COLUMNS <= *width {
                    *width = needed;
                }
            }
        }
        for entry in self.entries.values_mut() {
            entry.text = padded(&entry.cells, self.widths);
        }
        self.generation += 1;
    }

    fn wanted_shape(&self) -> Shape {
        let only_label = self.labels.len() == 1 && self.processes.is_empty();
        let name = match self.labels.first_key_value() {
            Some(((_, None, host), _))
                if only_label && (self.paths.len() > 1 || host == "localhost") =>
            {
                Name::LeftOut
            }
            _ => Name::Shown,
        };
        let file_kinds =
            usize::from(!self.processes.is_empty()) + usize::from(!self.paths.is_empty());
        let of_files = |column: Column| {
            if file_kinds > 1 {
                Column::Differs
            } else {
                column
            }
        };
        Shape {
            shared_job_parts: shared(&self.jobs),
            shared_domain_labels: shared(&self.domains),
            shared_path_parts: shared(&self.paths),
            contested: self.contested,
            name,
            jobs: Column::of(&self.jobs),
            processes: of_files(Column::of(&self.processes)),
            streams: Column::of(&self.streams),
            paths: if name == Name::LeftOut {
                Column::Differs
            } else {
                of_files(Column::of(&self.paths))
            },
        }
    }

    /// Name, file and stream of a source, each empty where it is left out.
    fn cells(&self, source: &Source) -> [String; 3] {
        let name = match self.shape.name {
            Name::Shown => shorten(&escape::text(&self.name(&source.instance)), NAME_COLUMNS),
            Name::LeftOut => String::new(),
        };
        let of_stream = |stream: &Stream| match (self.shape.streams, stream) {
            (Column::Same, _) => "",
            (Column::Differs, Stream::Stdout) => "out",
            (Column::Differs, Stream::Stderr) => "err",
        };
        let of_process = |process: &str| match self.shape.processes {
            Column::Differs => process.to_owned(),
            Column::Same => String::new(),
        };
        let (file, stream) = match &source.file {
            FileLabel::Process {
                process, stream, ..
            } => (of_process(process), of_stream(stream)),
            FileLabel::Executor { stream } => (of_process(EXECUTOR), of_stream(stream)),
            FileLabel::Plain { path } if self.shape.paths == Column::Differs => {
                (without_shared(path, '/', self.shape.shared_path_parts), "")
            }
            FileLabel::Plain { .. } => (String::new(), ""),
        };
        let file = shorten(&escape::text(&file), FILE_COLUMNS);
        if name.is_empty() && file.is_empty() {
            // A host or a path without a name: there must be something before the line.
            return ["?".to_string(), file, stream.to_string()];
        }
        [name, file, stream.to_string()]
    }

    fn name(&self, label: &InstanceLabel) -> String {
        let job = without_shared(&label.job, '/', self.shape.shared_job_parts);
        let host = self.short_host(&label.host);
        let Some(number) = label.instance else {
            let names_hosts =
                label.key.is_none() && (label.job == label.host || label.job.contains(['[', ',']));
            return if self.shape.jobs == Column::Same || names_hosts {
                host.to_string()
            } else {
                format!("{job}@{host}")
            };
        };
        let mut name = format!("{job}/{number}");
        if self
            .hosts_of
            .get(&(label.job.clone(), number))
            .is_some_and(|hosts| hosts.len() > 1)
        {
            let _ = write!(name, "@{host}");
        }
        name
    }

    /// The host without the domain that all have.
    fn short_host<'a>(&self, host: &'a str) -> &'a str {
        if is_address(host) {
            return host;
        }
        let dots: Vec<usize> = host.match_indices('.').map(|(at, _)| at).collect();
        let removed = self.shape.shared_domain_labels.min(dots.len());
        dots.get(dots.len() - removed)
            .map_or(host, |&end| &host[..end])
    }
}

type Change = fn(usize) -> usize;

fn add(count: usize) -> usize {
    count + 1
}

fn subtract(count: usize) -> usize {
    count.saturating_sub(1)
}

fn change_count<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K, change: Change) {
    let count = change(counts.get(&key).copied().unwrap_or(0));
    if count == 0 {
        counts.remove(&key);
    } else {
        counts.insert(key, count);
    }
}

fn parts(text: &str, separator: char) -> Vec<String> {
    text.split(separator).map(ToString::to_string).collect()
}

/// How many leading parts all have in common: in sorted order, those that the first shares with the last.
fn shared(counts: &BTreeMap<Vec<String>, usize>) -> usize {
    let (Some((first, _)), Some((last, _))) = (counts.first_key_value(), counts.last_key_value())
    else {
        return 0;
    };
    first.iter().zip(last).take_while(|(a, b)| a == b).count()
}

/// The text without its first parts, at least with its last one.
fn without_shared(text: &str, separator: char, shared: usize) -> String {
    let parts: Vec<&str> = text.split(separator).collect();
    parts[shared.min(parts.len() - 1)..].join(&separator.to_string())
}

fn is_address(host: &str) -> bool {
    host.contains(':')
        || host
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// The columns of a text, taking every character for one column.
fn columns(text: &str) -> usize {
    text.chars().count()
}

/// The text with its middle replaced by `…` where it is too long.
fn shorten(text: &str, limit: usize) -> String {
    let count = columns(text);
    if count <= limit {
        return text.to_string();
    }
    let front = (limit - 1) / 2;
    let back = limit - 1 - front;
    text.chars()
        .take(front)
        .chain(['…'])
        .chain(text.chars().skip(count - back))
        .collect()
}

fn padded(cells: &[String; 3], widths: [usize; 3]) -> String {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        if width > 0 {
            if !text.is_empty() {
                text.push(' ');
            }
            let _ = write!(text, "{cell:width$}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `job#number@host file`: the file is `process:stream`, or a path if it begins with a slash.
    fn source(text: &str) -> Arc<Source> {
        let (name, file) = text.split_once(' ').unwrap();
        let (name, host) = name.rsplit_once('@').unwrap();
        let (job, instance) = match name.split_once('#') {
            Some((job, number)) => (job, Some(number.parse().unwrap())),
            None => (name, None),
        };
        let file = match file.rsplit_once(':') {
            Some((process, stream)) if !file.starts_with('/') => FileLabel::Process {
                process: process.into(),
                run: 0,
                stream: if stream == "stdout" {
                    Stream::Stdout
                } else {
                    Stream::Stderr
                },
            },
            _ => FileLabel::Plain { path: file.into() },
        };
        let label = InstanceLabel {
            job: job.into(),
            key: job.parse().ok(),
            instance,
            host: host.into(),
            task_id: None,
        };
        Arc::new(Source {
            instance: Arc::new(label),
            file,
            path: Vec::new(),
        })
    }

    fn prefixes(sources: &[&str]) -> Prefixes {
        let mut prefixes = Prefixes::new();
        for (id, text) in sources.iter().enumerate() {
            prefixes.open(SourceId(id as u32), source(text));
        }
        prefixes
    }

    fn shown(prefixes: &Prefixes) -> String {
        let mut ids: Vec<&SourceId> = prefixes.entries.keys().collect();
        ids.sort();
        ids.iter()
            .map(|id| format!("{} |", prefixes.text(**id).unwrap()))
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn check(sources: &[&str]) -> String {
        shown(&prefixes(sources))
    }

    #[test]
    fn a_job() {
        insta::assert_snapshot!(check(&["aa/www/prod/hello#0@n1.dc.example main:stdout"]), @"hello/0 |");
        insta::assert_snapshot!(check(&[
            "aa/www/prod/hello#0@n1 main:stdout",
            "aa/www/prod/hello#0@n1 main:stderr",
            "aa/www/prod/hello#10@n2 main:stdout",
            "aa/www/prod/hello#10@n2 side car:stdout",
        ]), @"
        hello/0  main     out |
        hello/0  main     err |
        hello/10 main     out |
        hello/10 side car out |
        ");
    }

    #[test]
    fn jobs_show_where_they_differ() {
        insta::assert_snapshot!(check(&["aa/www/prod/hello#0@n1 main:stdout", "aa/www/devel/hello#0@n1 main:stdout"]), @"
        prod/hello/0  |
        devel/hello/0 |
        ");
        insta::assert_snapshot!(check(&["aa/www/prod/hello#0@n1 main:stdout", "bb/www/prod/hello#0@n1 main:stdout", "aa/www/prod/world#3@n1 main:stdout"]), @"
        aa/www/prod/hello/0 |
        bb/www/prod/hello/0 |
        aa/www/prod/world/3 |
        ");
    }

    #[test]
    fn a_host_shows_where_an_instance_is_on_two() {
        insta::assert_snapshot!(check(&["aa/www/prod/hello#0@n1.x main:stdout", "aa/www/prod/hello#0@n2.x main:stdout", "aa/www/prod/hello#1@n2.x main:stdout"]), @"
        hello/0@n1 |
        hello/0@n2 |
        hello/1    |
        ");
    }

    #[test]
    fn hosts_without_numbers() {
        insta::assert_snapshot!(check(&["web[01-02]@web01.example.com /var/log/a.log", "web[01-02]@web02.example.com /var/log/a.log"]), @"
        web01 |
        web02 |
        ");
        insta::assert_snapshot!(check(&["app@web01.example.com /var/log/app/a.log", "db@10.0.0.7 /var/log/db/b.log", "web[1-2]@web1.example.org /var/log/c"]), @"
        app@web01.example.com app/a.log |
        db@10.0.0.7           db/b.log  |
        web1.example.org      c         |
        ");
        insta::assert_snapshot!(check(&["app@web01.example.com /var/log/app/a.log"]), @"web01 |");
        insta::assert_snapshot!(check(&["app@fe80::1 /a", "app@fe80::2 /a"]), @"
        fe80::1 |
        fe80::2 |
        ");
    }

    #[test]
    fn files_of_one_host() {
        insta::assert_snapshot!(check(&["web01@web01 /var/log/app/a.log", "web01@web01 /var/log/app/old/b.log"]), @"
        a.log     |
        old/b.log |
        ");
        insta::assert_snapshot!(check(&["local@localhost /var/log/syslog"]), @"syslog |");
    }

    #[test]
    fn strangers_names_are_escaped_and_limited() {
        insta::assert_snapshot!(check(&["j#0@h a\n\x1b[31m\"b\":stdout", "j#0@h p:stdout"]), @r#"
        j/0 a\x0a\x1b[31m"b" |
        j/0 p                |
        "#);
        insta::assert_snapshot!(check(&[
            "a-very-long-name-of-an-inventory-that-nobody-should-have#123456@h a-process-with-a-name-that-is-too-long:stdout",
            "j#0@h p:stdout",
        ]), @"
        a-very-long-name-of…y-should-have/123456 a-process-with-…that-is-too-long |
        j/0                                      p                                |
        ");
        assert_eq!(check(&["@ /"]), "? |");
        assert_eq!(check(&["@ "]), "? |");
    }

    #[test]
    fn columns_grow_at_once_and_shrink_rarely() {
        let mut prefixes = prefixes(&["j#0@h main:stdout"]);
        let generation = prefixes.generation();
        prefixes.open(SourceId(1), source("j#1@h main:stdout"));
        assert_eq!(prefixes.generation(), generation);
        prefixes.open(SourceId(2), source("j#100@h main:stdout"));
        assert_eq!(prefixes.text(SourceId(0)), Some("j/0  "));
        assert!(prefixes.generation() > generation);
        prefixes.close(SourceId(2));
        assert_eq!(prefixes.text(SourceId(0)), Some("j/0  "));
        prefixes.open(SourceId(3), source("long-name-of-a-job#0@h main:stdout"));
        prefixes.close(SourceId(3));
        assert_eq!(prefixes.text(SourceId(0)), Some("j/0"));
        assert_eq!(prefixes.text(SourceId(3)), None);
        assert_eq!(prefixes.host_text("h"), "h  ");
    }

    proptest! {
        #[test]
        fn the_same_sources_give_the_same_words_on_any_way(
            steps in prop::collection::vec((0..6_u32, "[ab]{1,2}(/[ab]){0,2}(#[01])?@[mn](\\.x)?(\\.y)? (/[ab](/[cd])?|[pq]:std(out|err))"), 1..30),
        ) {
            let mut prefixes = Prefixes::new();
            let mut open = BTreeMap::new();
            for (id, text) in &steps {
                if open.remove(id).is_some() {
                    prefixes.close(SourceId(*id));
                } else {
                    open.insert(*id, text.as_str());
                    prefixes.open(SourceId(*id), source(text));
                }
                let words = |prefixes: &Prefixes, id: u32| {
                    prefixes.text(SourceId(id)).unwrap().split_whitespace().map(ToString::to_string).collect::<Vec<_>>()
                };
                let mut fresh = Prefixes::new();
                for (id, text) in &open {
                    fresh.open(SourceId(*id), source(text));
                }
                let mut widths = Vec::new();
                for id in open.keys() {
                    prop_assert_eq!(words(&prefixes, *id), words(&fresh, *id));
                    prop_assert!(!words(&prefixes, *id).is_empty());
                    widths.push(columns(prefixes.text(SourceId(*id)).unwrap()));
                }
                widths.dedup();
                prop_assert!(widths.len() <= 1, "all are as wide as each other");
            }
        }
    }
}
