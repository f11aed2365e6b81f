//! What every store has to pass: one suite, the same for a directory, for our server and for others'.
//!
//! The suite writes objects below prefixes of its own and looks at what the store makes of them. Where the store lies, and
//! what it is known not to do, is up to who makes the [`Rig`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use archive::store::{
    Body, Conditional, Failure, Head, Listed, MAX_KEY_BYTES, Page, Put, Root, Store, digest,
};
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::writers::Rng;

/// How many writers want the same key at once.
const RACING_WRITERS: u8 = 8;

/// The sizes of objects that are written from files, in bytes: none, few, and around what is read at a time.
const SIZES: [usize; 8] = [0, 1, 1000, 131_071, 131_072, 131_073, 262_144, 1_000_003];

/// Keys that some servers, clients or file systems take for something else.
const HARD_KEYS: [&str; 8] = [
    "hard/a b+c%20d",
    "hard/é–日本",
    "hard/<&>'\"",
    "hard/~x=1&y?z#w",
    "hard/.hidden",
    "hard/..two",
    "hard/a@b:c,d;e",
    "hard/[x]{y}|^`",
];

/// Texts that are no key.
const NO_KEYS: [&str; 9] = ["", "/", "/a", "a/", "a//b", ".", "../a", "a/../b", "a/./b"];

/// A store, and what is known of it.
#[derive(Debug)]
pub struct Rig {
    /// The store to test, with nothing in it.
    pub store: Arc<dyn Store>,
    /// What its root's own prefix takes of the longest key, in bytes.
    pub prefix_bytes: usize,
    /// Whether of many writers of one key at the same time exactly one wins.
    pub atomic: bool,
    /// How many objects are listed over several pages.
    pub many: usize,
}

impl Rig {
    /// All checks.
    pub async fn check(&self) {
        let root: Root = self.store.root().parse().expect("a root");
        assert_eq!(root.to_string(), self.store.root());
        self.an_object_is_written_once().await;
        self.files().await;
        self.wrong_bytes().await;
        self.ranges().await;
        self.what_is_not_there().await;
        self.keys().await;
        self.order_and_prefixes().await;
        self.pages().await;
        self.racing_writers().await;
        self.probe().await;
    }

    async fn put(&self, key: &str, bytes: &[u8]) -> Put {
        let body = Body::Bytes(Bytes::copy_from_slice(bytes));
        let put = self.store.put_new(key, body, digest(bytes)).await;
        put.unwrap_or_else(|error| panic!("{error}: {:?}", error.cause))
    }

