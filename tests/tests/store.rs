//! The archive's stores: one suite over all of them, then each fault of a bucket at the level of the store, where it has to be
//! told for what it is and nothing may be written twice.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use archive::store::dir::DirStore;
use archive::store::s3::S3Store;
use archive::store::settings::Checksums;
use archive::store::{
    Body, Conditional, Failure, Put, Root, S3Settings, Store, StoreError, digest, open,
};
use bytes::Bytes;
use e2e::faulty_store::{FaultPlan, FaultyStore};
use e2e::moto::{self, Moto};
use e2e::s3_server::{BUCKET, Conditions, Fault, On, S3Server};
use e2e::store_conformance::Rig;
use jiff::SignedDuration;

/// The prefix that stores under test have in their bucket.
const PREFIX: &str = "a/archive";

/// The most times an operation is tried under a storm, in attempts; far more than it takes.
const MAX_ATTEMPTS: u32 = 500;

fn root(bucket: &str) -> Root {
    format!("s3://{bucket}/{PREFIX}").parse().unwrap()
}

fn store(settings: &S3Settings) -> Arc<dyn Store> {
    open(&root(BUCKET), settings).unwrap()
}

async fn server() -> (S3Server, Arc<dyn Store>) {
    let server = S3Server::start().await.unwrap();
    let store = store(&server.settings());
    (server, store)
}

/// Settings under which an operation is given up soon.
fn impatient(server: &S3Server) -> S3Settings {
    S3Settings {
        request_timeout_seconds: 2,
        ..server.settings()
    }
}

async fn put(store: &dyn Store, key: &str, bytes: &'static [u8]) -> Result<Put, StoreError> {
    let body = Body::Bytes(Bytes::from_static(bytes));
    store.put_new(key, body, digest(bytes)).await
}

/// The whole chain of an error.
fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

async fn fails(store: &dyn Store, kind: Failure) -> String {
    let error = put(store, "k", b"x").await.unwrap_err();
    assert_eq!(error.kind, kind, "{}", chain(&error));
    chain(&error)
}

