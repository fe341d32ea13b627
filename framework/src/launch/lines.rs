//! Text on its way to stderr. A thread of its own writes it: a terminal that is held with Ctrl-S, or a pipe that nobody
//! reads, holds up that thread and nobody who has something to say.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::Duration,
};

/// Texts that wait at most.
const WAITING_MAX: usize = 1024;

/// So many wait where stderr is slow; where it is held, there are more.
const WAITING_USUALLY: usize = 16;

/// Time for what waits to be written before the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// A bounded queue of texts, and the thread that writes them.
pub(super) struct Lines {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    is_writing: bool,
    /// Texts that found no room since the last one that did.
    dropped: u64,
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.is_writing
    }
}

/// Text for the stderr of this process.
pub(super) fn stderr() -> &'static Arc<Lines> {
    static STDERR: OnceLock<Arc<Lines>> = OnceLock::new();
    STDERR.get_or_init(|| Lines::written_to(io::stderr()))
}

impl Lines {
    fn written_to(target: impl Write + Send + 'static) -> Arc<Self> {
        let lines = Arc::new(Self { state: Mutex::default(), changed: Condvar::new() });
        let writing = Arc::clone(&lines);
        // Without a thread nothing is shown, which is the least trouble of a process that cannot start one.
        let _ = thread::Builder::new().name("stderr".into()).spawn(move || writing.write(target));
        lines
    }

    /// Has a text written. It is dropped when too many wait.
    pub(super) fn push(&self, text: impl Into<Vec<u8>>) {
        let mut state = self.lock();
        if state.waiting.len() >= WAITING_MAX {
            state.dropped += 1;
            return;
        }
        let dropped = std::mem::take(&mut state.dropped);
        if dropped > 0 {
            let note = format!("({dropped} messages were dropped: stderr did not take them)\n");
            state.waiting.push_back(note.into());
        }
        state.waiting.push_back(text.into());
        self.changed.notify_all();
    }

    /// Has a text written that is worth nothing later. Returns `false` when it is not because stderr is held.
    pub(super) fn push_unless_held(&self, text: impl Into<Vec<u8>>) -> bool {
        let is_held = self.lock().waiting.len() >= WAITING_USUALLY;
        if !is_held {
            self.push(text);
        }
        !is_held
    }

    /// Waits until everything is written, but not for long.
    pub(super) fn flush(&self) {
        let state = self.lock();
        let flushed = self.changed.wait_timeout_while(state, FLUSH_TIMEOUT, |state| !state.is_idle());
        drop(flushed);
    }

    fn write(&self, mut target: impl Write) {
        let mut state = self.lock();
        loop {
            let Some(text) = state.waiting.pop_front() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.is_writing = true;
            drop(state);
            // Nobody to tell when stderr is closed.
            let _ = target.write_all(&text).and_then(|()| target.flush());
            state = self.lock();
            state.is_writing = false;
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the log writes to: each event comes as one text.
pub(super) struct Log;

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        stderr().push(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes a text for every token.
    struct Held {
        tokens: mpsc::Receiver<()>,
        written: mpsc::Sender<String>,
    }

    impl Write for Held {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.tokens.recv().map_err(io::Error::other)?;
            self.written.send(String::from_utf8_lossy(text).into_owned()).map_err(io::Error::other)?;
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn held() -> (Arc<Lines>, mpsc::Sender<()>, mpsc::Receiver<String>) {
        let ((token, tokens), (sender, written)) = (mpsc::channel(), mpsc::channel());
        (Lines::written_to(Held { tokens, written: sender }), token, written)
    }

    #[test]
    fn nobody_waits_for_a_terminal_that_is_held_and_what_is_dropped_is_counted() {
        let (lines, token, written) = held();
        lines.push("0");
        // Should it be taken when the queue is full already, there would be room for a note in between.
        while !lines.lock().is_writing {
            thread::yield_now();
        }
        (1..2 * WAITING_MAX).for_each(|number| lines.push(number.to_string()));
        (0..2 * WAITING_MAX).for_each(|_| token.send(()).unwrap());
        lines.flush();
        lines.push("later");
        lines.flush();
        let written: Vec<_> = written.try_iter().collect();
        let kept = written.len() - 2;
        assert_eq!(kept, WAITING_MAX + 1, "one was on its way when the queue filled");
        assert!(written[..kept].iter().enumerate().all(|(number, text)| *text == number.to_string()));
        assert!(written[kept].starts_with(&format!("({} messages", 2 * WAITING_MAX - kept)), "{written:?}");
        assert_eq!(written[kept + 1], "later");
    }

    #[test]
    fn what_is_worth_nothing_later_does_not_queue_up() {
        let (lines, token, written) = held();
        let pushed = (0..100).filter(|_| lines.push_unless_held("old")).count();
        assert!((WAITING_USUALLY..=WAITING_USUALLY + 1).contains(&pushed), "{pushed}");
        (0..100).for_each(|_| token.send(()).unwrap());
        lines.flush();
        assert!(lines.push_unless_held("new"));
        lines.flush();
        assert_eq!(written.try_iter().skip(pushed).collect::<String>(), "new");
    }
}
