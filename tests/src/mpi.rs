//! Starting the suite's programs as several processes, as a user does with `mpirun`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::program::{Run, program};

/// Longer than any of the tests' runs takes.
const LIMIT: Duration = Duration::from_secs(240);

/// The launcher's name and version; none where there is no launcher.
fn launcher() -> Option<&'static str> {
    static VERSION: OnceLock<Option<String>> = OnceLock::new();
    let ask = || {
        let output = Command::new("mpirun").arg("--version").output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    VERSION.get_or_init(ask).as_deref()
}

/// Whether programs can be started as several processes; says why not.
pub fn can_launch() -> bool {
    if launcher().is_none() {
        eprintln!("skipped: there is no mpirun here");
    }
    launcher().is_some()
}

/// `program` with `args` in `dir` on `ranks` processes, to be started. `shell` is what a shell does first in each.
pub fn command(ranks: usize, program_name: &str, args: &[&str], dir: &Path, shell: &str) -> Command {
    let mut command = Command::new("mpirun");
    if launcher().is_some_and(|version| version.contains("Open MPI")) {
        // More processes than cores, as root, without the time that a test does not have to wait for signals.
        command.args(["--oversubscribe", "--allow-run-as-root", "--bind-to", "none"]);
        command.args(["--mca", "odls_base_sigkill_timeout", "20"]);
    }
    command.args(["-n", &ranks.to_string(), "sh", "-c", &format!("{shell}exec \"$0\" \"$@\"")]);
    command.arg(program(program_name)).args(args).current_dir(dir).env("RUST_BACKTRACE", "1");
    command
}

/// Starts it.
pub fn start(ranks: usize, program: &str, args: &[&str], dir: &Path) -> Child {
    let mut command = command(ranks, program, args, dir, "");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs it to its end.
pub fn run(ranks: usize, program: &str, args: &[&str], dir: &Path) -> Run {
    run_in_shell(ranks, program, args, dir, "")
}

/// As [`run`], after a shell has done something in each process.
pub fn run_in_shell(ranks: usize, program: &str, args: &[&str], dir: &Path, shell: &str) -> Run {
    let mut command = command(ranks, program, args, dir, shell);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    finished(child, LIMIT)
}

/// How a launcher ended and what it said, within `limit`.
pub fn finished(child: Child, limit: Duration) -> Run {
    let (pid, begun) = (child.id(), Instant::now());
    let waiting = std::thread::spawn(move || child.wait_with_output().unwrap());
    while !waiting.is_finished() {
        if begun.elapsed() > limit {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            let output = waiting.join().unwrap();
            panic!("still running after {limit:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = waiting.join().unwrap();
    Run {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The processes that a launcher started, by their ranks, as Linux tells.
pub fn processes(launcher: &Child) -> Vec<u32> {
    let mut found: Vec<(usize, u32)> = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let parent = |status: String| {
            let line = status.lines().find_map(|line| line.strip_prefix("PPid:").map(str::to_owned));
            line.and_then(|pid| pid.trim().parse::<u32>().ok())
        };
        if parent(read("status")) != Some(launcher.id()) {
            continue;
        }
        let environment = read("environ");
        let rank = environment.split('\0').find_map(|pair| pair.strip_prefix("OMPI_COMM_WORLD_RANK="));
        found.extend(rank.and_then(|rank| rank.parse().ok()).map(|rank| (rank, pid)));
    }
    found.sort_unstable();
    found.into_iter().map(|(_, pid)| pid).collect()
}
