//! The remote transport: a host's files, by a plain shell and what every host has (`stat`, `tail` or `cat`, `dd`, `head`,
//! `timeout`). Nothing is installed there.
//!
//! One command a file: the script goes to `sh` on its standard input, so the login shell never sees it. The file is opened
//! once; who it is, its size and its bytes all come from that descriptor. A watchdog in the script ends everything it started
//! when the client's heartbeats stop or its input ends, so nothing outlives the client. `docs/adr/0001-following-over-ssh.md`
//! has the reasons.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::as_role::Become;
use crate::causes::plain;
use crate::connection::{Input, Output};
use crate::pool::{HostPool, Place};
use crate::ssh::Said;
use crate::transport::{
    Chunk, End, FileId, FileKind, FileStat, Header, Listing, OpenError, Pattern, Start, Until,
};

/// How long the remote side lives without a heartbeat, unless the configuration says otherwise.
pub const HEARTBEAT: Duration = Duration::from_mins(1);

/// Bytes before the header (what a login shell's start-up files print), at most.
const PREAMBLE_BYTES: usize = 64 * 1024;

/// Bytes of one listing, at most: some 300 000 files.
const LISTING_BYTES: usize = 64 * 1024 * 1024;

/// How long a host may take to open a file or to list folders.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Listings of one host that may wait for their turn.
const LISTINGS_QUEUED: usize = 1024;

/// Another host's files; cheap to clone.
#[derive(Debug, Clone)]
pub struct RemoteFiles {
    host: HostPool,
    settings: Arc<ShellSettings>,
    listings: mpsc::Sender<ListRequest>,
}

/// How the shell on a host is used.
#[derive(Debug, Clone)]
pub struct ShellSettings {
    /// The command that runs the shell as another user than the login's.
    pub as_role: Option<Become>,
    /// How long the remote side lives without a heartbeat.
    pub heartbeat: Duration,
}

impl Default for ShellSettings {
    fn default() -> Self {
        Self {
            as_role: None,
            heartbeat: HEARTBEAT,
        }
    }
}

impl ShellSettings {
    /// The command that reads a script on its standard input.
    fn shell(&self) -> String {
        match &self.as_role {
            Some(command) => command.shell(),
            None => "exec sh".to_owned(),
        }
    }

    /// What it means that the command ended with this status before the script said anything: that it may not be used.
    fn refusal(&self, status: u32, stderr: &str) -> Option<OpenError> {
        let command = self.as_role.as_ref()?;
        if !BECOME_STATUS.contains(&status) {
            return None;
        }
        let said: Vec<&str> = stderr
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let said = if said.is_empty() {
            "it says nothing".to_owned()
        } else {
            plain(&said.join("; "))
        };
        Some(OpenError::Refused(format!(
            "`{command}` was refused with status {status}: {said}; the login must be allowed to run `sh` by it without a password \
             (for sudo: a rule with NOPASSWD), or choose another command with --become or `become`"
        )))
    }
}

/// The statuses of a command that is not allowed, cannot be run, or is not there. The scripts use others.
const BECOME_STATUS: [u32; 3] = [1, 126, 127];

#[derive(Debug)]
struct ListRequest {
    patterns: Vec<Pattern>,
    answer: oneshot::Sender<Result<Listing, OpenError>>,
}

impl RemoteFiles {
    /// The files of a host. Starts the task that lists them, which ends when the last clone is dropped.
    pub fn new(host: HostPool, settings: ShellSettings) -> Self {
        let (listings, requests) = mpsc::channel(LISTINGS_QUEUED);
        let settings = Arc::new(settings);
        tokio::spawn(
            Lister {
                host: host.clone(),
                settings: settings.clone(),
                shell: None,
            }
            .run(requests),
        );
        Self {
            host,
            settings,
            listings,
        }
    }

