//! Aurora's own list of clusters, read as Aurora's client reads it.
//!
//! Two files, each a list of objects or an object of objects; an entry of the later file replaces the one of the same name
//! whole. What cannot be used is a note that says where, and the rest goes on: the files belong to another program. What they
//! mean together with tailll's own configuration is the matter of `config`.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hyper::Uri;
use serde_json::{Map, Value};

use crate::causes::plain;
use crate::config::{parse_path, parse_uri, parse_word};
use crate::instance::check_host;
use crate::zookeeper;

/// The largest such file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The most clusters of such a file, in clusters.
pub const MAX_CLUSTERS: usize = 1000;

/// The file's name in both places.
const FILE_NAME: &str = "clusters.json";

/// The folder where `AURORA_CONFIG_ROOT` names none.
const DEFAULT_ROOT: &str = "/etc/aurora";

/// What the files say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClustersJson {
    /// The clusters by name.
    pub clusters: BTreeMap<String, Entry>,
    /// What could not be used, as fragments that name the file.
    pub notes: Vec<String>,
}

/// A cluster, as far as tailll needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file that it stands in.
    pub file: PathBuf,
    /// ZooKeeper's hosts; they are stronger than an address.
    pub zk: Option<String>,
    /// ZooKeeper's port.
    pub zk_port: Option<u16>,
    /// The path of the scheduler's nodes there.
    pub scheduler_zk_path: Option<String>,
    /// The scheduler's address.
    pub scheduler_uri: Option<Uri>,
    /// The agents' work directory.
    pub slave_root: Option<String>,
    /// Which run of an executor.
    pub slave_run_directory: Option<String>,
}

/// Where the files lie, the stronger one last. `root` is what `AURORA_CONFIG_ROOT` says.
pub fn usual_files(root: Option<&Path>, home: Option<&Path>) -> Vec<PathBuf> {
    let root = root.unwrap_or(Path::new(DEFAULT_ROOT));
    let mut files = vec![root.join(FILE_NAME)];
    files.extend(home.map(|home| home.join(".aurora").join(FILE_NAME)));
    files
}

impl ClustersJson {
    /// Reads those of the files that exist.
    pub fn load(files: &[PathBuf]) -> Self {
        let mut all = Self::default();
        for file in files {
            match read(file) {
                Ok(bytes) => all.add(&bytes, file),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) => {}
                Err(error) => all.notes.push(format!(
                    "{}: its clusters are not known: {}",
                    file.display(),
                    plain(&error.to_string())
                )),
            }
        }
        all
    }

    /// Adds the clusters of one file's text.
    pub fn add(&mut self, text: &[u8], file: &Path) {
        let place = file.display();
        let text = without_trailing_commas(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text));
        let value: Value = match serde_json::from_slice(&text) {
            Ok(value) => value,
            Err(error) => {
                let message = plain(&error.to_string());
                // The library says the place at the end of its words.
                let what = message.split(" at line ").next().unwrap_or_default();
                self.notes.push(format!(
                    "{place}:{}:{}: its clusters are not known: {what}",
                    error.line(),
                    error.column()
                ));
                return;
            }
        };
        let entries: Vec<&Value> = match &value {
            Value::Array(list) => list.iter().collect(),
            Value::Object(map) => map.values().collect(),
            _ => {
                self.notes.push(format!(
                    "{place}: its clusters are not known: it is neither a list nor an object of clusters"
                ));
                return;
            }
        };
        if entries.len() > MAX_CLUSTERS {
            self.notes.push(format!(
                "{place}: only the first {MAX_CLUSTERS} of its {} clusters are known",
                entries.len()
            ));
        }
        for entry in entries.into_iter().take(MAX_CLUSTERS) {
            // What has no name is no cluster to Aurora either.
            let Some((entry, name)) = entry
                .as_object()
                .and_then(|entry| Some((entry, entry.get("name")?.as_str()?)))
            else {
                continue;
            };
            if let Err(why) = parse_word(name) {
                self.notes
                    .push(format!("{place}: a cluster is left out: name: {why}"));
                continue;
            }
            let read = self.entry(name, entry, file);
            self.clusters.insert(name.to_owned(), read);
        }
    }

    fn entry(&mut self, name: &str, object: &Map<String, Value>, file: &Path) -> Entry {
        let mut field = Fields {
            notes: &mut self.notes,
            place: format!("{}: cluster `{name}`", file.display()),
            object,
        };
        Entry {
            file: file.to_owned(),
            zk: field.text("zk", |zk| {
                zk.split(',')
                    .map(str::trim)
                    .filter(|host| !host.is_empty())
                    .try_for_each(check_host)
                    .map(|()| zk.to_owned())
                    .map_err(|error| error.to_string())
            }),
            zk_port: field.port(),
            scheduler_zk_path: field.text("scheduler_zk_path", |path| {
                zookeeper::Ensemble::parse("h", zookeeper::DEFAULT_PORT, path)
                    .map(|_| path.to_owned())
            }),
            scheduler_uri: field.text("scheduler_uri", parse_uri),
            slave_root: field.text("slave_root", parse_path),
            slave_run_directory: field.text("slave_run_directory", parse_word),
        }
    }
}

