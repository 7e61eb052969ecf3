//! Ctrl-C, SIGTERM and SIGHUP. While a step is under way the first is noted, for the trainer to finish, save and leave;
//! while nothing would be lost (reading data, evaluating, writing the report) it ends the program at once. So does a
//! second one anywhere: files are written so that the last checkpoint stays whole.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard};

/// SIGINT's number, which a request counts as that no signal brought.
const SIGINT: i32 = 2;
/// What shells add to a signal's number for the exit status.
const BY_SIGNAL: i32 = 128;

/// The program was asked to stop and did; it exits with 128 and the signal's number, as shells report it.
#[derive(Debug, thiserror::Error)]
#[error("stopped: {what}")]
pub struct Stopped {
    /// The signal.
    pub signal: i32,
    /// What is done and what is not.
    pub what: String,
}

impl Stopped {
    /// The exit status: 130 after Ctrl-C, 143 after SIGTERM.
    pub fn status(&self) -> u8 {
        u8::try_from(BY_SIGNAL + self.signal).unwrap_or(u8::MAX)
    }
}

/// Whether somebody asked the program to stop. Clones share the answer.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    presses: usize,
    /// The first signal that came.
    signal: Option<i32>,
    /// One that came to another process of the run.
    told: Option<i32>,
    /// Pieces of work under way that must be finished.
    held: usize,
    /// What to say when the program ends at once.
    note: String,
    /// Whether another process tells what happens.
    quiet: bool,
}

/// What one more request to stop leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// Finish the step, save, leave.
    Finish,
    /// Leave at once.
    Abort,
}

impl Interrupt {
    /// Listens to the process's signals; to be called once.
    ///
    /// # Errors
    /// Signals that the system does not let be handled, or no thread.
    pub fn install() -> std::io::Result<Self> {
        let interrupt = Interrupt::default();
        let shared = interrupt.clone();
        listen(move |signal| shared.handle(signal))?;
        Ok(interrupt)
    }

    /// Leaves it to another process of the run to say what happens.
    pub fn be_quiet(&self) {
        self.lock().quiet = true;
    }

    fn handle(&self, signal: i32) {
        let (response, note, quiet) = {
            let mut state = self.lock();
            state.presses += 1;
            state.signal.get_or_insert(signal);
            let abort = state.presses > 1 || state.held == 0;
            (if abort { Response::Abort } else { Response::Finish }, state.note.clone(), state.quiet)
        };
        let text = match response {
            Response::Finish => {
                "\nstopping: finishing this step and saving (again to end at once)\n".to_owned()
            }
            Response::Abort => format!("\nstopped{}{note}\n", if note.is_empty() { "" } else { ": " }),
        };
        if !quiet {
            // A closed stderr is no reason to fail here.
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
        if response == Response::Abort {
            std::process::exit(BY_SIGNAL + signal);
        }
    }

    /// Counts one request.
    pub fn press(&self) -> Response {
        let mut state = self.lock();
        state.presses += 1;
        state.signal.get_or_insert(SIGINT);
        if state.presses == 1 { Response::Finish } else { Response::Abort }
    }

    /// Whether to stop after the step under way.
    pub fn requested(&self) -> bool {
        let state = self.lock();
        state.presses > 0 || state.told.is_some()
    }

    /// The signal that asked to stop, if one did.
    pub fn signal(&self) -> Option<i32> {
        let state = self.lock();
        state.signal.or(state.told)
    }

    /// Notes a request that came to another process of the run. One that comes here is still the first.
    pub fn tell(&self, signal: i32) {
        self.lock().told.get_or_insert(signal);
    }

    /// The error that says so.
    pub fn stopped(&self, what: impl Into<String>) -> Stopped {
        Stopped { signal: self.signal().unwrap_or(SIGINT), what: what.into() }
    }

    /// While the result lives, the first request is noted and not obeyed: somebody asks [`Interrupt::requested`].
    pub fn hold(&self) -> Held<'_> {
        self.lock().held += 1;
        Held { interrupt: self }
    }

    /// What to say when a request ends the program at once.
    pub fn note(&self, text: impl Into<String>) {
        self.lock().note = text.into();
    }

    /// Nothing that may panic runs under the lock, so a poisoned one still holds a whole state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Work under way that must be finished before the program ends.
#[derive(Debug)]
pub struct Held<'a> {
    interrupt: &'a Interrupt,
}

impl Held<'_> {
    /// Does `work` during which the program may end at any moment: everything is saved, as `note` says. Where the
    /// request has come already, `None` and nothing is done.
    pub fn released<T>(&self, note: &str, work: impl FnOnce() -> T) -> Option<T> {
        {
            // Under one lock, so that no request comes between the question and the release.
            let mut state = self.interrupt.lock();
            if state.presses > 0 || state.told.is_some() {
                return None;
            }
            state.held -= 1;
            state.note = note.to_owned();
        }
        let again = Again(self.interrupt);
        let done = work();
        drop(again);
        Some(done)
    }
}

/// Takes hold again, also after a panic.
struct Again<'a>(&'a Interrupt);

impl Drop for Again<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.held += 1;
        state.note.clear();
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.interrupt.lock().held -= 1;
    }
}

#[cfg(unix)]
fn listen(handle: impl Fn(i32) + Send + 'static) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || signals.forever().for_each(handle))?;
    Ok(())
}

/// Without Unix signals the system ends the program at the first request.
#[cfg(not(unix))]
fn listen(_: impl Fn(i32) + Send + 'static) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_finishes_and_the_second_aborts() {
        let interrupt = Interrupt::default();
        let trainer = interrupt.clone();
        assert!(!trainer.requested());
        assert_eq!(interrupt.press(), Response::Finish);
        assert!(trainer.requested());
        assert_eq!(interrupt.press(), Response::Abort);
    }

    #[test]
    fn work_that_may_be_cut_off_is_not_begun_after_a_request() {
        let interrupt = Interrupt::default();
        let held = interrupt.hold();
        assert_eq!(held.released("saved", || interrupt.lock().held), Some(0));
        {
            // One lock: two in one expression would wait for each other.
            let state = interrupt.lock();
            assert_eq!((state.held, state.note.as_str()), (1, ""));
        }
        interrupt.press();
        assert_eq!(held.released("saved", || ()), None);
        drop(held);
        assert_eq!(interrupt.lock().held, 0);
    }

    #[test]
    fn the_status_is_the_shells() {
        let interrupt = Interrupt::default();
        interrupt.press();
        assert_eq!(interrupt.stopped("").status(), 130);
        assert_eq!(Stopped { signal: 15, what: String::new() }.status(), 143);
    }
}