    /// See [`crate::transport::Transport::list`].
    pub async fn list(&self, patterns: &[Pattern]) -> Result<Listing, OpenError> {
        // Without a name, some `stat` looks at its input.
        if patterns.is_empty() {
            return Ok(Listing::default());
        }
        let (answer, answered) = oneshot::channel();
        let ended = || OpenError::Failed("the lister ended".to_owned());
        self.listings
            .send(ListRequest {
                patterns: patterns.to_vec(),
                answer,
            })
            .await
            .map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// See [`crate::transport::Transport::open`].
    pub async fn open(
        &self,
        path: &[u8],
        start: Start,
        until: Until,
    ) -> Result<(Header, RemoteStream), OpenError> {
        let session = self.host.exec(&self.settings.shell()).await?;
        let nonce = nonce();
        let mut output = session.output;
        // Owned from here on: if anything goes wrong below, the channel is closed.
        let beats = Heartbeats::new(session.input, self.settings.heartbeat, session.place);
        let opened = async {
            beats
                .send(follow_script(
                    path,
                    start,
                    until,
                    self.settings.heartbeat,
                    nonce,
                ))
                .await;
            Preamble::new(nonce).read(&mut output, &self.settings).await
        };
        let (header, first) = tokio::time::timeout(ANSWER_TIMEOUT, opened)
            .await
            .map_err(|_| {
                OpenError::Failed(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))
            })??;
        beats.begin();
        Ok((
            header,
            RemoteStream {
                output,
                first,
                until,
                beats,
            },
        ))
    }
}

/// A file being read on another host.
#[derive(Debug)]
pub struct RemoteStream {
    output: Output,
    first: Bytes,
    until: Until,
    #[expect(
        dead_code,
        reason = "ends the heartbeats and closes the channel when dropped"
    )]
    beats: Heartbeats,
}

impl RemoteStream {
    /// See [`crate::transport::ByteStream::next`].
    pub async fn next(&mut self) -> Chunk {
        if !self.first.is_empty() {
            return Chunk::Data(std::mem::take(&mut self.first));
        }
        match self.output.next().await {
            Said::Bytes(bytes) => Chunk::Data(bytes),
            Said::Exited(0) if self.until != Until::Forever => Chunk::End(End::Reached),
            Said::Exited(status) if self.until != Until::Forever => Chunk::End(End::Broken(
                format!("the reader ended with status {status}"),
            )),
            Said::Exited(_) => Chunk::End(End::Stopped),
            Said::Broken(why) => Chunk::End(End::Broken(why)),
        }
    }
}

/// Feeds a command's input: first the script, then a byte now and then. Closes the channel when dropped.
#[derive(Debug)]
struct Heartbeats {
    script: mpsc::Sender<Beat>,
    _stop: DropGuard,
}

enum Beat {
    Script(Vec<u8>),
    Begin,
}

impl Heartbeats {
    fn new(mut input: Input, limit: Duration, place: Place) -> Self {
        let (script, mut scripts) = mpsc::channel(2);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            let feed = async {
                let mut beating = false;
                loop {
                    let beat = async {
                        tokio::time::sleep(limit / 4).await;
                        beating
                    };
                    tokio::select! {
                        asked = scripts.recv() => match asked {
                            Some(Beat::Script(script)) => if input.send(script).await.is_err() { return },
                            Some(Beat::Begin) => beating = true,
                            None => return,
                        },
                        beating = beat => if beating && input.send(&b"."[..]).await.is_err() { return },
                    }
                }
            };
            tokio::select! { () = feed => {}, () = stopped.cancelled() => {} }
            input.close().await;
            drop(place);
        });
        Self {
            script,
            _stop: stop.drop_guard(),
        }
    }

    async fn send(&self, script: Vec<u8>) {
        // If the feeder is gone the connection is, and the output says why.
        let _ = self.script.send(Beat::Script(script)).await;
    }

    /// From the header on, the shell no longer reads its script from this input.
    fn begin(&self) {
        let _ = self.script.try_send(Beat::Begin);
    }
}

/// Finds the header in what a login prints.
struct Preamble {
    mark: Vec<u8>,
    seen: BytesMut,
}

impl Preamble {
    fn new(nonce: u64) -> Self {
        Self {
            mark: mark(nonce).into_bytes(),
            seen: BytesMut::new(),
        }
    }

