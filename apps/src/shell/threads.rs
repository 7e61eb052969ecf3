//! How many threads compute: as asked for, up to a few for each core, since more only take memory. Processes on one host
//! share its cores, unless the launcher gave each its own.

use std::num::NonZeroUsize;

use clap::ArgMatches;

use crate::run::processes::Processes;

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

/// Sets the size of the thread pool, from `--threads`, else the environment, else this process's share of the cores; to be called once, before anything
/// computes.
///
/// # Errors
/// Threads that the system does not give.
pub fn start(threads: Option<NonZeroUsize>, processes: &Processes) -> anyhow::Result<()> {
    // All processes ask, whatever one of them was told.
    let share = share(processes)?;
    let threads = match threads {
        Some(threads) => capped(threads.get(), "--threads"),
        None => match std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok()) {
            Some(wanted) if wanted > most() => capped(wanted, VARIABLE),
            // The environment's or rayon's own choice.
            wanted => match share.filter(|_| wanted.is_none()) {
                Some(share) => share,
                None => return Ok(()),
            },
        },
    };
    Ok(rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?)
}

/// This process's share of the cores that it may run on, among those on its host that may run on the same ones; none where
/// it is alone.
fn share(processes: &Processes) -> anyhow::Result<Option<usize>> {
    if processes.is_alone() {
        return Ok(None);
    }
    let own = place();
    let all = processes.collective().all_gather_bytes(own.as_bytes())?;
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Ok(Some(divided(cores, &own, &all)))
}

/// `cores` among the places that are this one.
fn divided(cores: usize, own: &str, all: &[Vec<u8>]) -> usize {
    let beside = all.iter().filter(|place| **place == own.as_bytes()).count();
    (cores / beside.max(1)).max(1)
}

/// The host, and which of its cores this process may run on; processes that say the same share cores.
fn place() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let cores = status.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap_or_default();
    format!("{host} {cores}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_may_run_on_the_same_cores_share_them() {
        let all = ["a 0-7", "a 0-7", "b 0-7", "a 8-9", "a 0-7"].map(|place| place.as_bytes().to_vec());
        assert_eq!(["a 0-7", "b 0-7"].map(|own| divided(8, own, &all)), [2, 8]);
        assert_eq!((divided(2, "a 8-9", &all), divided(2, "a 0-7", &all)), (2, 1));
        assert!(!place().trim().is_empty());
    }

    #[test]
    fn what_is_of_use_is_given_and_no_more() {
        assert_eq!(capped(7, "--threads"), 7);
        assert_eq!(capped(100_000, "--threads"), most());
        assert!((16..=8192).contains(&most()));
    }
}
