//! The bounded queue between whoever logs and the thread that writes.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait. At 300 bytes a line this is about 1 MiB.
const MAXIMUM_LINES: usize = 4_096;
/// Bytes that may wait, so that a burst of long lines does not grow the process.
const MAXIMUM_BYTES: usize = 4 * 1024 * 1024;

enum Message {
    Line(Vec<u8>),
    Stop,
}

/// The end of the queue that takes lines. Never blocks.
#[derive(Clone, Debug)]
pub(super) struct LineQueue {
    sender: SyncSender<Message>,
    waiting_bytes: Arc<AtomicUsize>,
    dropped: Counter,
}

/// The thread that writes. Dropping it writes out what waits.
#[derive(Debug)]
pub(super) struct Writer {
    queue: LineQueue,
    thread: Option<JoinHandle<()>>,
}

/// Starts a thread that writes lines to `output`; lines that find no room are counted in `dropped`.
pub(super) fn start(output: impl Write + Send + 'static, dropped: Counter) -> io::Result<(LineQueue, Writer)> {
    let (sender, receiver) = sync_channel(MAXIMUM_LINES);
    let queue = LineQueue { sender, waiting_bytes: Arc::new(AtomicUsize::new(0)), dropped };
    let waiting_bytes = Arc::clone(&queue.waiting_bytes);
    let lost = queue.dropped.clone();
    let thread = thread::Builder::new()
        .name("log-writer".to_owned())
        .spawn(move || write_lines(&receiver, output, &waiting_bytes, &lost))?;
    Ok((queue.clone(), Writer { queue, thread: Some(thread) }))
}

fn write_lines(receiver: &Receiver<Message>, mut output: impl Write, waiting_bytes: &AtomicUsize, lost: &Counter) {
    while let Ok(Message::Line(line)) = receiver.recv() {
        if output.write_all(&line).and_then(|()| output.flush()).is_err() {
            lost.inc();
        }
        waiting_bytes.fetch_sub(line.len(), Ordering::AcqRel);
    }
}

impl LineQueue {
    /// Queues a line that ends with a line feed, or drops it when there is no room.
    pub(super) fn push(&self, line: Vec<u8>) {
        let length = line.len();
        if self.waiting_bytes.fetch_add(length, Ordering::AcqRel).saturating_add(length) > MAXIMUM_BYTES {
            self.waiting_bytes.fetch_sub(length, Ordering::AcqRel);
            self.dropped.inc();
            return;
        }
        match self.sender.try_send(Message::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.waiting_bytes.fetch_sub(length, Ordering::AcqRel);
                self.dropped.inc();
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The queue's clones live in the subscriber for ever, so the thread is told to stop. Here waiting is right:
        // everything queued before is written first.
        if self.queue.sender.send(Message::Stop).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// One event's text on its way into the queue.
#[derive(Debug)]
pub(super) struct PendingLine {
    queue: LineQueue,
    bytes: Vec<u8>,
}

impl Write for PendingLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for PendingLine {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.queue.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl MakeWriter<'_> for LineQueue {
    type Writer = PendingLine;

    fn make_writer(&self) -> PendingLine {
        PendingLine { queue: self.clone(), bytes: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Announces each write and then blocks until it is let go.
    struct Stuck {
        started: Sender<()>,
        release: Receiver<()>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.started.send(());
            let _ = self.release.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stuck() -> (Stuck, Receiver<()>, Sender<()>) {
        let (started, on_start) = channel();
        let (let_go, release) = channel();
        (Stuck { started, release }, on_start, let_go)
    }

    #[test]
    fn a_reader_that_is_stuck_costs_lines_that_are_counted_and_never_blocks() {
        let (output, on_start, let_go) = stuck();
        let dropped = Counter::default();
        let (queue, writer) = start(output, dropped.clone()).unwrap();
        queue.push(b"first\n".to_vec());
        on_start.recv().unwrap();
        for _ in 0..MAXIMUM_LINES + 7 {
            queue.push(b"x\n".to_vec());
        }
        assert_eq!(dropped.get(), 7);
        drop(let_go);
        drop(writer);
        assert_eq!(dropped.get(), 7);
    }

    #[test]
    fn long_lines_are_bounded_by_their_bytes() {
        let (output, on_start, let_go) = stuck();
        let dropped = Counter::default();
        let (queue, writer) = start(output, dropped.clone()).unwrap();
        queue.push(vec![b'x'; MAXIMUM_BYTES - 1]);
        on_start.recv().unwrap();
        queue.push(b"one too many\n".to_vec());
        assert_eq!(dropped.get(), 1);
        drop(let_go);
        drop(writer);
    }
}