    /// The header, and the file's bytes that came with it.
    async fn read(
        mut self,
        output: &mut Output,
        settings: &ShellSettings,
    ) -> Result<(Header, Bytes), OpenError> {
        loop {
            match output.next().await {
                Said::Bytes(bytes) => {
                    self.seen.extend_from_slice(&bytes);
                    if let Some((line, end)) = self.line() {
                        let header = parse_header(line).ok_or_else(|| {
                            OpenError::Failed(format!(
                                "the host's answer is garbled: {:?}",
                                String::from_utf8_lossy(line)
                            ))
                        })?;
                        self.seen.advance(end);
                        return Ok((header, self.seen.freeze()));
                    }
                    if self.seen.len() > PREAMBLE_BYTES {
                        return Err(OpenError::Failed(
                            "the login prints endlessly before it runs the command".to_owned(),
                        ));
                    }
                }
                Said::Exited(status) => {
                    let stderr = output.stderr();
                    return Err(settings
                        .refusal(status, &stderr)
                        .unwrap_or_else(|| open_error(status, &self.seen, &stderr)));
                }
                Said::Broken(why) => return Err(OpenError::Failed(why)),
            }
        }
    }

    fn line(&self) -> Option<(&[u8], usize)> {
        let at = memchr::memmem::find(&self.seen, &self.mark)? + self.mark.len();
        let end = at + memchr::memchr(b'\n', &self.seen[at..])?;
        Some((&self.seen[at..end], end + 1))
    }
}

/// Parses `device inode size start`.
fn parse_header(line: &[u8]) -> Option<Header> {
    let mut numbers = std::str::from_utf8(line)
        .ok()?
        .split_ascii_whitespace()
        .map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    let (device, inode, size, start) = (next()?, next()?, next()?, next()?);
    Some(Header {
        id: FileId { device, inode },
        size,
        start,
    })
}

/// What an ended script means: its status, and the host's words on its output.
fn open_error(status: u32, output: &[u8], stderr: &str) -> OpenError {
    let said = String::from_utf8_lossy(output);
    let last = said
        .trim()
        .lines()
        .last()
        .unwrap_or_default()
        .trim()
        .to_owned();
    match status {
        STATUS_UNREADABLE => OpenError::Denied(last),
        STATUS_UNSEEN if last.ends_with("ermission denied") => OpenError::Denied(last),
        STATUS_UNSEEN => OpenError::Gone,
        STATUS_NOT_REGULAR => OpenError::NotRegular,
        STATUS_SHORTER => OpenError::Shorter {
            size: last.parse().unwrap_or(0),
        },
        _ => {
            let words = if stderr.is_empty() {
                last
            } else {
                stderr.lines().last().unwrap_or_default().to_owned()
            };
            OpenError::Failed(format!(
                "the host cannot run the reader (status {status}): {words}"
            ))
        }
    }
}

/// There is something else by that name.
const STATUS_NOT_REGULAR: u32 = 63;
/// The file is there; this login may not read it.
const STATUS_UNREADABLE: u32 = 64;
/// Nothing is seen by that name; `ls` said why.
const STATUS_UNSEEN: u32 = 66;
const STATUS_SHORTER: u32 = 67;

fn mark(nonce: u64) -> String {
    format!("tailll1 {nonce:016x} ")
}

/// A number that no earlier output of this program holds; it only has to differ from what start-up files print.
fn nonce() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);
    NEXT.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
}

/// Quotes bytes for a POSIX shell.
fn quote(bytes: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for &byte in bytes {
        if byte == b'\'' {
            quoted.extend_from_slice(b"'\\''");
        } else {
            quoted.push(byte);
        }
    }
    quoted.push(b'\'');
    quoted
}

/// The script that reads one file. In braces, so that a shell reads it whole before it runs any of it.
fn follow_script(
    path: &[u8],
    start: Start,
    until: Until,
    heartbeat: Duration,
    nonce: u64,
) -> Vec<u8> {
    let mut script = b"f=".to_vec();
    script.extend(quote(path));
    let (o, b) = match start {
        Start::At(offset) => (offset, 0),
        Start::Back(bytes) => (0, bytes),
    };
    let (follow, most) = match until {
        Until::End => (0, 0),
        Until::Forever => (1, 0),
        Until::Bytes(bytes) => (2, bytes),
    };
    let back = u8::from(matches!(start, Start::Back(_)));
    script.extend(
        format!(
            " o={o} b={b} k={back} w={follow} n={most} m='{}'\n{}",
            mark(nonce),
            time_limit(heartbeat),
        )
        .into_bytes(),
    );
    script.extend_from_slice(FOLLOW.as_bytes());
    script
}

