//! What is in an archive, read without the agent's own audit, and compared with what was written.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use anyhow::{Context as _, Result, bail, ensure};
use archive::decode::{Filter, ObjectReader, OwnedRow};
use archive::key::LOGS;
use archive::{AgentId, Flags, ObjectKey, Store};

use crate::sandboxes::{Recorded, Sandboxes};

/// All rows of an archive, by source and epoch, in the order of their offsets.
#[derive(Debug, Default)]
pub struct Shipped {
    /// The rows of each source's epochs.
    pub rows: BTreeMap<String, BTreeMap<u32, Vec<OwnedRow>>>,
    /// How many objects there are.
    pub objects: usize,
}

/// What a comparison came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// Bytes that are in rows.
    pub bytes: u64,
    /// Bytes of rows that say that they are lost.
    pub declared: u64,
    /// Bytes that were truncated before they were read, by the record.
    pub truncated: u64,
    /// Bytes that were read ahead of a truncation: all of them are in rows.
    pub read_ahead: u64,
}

impl Shipped {
    /// Reads all objects.
    pub async fn read(store: &dyn Store) -> Result<Self> {
        let mut shipped = Self::default();
        let mut after: Option<String> = None;
        loop {
            let page = match store.list(LOGS, after.as_deref()).await {
                Err(error) if error.kind == archive::store::Failure::NotFound => break,
                page => page?,
            };
            for object in &page.objects {
                let key = ObjectKey::from_str(&object.key)?;
                let bytes = store.get(&object.key, None).await?;
                shipped.objects += 1;
                for row in ObjectReader::new(&key, bytes, Filter::default())? {
                    let row = row?;
                    ensure!(
                        archive::Hour::of_ns(row.ts_ns) == key.hour,
                        "{key}: a row of another hour"
                    );
                    let epochs = shipped.rows.entry(row.origin.src.clone()).or_default();
                    epochs.entry(row.epoch).or_default().push(row);
                }
            }
            match page.objects.last() {
                Some(last) if page.more => after = Some(last.key.clone()),
                _ => break,
            }
        }
        for epochs in shipped.rows.values_mut() {
            for rows in epochs.values_mut() {
                rows.sort_by_key(|row| (row.off, row.len));
            }
        }
        Ok(shipped)
    }

    /// Compares with the record: rows tile, they say what was written, and nothing is missing but what was truncated unread.
    pub fn compare(&self, sandboxes: &Sandboxes, agent: AgentId) -> Result<Compared> {
        let mut compared = Compared::default();
        let known: BTreeMap<String, &Recorded> = sandboxes
            .files
            .values()
            .map(|file| (file.id.src(agent, 0).to_string(), file))
            .collect();
        for (src, epochs) in &self.rows {
            let file = known
                .get(src)
                .with_context(|| format!("{src}: never written"))?;
            let mut next_epoch = 0;
            for (epoch, rows) in epochs {
                tiles(rows).with_context(|| format!("{src} epoch {epoch}"))?;
                let fits = (next_epoch..file.epochs.len()).find(|&at| says(rows, &file.epochs[at]));
                let at = fits.with_context(|| {
                    let sizes: Vec<usize> = file.epochs.iter().map(Vec::len).collect();
                    let misfits: Vec<_> = file.epochs[next_epoch..]
                        .iter()
                        .map(|content| {
                            let misfit = rows.iter().find(|row| {
                                !row.flags.contains(Flags::GAP) && !row_says(row, content)
                            });
                            misfit.map(|row| {
                                let there = content.get(row.off as usize..).unwrap_or_default();
                                let says = row.line.as_deref().unwrap_or_default();
                                (row.off, row.len, row.flags.0, start_of(says), start_of(there))
                            })
                        })
                        .collect();
                    let shape: Vec<_> = rows
                        .iter()
                        .map(|row| (row.off, row.len, row.flags.0))
                        .collect();
                    format!(
                        "{src} epoch {epoch}: what its rows say was in none of the file's epochs from {next_epoch} on, of \
                         {sizes:?} bytes; the first rows that differ, what they say and what was there: {misfits:?}; all rows: {shape:?}"
                    )
                })?;
                next_epoch = at + 1;
                for row in rows {
                    if row.flags.contains(Flags::GAP) {
                        compared.declared += row.len;
                    } else {
                        compared.bytes += row.len;
                    }
                }
            }
        }
        for (src, file) in &known {
            if !file.discovered {
                continue;
            }
            let last = file.epochs.len() - 1;
            for (at, content) in file.epochs.iter().enumerate() {
                let covered = self.covered(src, content);
                let missing = content.len() as u64 - covered;
                let ahead = file.read_ahead.get(&at).copied().unwrap_or(0) as u64;
                if at < last {
                    ensure!(
                        ahead <= covered,
                        "{src} after {at} truncations: {ahead} bytes were read ahead, and {covered} are in rows"
                    );
                    compared.read_ahead += ahead;
                }
                if missing == 0 {
                    continue;
                }
                if at < last {
                    compared.truncated += missing;
                    continue;
                }
                // A copy's bytes are in the rows of what it was copied from.
                if let Some((original, _)) = file.copy_of
                    && self.covered(&original.src(agent, 0).to_string(), content)
                        == content.len() as u64
                {
                    continue;
                }
                bail!("{src}: {missing} of {} bytes are in no row", content.len());
            }
        }
        Ok(compared)
    }

    /// How many of these bytes are in rows of one epoch of a source, from the first one on.
    fn covered(&self, src: &str, content: &[u8]) -> u64 {
        let Some(epochs) = self.rows.get(src) else {
            return 0;
        };
        epochs
            .values()
            .map(|rows| {
                let kept = rows
                    .iter()
                    .filter(|row| !row.flags.contains(Flags::GAP))
                    .take_while(|row| row_says(row, content));
                kept.map(|row| row.len).sum::<u64>()
            })
            .max()
            .unwrap_or(0)
            .min(content.len() as u64)
    }
}

/// The first bytes, to be looked at.
fn start_of(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(60)].escape_ascii().to_string()
}

/// Whether rows tile the file: no byte twice, none left out.
fn tiles(rows: &[OwnedRow]) -> Result<()> {
    let mut next = 0;
    for row in rows {
        if row.off != next {
            bail!(
                "a row at {} where {next} comes next ({})",
                row.off,
                if row.off < next { "twice" } else { "a gap" }
            );
        }
        next = row.off + row.len;
    }
    Ok(())
}

/// Whether all rows say what is there.
fn says(rows: &[OwnedRow], content: &[u8]) -> bool {
    rows.iter()
        .filter(|row| !row.flags.contains(Flags::GAP))
        .all(|row| row_says(row, content))
}

fn row_says(row: &OwnedRow, content: &[u8]) -> bool {
    let (start, end) = (row.off as usize, (row.off + row.len) as usize);
    let Some(bytes) = content.get(start..end) else {
        return false;
    };
    let Some(line) = &row.line else {
        return row.len == 0;
    };
    bytes
        .strip_prefix(line.as_slice())
        .is_some_and(|end| matches!(end, b"" | b"\n" | b"\r\n"))
}
