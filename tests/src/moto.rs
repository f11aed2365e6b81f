//! S3 and Athena as moto has them, a server in Python that is not ours: what we send is judged by others' understanding of it.
//! Its Athena runs no SQL: answers are laid ready with [`Moto::tell`].
//!
//! Owns the process. The library is put in place by `scripts/test-packages.sh`; the script is `tests/moto/server.py`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use archive::store::S3Settings;

use crate::python_aurora::packages;

/// The only bucket.
pub const BUCKET: &str = "logs";

/// The running server. It ends when this is dropped.
#[derive(Debug)]
pub struct Moto {
    process: Child,
    endpoint: String,
    folder: tempfile::TempDir,
}

impl Moto {
    /// Starts one with an empty bucket. `folder` is Cargo's folder for tests (`CARGO_TARGET_TMPDIR`), beside which the Python
    /// packages lie.
    pub fn start(folder: &str) -> Result<Self> {
        let packages = packages(folder).join("moto");
        if !packages.join("moto").is_dir() {
            bail!(
                "{}: the Python package moto is not there; run scripts/test-packages.sh",
                packages.display()
            );
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("moto/server.py");
        let mut process = Command::new("python3")
            .arg("-B")
            .arg(script)
            .arg(BUCKET)
            .env("PYTHONPATH", packages)
            // Its end is the server's, should this process be killed.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A line for every request.
            .stderr(Stdio::null())
            .spawn()
            .context("python3")?;
        let mut first = String::new();
        let read = match process.stdout.take() {
            Some(output) => BufReader::new(output).read_line(&mut first),
            None => Ok(0),
        };
        let mut server = Self {
            process,
            endpoint: String::new(),
            folder: tempfile::tempdir()?,
        };
        read.context("moto")?;
        let port = first
            .trim()
            .strip_prefix("port ")
            .with_context(|| format!("moto said: `{first}`"))?;
        server.endpoint = format!("http://127.0.0.1:{port}");
        let text =
            "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = not-a-secret\n";
        std::fs::write(server.folder.path().join("credentials"), text)?;
        Ok(server)
    }

    /// Its address.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Tells it what to do, by its own interface: a path below `/moto-api/`, and JSON.
    pub fn tell(&self, path: &str, body: &serde_json::Value) -> Result<()> {
        let host = self.endpoint.trim_start_matches("http://");
        let body = body.to_string();
        let mut stream = std::net::TcpStream::connect(host).context("moto")?;
        let request = format!(
            "POST /moto-api/{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut status = String::new();
        BufReader::new(stream).read_line(&mut status)?;
        if status.split(' ').nth(1) != Some("201") {
            bail!("moto took no {path}: {status}");
        }
        Ok(())
    }

    /// What a store has to be told to come here.
    pub fn settings(&self) -> S3Settings {
        S3Settings {
            endpoint: Some(self.endpoint.clone()),
            region: Some("us-east-1".to_owned()),
            credentials_file: Some(self.folder.path().join("credentials")),
            ..S3Settings::default()
        }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
