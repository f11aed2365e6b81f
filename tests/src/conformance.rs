//! What every transport has to pass: one suite over `list` and `open`, the same for this host's own files, for another's
//! over SSH, and for whatever comes later.
//!
//! The suite writes files into a folder that the transport sees too, and looks at what the transport makes of them. Where
//! the transport leads, and whether its user is bound by permissions, is up to who makes the [`Rig`].

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use tailll::transport::{
    ByteStream, Chunk, End, FileId, FileKind, FileStat, Header, Listing, OpenError, Pattern, Start,
    Transport, Until,
};
use tokio::time::{Instant, sleep, timeout};

use crate::processes;

/// How long any single thing may take; far more than it takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// The most processes that a transport may keep on a host while no file is open: a shell that lists and what it waits with.
const IDLE_PROCESSES: usize = 4;

/// The block in which some hosts move to an offset.
const BLOCK: u64 = 65_536;

/// A transport, and a folder on both sides of it.
pub struct Rig {
    /// The transport to test.
    pub transport: Transport,
    /// An empty folder that the transport's user may read.
    pub folder: PathBuf,
    /// Whether its host can tell when files were made.
    pub births: Births,
    /// What the transport has running on its host now; empty for this host.
    pub processes: Box<dyn Fn() -> Vec<String> + Send + Sync>,
}

/// Whether a host's tools tell when files were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Births {
    /// They do, where the file system knows.
    Told,
    /// They cannot, as busybox's.
    Untold,
}

impl Rig {
    /// All checks but those that need a user bound by permissions ([`Rig::denied`]) or take long.
    pub async fn check(&self) {
        self.listing_names().await;
        self.listing_patterns().await;
        self.listing_kinds().await;
        self.listing_complaints().await;
        self.offsets().await;
        self.large_file().await;
        self.following().await;
        self.truncation().await;
        self.renamed_and_unlinked().await;
        self.errors().await;
        self.nothing_is_left_behind().await;
    }

    fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }

    fn folder_for(&self, name: &str) -> PathBuf {
        let folder = self.at(name);
        fs::create_dir(&folder).expect("a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("its permissions");
        folder
    }

    async fn list(&self, patterns: &[&str]) -> Listing {
        let patterns: Vec<Pattern> = patterns
            .iter()
            .map(|text| Pattern::new(text).expect("a pattern"))
            .collect();
        timeout(PATIENCE, self.transport.list(&patterns))
            .await
            .expect("a listing in time")
            .expect("a listing")
    }

    /// What a pattern below `folder` matches, as names relative to it, in order.
    async fn names(&self, folder: &Path, pattern: &str) -> Vec<String> {
        let listing = self.list(&[&format!("{}/{pattern}", text(folder))]).await;
        assert_eq!(listing.denied, Vec::<String>::new());
        let mut names: Vec<String> = listing
            .files
            .iter()
            .map(|file| {
                let path = PathBuf::from(std::ffi::OsString::from_vec(file.path.clone()));
                let name = path.strip_prefix(folder).expect("a path below");
                name.to_string_lossy().into_owned()
            })
            .collect();
        names.sort();
        names
    }

    async fn open(
        &self,
        path: &Path,
        start: Start,
        until: Until,
    ) -> Result<(Header, ByteStream), OpenError> {
        timeout(
            PATIENCE,
            self.transport
                .open(path.as_os_str().as_bytes(), start, until),
        )
        .await
        .expect("an answer in time")
    }

    async fn error(&self, path: &Path) -> OpenError {
        match self.open(path, Start::At(0), Until::Forever).await {
            Ok(opened) => panic!("{} was opened: {opened:?}", path.display()),
            Err(error) => error,
        }
    }

    /// What a listing has to tell of a file.
    fn expected(&self, path: &Path) -> FileStat {
        let known = stat(path);
        FileStat {
            birth_s: known.birth_s.filter(|_| self.births == Births::Told),
            ..known
        }
    }

    async fn listing_names(&self) {
        let folder = self.folder_for("names");
        let mut expected = Vec::new();
        for (size, name) in (0..).zip(HARD_NAMES) {
            let path = folder.join(std::ffi::OsStr::from_bytes(name));
            fs::write(&path, vec![b'x'; size]).expect("a file");
            expected.push(self.expected(&path));
        }
        let listing = self.list(&[&format!("{}/*", text(&folder))]).await;
        assert_eq!(sorted(listing.files), sorted(expected.clone()));
        assert_eq!(listing.denied, Vec::<String>::new());
        // Each by its own name, as far as a pattern can name it.
        for file in expected {
            let Ok(path) = std::str::from_utf8(&file.path) else {
                continue;
            };
            if !path.contains(['*', '?', '[', '\n', '\\']) {
                assert_eq!(self.list(&[path]).await.files, [file]);
            }
        }
        // And opened by it.
        for (size, name) in (0..).zip(HARD_NAMES) {
            let path = folder.join(std::ffi::OsStr::from_bytes(name));
            let (header, stream) = self
                .open(&path, Start::At(0), Until::End)
                .await
                .expect("an open file");
            assert_eq!((header.id, header.size), (stat(&path).id, size));
            assert_eq!(
                rest(stream).await,
                (vec![b'x'; size as usize], End::Reached)
            );
        }
    }

    async fn listing_patterns(&self) {
        let folder = self.folder_for("patterns");
        for name in ["a1.log", "a2.log", "b1.log", "c1.txt", ".hidden.log"] {
            fs::write(folder.join(name), name).expect("a file");
        }
        fs::create_dir_all(folder.join("x/0")).expect("folders");
        fs::create_dir_all(folder.join("y z/1")).expect("folders");
        fs::write(folder.join("x/0/out"), "").expect("a file");
        fs::write(folder.join("y z/1/out"), "").expect("a file");
        let check = async |pattern: &str, expected: &[&str]| {
            assert_eq!(self.names(&folder, pattern).await, expected, "{pattern}");
        };
        check("*.log", &["a1.log", "a2.log", "b1.log"]).await;
        check("a?.log", &["a1.log", "a2.log"]).await;
        check("[ab]1.*", &["a1.log", "b1.log"]).await;
        check("[!a]1.*", &["b1.log", "c1.txt"]).await;
        check("a1.log", &["a1.log"]).await;
        check(".h*", &[".hidden.log"]).await;
        check("*/*/out", &["x/0/out", "y z/1/out"]).await;
        check("y z/*/out", &["y z/1/out"]).await;
        check("*.none", &[]).await;
        check("none", &[]).await;
        check("none/*/out", &[]).await;
        check("a1.log/out", &[]).await;
        let several = self
            .list(&[
                &format!("{}/none*", text(&folder)),
                &format!("{}/a*", text(&folder)),
                &format!("{}//b*", text(&folder)),
            ])
            .await;
        assert_eq!(several.files.len(), 3);
        assert_eq!(self.list(&[]).await, Listing::default());
    }

    async fn listing_kinds(&self) {
        let folder = self.folder_for("kinds");
        fs::write(folder.join("file"), "12345").expect("a file");
        fs::create_dir(folder.join("folder")).expect("a folder");
        make_pipe(&folder.join("pipe"));
        symlink("file", folder.join("link")).expect("a link");
        symlink("nowhere", folder.join("dangling")).expect("a link");
        let listing = self.list(&[&format!("{}/*", text(&folder))]).await;
        let found: Vec<(String, FileKind, FileId)> = sorted(listing.files)
            .into_iter()
            .map(|file| {
                let name = file.path.rsplit(|&byte| byte == b'/').next().unwrap_or(&[]);
                (
                    String::from_utf8_lossy(name).into_owned(),
                    file.kind,
                    file.id,
                )
            })
            .collect();
        let expected = [
            ("file", FileKind::Regular, "file"),
            ("folder", FileKind::Folder, "folder"),
            ("link", FileKind::Regular, "file"),
            ("pipe", FileKind::Other, "pipe"),
        ]
        .map(|(name, kind, of)| (name.to_owned(), kind, stat(&folder.join(of)).id));
        assert_eq!(found, expected);
    }

    /// Complaints about what is not there come between the records of what is, and must not mix with them.
    async fn listing_complaints(&self) {
        let folder = self.folder_for("complaints");
        let mut patterns = Vec::new();
        for group in 0..5 {
            for number in 0..60 {
                let name = format!("group-{group}-{number}-{}", "long".repeat(10));
                fs::write(folder.join(name), "x").expect("a file");
            }
            patterns.push(format!("{}/none-{group}-*", text(&folder)));
            patterns.push(format!("{}/group-{group}-*", text(&folder)));
            patterns.push(format!("{}/missing-{group}", text(&folder)));
        }
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let listing = self.list(&patterns).await;
        let expected: Vec<FileStat> = fs::read_dir(&folder)
            .expect("the folder")
            .map(|entry| self.expected(&entry.expect("an entry").path()))
            .collect();
        assert_eq!(expected.len(), 300);
        assert_eq!(sorted(listing.files), sorted(expected));
        assert_eq!(listing.denied, Vec::<String>::new());
    }

    /// More files than the arguments of one command can name.
    pub async fn listing_of_very_many(&self) {
        const FILES: usize = 12_000;
        let folder = self.folder_for(&"many".repeat(30));
        for number in 0..FILES {
            File::create(folder.join(format!("{number}-{}", "x".repeat(100)))).expect("a file");
        }
        let listing = self.list(&[&format!("{}/*", text(&folder))]).await;
        assert_eq!(listing.files.len(), FILES);
        let mut inodes: Vec<u64> = listing.files.iter().map(|file| file.id.inode).collect();
        inodes.sort_unstable();
        inodes.dedup();
        assert_eq!(inodes.len(), FILES);
    }

    async fn offsets(&self) {
        let path = self.at("offsets");
        let bytes = noise(3 * BLOCK as usize + 4_321);
        fs::write(&path, &bytes).expect("a file");
        let size = bytes.len() as u64;
        let read_from = async |start: Start, expected: u64| {
            let (header, stream) = self
                .open(&path, start, Until::End)
                .await
                .expect("an open file");
            let id = stat(&path).id;
            assert_eq!(
                header,
                Header {
                    id,
                    size,
                    start: expected
                },
                "{start:?}"
            );
            let (got, end) = rest(stream).await;
            assert!(
                got == bytes[expected as usize..],
                "{start:?}: other bytes, {} instead of {}",
                got.len(),
                size - expected
            );
            assert_eq!(end, End::Reached);
        };
        for offset in [0, 1, 100, 4_095, 4_096, size / 2, size - 1, size] {
            read_from(Start::At(offset), offset).await;
        }
        for block in 1..=3 {
            for offset in [block * BLOCK - 1, block * BLOCK, block * BLOCK + 1] {
                read_from(Start::At(offset), offset).await;
            }
        }
        for (offset, most) in [
            (0, 0),
            (0, 1),
            (7, BLOCK),
            (size / 2, 100_000),
            (size - 5, 10),
        ] {
            let (_, stream) = self
                .open(&path, Start::At(offset), Until::Bytes(most))
                .await
                .expect("an open file");
            let (got, end) = rest(stream).await;
            let last = size.min(offset + most);
            assert_eq!((got.len() as u64, end), (last - offset, End::Reached));
            assert!(got == bytes[offset as usize..last as usize], "other bytes");
        }
        for back in [0, 1, BLOCK, size - 1, size, size + 1, 1 << 40] {
            read_from(Start::Back(back), size.saturating_sub(back)).await;
        }
        for beyond in [size + 1, size + BLOCK, 1 << 40] {
            for until in [Until::End, Until::Forever] {
                let error = self.open(&path, Start::At(beyond), until).await;
                assert_eq!(error.err(), Some(OpenError::Shorter { size }));
            }
        }
        let empty = self.at("empty");
        File::create(&empty).expect("a file");
        for start in [Start::At(0), Start::Back(0), Start::Back(10)] {
            let (header, stream) = self
                .open(&empty, start, Until::End)
                .await
                .expect("an open file");
            assert_eq!((header.size, header.start), (0, 0));
            assert_eq!(rest(stream).await, (Vec::new(), End::Reached));
        }
        let error = self.open(&empty, Start::At(1), Until::End).await;
        assert_eq!(error.err(), Some(OpenError::Shorter { size: 0 }));
    }

    async fn large_file(&self) {
        const BYTES: usize = 20_000_000;
        let path = self.at("large");
        let bytes = noise(BYTES);
        fs::write(&path, &bytes).expect("a file");
        for offset in [0, 1_000_003] {
            let (_, stream) = self
                .open(&path, Start::At(offset), Until::End)
                .await
                .expect("an open file");
            let (got, end) = rest(stream).await;
            assert_eq!((got.len(), end), (BYTES - offset as usize, End::Reached));
            assert!(got == bytes[offset as usize..], "other bytes");
        }
        let (_, mut stream) = self
            .open(&path, Start::At(0), Until::Forever)
            .await
            .expect("an open file");
        let got = read_exactly(&mut stream, BYTES).await;
        assert!(got == bytes, "other bytes");
        fs::remove_file(&path).expect("removed");
    }

    async fn following(&self) {
        let path = self.at("followed");
        let bytes = noise(900_000);
        fs::write(&path, &bytes[..1_000]).expect("a file");
        let mut file = append_to(&path);
        let mut streams = Vec::new();
        for (start, from) in [
            (Start::At(0), 0),
            (Start::At(999), 999),
            (Start::At(1_000), 1_000),
            (Start::Back(300), 700),
        ] {
            let (header, stream) = self
                .open(&path, start, Until::Forever)
                .await
                .expect("an open file");
            assert_eq!((header.size, header.start), (1_000, from as u64));
            streams.push((from, stream));
        }
        let mut written = 1_000;
        for part in [1, 2, 7, 100, 5_000, 65_536, 1, 70_000, 300_000, 3] {
            file.write_all(&bytes[written..written + part])
                .expect("written");
            written += part;
            streams = read_all_to(written, streams, &bytes).await;
        }
        // Written while it is read.
        let later = bytes[written..].to_vec();
        let writer = tokio::task::spawn_blocking(move || {
            for part in later.chunks(1_777) {
                file.write_all(part).expect("written");
            }
        });
        read_all_to(bytes.len(), streams, &bytes).await;
        writer.await.expect("a writer");
    }

    async fn truncation(&self) {
        for (name, left) in [("to-nothing", 0), ("to-less", 500)] {
            let path = self.at(name);
            fs::write(&path, vec![b'o'; 1_000]).expect("a file");
            let (_, mut stream) = self
                .open(&path, Start::At(0), Until::Forever)
                .await
                .expect("an open file");
            assert_eq!(read_exactly(&mut stream, 1_000).await, vec![b'o'; 1_000]);
            let mut file = append_to(&path);
            file.set_len(left).expect("truncated");
            file.write_all(&[b'n'; 100]).expect("written");
            let (got, end) = rest(stream).await;
            assert_eq!(
                String::from_utf8_lossy(&got),
                "",
                "bytes from after the truncation"
            );
            assert_eq!(end, End::Stopped);
            // And it can be read afresh.
            let (header, stream) = self
                .open(&path, Start::At(left), Until::End)
                .await
                .expect("an open file");
            assert_eq!(header.size, left + 100);
            assert_eq!(rest(stream).await, (vec![b'n'; 100], End::Reached));
        }
    }

    async fn renamed_and_unlinked(&self) {
        let path = self.at("before");
        fs::write(&path, "one\n").expect("a file");
        let mut file = append_to(&path);
        let (header, mut stream) = self
            .open(&path, Start::At(0), Until::Forever)
            .await
            .expect("an open file");
        assert_eq!(read_exactly(&mut stream, 4).await, b"one\n");
        fs::rename(&path, self.at("after")).expect("renamed");
        fs::write(&path, "another file\n").expect("a file");
        file.write_all(b"two\n").expect("written");
        assert_eq!(read_exactly(&mut stream, 4).await, b"two\n");
        fs::remove_file(self.at("after")).expect("removed");
        file.write_all(b"three\n").expect("written");
        assert_eq!(read_exactly(&mut stream, 6).await, b"three\n");
        let (other, _) = self
            .open(&path, Start::At(0), Until::Forever)
            .await
            .expect("an open file");
        assert_ne!(other.id, header.id);
    }

    async fn errors(&self) {
        let folder = self.folder_for("errors");
        fs::write(folder.join("file"), "x").expect("a file");
        make_pipe(&folder.join("pipe"));
        symlink("nowhere", folder.join("dangling")).expect("a link");
        for gone in [
            "missing",
            "no\nsuch",
            "missing/file",
            "file/below",
            "dangling",
        ] {
            assert_eq!(
                self.error(&folder.join(gone)).await,
                OpenError::Gone,
                "{gone}"
            );
        }
        for strange in [folder.clone(), folder.join("pipe"), "/dev/null".into()] {
            assert_eq!(
                self.error(&strange).await,
                OpenError::NotRegular,
                "{}",
                strange.display()
            );
        }
    }

    /// What a user who is bound by permissions is told. The files are made by another user.
    pub async fn denied(&self) {
        let closed = self.folder_for("closed");
        fs::write(closed.join("a.log"), "x").expect("a file");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("permissions");
        for pattern in ["*.log", "a.log", "*/b"] {
            let listing = self.list(&[&format!("{}/{pattern}", text(&closed))]).await;
            assert_eq!(listing.files, [], "{pattern}");
            assert_eq!(listing.denied.len(), 1, "{pattern}: {listing:?}");
            assert!(
                listing.denied[0].contains("ermission denied")
                    && listing.denied[0].contains("closed"),
                "{listing:?}"
            );
        }
        let secret = self.folder_for("secret");
        for name in [
            "secret.log",
            "new\nline.log",
            "x\nNo such file or directory",
        ] {
            fs::write(secret.join(name), "x").expect("a file");
            fs::set_permissions(secret.join(name), fs::Permissions::from_mode(0o600))
                .expect("permissions");
        }
        symlink("secret.log", secret.join("link.log")).expect("a link");
        let listing = self.list(&[&format!("{}/*", text(&secret))]).await;
        assert_eq!((listing.files.len(), listing.denied.len()), (4, 0));
        let mut paths: Vec<PathBuf> = listing
            .files
            .into_iter()
            .map(|file| PathBuf::from(std::ffi::OsString::from_vec(file.path)))
            .collect();
        paths.push(closed.join("a.log"));
        for path in paths {
            let error = self.error(&path).await;
            assert!(
                matches!(error, OpenError::Denied(_)),
                "{}: {error:?}",
                path.display()
            );
        }
        assert_eq!(
            self.error(&secret.join("missing")).await,
            OpenError::Gone,
            "denied and gone are told apart"
        );
    }

    /// Whatever becomes of who reads, nothing goes on on the host.
    async fn nothing_is_left_behind(&self) {
        let folder = self.folder_for("left");
        let path = folder.join("log");
        fs::write(&path, noise(300_000)).expect("a file");
        for number in 0..12_u64 {
            let until = if number % 2 == 0 {
                Until::Forever
            } else {
                Until::End
            };
            let (_, mut stream) = self
                .open(&path, Start::At(number), until)
                .await
                .expect("an open file");
            // Dropped at once, while bytes are under way, or at the end.
            for _ in 0..number % 3 {
                timeout(PATIENCE, stream.next())
                    .await
                    .expect("a chunk in time");
            }
        }
        // Given up at any moment while it is being opened.
        for number in 0..60 {
            let patience = Duration::from_millis(number);
            let opened = timeout(
                patience,
                self.transport
                    .open(path.as_os_str().as_bytes(), Start::At(0), Until::Forever),
            );
            drop(opened.await);
            let pattern = Pattern::new(&text(&path)).expect("a pattern");
            drop(timeout(patience / 4, self.transport.list(&[pattern])).await);
        }
        eventually("the file is closed", || {
            let left = processes::holding(&folder);
            left.is_empty()
                .then_some(())
                .ok_or_else(|| format!("{left:?}"))
        })
        .await;
        eventually("no more than who lists is left", || {
            let left = (self.processes)();
            (left.len() <= IDLE_PROCESSES)
                .then_some(())
                .ok_or_else(|| left.join("\n"))
        })
        .await;
        // And the transport is as good as new.
        assert_eq!(self.names(&folder, "*").await, ["log"]);
    }

    /// Opens thirty files at once and follows them. Their streams go on until they are dropped.
    pub async fn thirty_files_at_once(&self) -> Vec<ByteStream> {
        const FILES: usize = 30;
        let folder = self.folder_for("thirty");
        let mut opening = tokio::task::JoinSet::new();
        for number in 0..FILES {
            let path = folder.join(number.to_string());
            fs::write(&path, format!("first of {number}\n")).expect("a file");
            let transport = self.transport.clone();
            opening.spawn(async move {
                let path = path.as_os_str().as_bytes();
                let opened = transport.open(path, Start::At(0), Until::Forever).await;
                (number, opened.expect("an open file").1)
            });
        }
        let mut streams = timeout(PATIENCE, opening.join_all())
            .await
            .expect("thirty open files in time");
        assert_eq!(self.names(&folder, "*").await.len(), FILES);
        for (number, stream) in &mut streams {
            let first = format!("first of {number}\n");
            assert_eq!(read_exactly(stream, first.len()).await, first.as_bytes());
            append_to(&folder.join(number.to_string()))
                .write_all(b"second\n")
                .expect("written");
        }
        for (_, stream) in &mut streams {
            assert_eq!(read_exactly(stream, 7).await, b"second\n");
        }
        streams.into_iter().map(|(_, stream)| stream).collect()
    }

    /// Gives the transport back; nothing of it is left on the host.
    pub async fn finish(self) {
        drop(self.transport);
        eventually("nothing is left on the host", || {
            let left = (self.processes)();
            left.is_empty().then_some(()).ok_or_else(|| left.join("\n"))
        })
        .await;
    }
}

