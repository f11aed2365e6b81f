//! Trino itself on loopback, the engine that Athena is made of: what it answers is what our engine has to answer.
//!
//! Owns the process, which reads the archive from S3 as [`crate::moto`] has it, and a client of its protocol. The libraries are put in
//! place by `scripts/test-trino.sh`, which names their folder in [`FOLDER_VARIABLE`]; what starts them is `tests/trino/Launch.java`.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use queries::athena::kind::kind;
use queries::rows::{Column, Kind, Row, double, real};
use serde_json::Value;

use crate::moto::Moto;

/// The variable that names the folder with Trino's libraries: `lib` and `plugin`.
pub const FOLDER_VARIABLE: &str = "TRINO_FOLDER";

/// The version that is run: the last one for Java 17, near what Athena is made of.
pub const VERSION: &str = "435";

/// The catalogue that the archive's tables are in.
pub const CATALOG: &str = "hive";

/// How long the server may take to be there, on a machine that does much else.
const START_TIMEOUT: Duration = Duration::from_mins(10);

/// How often it is asked whether it is there.
const START_INTERVAL: Duration = Duration::from_millis(200);

/// The most pages of an answer, in pages; a page without rows says that there is nothing yet.
const MAX_PAGES: usize = 100_000;

/// What Java has to be told, as Trino's documentation says, with less memory.
const JAVA_OPTIONS: [&str; 10] = [
    // It does not live long enough for better code to pay.
    "-XX:TieredStopAtLevel=1",
    "-Xmx3G",
    "-XX:+UseG1GC",
    "-XX:+ExitOnOutOfMemoryError",
    "-Dfile.encoding=UTF-8",
    "-Duser.timezone=UTC",
    "-Djdk.attach.allowAttachSelf=true",
    "-Djdk.nio.maxCachedBufferSize=2000000",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "-Dconfig=config.properties",
];

/// The running server. It ends when this is dropped, and with this process.
#[derive(Debug)]
pub struct Trino {
    process: Child,
    port: u16,
    log: PathBuf,
}

/// An answer to a statement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows, as Athena would print them.
    pub rows: Vec<Row>,
}

/// A statement that was refused, or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The error's name.
    pub name: String,
    /// What is the matter.
    pub message: String,
}

impl Trino {
    /// Starts one in `folder`, which is emptied; its archive's objects lie in `bucket`.
    pub async fn start(folder: &Path, bucket: &Moto) -> Result<Self> {
        let libraries = std::env::var_os(FOLDER_VARIABLE).with_context(|| {
            format!("{FOLDER_VARIABLE} names no folder with Trino's libraries; run make test-trino")
        })?;
        let libraries = PathBuf::from(libraries);
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder.join("etc/catalog"))?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let plugins = libraries.join("plugin");
        fs::write(
            folder.join("config.properties"),
            format!(
                "node.id=test\nnode.environment=test\nnode.internal-address=127.0.0.1\nnode.bind-ip=127.0.0.1\n\
                 coordinator=true\nnode-scheduler.include-coordinator=true\nhttp-server.http.port={port}\n\
                 discovery.uri=http://127.0.0.1:{port}\nplugin.dir={}\n",
                plugins.display()
            ),
        )?;
        fs::write(
            folder.join(format!("etc/catalog/{CATALOG}.properties")),
            format!(
                "connector.name=hive\nhive.metastore=file\nhive.metastore.catalog.dir=s3://{}/metastore\n\
                 hive.partition-projection-enabled=true\nhive.security=allow-all\nfs.hadoop.enabled=false\nfs.native-s3.enabled=true\n\
                 s3.endpoint={}\ns3.region=us-east-1\ns3.path-style-access=true\ns3.aws-access-key=AKIDEXAMPLE\n\
                 s3.aws-secret-key=not-a-secret\n",
                crate::moto::BUCKET,
                bucket.endpoint()
            ),
        )?;
        let log = folder.join("server.log");
        let output = File::create(&log)?;
        let errors = output.try_clone()?;
        let process = Command::new("java")
            .args(JAVA_OPTIONS)
            .arg("-cp")
            .arg(libraries.join("lib/*"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("trino/Launch.java"))
            .arg(VERSION)
            .current_dir(folder)
            // Its end is the server's, should this process be killed.
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .context("java")?;
        let mut server = Self { process, port, log };
        server.wait().await?;
        Ok(server)
    }