/// `f` file, `o` offset, `k` whether to start `b` bytes before the end instead, `w` whether to read to the end (0), to follow
/// (1) or to read `n` bytes at most (2), `m` the header's mark, `t` what limits the time of a command.
///
/// - Descriptor 3 is the file, 4 the client's input, 5 the client's output.
/// - The watchdog waits for a byte at a time; when none comes in time, or the input ends, it ends the whole process group.
/// - `dd` moves the descriptor: whole blocks by seeking, the rest by one read.
/// - GNU `tail` says on its standard error that a file was truncated *before* it reads on; that goes to a pipe nobody reads,
///   so it dies there and then, before a byte is miscounted.
/// - The `stat` of BSD and macOS has other options, and looks at its input where there is no `/proc`.
/// - Elsewhere a loop of `cat` does it, looking before each round whether the file has shrunk.
/// - `trap` lets this shell survive its own `kill 0`, to say by its status how it ended.
const FOLLOW: &str = r#"{
LC_ALL=C; export LC_ALL
if ! [ -f "$f" ] || ! [ -r "$f" ]; then
if [ -f "$f" ]; then ls -ldnL "$f"; exit 64; fi
if [ -e "$f" ]; then exit 63; fi
ls -ldnL "$f" 2>&1; exit 66
fi
for c in head dd; do command -v $c >/dev/null || { echo "$c is not there" >&2; exit 69; }; done
exec 3<"$f"
if ! s=$(stat -L -c '%d %i %s' /proc/self/fd/3 2>&1); then
e=$s; s=$(stat -f '%d %i %z' <&3 2>/dev/null) || { echo "$e" >&2; exit 69; }
fi
z=${s##* }
if [ $k = 1 ]; then o=$((z>b?z-b:0)); fi
if [ "$z" -lt "$o" ]; then echo "$z"; exit 67; fi
echo "$m$s $o"
exec 4<&0 </dev/null 5>&1
(while [ "$($t head -c1 <&4)" ]; do :; done; kill 0) 3<&- 5>&- >/dev/null 2>&1 &
q=$((o/65536)) r=$((o%65536))
[ $q = 0 ] || dd bs=65536 skip=$q count=0 <&3 >/dev/null 2>&1
[ $r = 0 ] || dd bs=$r count=1 <&3 >/dev/null 2>&1
e=0
if [ $w = 0 ]; then cat <&3 4<&- 5>&- || e=65
elif [ $w = 2 ]; then head -c $n <&3 4<&- 5>&- || e=65
else
e=68
case "$(tail --version 2>&1)" in
*GNU*) tail -s .05 -c +1 -f <&3 2>&1 >&5 4<&- 5>&- | : ;;
*) p=1; sleep .2 2>/dev/null && p=.2
while n=$(stat -L -c %s /proc/self/fd/3 2>/dev/null || stat -f %z <&3) && [ "$n" -ge "$z" ]; do z=$n; cat <&3 4<&- 5>&- || break; sleep $p; done ;;
esac
fi
trap '' TERM
exec 3<&- 4<&- 5>&- >/dev/null 2>&1
kill 0
exit $e
}
"#;

/// Sets `t` to the words that end a command after this time. macOS has no `timeout` but Perl; where there is neither, only the
/// end of the input tells that the client is gone.
fn time_limit(heartbeat: Duration) -> String {
    let seconds = heartbeat.as_secs().max(1);
    format!(
        "t='timeout {seconds}'; command -v timeout >/dev/null 2>&1 || {{ \
         t='perl -e alarm(shift);exec(@ARGV) {seconds}'; command -v perl >/dev/null 2>&1 || t=; }}\n"
    )
}

/// Lists a host's folders, one command after the other, in a shell that it keeps.
struct Lister {
    host: HostPool,
    settings: Arc<ShellSettings>,
    shell: Option<ListShell>,
}

struct ListShell {
    output: Output,
    feed: Heartbeats,
    mark: String,
}

impl Lister {
    async fn run(mut self, mut requests: mpsc::Receiver<ListRequest>) {
        loop {
            let request = tokio::select! {
                request = requests.recv() => request,
                // An unread channel would stall its whole connection, even without output: the library counts its own messages.
                () = ListShell::until_it_speaks(&mut self.shell) => {
                    self.shell = None;
                    continue;
                }
            };
            let Some(mut request) = request else { return };
            // Who asked may have gone meanwhile, while this waited for a connection.
            let listing = tokio::select! {
                listing = self.list(&request.patterns) => listing,
                () = request.answer.closed() => continue,
            };
            let _ = request.answer.send(listing);
        }
    }