/// The object of a key below the prefix, and how often it was written.
fn written(server: &S3Server, key: &str) -> Option<(Bytes, u32)> {
    let object = server.objects().remove(&format!("{PREFIX}/{key}"))?;
    Some((object.bytes, object.writes))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig {
        store: Arc::new(DirStore::new(folder.path())),
        prefix_bytes: 0,
        atomic: true,
        many: 1001,
    };
    rig.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_server_conforms() {
    let (server, store) = server().await;
    server.plant("a/archive2/once/foreign", b"not below the prefix");
    let rig = Rig {
        store,
        prefix_bytes: PREFIX.len() + 1,
        atomic: true,
        many: 2001,
    };
    rig.check().await;
    let twice = server.objects().into_values().find(|o| o.writes > 1);
    assert_eq!(twice, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_server_conforms_without_checksums_too() {
    let server = S3Server::start().await.unwrap();
    let settings = S3Settings {
        checksums: Checksums::WhenRequired,
        ..server.settings()
    };
    let rig = Rig {
        store: store(&settings),
        prefix_bytes: PREFIX.len() + 1,
        atomic: true,
        many: 10,
    };
    rig.check().await;
    let sent: Vec<String> = server
        .seen()
        .into_iter()
        .flat_map(|seen| seen.headers.into_keys())
        .filter(|name| name.contains("checksum"))
        .collect();
    assert_eq!(sent, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_conforms() {
    let moto = Moto::start(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let rig = Rig {
        store: open(&root(moto::BUCKET), &moto.settings()).unwrap(),
        prefix_bytes: PREFIX.len() + 1,
        // It looks and writes in two steps.
        atomic: false,
        many: 1001,
    };
    rig.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_behind_faults_that_never_happen_conforms() {
    let (_server, inner) = server().await;
    let rig = Rig {
        store: Arc::new(FaultyStore::new(inner, 1, FaultPlan::NONE)),
        prefix_bytes: PREFIX.len() + 1,
        atomic: true,
        many: 10,
    };
    rig.check().await;
}

#[tokio::test]
async fn everything_that_is_set_is_sent() {
    let server = S3Server::start().await.unwrap();
    let mut settings = S3Settings {
        kms_key_id: Some("alias/logs".to_owned()),
        ..server.settings()
    };
    settings.storage_class = Some(archive::store::settings::StorageClass::IntelligentTiering);
    settings.tags.insert("team".to_owned(), "a b".to_owned());
    let store = store(&settings);
    put(&*store, "logs/v1/x", b"x").await.unwrap();
    put(&*store, "_state/v1/x", b"x").await.unwrap();
    let objects = server.objects();
    let header = |key: &str, name: &str| {
        let headers = &objects[&format!("{PREFIX}/{key}")].headers;
        headers.get(name).cloned().unwrap_or_default()
    };
    let (data, state) = ("logs/v1/x", "_state/v1/x");
    let sha256 = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    for (key, name, expected) in [
        (data, "x-amz-storage-class", "INTELLIGENT_TIERING"),
        (state, "x-amz-storage-class", ""),
        (data, "x-amz-tagging", "team=a%20b"),
        (state, "x-amz-server-side-encryption", "aws:kms"),
        (
            state,
            "x-amz-server-side-encryption-aws-kms-key-id",
            "alias/logs",
        ),
        (data, "x-amz-meta-sha256", sha256),
        (
            data,
            "x-amz-checksum-sha256",
            "LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=",
        ),
    ] {
        assert_eq!(header(key, name), expected, "{key} {name}");
    }
    let conditions: Vec<Option<String>> = server
        .seen()
        .into_iter()
        .map(|mut seen| seen.headers.remove("if-none-match"))
        .collect();
    assert_eq!(conditions, [Some("*".to_owned()), Some("*".to_owned())]);
}

#[tokio::test]
async fn refusals_are_told_for_what_they_are_and_not_tried_again() {
    let (server, store) = server().await;
    for (status, code, kind) in [
        (403, "AccessDenied", Failure::Denied),
        (400, "ExpiredToken", Failure::Denied),
        (403, "InvalidAccessKeyId", Failure::Denied),
        (503, "SlowDown", Failure::Throttled),
        (503, "ServiceUnavailable", Failure::Throttled),
        (429, "TooManyRequests", Failure::Throttled),
        (409, "ConditionalRequestConflict", Failure::Unknown),
        (500, "InternalError", Failure::Other),
        (400, "InvalidArgument", Failure::Other),
        (403, "RequestTimeTooSkewed", Failure::Skewed),
        (404, "NoSuchBucket", Failure::NotFound),
    ] {
        let before = server.seen().len();
        server.fault(On::Put, Fault::Refuse(status, code), 1);
        let text = fails(&*store, kind).await;
        assert!(
            text.contains(&format!("{status} {code}: as the test")),
            "{text}"
        );
        assert!(text.contains("request 0123456789ABCDEF"), "{text}");
        assert_eq!(server.seen().len(), before + 1);
    }
    // The same where an answer has no body.
    for (status, kind) in [
        (403, Failure::Denied),
        (400, Failure::Denied),
        (503, Failure::Throttled),
        (500, Failure::Other),
    ] {
        server.fault(On::Head, Fault::Refuse(status, "Whatever"), 1);
        let error = store.head("k").await.unwrap_err();
        assert_eq!(error.kind, kind, "{status}: {}", chain(&error));
    }
    for (on, code) in [(On::Get, "SlowDown"), (On::List, "SlowDown")] {
        server.fault(on, Fault::Refuse(503, code), 1);
        let error = match on {
            On::Get => store.get("k", None).await.unwrap_err(),
            _ => store.list("", None).await.unwrap_err(),
        };
        assert_eq!(error.kind, Failure::Throttled, "{}", chain(&error));
    }
    assert_eq!(written(&server, "k"), None);
    assert_eq!(put(&*store, "k", b"x").await.unwrap(), Put::Created);
    assert_eq!(written(&server, "k").unwrap().1, 1);
}

#[tokio::test]
async fn an_error_with_a_status_of_success_is_an_error() {
    let (server, store) = server().await;
    server.fault(On::Any, Fault::ErrorAsSuccess("SlowDown"), 1);
    fails(&*store, Failure::Throttled).await;
    server.fault(On::Any, Fault::ErrorAsSuccess("InternalError"), 1);
    fails(&*store, Failure::Other).await;
    server.fault(On::Any, Fault::ErrorAsSuccess("InternalError"), 1);
    let error = store.list("", None).await.unwrap_err();
    assert_eq!(error.kind, Failure::Other, "{}", chain(&error));
    assert!(server.objects().is_empty());
}

#[tokio::test]
async fn a_broken_connection_says_nothing_of_the_object() {
    let (server, store) = server().await;
    server.fault(On::Put, Fault::BreakBefore, 1);
    fails(&*store, Failure::Unknown).await;
    assert_eq!(written(&server, "k"), None);
    server.fault(On::Put, Fault::BreakAfter, 1);
    fails(&*store, Failure::Unknown).await;
    assert_eq!(written(&server, "k").unwrap().1, 1);
    // The retry finds that it was there, and that it is the right one.
    assert_eq!(put(&*store, "k", b"x").await.unwrap(), Put::Exists);
    let head = store.head("k").await.unwrap().unwrap();
    assert_eq!(head.sha256, Some(digest(b"x")));
    assert_eq!(written(&server, "k").unwrap().1, 1);
}

#[tokio::test]
async fn nobody_there_is_unknown() {
    let server = S3Server::start().await.unwrap();
    let store = store(&server.settings());
    assert_eq!(put(&*store, "a", b"x").await.unwrap(), Put::Created);
    server.stop();
    fails(&*store, Failure::Unknown).await;
    fails(&*store, Failure::Unknown).await;
}

#[tokio::test]
async fn an_object_that_lands_after_its_retry_is_not_written_twice() {
    let (server, store) = server().await;
    server.fault(On::Put, Fault::Late { after: u64::MAX }, 1);
    fails(&*store, Failure::Unknown).await;
    assert_eq!(written(&server, "k"), None);
    assert_eq!(put(&*store, "k", b"x").await.unwrap(), Put::Created);
    assert_eq!(server.land_late(), 1);
    assert_eq!(written(&server, "k"), Some((Bytes::from_static(b"x"), 1)));
}

#[tokio::test]
async fn no_answer_in_time_is_unknown() {
    let server = S3Server::start().await.unwrap();
    let store = store(&impatient(&server));
    server.fault(On::Any, Fault::Silence, 2);
    let text = fails(&*store, Failure::Unknown).await;
    assert!(text.contains("nothing has moved for 2 s"), "{text}");
    let error = store.list("", None).await.unwrap_err();
    assert_eq!(error.kind, Failure::Unknown);
    assert_eq!(put(&*store, "k", b"x").await.unwrap(), Put::Created);
}

/// Several times as long as the limit on requests, but never without a byte.
#[tokio::test]
async fn what_is_slow_but_moves_is_not_given_up() {
    let server = S3Server::start().await.unwrap();
    let store = store(&impatient(&server));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let bytes = vec![7; 48 * 1024 * 1024];
    file.write_all(&bytes).unwrap();
    server.fault(On::Any, Fault::Slow(Duration::from_millis(1)), 1);
    let body = Body::File {
        path: file.path().to_owned(),
        len: bytes.len() as u64,
    };
    let sha256 = digest(&bytes);
    assert_eq!(
        store.put_new("big", body, sha256).await.unwrap(),
        Put::Created
    );
    let small = vec![1; 300 * 1024];
    put_owned(&*store, "small", &small).await;
    server.fault(On::Get, Fault::Slow(Duration::from_millis(250)), 1);
    assert_eq!(store.get("small", None).await.unwrap(), small);
}

async fn put_owned(store: &dyn Store, key: &str, bytes: &[u8]) {
    let body = Body::Bytes(Bytes::copy_from_slice(bytes));
    let put = store.put_new(key, body, digest(bytes)).await.unwrap();
    assert_eq!(put, Put::Created);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_object() {
    let (server, store) = server().await;
    put_owned(&*store, "k", &vec![3; 100_000]).await;
    for range in [None, Some(10..90_000)] {
        server.fault(On::Get, Fault::Truncate, 1);
        let error = store.get("k", range).await.unwrap_err();
        assert_eq!(error.kind, Failure::Unknown, "{}", chain(&error));
    }
    server.fault(On::List, Fault::Truncate, 1);
    let error = store.list("", None).await.unwrap_err();
    assert_eq!(error.kind, Failure::Unknown, "{}", chain(&error));
    assert_eq!(store.get("k", None).await.unwrap(), vec![3; 100_000]);
}

#[tokio::test]
async fn an_object_that_rots_is_no_object() {
    let (server, store) = server().await;
    put_owned(&*store, "k", b"as it was").await;
    let key = format!("{PREFIX}/k");
    let mut rotten = server.objects().remove(&key).unwrap();
    rotten.bytes = Bytes::from_static(b"as it wAs");
    rotten.headers.remove("x-amz-checksum-sha256");
    server.plant_object(&key, rotten);
    let error = store.get("k", None).await.unwrap_err();
    assert_eq!(error.kind, Failure::Other);
    assert!(chain(&error).contains("digest"), "{}", chain(&error));
}

#[tokio::test]
async fn credentials_are_read_anew_when_they_are_not_taken() {
    let (server, store) = server().await;
    server.take_only("AKIDEXAMPLE");
    assert_eq!(put(&*store, "a", b"x").await.unwrap(), Put::Created);
    server.take_only("AKIDNEXT");
    fails(&*store, Failure::Denied).await;
    fails(&*store, Failure::Denied).await;
    server.write_credentials("AKIDNEXT").unwrap();
    // What was read before the file changed is tried once more at most.
    let again = put(&*store, "k", b"x").await;
    assert_eq!(again.unwrap(), Put::Created);
    // The same without words.
    server.take_only("AKIDLAST");
    assert_eq!(store.head("k").await.unwrap_err().kind, Failure::Denied);
    server.write_credentials("AKIDLAST").unwrap();
    assert!(store.head("k").await.unwrap().is_some());
}

#[tokio::test]
async fn roles_are_assumed_at_the_service_that_is_named() {
    let server = S3Server::start().await.unwrap();
    let sts = e2e::s3_server::StsServer::start("ASIAROLE").await.unwrap();
    let settings = S3Settings {
        role_arn: Some("arn:aws:iam::123456789012:role/logs".to_owned()),
        external_id: Some("tenant-1".to_owned()),
        session_name: Some("shipper".to_owned()),
        sts_endpoint: Some(sts.endpoint()),
        ..server.settings()
    };
    server.take_only("ASIAROLE");
    assert_eq!(
        put(&*store(&settings), "k", b"x").await.unwrap(),
        Put::Created
    );
    let asked = sts.asked();
    assert_eq!(asked.len(), 1);
    for part in [
        "Action=AssumeRole",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Flogs",
        "ExternalId=tenant-1",
        "RoleSessionName=shipper",
    ] {
        assert!(asked[0].contains(part), "{}", asked[0]);
    }
    let token = server
        .seen()
        .remove(0)
        .headers
        .remove("x-amz-security-token");
    assert_eq!(token.as_deref(), Some("a-token"));
}

#[tokio::test]
async fn credentials_that_cannot_be_used_are_denied_before_anything_is_sent() {
    let server = S3Server::start().await.unwrap();
    // Without a second half; nothing else is looked for then.
    let file = server.settings().credentials_file.unwrap();
    std::fs::write(&file, "[default]\naws_access_key_id = AKIDEXAMPLE\n").unwrap();
    let store = store(&server.settings());
    fails(&*store, Failure::Denied).await;
    assert_eq!(server.seen().len(), 0);
    server.write_credentials("AKIDEXAMPLE").unwrap();
    assert_eq!(put(&*store, "k", b"x").await.unwrap(), Put::Created);
}

/// A store whose clock can be set, in seconds ahead of the real one.
fn store_with_clock(server: &S3Server) -> (S3Store, Arc<AtomicI64>) {
    let ahead = Arc::new(AtomicI64::new(0));
    let shared = Arc::clone(&ahead);
    let now = move || {
        let seconds = e2e::clock::now().as_second() + shared.load(Ordering::Relaxed);
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs())
    };
    let store = S3Store::with_clock(BUCKET, PREFIX, &server.settings(), now);
    (store, ahead)
}

#[tokio::test]
async fn a_wrong_clock_costs_one_failure() {
    let server = S3Server::start().await.unwrap();
    let (store, ahead) = store_with_clock(&server);
    let day = 24 * 3600;
    for (number, seconds) in [0, day, -day, 30 * day, 3600, 0].into_iter().enumerate() {
        let before = ahead.swap(seconds, Ordering::Relaxed);
        let key = number.to_string();
        if (before - seconds).abs() > 15 * 60 {
            // HEAD has no words for it.
            let error = match number % 2 {
                0 => store.head(&key).await.unwrap_err(),
                _ => put(&store, &key, b"x").await.unwrap_err(),
            };
            assert_eq!(error.kind, Failure::Skewed, "{}", chain(&error));
        }
        assert_eq!(put(&store, &key, b"x").await.unwrap(), Put::Created);
        assert!(store.head(&key).await.unwrap().is_some());
    }
    // Or it is the server's.
    server.set_clock_ahead(SignedDuration::from_hours(2));
    let error = store.head("0").await.unwrap_err();
    assert_eq!(error.kind, Failure::Skewed, "{}", chain(&error));
    assert!(store.head("0").await.unwrap().is_some());
    // New credentials do not bring the wrong time back.
    server.fault(On::Any, Fault::Refuse(400, "ExpiredToken"), 1);
    assert_eq!(store.head("0").await.unwrap_err().kind, Failure::Denied);
    assert!(store.head("0").await.unwrap().is_some());
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_told() {
    let server = S3Server::start().await.unwrap();
    let store = open(&root("other"), &server.settings()).unwrap();
    assert_eq!(
        store.list("", None).await.unwrap_err().kind,
        Failure::NotFound
    );
    fails(&*store, Failure::NotFound).await;
    assert_eq!(
        store.get("k", None).await.unwrap_err().kind,
        Failure::NotFound
    );
}

#[tokio::test]
async fn a_root_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirStore::new(folder.path().join("none"));
    assert_eq!(
        store.list("", None).await.unwrap_err().kind,
        Failure::NotFound
    );
}

#[tokio::test]
async fn a_server_that_knows_no_conditions_is_found_out() {
    for conditions in [Conditions::Ignored, Conditions::Refused] {
        let (server, store) = server().await;
        server.set_conditions(conditions);
        let probe = "_state/v1/probe/agent";
        assert_eq!(store.probe(probe).await.unwrap(), Conditional::Ignored);
        // From now on it is looked first.
        assert_eq!(put(&*store, "k", b"x").await.unwrap(), Put::Created);
        assert_eq!(put(&*store, "k", b"x").await.unwrap(), Put::Exists);
        assert_eq!(put(&*store, "k", b"y").await.unwrap(), Put::Exists);
        assert_eq!(written(&server, "k"), Some((Bytes::from_static(b"x"), 1)));
        // It has learned since.
        server.set_conditions(Conditions::Honoured);
        assert_eq!(store.probe(probe).await.unwrap(), Conditional::Honoured);
        put(&*store, "l", b"x").await.unwrap();
        let last = server.seen().pop().unwrap();
        assert_eq!(
            last.headers.get("if-none-match").map(String::as_str),
            Some("*")
        );
    }
}

#[tokio::test]
async fn keys_of_others_do_not_break_a_listing() {
    let (server, store) = server().await;
    server.plant(&format!("{PREFIX}/a\u{1}b"), b"1");
    server.plant(&format!("{PREFIX}/"), b"");
    server.plant(&format!("{PREFIX}/folder/"), b"");
    let page = store.list("", None).await.unwrap();
    let keys: Vec<&str> = page.objects.iter().map(|object| &*object.key).collect();
    assert_eq!(keys, ["", "a\u{1}b", "folder/"]);
    server.plant(&format!("{PREFIX}/foreign"), b"1");
    assert_eq!(store.head("foreign").await.unwrap().unwrap().sha256, None);
}

/// Whoever tries again until it is there, and then compares, has each object once, whatever happens in between.
async fn store_all(store: &dyn Store, objects: u32) {
    for number in 0..objects {
        let key = format!("storm/{number}");
        let bytes = Bytes::from(vec![number as u8; 1000 + number as usize]);
        let sha256 = digest(&bytes);
        let mut attempts = 0;
        loop {
            attempts += 1;
            assert!(attempts < MAX_ATTEMPTS, "{key} does not get through");
            match store
                .put_new(&key, Body::Bytes(bytes.clone()), sha256)
                .await
            {
                Ok(Put::Created) => break,
                Ok(Put::Exists) => {
                    if let Ok(head) = store.head(&key).await {
                        assert_eq!(head.unwrap().sha256, Some(sha256));
                        break;
                    }
                }
                Err(_) => {}
            }
        }
    }
}

#[tokio::test]
async fn a_storm_at_the_server_leaves_each_object_once() {
    for seed in 0..4 {
        let server = S3Server::start().await.unwrap();
        let store = store(&impatient(&server));
        server.storm(
            seed,
            &[
                (On::Put, Fault::BreakAfter, 80),
                (On::Put, Fault::Late { after: 0 }, 80),
                (On::Put, Fault::ErrorAsSuccess("InternalError"), 80),
                (
                    On::Put,
                    Fault::Refuse(409, "ConditionalRequestConflict"),
                    40,
                ),
                (On::Any, Fault::BreakBefore, 80),
                (On::Any, Fault::Refuse(403, "ExpiredToken"), 40),
                (On::Any, Fault::Refuse(403, "AccessDenied"), 40),
                (On::Any, Fault::Refuse(503, "SlowDown"), 80),
                (On::Any, Fault::Refuse(500, "InternalError"), 80),
            ],
        );
        store_all(&*store, 50).await;
        server.heal();
        server.land_late();
        let objects = server.objects();
        assert_eq!(objects.len(), 50, "seed {seed}");
        for (key, object) in objects {
            assert_eq!(object.writes, 1, "seed {seed}: {key}");
        }
    }
}

#[tokio::test]
async fn a_faulty_store_loses_and_doubles_nothing_either() {
    for seed in 0..8 {
        let server = S3Server::start().await.unwrap();
        let faulty = FaultyStore::new(store(&server.settings()), seed, FaultPlan::all(120));
        store_all(&faulty, 50).await;
        let counts = faulty.counts();
        for (what, count) in [
            ("put_but_told_not", counts.put_but_told_not),
            ("not_put", counts.not_put),
            ("put_late", counts.put_late),
            ("failures", counts.failures),
            ("slow", counts.slow),
        ] {
            assert!(count > 0, "seed {seed}: no {what}");
        }
        faulty.heal();
        faulty.land_late().await.unwrap();
        assert_eq!(faulty.counts().created, 50, "seed {seed}");
        assert_eq!(faulty.counts().failures, counts.failures);
        let objects = server.objects();
        assert_eq!(objects.len(), 50);
        assert!(objects.values().all(|object| object.writes == 1));
        // The same seed, the same faults.
        let folder = tempfile::tempdir().unwrap();
        let inner = Arc::new(DirStore::new(folder.path()));
        let again = FaultyStore::new(inner, seed, FaultPlan::all(120));
        store_all(&again, 50).await;
        assert_eq!(again.counts(), counts);
    }
}

#[tokio::test]
async fn every_kind_of_failure_can_be_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for kind in [
        Failure::NotFound,
        Failure::Denied,
        Failure::Throttled,
        Failure::Skewed,
        Failure::Full,
        Failure::Unknown,
        Failure::Other,
    ] {
        let plan = FaultPlan {
            only: Some((kind, 1000)),
            ..FaultPlan::NONE
        };
        let store = FaultyStore::new(Arc::new(DirStore::new(folder.path())), 1, plan);
        fails(&store, kind).await;
        assert_eq!(store.head("k").await.unwrap_err().kind, kind);
        assert_eq!(store.counts().failures, 2);
    }
    assert!(!folder.path().join("k").exists());
}
