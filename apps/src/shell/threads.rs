//! How many threads compute: as asked for, up to a few for each core, since more only take memory.

use std::num::NonZeroUsize;

use clap::ArgMatches;

/// The environment variable that rayon reads.
const VARIABLE: &str = "RAYON_NUM_THREADS";

/// The most threads that are started for one purpose.
pub fn most() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    (4 * cores).max(16)
}

/// `wanted` threads or as many as are of use, with a warning that names `what` asked for more.
pub fn capped(wanted: usize, what: &str) -> usize {
    let most = most();
    if wanted > most {
        tracing::warn!("{what} asks for {wanted} threads; this machine has use for at most {most}");
    }
    wanted.min(most)
}

/// The number of `--threads`, of a subcommand that has the flag.
pub fn wanted(matches: &ArgMatches) -> Option<NonZeroUsize> {
    let (_, flags) = matches.subcommand()?;
    flags.try_get_one("threads").ok()?.copied()
}

/// Sets the size of the thread pool, from `--threads` or else the environment; to be called once, before anything
/// computes.
///
/// # Errors
/// Threads that the system does not give.
pub fn start(threads: Option<NonZeroUsize>) -> anyhow::Result<()> {
    let threads = match threads {
        Some(threads) => capped(threads.get(), "--threads"),
        None => match std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok()) {
            Some(wanted) if wanted > most() => capped(wanted, VARIABLE),
            // rayon's own choice.
            _ => return Ok(()),
        },
    };
    Ok(rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_use_is_given_and_no_more() {
        assert_eq!(capped(7, "--threads"), 7);
        assert_eq!(capped(100_000, "--threads"), most());
        assert!((16..=8192).contains(&most()));
    }
}