    async fn list(&mut self, patterns: &[Pattern]) -> Result<Listing, OpenError> {
        // A kept shell may have ended long ago; a fresh one that ends too is a failure.
        for last in [false, true] {
            let fresh = self.shell.is_none();
            match self.ask(patterns).await {
                Err(OpenError::Failed(why)) => {
                    self.shell = None;
                    if last || fresh {
                        return Err(OpenError::Failed(why));
                    }
                }
                other => return other,
            }
        }
        Err(OpenError::Failed("the listing shell ended".to_owned()))
    }

    async fn ask(&mut self, patterns: &[Pattern]) -> Result<Listing, OpenError> {
        // Taken out, so that a question that is dropped half-way takes its shell with it: the answer would be mistaken for the next one's.
        let mut shell = match self.shell.take() {
            Some(shell) => shell,
            None => self.start().await?,
        };
        shell.feed.send(list_command(patterns, &shell.mark)).await;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, shell.answer())
            .await
            .map_err(|_| {
                OpenError::Failed(format!("no listing within {} s", ANSWER_TIMEOUT.as_secs()))
            })??;
        self.shell = Some(shell);
        Ok(parse_listing(&answer))
    }

    async fn start(&self) -> Result<ListShell, OpenError> {
        let session = self.host.exec(&self.settings.shell()).await?;
        let feed = Heartbeats::new(session.input, self.settings.heartbeat, session.place);
        let mark = mark(nonce());
        let script = format!(
            "{{ LC_ALL=C; export LC_ALL; \
             for c in head stat xargs; do command -v $c >/dev/null || {{ echo \"$c is not there\"; exit 69; }}; done; {}\n{STAT_OPTIONS}\n\
             echo '{mark}ready'; while l=$($t head -n 1) && [ \"$l\" ]; do eval \"$l\"; done; kill 0; }} 2>&1\n",
            time_limit(self.settings.heartbeat).trim_end(),
        );
        feed.send(script.into_bytes()).await;
        let mut shell = ListShell {
            output: session.output,
            feed,
            mark,
        };
        // Some shells read ahead: what is sent before they run the loop would be taken for more of the script.
        let ready = format!("{}ready\n", shell.mark).into_bytes();
        tokio::time::timeout(ANSWER_TIMEOUT, shell.read_to(&ready, Some(&self.settings)))
            .await
            .map_err(|_| {
                OpenError::Failed(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))
            })??;
        Ok(shell)
    }
}

impl ListShell {
    /// Waits until a shell that was asked nothing says something, which only happens when it ends.
    async fn until_it_speaks(shell: &mut Option<Self>) {
        match shell {
            Some(shell) => drop(shell.output.next().await),
            None => std::future::pending().await,
        }
    }

    /// Everything between the marks that the command prints.
    async fn answer(&mut self) -> Result<Vec<u8>, OpenError> {
        let begin = format!("{}begin\n", self.mark).into_bytes();
        let end = format!("{}end\n", self.mark).into_bytes();
        let mut seen = self.read_to(&end, None).await?;
        let at = memchr::memmem::find(&seen, &begin)
            .ok_or_else(|| OpenError::Failed("the host's listing is garbled".to_owned()))?;
        seen.truncate(seen.len() - end.len());
        seen.drain(..at + begin.len());
        Ok(seen)
    }

    /// Everything up to these bytes, which end what the shell says. `starting` is there if it may not even start.
    async fn read_to(
        &mut self,
        end: &[u8],
        starting: Option<&ShellSettings>,
    ) -> Result<Vec<u8>, OpenError> {
        let mut seen = Vec::new();
        loop {
            match self.output.next().await {
                Said::Bytes(bytes) => seen.extend_from_slice(&bytes),
                Said::Exited(status) => {
                    // What it complains about goes the way of its answers.
                    let said = String::from_utf8_lossy(&seen);
                    let words = match said.trim_end().lines().last() {
                        Some(last) if !last.ends_with("ready") => last.to_owned(),
                        _ => self.output.stderr(),
                    };
                    let refusal = starting.and_then(|settings| settings.refusal(status, &words));
                    return Err(refusal.unwrap_or_else(|| {
                        OpenError::Failed(format!(
                            "the listing shell ended with status {status}: {words}"
                        ))
                    }));
                }
                Said::Broken(why) => return Err(OpenError::Failed(why)),
            }
            if seen.ends_with(end) {
                return Ok(seen);
            }
            if seen.len() > LISTING_BYTES {
                return Err(OpenError::Failed(format!(
                    "the listing is longer than {LISTING_BYTES} bytes: use narrower patterns"
                )));
            }
        }
    }
}

