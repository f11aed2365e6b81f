//! The loop, over a real folder as the archive, with a clock that can be set.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use archive::key::claim_key;
use archive::{AgentId, Incarnation};
use tokio::sync::mpsc;

use super::*;
use crate::test_host::Host;

/// How long anything may take before a test counts as one that does not end.
const PATIENCE: Duration = Duration::from_mins(1);

/// A service that runs.
struct Running {
    orders: mpsc::Sender<Order>,
    work: tokio::task::JoinHandle<Result<Ended, ServiceError>>,
    told: Arc<Mutex<Vec<String>>>,
    agent: AgentId,
}

fn outside(host: &Host, agent: &Agent) -> (Outside, Arc<Mutex<Vec<String>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    let outside = Outside {
        store: Arc::new(archive::store::dir::DirStore::new(
            host.folder.path().join("archive"),
        )),
        clock: host.clock.clone(),
        random: Box::new(host.random()),
        metrics: Metrics::new(agent.identity().agent),
        tell: Box::new(move |text| tell.lock().expect("no panic").push(text.to_owned())),
    };
    (outside, told)
}

async fn start(host: &Host) -> Running {
    let agent = host.start().await;
    let (outside, told) = outside(host, &agent);
    let (orders, waiting) = mpsc::channel(4);
    Running {
        agent: agent.identity().agent,
        orders,
        told,
        work: tokio::spawn(run(agent, outside, waiting)),
    }
}

impl Running {
    async fn stop(self) -> Result<Ended, ServiceError> {
        let _ = self.orders.send(Order::Stop).await;
        self.end().await
    }

    async fn end(self) -> Result<Ended, ServiceError> {
        let ended = timeout(PATIENCE, self.work).await.expect("it ends");
        ended.expect("no panic")
    }

    async fn wait_until_told(&self, what: &str) {
        wait_for(|| {
            let told = self.told.lock().expect("no panic");
            told.iter().any(|text| text.contains(what))
        })
        .await;
    }
}

async fn wait_for(mut is_so: impl FnMut() -> bool) {
    let waited = async {
        while !is_so() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waited).await.expect("it comes to pass");
}

fn quick(encoding: &str) -> Host {
    Host::with(encoding, "", |config| {
        config.flush = Duration::from_secs(1);
        config.scan_interval = Duration::from_secs(1);
        config.shutdown = Duration::from_secs(5);
    })
}

fn claim_path(host: &Host, agent: AgentId, incarnation: u32) -> PathBuf {
    let key = claim_key(agent, Incarnation(incarnation));
    host.folder.path().join("archive").join(key)
}

/// Whatever the archive does, it takes no rows.
fn shut(host: &Host) {
    fs::create_dir_all(host.folder.path().join("archive")).expect("made");
    fs::write(host.folder.path().join("archive/logs"), "").expect("written");
}

fn open_again(host: &Host) {
    fs::remove_file(host.folder.path().join("archive/logs")).expect("removed");
}

fn has_rows(host: &Host) -> bool {
    host.folder.path().join("archive/logs/v1").is_dir()
}

fn objects(folder: &std::path::Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .map(|path| if path.is_dir() { objects(&path) } else { 1 })
        .sum()
}

#[tokio::test]
async fn a_resumed_snapshot_claims_again_and_goes_on() {
    let host = quick("ndjson");
    host.append("a.log", "before\n");
    let running = start(&host).await;
    wait_for(|| has_rows(&host)).await;
    // Both clocks go on together: nothing is thought of it.
    host.clock.pass(Duration::from_hours(2));
    host.append("a.log", "between\n");
    wait_for(|| objects(&host.folder.path().join("archive/logs")) == 2).await;
    assert!(!claim_path(&host, running.agent, 2).exists());
    host.clock.set_forward(Duration::from_secs(61));
    running.wait_until_told("the wall clock jumped").await;
    wait_for(|| claim_path(&host, running.agent, 2).exists()).await;
    host.append("a.log", "after\n");
    wait_for(|| objects(&host.folder.path().join("archive/logs")) == 3).await;
    assert_eq!(running.stop().await.expect("ended"), Ended::Shipped);
    host.check(&[host.read("a.log")]).await;
    let audit = host.audit().await;
    let writers: Vec<u32> = audit.writers.keys().map(|(_, claim)| claim.0).collect();
    assert_eq!(writers, [1, 2]);
}

