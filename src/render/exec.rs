//! Runs one tool to its end, within bounds on time and output, and leaves no process behind.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process_group, prlimit, waitid};
use thiserror::Error;

use super::jail::{self, Filters, Isolation, Walls};

/// How much of a tool's complaint is kept; its first lines are what is shown.
const STDERR_BYTES: usize = 64 * 1024;
/// Pipes close when the last writer is gone, which a kill makes sure of; this bounds the wait for it.
const PIPES_CLOSE: Duration = Duration::from_secs(5);
const OPEN_FILES: u64 = 512;

/// Bounds on one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) timeout: Duration,
    pub(super) output_bytes: usize,
    pub(super) memory_bytes: u64,
}

/// One run of a tool. Its environment is empty but for private directories.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) tool: &'a Path,
    pub(super) arguments: Vec<OsString>,
    /// The private directory; `home` and `tmp` in it are made here.
    pub(super) private: &'a Path,
    pub(super) bounds: Bounds,
}

/// What a tool that ran to its end gave.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

/// A run did not come to its end.
#[derive(Debug, Error)]
pub(super) enum ExecError {
    #[error("the tool {tool} can't be started: {source}")]
    Start { tool: PathBuf, source: io::Error },
    #[error("the tool's output can't be read: {0}")]
    Read(io::Error),
    #[error("it did not finish within {0:?} and was stopped")]
    Timeout(Duration),
    #[error("it wrote more than {0} bytes and was stopped")]
    TooMuchOutput(usize),
    #[error("it used more processor time or memory than it may and was stopped by signal {0}")]
    Killed(i32),
}

enum Event {
    /// The first process ended; it is not yet reaped, so that its id still names its group.
    Ended,
    TooMuch,
    Stdout(io::Result<Vec<u8>>),
    Stderr(Vec<u8>),
}

/// The jail that all runs share.
#[derive(Debug)]
pub(super) struct Jail {
    pub(super) filters: Filters,
    pub(super) isolation: Isolation,
}

impl Jail {
    /// Runs a tool. Blocks until it and its children are gone.
    pub(super) fn run(&self, run: &Run<'_>) -> Result<Output, ExecError> {
        let start = |source| ExecError::Start { tool: run.tool.to_owned(), source };
        let (home, temporary) = (run.private.join("home"), run.private.join("tmp"));
        for directory in [&home, &temporary] {
            super::scratch::private_directory(directory).map_err(start)?;
        }
        let mut command = Command::new(run.tool);
        command
            .args(&run.arguments)
            .current_dir(run.private)
            .env_clear()
            .env("HOME", &home)
            .env("TMPDIR", &temporary)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let walls =
            Walls { tool: run.tool.to_owned(), private: run.private.to_owned(), libraries: jail::is_dynamic(run.tool) };
        let child = jail::spawn(command, &self.filters, &walls, self.isolation).map_err(start)?;
        supervise(child, run.bounds)
    }
}

fn limit_resources(pid: Pid, bounds: Bounds) {
    let processor_seconds = bounds.timeout.as_secs().saturating_mul(2).saturating_add(1);
    for (resource, most) in [
        (Resource::Core, 0),
        (Resource::Cpu, processor_seconds),
        (Resource::Data, bounds.memory_bytes),
        (Resource::Fsize, u64::try_from(bounds.output_bytes).unwrap_or(u64::MAX)),
        (Resource::Nofile, OPEN_FILES),
    ] {
        // The child may have ended already; then there is nothing to limit.
        let _ = prlimit(Some(pid), resource, Rlimit { current: Some(most), maximum: Some(most) });
    }
}

fn supervise(mut child: Child, bounds: Bounds) -> Result<Output, ExecError> {
    let deadline = Instant::now() + bounds.timeout;
    let pid = Pid::from_child(&child);
    limit_resources(pid, bounds);
    let (sender, events) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        let sender = sender.clone();
        thread::spawn(move || {
            let content = read_limited(stdout, bounds.output_bytes, &sender);
            let _ = sender.send(Event::Stdout(content));
        });
    }
    if let Some(stderr) = child.stderr.take() {
        let sender = sender.clone();
        thread::spawn(move || {
            let content = read_head(stderr, bounds.output_bytes, &sender);
            let _ = sender.send(Event::Stderr(content));
        });
    }
    let waiter = thread::spawn(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(pid), options), Err(rustix::io::Errno::INTR)) {}
        let _ = sender.send(Event::Ended);
    });

    let (mut stdout, mut stderr) = (None, None);
    let verdict = loop {
        match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Ended) => break Ok(()),
            Ok(Event::TooMuch) => break Err(ExecError::TooMuchOutput(bounds.output_bytes)),
            Ok(Event::Stdout(content)) => stdout = Some(content),
            Ok(Event::Stderr(content)) => stderr = Some(content),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                break Err(ExecError::Timeout(bounds.timeout));
            }
        }
    };
    // Whatever the verdict, nothing of the group may live on. The leader is not reaped yet: the id is still its own.
    let _ = kill_process_group(pid, Signal::KILL);
    let _ = waiter.join();
    let status = child.wait().map_err(ExecError::Read)?;
    let closed = Instant::now() + PIPES_CLOSE;
    while stdout.is_none() || stderr.is_none() {
        match events.recv_timeout(closed.saturating_duration_since(Instant::now())) {
            Ok(Event::Stdout(content)) => stdout = Some(content),
            Ok(Event::Stderr(content)) => stderr = Some(content),
            Ok(Event::TooMuch) if verdict.is_ok() => return Err(ExecError::TooMuchOutput(bounds.output_bytes)),
            Ok(Event::Ended | Event::TooMuch) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let stuck = io::Error::new(io::ErrorKind::TimedOut, "another process keeps it open");
                return verdict.and(Err(ExecError::Read(stuck)));
            }
        }
    }
    verdict?;
    if let Some(signal) = status.signal() {
        return Err(ExecError::Killed(signal));
    }
    let stdout = stdout.unwrap_or_else(|| Ok(Vec::new())).map_err(ExecError::Read)?;
    let stderr = String::from_utf8_lossy(&stderr.unwrap_or_default()).into_owned();
    Ok(Output { status, stdout, stderr })
}

fn read_limited(pipe: impl Read, most: usize, events: &Sender<Event>) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    pipe.take(limit).read_to_end(&mut content)?;
    if content.len() > most {
        let _ = events.send(Event::TooMuch);
    }
    Ok(content)
}

/// Keeps the head and reads on, so that the tool never blocks on a full pipe.
fn read_head(mut pipe: impl Read, most: usize, events: &Sender<Event>) -> Vec<u8> {
    let mut head = Vec::new();
    let mut seen = 0_usize;
    let mut buffer = [0_u8; 8192];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return head,
            Ok(count) => {
                seen = seen.saturating_add(count);
                let room = STDERR_BYTES.saturating_sub(head.len()).min(count);
                head.extend_from_slice(buffer.get(..room).unwrap_or_default());
                if seen > most {
                    let _ = events.send(Event::TooMuch);
                    return head;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return head,
        }
    }
}

#[cfg(test)]
mod tests;