/// Sets `o` and `f` to what `list_command` gives to `stat`: GNU's and busybox's options, or those of BSD and macOS.
const STAT_OPTIONS: &str = "o=-c f='//%d %i %s %Y %f %W|%n'; \
    stat -L -c %d / >/dev/null 2>&1 || { o=-f f='//%d %i %z %m %Xp %B|%N'; }";

/// One line that prints a record for each match. Records begin with `//`, which no path has in it, so names may hold anything.
fn list_command(patterns: &[Pattern], mark: &str) -> Vec<u8> {
    const STAT: &str = "stat -L $o \"$f\"";
    let mut quoted = Vec::new();
    for pattern in patterns {
        quoted.push(b' ');
        quoted.extend(quote_pattern(pattern.as_str()));
    }
    // A folder that nobody may look into has no match below it, and so no complaint of its own.
    let mut look = b"; for d in".to_vec();
    let mut folders = 0;
    for pattern in patterns {
        let last = pattern.as_str().rsplit('/').next().unwrap_or_default();
        if !last.contains(['*', '?', '[']) {
            look.push(b' ');
            look.extend(quote_pattern(pattern.as_str()));
            folders += 1;
        }
    }
    look.extend_from_slice(
        br#"; do if [ -d "$d" ] && ! [ -x "$d" ]; then printf 'stat: %s: Permission denied\n' "$d"; fi; done"#,
    );
    if folders == 0 {
        look.clear();
    }
    // A command that cannot be started has the status 126: there are more names than fit its arguments.
    [
        format!("echo '{mark}begin'; {STAT}").as_bytes(),
        &quoted,
        b" </dev/null; [ $? -lt 126 ] || printf '%s\\0'",
        &quoted,
        format!(" | xargs -0 {STAT}").as_bytes(),
        &look,
        format!("; echo; echo '{mark}end'\n").as_bytes(),
    ]
    .concat()
}

/// Quotes a pattern so that only `*`, `?`, `[…]` and a leading `~/` mean something to the shell.
fn quote_pattern(pattern: &str) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(pattern.len() + 8);
    for (at, byte) in pattern.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric()
            || b"/._-,:@%+=*?[]^!".contains(&byte)
            || byte >= 0x80
            || (at == 0 && byte == b'~');
        if !plain {
            quoted.push(b'\\');
        }
        quoted.push(byte);
    }
    quoted
}

/// Parses what `list_command` prints.
pub fn parse_listing(answer: &[u8]) -> Listing {
    let mut listing = Listing::default();
    // The command's own empty line at the end belongs to no name.
    let mut rest = answer.strip_suffix(b"\n").unwrap_or(answer);
    while !rest.is_empty() {
        let next = memchr::memmem::find(rest, b"\n//").map_or(rest.len(), |at| at + 1);
        let (record, after) = rest.split_at(next);
        rest = after;
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        match record.strip_prefix(b"//") {
            Some(record) => {
                // Complaints may follow the last record, each on a line of its own.
                let (record, complaints) = match memchr::memmem::find(record, b"\nstat: ") {
                    Some(at) => record.split_at(at),
                    None => (record, &b""[..]),
                };
                listing.files.extend(parse_record(record));
                complain(complaints, &mut listing.denied);
            }
            None => complain(record, &mut listing.denied),
        }
    }
    listing
}

fn complain(text: &[u8], denied: &mut Vec<String>) {
    for line in String::from_utf8_lossy(text).lines() {
        if line.contains("ermission denied") {
            denied.push(line.trim_start_matches("stat: ").to_owned());
        }
    }
}