    async fn is(&self, key: &str, bytes: &[u8]) {
        let head = Head {
            len: bytes.len() as u64,
            sha256: Some(digest(bytes)),
        };
        assert_eq!(self.store.head(key).await.expect("a head"), Some(head));
        let got = self.store.get(key, None).await.expect("an object");
        assert!(got == bytes, "{key} has other bytes");
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Page {
        self.store.list(prefix, after).await.expect("a listing")
    }

    async fn an_object_is_written_once(&self) {
        assert_eq!(self.put("once/a", b"first").await, Put::Created);
        assert_eq!(self.put("once/a", b"first").await, Put::Exists);
        assert_eq!(self.put("once/a", b"second").await, Put::Exists);
        self.is("once/a", b"first").await;
    }

    async fn files(&self) {
        let folder = tempfile::tempdir().expect("a folder");
        for size in SIZES {
            let bytes = noise(size);
            let path = folder.path().join(size.to_string());
            std::fs::write(&path, &bytes).expect("a file");
            let key = format!("files/{size}");
            let len = size as u64;
            for expected in [Put::Created, Put::Exists] {
                let body = Body::File {
                    path: path.clone(),
                    len,
                };
                let put = self.store.put_new(&key, body, digest(&bytes)).await;
                assert_eq!(put.expect("a put"), expected, "{size}");
            }
            self.is(&key, &bytes).await;
        }
    }

    /// Bytes that are not those of the plan never become an object.
    async fn wrong_bytes(&self) {
        let folder = tempfile::tempdir().expect("a folder");
        for size in [5, 300_000] {
            let bytes = noise(size);
            let path = folder.path().join(size.to_string());
            std::fs::write(&path, &bytes).expect("a file");
            let len = size as u64;
            let file = |path: &PathBuf, len| Body::File {
                path: path.clone(),
                len,
            };
            let right = digest(&bytes);
            let shorter = digest(&bytes[..size - 1]);
            for (what, body, sha256) in [
                (
                    "another digest in memory",
                    Body::Bytes(bytes.clone().into()),
                    shorter,
                ),
                ("another digest", file(&path, len), shorter),
                ("a longer file", file(&path, len - 1), shorter),
                ("a shorter file", file(&path, len + 1), right),
                ("no bytes of some", file(&path, 0), digest(b"")),
                ("no file", file(&folder.path().join("none"), len), right),
            ] {
                let refused = self.store.put_new("wrong/a", body, sha256).await;
                let error = refused.expect_err(what);
                assert_ne!(error.kind, Failure::Unknown, "{what}");
                assert_eq!((error.operation, &*error.key), ("put", "wrong/a"));
                let head = self.store.head("wrong/a").await.expect("a head");
                assert_eq!(head, None, "{what}");
            }
        }
    }

    async fn ranges(&self) {
        let bytes = noise(1000);
        self.put("ranges/a", &bytes).await;
        self.put("ranges/empty", b"").await;
        let check = async |key: &str, range: std::ops::Range<u64>, expected: &[u8]| {
            let got = self.store.get(key, Some(range.clone())).await;
            let got = got.unwrap_or_else(|error| panic!("{range:?}: {error}: {:?}", error.cause));
            assert!(got == expected, "{key} {range:?}: {} bytes", got.len());
        };
        check("ranges/a", 0..1000, &bytes).await;
        check("ranges/a", 0..1, &bytes[..1]).await;
        check("ranges/a", 999..1000, &bytes[999..]).await;
        check("ranges/a", 10..20, &bytes[10..20]).await;
        check("ranges/a", 990..2000, &bytes[990..]).await;
        check("ranges/a", 0..u64::MAX, &bytes).await;
        check("ranges/a", 1000..1001, b"").await;
        check("ranges/a", 5000..6000, b"").await;
        check("ranges/a", 5..5, b"").await;
        check("ranges/empty", 0..10, b"").await;
    }

    async fn what_is_not_there(&self) {
        self.put("there/a", b"x").await;
        for key in ["there/b", "there", "none/at/all"] {
            assert_eq!(self.store.head(key).await.expect("a head"), None);
            for range in [None, Some(0..10), Some(3..3)] {
                let error = self.store.get(key, range).await.expect_err("no object");
                assert_eq!((error.kind, error.operation), (Failure::NotFound, "get"));
                assert_eq!(error.key, key);
            }
        }
        assert_eq!(self.list("none/", None).await, Page::default());
    }

    async fn keys(&self) {
        for key in HARD_KEYS {
            assert_eq!(self.put(key, key.as_bytes()).await, Put::Created, "{key}");
            assert_eq!(self.put(key, b"x").await, Put::Exists, "{key}");
            self.is(key, key.as_bytes()).await;
        }
        let mut expected: Vec<&str> = HARD_KEYS.to_vec();
        expected.sort_unstable();
        assert_eq!(keys(&self.list("hard/", None).await), expected);
        // As long as they may be; file systems want the parts to be short.
        for len in [150, 255, 500, MAX_KEY_BYTES - self.prefix_bytes] {
            let mut key = "long/".to_owned();
            while key.len() < len {
                let part = (len - key.len() - 1).min(200);
                key.push_str(&"k".repeat(part.max(1)));
                if key.len() + 2 <= len {
                    key.push('/');
                }
            }
            key.truncate(len);
            assert_eq!(self.put(&key, b"long").await, Put::Created, "{len}");
            self.is(&key, b"long").await;
            assert_eq!(keys(&self.list(&key, None).await), [key]);
        }
        let too_long = "k/".repeat(MAX_KEY_BYTES / 2) + "k";
        for key in NO_KEYS.iter().copied().chain([&*too_long, "a\0b"]) {
            let body = Body::Bytes(Bytes::from_static(b"x"));
            let refused = self.store.put_new(key, body, digest(b"x")).await;
            assert_eq!(refused.expect_err(key).kind, Failure::Other, "{key:?}");
        }
    }

    async fn order_and_prefixes(&self) {
        let all = [
            "order/a-b",
            "order/a.b",
            "order/a/b",
            "order/a/b.c",
            "order/a0",
            "order/b/c/d",
            "order/B",
        ];
        for key in all {
            self.put(key, key.as_bytes()).await;
        }
        let mut sorted = all.to_vec();
        sorted.sort_unstable();
        let check = async |prefix: &str, after: Option<&str>| {
            let expected: Vec<Listed> = sorted
                .iter()
                .filter(|key| key.starts_with(prefix))
                .filter(|key| after.is_none_or(|after| **key > after))
                .map(|key| Listed {
                    key: (*key).to_owned(),
                    len: key.len() as u64,
                })
                .collect();
            let page = self.list(prefix, after).await;
            assert_eq!(page.objects, expected, "{prefix} after {after:?}");
            assert!(!page.more);
        };
        for prefix in [
            "order/",
            "order/a",
            "order/a/",
            "order/a.",
            "order/b/c",
            "order/z",
        ] {
            check(prefix, None).await;
            for after in ["order/a", "order/a/", "order/a/b", "order/a/zz", "order/zz"] {
                check(prefix, Some(after)).await;
            }
        }
    }

    async fn pages(&self) {
        let mut expected = BTreeMap::new();
        let mut writing = JoinSet::new();
        for number in 0..self.many {
            let key = format!("pages/{}/{number:05}", number % 7);
            expected.insert(key.clone(), number % 10);
            let store = Arc::clone(&self.store);
            writing.spawn(async move {
                let bytes = vec![b'x'; number % 10];
                let sha256 = digest(&bytes);
                store.put_new(&key, Body::Bytes(bytes.into()), sha256).await
            });
            if writing.len() >= 16 {
                let put = writing.join_next().await.expect("a writer");
                assert_eq!(put.expect("no panic").expect("a put"), Put::Created);
            }
        }
        for put in writing.join_all().await {
            assert_eq!(put.expect("a put"), Put::Created);
        }
        let mut found = BTreeMap::new();
        let mut after: Option<String> = None;
        let mut pages = 0;
        loop {
            let page = self.list("pages/", after.as_deref()).await;
            pages += 1;
            for object in &page.objects {
                assert!(after.as_ref().is_none_or(|after| object.key > *after));
                after = Some(object.key.clone());
                found.insert(object.key.clone(), object.len as usize);
            }
            if !page.more {
                break;
            }
        }
        assert!(found == expected, "{} of {}", found.len(), expected.len());
        assert_eq!(pages, self.many.div_ceil(1000).max(1));
    }

    async fn racing_writers(&self) {
        if !self.atomic {
            return;
        }
        for round in 0..5 {
            let key = format!("race/{round}");
            let mut writing = JoinSet::new();
            for writer in 0..RACING_WRITERS {
                let (store, key) = (Arc::clone(&self.store), key.clone());
                writing.spawn(async move {
                    let bytes = vec![writer; 10_000];
                    let sha256 = digest(&bytes);
                    let put = store.put_new(&key, Body::Bytes(bytes.into()), sha256).await;
                    (writer, put.expect("a put"))
                });
            }
            let done = writing.join_all().await;
            let winners: Vec<u8> = done
                .iter()
                .filter(|(_, put)| *put == Put::Created)
                .map(|(writer, _)| *writer)
                .collect();
            assert_eq!(winners.len(), 1, "{done:?}");
            self.is(&key, &[winners[0]; 10_000]).await;
        }
    }

    async fn probe(&self) {
        for _ in 0..2 {
            let probed = self.store.probe("_state/v1/probe/conformance").await;
            assert_eq!(probed.expect("a probe"), Conditional::Honoured);
        }
        assert_eq!(self.put("once/a", b"third").await, Put::Exists);
    }
}

fn keys(page: &Page) -> Vec<&str> {
    page.objects.iter().map(|object| &*object.key).collect()
}

/// Bytes that nothing compresses, and no two pieces of which are the same.
fn noise(len: usize) -> Vec<u8> {
    let mut random = Rng::new(len as u64);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&random.next_u64().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
