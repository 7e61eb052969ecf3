//! How a program ends: its message and its exit status.

use std::io::{self, Write};
use std::process::ExitCode;

use super::printable;
use crate::config::ConfigError;
use crate::run::processes::Processes;
use crate::run::signals::Stopped;

/// The program was called in a way it cannot act on; it exits with status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misuse(pub String);

/// Runs a command and ends the program as [`finish`] does. A panic is a bug, but no way to end: it is reported as a
/// failure like others.
pub fn run(program: &str, processes: &Processes, command: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    // Nothing that the command leaves half done is used afterwards.
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(command));
    finish(
        program,
        processes,
        outcome
            .unwrap_or_else(|_| Err(anyhow::anyhow!("an internal error, described above; please report it"))),
    )
}

/// Ends a program: prints the error once and picks the status. 0 is success, also where the reader of our output
/// went away; 2 is misuse (flags, configuration); 128 and the signal's number where one asked to stop; 1 is any other
/// failure. Of several processes the first tells what all end for; what one alone fails at is told with its rank, and ends
/// the others.
pub fn finish(program: &str, processes: &Processes, result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let status = status(&error);
    let together = processes.ends_together();
    if together && !processes.is_first() {
        return ExitCode::from(status);
    }
    let alone = processes.is_alone() || together;
    let program = if alone { program.to_owned() } else { format!("{program}: rank {}", processes.rank()) };
    if let Some(stopped) = error.downcast_ref::<Stopped>() {
        let _ = writeln!(io::stderr(), "{program}: {stopped}");
    } else if status != 0 {
        // With stderr closed nobody is there to tell.
        let _ = writeln!(io::stderr(), "{program}: error: {}", printable::printable(&told(&error)));
    }
    if !alone && status != 0 {
        processes.collective().abort(status);
    }
    ExitCode::from(status)
}

/// An error with its causes, without those that the text before them says already.
pub fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// The exit status for an error.
pub fn status(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(stopped) = cause.downcast_ref::<Stopped>() {
            return stopped.status();
        }
        if cause.is::<ConfigError>() || cause.is::<Misuse>() {
            return 2;
        }
        if cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
            return 0;
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cause_is_told_once() {
        let missing = io::Error::from_raw_os_error(2);
        let error = anyhow::anyhow!(missing).context("a.json: No such file or directory (os error 2)");
        assert_eq!(
            told(&error.context("reading")),
            "reading: a.json: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn statuses_tell_misuse_from_failure() {
        let misuse: anyhow::Result<()> = Err(Misuse("no".into()).into());
        assert_eq!(status(&misuse.context("while starting").unwrap_err()), 2);
        assert_eq!(status(&anyhow::anyhow!("disk full")), 1);
        assert_eq!(status(&Stopped { signal: 15, what: "at step 3".into() }.into()), 143);
        let pipe = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(status(&anyhow::Error::from(pipe).context("printing")), 0);
    }
}