/// Parses `device inode size modified mode birth|path`. The birth is 0 where the host does not know it, and no number where its
/// `stat` does not, as busybox's.
fn parse_record(record: &[u8]) -> Option<FileStat> {
    let bar = memchr::memchr(b'|', record)?;
    let mut fields = std::str::from_utf8(&record[..bar]).ok()?.splitn(6, ' ');
    let device = fields.next()?.parse().ok()?;
    let inode = fields.next()?.parse().ok()?;
    let size = fields.next()?.parse().ok()?;
    let modified_s = fields.next()?.parse().ok()?;
    let kind = match u32::from_str_radix(fields.next()?, 16).ok()? & 0o170_000 {
        0o100_000 => FileKind::Regular,
        0o040_000 => FileKind::Folder,
        _ => FileKind::Other,
    };
    let birth_s = fields.next().and_then(|birth| birth.parse().ok());
    let path = record[bar + 1..].to_vec();
    Some(FileStat {
        id: FileId { device, inode },
        size,
        modified_s,
        birth_s: birth_s.filter(|birth| *birth > 0),
        kind,
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_gives_every_name_as_it_is() {
        let answer = b"stat: cannot statx '/x/*': No such file or directory\nstat: cannot statx '/p/q': Permission denied\n\
            //2049 77 120 1700000000 81a4 1600000000|/a/b c\n//2049 78 0 1700000001 81a4 W|/a/new\nline\n\
            //2049 79 4096 1 41ed 0|/a/d\n\n";
        let listing = parse_listing(answer);
        let paths: Vec<_> = listing
            .files
            .iter()
            .map(|file| String::from_utf8_lossy(&file.path).into_owned())
            .collect();
        assert_eq!(paths, ["/a/b c", "/a/new\nline", "/a/d"]);
        assert_eq!(
            listing.files[0].id,
            FileId {
                device: 2049,
                inode: 77
            }
        );
        let births: Vec<_> = listing.files.iter().map(|file| file.birth_s).collect();
        assert_eq!(births, [Some(1_600_000_000), None, None]);
        assert_eq!(listing.files[2].kind, FileKind::Folder);
        assert_eq!(listing.denied, ["cannot statx '/p/q': Permission denied"]);
    }

    #[test]
    fn a_quoted_path_is_one_word() {
        assert_eq!(quote(b"a'b c\n!"), b"'a'\\''b c\n!'");
        assert_eq!(quote_pattern("/a b/$x/*.log"), b"/a\\ b/\\$x/*.log");
        assert_eq!(quote_pattern("~/a~b"), b"~/a\\~b");
    }

    #[test]
    fn what_a_script_says_at_its_end_is_understood() {
        assert_eq!(
            open_error(
                66,
                b"motd\nls: cannot access '/x': No such file or directory\n",
                ""
            ),
            OpenError::Gone
        );
        assert!(matches!(
            open_error(64, b"-rw------- 1 0 0 5 Jan  1 00:00 /x\n", ""),
            OpenError::Denied(_)
        ));
        // A name is a stranger's words.
        assert!(matches!(
            open_error(
                64,
                b"-rw------- 1 0 0 5 Jan  1 00:00 /x\nNo such file\n",
                ""
            ),
            OpenError::Denied(_)
        ));
        assert!(matches!(
            open_error(66, b"ls: cannot access '/x': Permission denied\n", ""),
            OpenError::Denied(_)
        ));
        assert_eq!(
            open_error(66, b"ls: cannot access '/f/x': Not a directory\n", ""),
            OpenError::Gone
        );
        assert_eq!(open_error(63, b"motd\n", ""), OpenError::NotRegular);
        assert_eq!(open_error(67, b"12\n", ""), OpenError::Shorter { size: 12 });
        assert!(
            matches!(open_error(127, b"", "sh: stat: not found"), OpenError::Failed(why) if why.contains("stat: not found"))
        );
    }

    proptest::proptest! {
        #[test]
        fn no_answer_of_a_host_is_too_strange(answer: Vec<u8>) {
            let _ = parse_listing(&answer);
            let _ = parse_header(&answer);
            let _ = open_error(66, &answer, "");
        }

        #[test]
        fn every_name_survives_a_listing(name in "[^/\0]{1,40}") {
            let answer = format!("//1 2 3 4 81a4 5|/a/{name}/stdout\n//1 9 3 4 81a4 ?|/b\n\n");
            let listing = parse_listing(answer.as_bytes());
            // A name with a line that looks like a complaint of `stat` is the one thing that cannot be told apart.
            proptest::prop_assume!(!name.contains("\nstat: "));
            proptest::prop_assert_eq!(&listing.files[0].path, &format!("/a/{name}/stdout").into_bytes());
            proptest::prop_assert_eq!(listing.files.len(), 2);
        }
    }
}