/// The fields of an entry; what is wrong with one is noted, and it counts as not there.
struct Fields<'a> {
    notes: &'a mut Vec<String>,
    place: String,
    object: &'a Map<String, Value>,
}

impl Fields<'_> {
    fn text<T>(&mut self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        match self.object.get(key) {
            None | Some(Value::Null) => None,
            // Set to nothing, it is as if it were not there.
            Some(Value::String(text)) if text.trim().is_empty() => None,
            Some(Value::String(text)) => match read(text) {
                Ok(value) => Some(value),
                Err(why) => self.wrong(key, &why),
            },
            Some(_) => self.wrong(key, "it is no text"),
        }
    }

    fn port(&mut self) -> Option<u16> {
        let key = "zk_port";
        let number = match self.object.get(key) {
            None | Some(Value::Null) => return None,
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(value) => value.as_u64(),
        };
        match number.and_then(|number| u16::try_from(number).ok()) {
            None | Some(0) => self.wrong(key, "it is from 1 to 65535"),
            port => port,
        }
    }

    fn wrong<T>(&mut self, key: &str, why: &str) -> Option<T> {
        self.notes
            .push(format!("{}: {key} is left out: {why}", self.place));
        None
    }
}

/// The text with a blank for each comma that only a closing bracket follows; places in it stay what they were.
fn without_trailing_commas(text: &[u8]) -> Vec<u8> {
    let mut strict = text.to_vec();
    let mut comma = None;
    let mut in_string = false;
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b',' => comma = Some(at),
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b']' | b'}' => {
                if let Some(at) = comma.take() {
                    strict[at] = b' ';
                }
            }
            _ => {
                comma = None;
                in_string = *byte == b'"';
            }
        }
    }
    strict
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe could keep us waiting for ever.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!(
            "it has more than {MAX_FILE_BYTES} bytes"
        )));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_text(text: &str) -> ClustersJson {
        let mut all = ClustersJson::default();
        all.add(text.as_bytes(), Path::new("/etc/aurora/clusters.json"));
        all
    }

    fn names(all: &ClustersJson) -> Vec<&str> {
        all.clusters.keys().map(String::as_str).collect()
    }

    #[test]
    fn both_shapes_and_trailing_commas_are_read() {
        let list = read_text(
            r#"[
              {
                "name": "devcluster", "zk": "192.168.33.7, zk2", "zk_port": "2182",
                "scheduler_zk_path": "/aurora/scheduler", "auth_mechanism": "UNAUTHENTICATED",
                "slave_run_directory": "latest", "slave_root": "/var/lib/mesos/",
                "proxy_url": "a string with ,] and ,} and \",]",
              },
              {"zk": "no name"}, 7, {"name": 8},
              {"name": "west", "scheduler_uri": "http://h:8081", "zk": null},
            ]"#,
        );
        assert_eq!(list.notes, Vec::<String>::new());
        assert_eq!(names(&list), ["devcluster", "west"]);
        let dev = &list.clusters["devcluster"];
        assert_eq!(
            (
                dev.zk.as_deref(),
                dev.zk_port,
                dev.scheduler_zk_path.as_deref(),
                dev.slave_root.as_deref(),
                dev.slave_run_directory.as_deref(),
            ),
            (
                Some("192.168.33.7, zk2"),
                Some(2182),
                Some("/aurora/scheduler"),
                Some("/var/lib/mesos"),
                Some("latest"),
            )
        );
        let west = &list.clusters["west"];
        let uri = west.scheduler_uri.as_ref().map(Uri::to_string);
        assert_eq!((uri.as_deref(), &west.zk), (Some("http://h:8081/"), &None));
        let map = read_text(r#"{"any": {"name": "aa",}, "other": {"name": "bb"},}"#);
        assert_eq!(names(&map), ["aa", "bb"]);
    }

    #[test]
    fn commas_within_texts_stay() {
        let text = br#"{"a\",}":[1,"x,]" , ] ,"b":"\\",}"#;
        assert_eq!(
            String::from_utf8_lossy(&without_trailing_commas(text)),
            r#"{"a\",}":[1,"x,]"   ] ,"b":"\\" }"#
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_the_rest_goes_on() {
        let broken = read_text("[\n  {\"name\": \"aa\",\n   \"zk\" \"x\"}\n]");
        assert_eq!(
            broken.notes,
            ["/etc/aurora/clusters.json:3:9: its clusters are not known: expected `:`"]
        );
        assert_eq!(
            read_text("7").notes,
            [
                "/etc/aurora/clusters.json: its clusters are not known: it is neither a list nor an object of clusters"
            ]
        );
        let wrong = read_text(
            r#"[{"name": "a/b"}, {"name": "aa", "zk": 7, "zk_port": 70000, "scheduler_uri": "ftp://x", "slave_root": "x",
                "scheduler_zk_path": "x", "slave_run_directory": ".."}]"#,
        );
        assert_eq!(names(&wrong), ["aa"]);
        assert_eq!(wrong.notes.len(), 7, "{:?}", wrong.notes);
        assert_eq!(
            wrong.notes[..3],
            [
                "/etc/aurora/clusters.json: a cluster is left out: name: `a/b` is no name: letters, digits, `_`, `.` and `-` can stand in one",
                "/etc/aurora/clusters.json: cluster `aa`: zk is left out: it is no text",
                "/etc/aurora/clusters.json: cluster `aa`: zk_port is left out: it is from 1 to 65535",
            ]
        );
    }

    #[test]
    fn the_later_file_replaces_an_entry_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().join("home");
        let files = usual_files(Some(folder.path()), Some(&home));
        assert_eq!(ClustersJson::load(&files), ClustersJson::default());
        std::fs::create_dir_all(home.join(".aurora")).expect("to make it");
        std::fs::write(
            &files[0],
            r#"[{"name": "aa", "slave_root": "/x", "zk": "z"}, {"name": "bb"}]"#,
        )
        .expect("to write");
        std::fs::write(
            &files[1],
            r#"[{"name": "aa", "scheduler_uri": "http://h/"}]"#,
        )
        .expect("to write");
        let all = ClustersJson::load(&files);
        assert_eq!(names(&all), ["aa", "bb"]);
        let aa = &all.clusters["aa"];
        assert_eq!(
            (&aa.file, &aa.slave_root, &aa.zk),
            (&files[1], &None, &None)
        );
        assert_eq!(
            usual_files(None, None),
            [PathBuf::from("/etc/aurora/clusters.json")]
        );

        std::fs::write(&files[1], " ".repeat(MAX_FILE_BYTES as usize + 1)).expect("to write");
        let all = ClustersJson::load(&files);
        assert_eq!(names(&all), ["aa", "bb"]);
        assert!(all.notes[0].contains("more than 1048576 bytes"));
        std::fs::remove_file(&files[1]).expect("to remove");
        std::fs::create_dir(&files[1]).expect("a folder in its place");
        assert!(ClustersJson::load(&files).notes[0].contains("no regular file"));
    }

    #[test]
    fn too_many_clusters_are_said() {
        let many: Vec<String> = (0..=MAX_CLUSTERS)
            .map(|n| format!(r#"{{"name":"c{n}"}}"#))
            .collect();
        let all = read_text(&format!("[{}]", many.join(",")));
        assert_eq!(all.clusters.len(), MAX_CLUSTERS);
        assert!(all.notes[0].contains("only the first 1000 of its 1001"));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in any::<Vec<u8>>()) {
            let mut all = ClustersJson::default();
            all.add(&text, Path::new("x"));
        }

        #[test]
        fn strict_json_stays_as_it_is(list in proptest::collection::vec(any::<String>(), 0..5)) {
            let text = serde_json::to_vec(&list).expect("JSON");
            prop_assert_eq!(without_trailing_commas(&text), text);
        }
    }
}