/// Names that a shell, a pattern or a line-based protocol could trip over.
const HARD_NAMES: [&[u8]; 18] = [
    b"plain.log",
    b"with space.log",
    b" leading and trailing ",
    b"it's.log",
    b"say \"x\".log",
    b"new\nline.log",
    b"ends in newline\n",
    b"tab\t.log",
    b"$HOME `id` $(id).log",
    b"-n.log",
    b"back\\slash.log",
    b"star*?[a].log",
    b"wow!!.log",
    b"semi;colon&and|pipe>out<in#no",
    b"{a,b}.log",
    b"~",
    "ünïcödé ☃ 日本.log".as_bytes(),
    b"latin-1 \xe9.log",
];

fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}

fn stat(path: &Path) -> FileStat {
    let metadata = fs::metadata(path).expect("a file");
    let birth = metadata
        .created()
        .ok()
        .and_then(|birth| birth.duration_since(UNIX_EPOCH).ok());
    FileStat {
        id: FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
        },
        size: metadata.size(),
        modified_s: metadata.mtime(),
        birth_s: birth.map(|birth| birth.as_secs().cast_signed()),
        kind: FileKind::Regular,
        path: path.as_os_str().as_bytes().to_vec(),
    }
}

fn sorted(mut files: Vec<FileStat>) -> Vec<FileStat> {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn append_to(path: &Path) -> File {
    OpenOptions::new()
        .append(true)
        .open(path)
        .expect("a file to append to")
}

fn make_pipe(path: &Path) {
    let status = Command::new("mkfifo").arg(path).status().expect("mkfifo");
    assert!(status.success());
}

/// Bytes of every value without a period, the same each time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// All that comes until the end, and the end.
async fn rest(mut stream: ByteStream) -> (Vec<u8>, End) {
    let mut got = Vec::new();
    loop {
        match timeout(PATIENCE, stream.next()).await {
            Ok(Chunk::Data(bytes)) => got.extend_from_slice(&bytes),
            Ok(Chunk::End(end)) => return (got, end),
            Err(late) => panic!("no end after {} bytes: {late}", got.len()),
        }
    }
}

/// The next bytes, of which there must be exactly so many for now.
async fn read_exactly(stream: &mut ByteStream, length: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < length {
        match timeout(PATIENCE, stream.next()).await {
            Ok(Chunk::Data(bytes)) => got.extend_from_slice(&bytes),
            Ok(Chunk::End(end)) => panic!("{end:?} after {} of {length} bytes", got.len()),
            Err(late) => panic!("only {} of {length} bytes came: {late}", got.len()),
        }
    }
    assert_eq!(got.len(), length);
    got
}

/// Reads every stream from its position up to `end`, all at once: one that nobody reads may stall the others.
async fn read_all_to(
    end: usize,
    streams: Vec<(usize, ByteStream)>,
    bytes: &[u8],
) -> Vec<(usize, ByteStream)> {
    let mut reading = tokio::task::JoinSet::new();
    for (position, mut stream) in streams {
        reading.spawn(async move {
            let got = read_exactly(&mut stream, end - position).await;
            (position, got, stream)
        });
    }
    let mut streams = Vec::new();
    while let Some(read) = reading.join_next().await {
        let (position, got, stream) = read.expect("a reader");
        assert!(
            got == bytes[position..end],
            "other bytes between {position} and {end}"
        );
        streams.push((end, stream));
    }
    streams
}

/// Waits until `look` finds it; panics with what it says otherwise.
async fn eventually(what: &str, look: impl Fn() -> Result<(), String>) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(state) = look() {
        assert!(Instant::now() < deadline, "not so: {what}\n{state}");
        sleep(Duration::from_millis(20)).await;
    }
}
