//! Ctrl-C and SIGTERM: the first asks the trainer to finish its step, save and leave; the second aborts.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Exit status after a second Ctrl-C: what shells report for SIGINT.
pub const ABORTED: i32 = 130;

/// Whether somebody asked the program to stop. Clones share the answer.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    presses: Arc<AtomicUsize>,
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
    pub fn install() -> Result<Self, ctrlc::Error> {
        let interrupt = Interrupt::default();
        let shared = interrupt.clone();
        ctrlc::set_handler(move || {
            let text = match shared.press() {
                Response::Finish => "\nstopping: finishing this step and saving (again to abort at once)\n",
                Response::Abort => "\naborted\n",
            };
            // A closed stderr is no reason to fail here.
            let _ = std::io::stderr().write_all(text.as_bytes());
            if shared.presses.load(Ordering::SeqCst) > 1 {
                std::process::exit(ABORTED);
            }
        })?;
        Ok(interrupt)
    }

    /// Counts one request.
    pub fn press(&self) -> Response {
        match self.presses.fetch_add(1, Ordering::SeqCst) {
            0 => Response::Finish,
            _ => Response::Abort,
        }
    }

    /// Whether to stop after the step under way.
    pub fn requested(&self) -> bool {
        self.presses.load(Ordering::SeqCst) > 0
    }
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
}