    async fn wait(&mut self) -> Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait()? {
                bail!("Trino ended ({status}); see {}", self.log.display());
            }
            let info = self
                .json(Method::GET, &self.url("/v1/info"), None, "")
                .await;
            if info.is_ok_and(|info| info["starting"] == false) {
                return Ok(());
            }
            if begun.elapsed() > START_TIMEOUT {
                bail!("Trino did not start; see {}", self.log.display());
            }
            tokio::time::sleep(START_INTERVAL).await;
        }
    }

    /// Runs a statement in a schema. The outer error is the server's or the protocol's, the inner one the statement's.
    pub async fn run(&self, schema: &str, sql: &str) -> Result<Result<Answer, Failed>> {
        let begun = Instant::now();
        loop {
            let outcome = self.once(schema, sql).await?;
            // A server that is up learns of itself as a worker some seconds later.
            let is_early = matches!(&outcome, Err(failed) if failed.name == "NO_NODES_AVAILABLE");
            if !is_early || begun.elapsed() > START_TIMEOUT {
                return Ok(outcome);
            }
            tokio::time::sleep(START_INTERVAL).await;
        }
    }

    async fn once(&self, schema: &str, sql: &str) -> Result<Result<Answer, Failed>> {
        let mut answer = Answer::default();
        let mut page = self
            .json(Method::POST, &self.url("/v1/statement"), Some(sql), schema)
            .await?;
        for _ in 0..MAX_PAGES {
            if let Some(error) = page.get("error") {
                let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
                return Ok(Err(Failed {
                    name: text("errorName"),
                    message: text("message"),
                }));
            }
            let columns = page["columns"].as_array().cloned().unwrap_or_default();
            if answer.columns.is_empty() {
                answer.columns = columns.iter().map(column).collect();
            }
            for row in page["data"].as_array().into_iter().flatten() {
                let cells = row.as_array().context("a row is no list")?;
                answer.rows.push(
                    cells
                        .iter()
                        .zip(&columns)
                        .map(|(cell, column)| value(cell, &column["typeSignature"]))
                        .collect::<Result<_>>()?,
                );
            }
            let Some(next) = page["nextUri"].as_str() else {
                return Ok(Ok(answer));
            };
            let next = next.to_owned();
            page = self.json(Method::GET, &next, None, schema).await?;
        }
        bail!("an answer of more than {MAX_PAGES} pages")
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    async fn json(
        &self,
        method: Method,
        url: &str,
        body: Option<&str>,
        schema: &str,
    ) -> Result<Value> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header("x-trino-user", "test")
            .header("x-trino-catalog", CATALOG)
            .header("x-trino-schema", schema)
            .header("x-trino-time-zone", "UTC")
            // Without it times lose their digits.
            .header("x-trino-client-capabilities", "PARAMETRIC_DATETIME")
            .body(Full::new(Bytes::from(body.unwrap_or_default().to_owned())))?;
        // A test has a runtime of its own, and connections do not outlive one.
        let client: Client<HttpConnector, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).build_http();
        let response = client.request(request).await.context("Trino")?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!(
                "Trino answered {status} to {url}: {}",
                String::from_utf8_lossy(&body)
            );
        }
        serde_json::from_slice(&body).context("an answer of Trino's")
    }
}

impl Drop for Trino {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn column(column: &Value) -> Column {
    let text = |name: &str| column[name].as_str().unwrap_or_default();
    Column {
        name: text("name").to_owned(),
        kind: type_kind(text("type")),
    }
}

/// A type by its name, `decimal(5,1)`. Lengths of texts do not count, as nothing can be told of them here.
fn type_kind(name: &str) -> Kind {
    let digits: Vec<i32> = name
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'))
        .map(|(digits, _)| {
            digits
                .split(',')
                .flat_map(|digit| digit.trim().parse())
                .collect()
        })
        .unwrap_or_default();
    let digit = |place: usize| digits.get(place).copied().unwrap_or(0);
    match kind(name, digit(0), digit(1)) {
        Kind::Other(name) => Kind::Other(without_lengths(&name)),
        simple => simple,
    }
}

/// `array(varchar(1))` as `array(varchar)`.
fn without_lengths(name: &str) -> String {
    let mut parts = name.split("varchar(");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text += "varchar";
        text += part
            .trim_start_matches(|letter: char| letter.is_ascii_digit())
            .strip_prefix(')')
            .unwrap_or(part);
    }
    text
}

/// A value as Athena prints it; none if it is NULL.
fn value(value: &Value, signature: &Value) -> Result<Option<String>> {
    let raw = signature["rawType"].as_str().unwrap_or_default();
    let argument = |place: usize| &signature["arguments"][place]["value"];
    let nested = |item: &Value, signature: &Value| -> Result<String> {
        Ok(self::value(item, signature)?.unwrap_or_else(|| "null".to_owned()))
    };
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => match raw {
            "double" => double(number.as_f64().context("a double")?),
            "real" => real(number.to_string().parse()?),
            _ => number.to_string(),
        },
        Value::String(text) if raw == "varbinary" => {
            let bytes = BASE64.decode(text)?;
            let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            pairs.join(" ")
        }
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items
                .iter()
                .enumerate()
                .map(|(place, item)| match raw {
                    "array" => nested(item, argument(0)),
                    // A row's own names are of no use to Athena's form without them.
                    "row" => nested(item, &argument(place)["typeSignature"]),
                    other => Err(anyhow!("a list as {other}")),
                })
                .collect::<Result<_>>()?;
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, item)| Ok(format!("{key}={}", nested(item, argument(1))?)))
                .collect::<Result<_>>()?;
            format!("{{{}}}", entries.join(", "))
        }
    }))
}