#[tokio::test]
async fn a_resumed_snapshot_that_others_went_beyond_stops() {
    let host = quick("ndjson");
    let running = start(&host).await;
    host.append("a.log", "one\n");
    wait_for(|| has_rows(&host)).await;
    let id = running.agent;
    // The machine that the snapshot was taken of went on under the next claim.
    fs::write(
        claim_path(&host, id, 2),
        r#"{"version":1,"nonce":"other","host":"h","claimed_ns":1}"#,
    )
    .expect("written");
    host.clock.set_forward(Duration::from_hours(1));
    let error = running.end().await.expect_err("it must not go on");
    assert!(
        matches!(error, ServiceError::Claim(ClaimError::Taken { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_stop_is_heard_while_another_claim_cannot_be_made() {
    let host = quick("ndjson");
    let running = start(&host).await;
    host.append("a.log", "one\n");
    wait_for(|| has_rows(&host)).await;
    // The archive's folder of claims is a file: no claim can be made.
    let claims = claim_path(&host, running.agent, 1);
    let folder = claims.parent().expect("a folder");
    fs::rename(folder, folder.with_extension("away")).expect("moved");
    fs::write(folder, "").expect("written");
    host.clock.set_forward(Duration::from_hours(1));
    running.wait_until_told("attempt 1 failed").await;
    let ended = running.stop().await.expect("ended");
    assert!(matches!(ended, Ended::Shipped | Ended::Waiting { .. }));
}

#[tokio::test]
async fn a_stop_ends_at_its_deadline_and_the_next_start_goes_on() {
    let host = Host::with("ndjson", "", |config| {
        config.flush = Duration::from_hours(1);
        config.scan_interval = Duration::from_secs(1);
        config.shutdown = Duration::from_secs(1);
    });
    host.append("a.log", "one\n");
    shut(&host);
    let running = start(&host).await;
    let pins = host.folder.path().join("spool/pins");
    wait_for(|| fs::read_dir(&pins).is_ok_and(|mut pins| pins.next().is_some())).await;
    let ended = running.stop().await.expect("ended");
    assert_eq!(ended, Ended::Waiting { objects: 1 });
    open_again(&host);
    let running = start(&host).await;
    wait_for(|| has_rows(&host)).await;
    assert_eq!(running.stop().await.expect("ended"), Ended::Shipped);
    host.check(&[host.read("a.log")]).await;
}

#[tokio::test]
async fn a_stop_begins_no_batch_behind_its_deadline() {
    let host = Host::with("ndjson", "", |config| {
        config.flush = Duration::from_hours(1);
        config.batch_bytes = 16;
        config.max_line_bytes = 16;
    });
    for number in 0..20 {
        host.append(&format!("{number}.log"), "more than one batch\n");
    }
    let mut agent = host.start().await;
    agent.scan(None).expect("scanned");
    let (outside, _) = outside(&host, &agent);
    let service = Service::new(agent, outside);
    let ended = service.drain(Instant::now()).await.expect("drained");
    assert_eq!(ended, Ended::Waiting { objects: 1 });
    // What was not read is still there for the next start.
    let mut agent = host.start().await;
    host.ship(&mut agent, |_| true).await;
    host.put_all(&mut agent).await;
    let expected: Vec<String> = (0..20)
        .map(|number| host.read(&format!("{number}.log")))
        .collect();
    host.check(&expected).await;
}

#[tokio::test]
async fn reading_goes_on_by_itself_when_there_is_room_again() {
    let host = Host::with("ndjson", "", |config| {
        config.flush = Duration::from_secs(1);
        config.scan_interval = Duration::from_secs(1);
        config.state.reserved_bytes = u64::MAX;
    });
    host.append("a.log", "one\n");
    let running = start(&host).await;
    running
        .wait_until_told("reading stands still: disk_full")
        .await;
    let mut config = (*host.config).clone();
    config.state.reserved_bytes = 0;
    let order = Order::Reload(Arc::new(config));
    running.orders.send(order).await.expect("taken");
    running
        .wait_until_told("the configuration was read again")
        .await;
    wait_for(|| has_rows(&host)).await;
    assert_eq!(running.stop().await.expect("ended"), Ended::Shipped);
    host.check(&[host.read("a.log")]).await;
}

#[tokio::test]
async fn a_configuration_that_the_agent_refuses_is_told_and_the_old_one_stays() {
    let host = quick("ndjson");
    let running = start(&host).await;
    let mut config = (*host.config).clone();
    config.redact.push(crate::config::Redact {
        name: "bad".to_owned(),
        pattern: "(".to_owned(),
        mask: String::new(),
    });
    let order = Order::Reload(Arc::new(config));
    running.orders.send(order).await.expect("taken");
    running.wait_until_told("the old one stays").await;
    host.append("a.log", "one\n");
    wait_for(|| has_rows(&host)).await;
    assert_eq!(running.stop().await.expect("ended"), Ended::Shipped);
    host.check(&[host.read("a.log")]).await;
}

#[tokio::test]
async fn what_cannot_change_while_the_agent_runs_stays() {
    let host = quick("ndjson");
    host.append("a.log", "one\n");
    shut(&host);
    let running = start(&host).await;
    let mut config = (*host.config).clone();
    config.state.folder = host.folder.path().join("elsewhere");
    config.spool.folders = vec![host.folder.path().join("elsewhere")];
    let order = Order::Reload(Arc::new(config));
    running.orders.send(order).await.expect("taken");
    running
        .wait_until_told("[state] folder, [spool] folders: as before until the next start")
        .await;
    // What is staged is found where it was staged.
    open_again(&host);
    wait_for(|| has_rows(&host)).await;
    assert_eq!(running.stop().await.expect("ended"), Ended::Shipped);
    host.check(&[host.read("a.log")]).await;
    assert!(!host.folder.path().join("elsewhere").exists());
}

#[tokio::test]
async fn once_does_not_end_well_before_it_has_looked_at_all_files() {
    let host = Host::new("ndjson");
    host.append("a.log", "one\n");
    let agent = host.start().await;
    // Another file has the name of the pin: the scan fails until it is gone.
    let stat =
        crate::beneath::stat(fs::File::open(host.path("a.log")).expect("opened")).expect("a file");
    let src = stat.id.src(agent.identity().agent, 0);
    let pin = host.folder.path().join("spool/pins").join(src.as_str());
    fs::write(&pin, "").expect("written");
    let (outside, told) = outside(&host, &agent);
    let work = tokio::spawn(once(agent, outside, CancellationToken::new(), |_| {}));
    wait_for(|| {
        let told = told.lock().expect("no panic");
        told.iter()
            .any(|text| text.contains("replaced by another file"))
    })
    .await;
    assert!(!work.is_finished());
    fs::remove_file(pin).expect("removed");
    let ended = timeout(PATIENCE, work).await.expect("it ends");
    assert_eq!(ended.expect("no panic").expect("ended"), Ended::Shipped);
    host.check(&[host.read("a.log")]).await;
}

#[tokio::test]
async fn once_takes_files_whose_job_can_only_be_guessed() {
    let more = "[mesos]\nwork_dir = \"/var/lib/mesos\"";
    let host = Host::with("ndjson", more, |config| {
        let folder = config.state.folder.parent().expect("a folder");
        config.mesos.as_mut().expect("given").work_dir = folder.join("mesos");
    });
    let work_dir = host.folder.path().join("mesos");
    let agent = host.start().await;
    let executor = "thermos-web-prod-hello-3-0a28153e-f0a1-42df-8287-fa4607dcdf26";
    let run = format!("slaves/S/frameworks/F/executors/{executor}/runs/c1");
    fs::create_dir_all(work_dir.join(&run)).expect("made");
    fs::write(work_dir.join(&run).join("stdout"), "line\n").expect("written");
    let (outside, _) = outside(&host, &agent);
    let ended = once(agent, outside, CancellationToken::new(), |_| {}).await;
    assert_eq!(ended.expect("ended"), Ended::Shipped);
    host.check(&["line\n".to_owned()]).await;
}
