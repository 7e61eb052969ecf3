//! Running the suite's programs as a user does.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The folder of the built programs. They are built once, by the cargo and in the profile of this test.
fn programs() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let test = std::env::current_exe().expect("the path of this test");
        // target/<profile>/deps/<test>
        let dir = test.parent().and_then(Path::parent).expect("target/<profile>").to_owned();
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--workspace", "--bins"]);
        for (wanted, feature) in
            [(cfg!(feature = "cuda"), "kat-apps/cuda"), (cfg!(feature = "mpi"), "kat-apps/mpi")]
        {
            if wanted {
                build.args(["--features", feature]);
            }
        }
        if dir.file_name().is_some_and(|profile| profile == "release") {
            build.arg("--release");
        }
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        assert!(build.status().expect("cargo runs").success(), "the programs build");
        dir
    })
}

/// What a program printed and how it ended.
#[derive(Debug)]
pub struct Run {
    /// The exit status.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The file of a program.
pub fn program(name: &str) -> PathBuf {
    programs().join(name)
}

/// The program `name` with `args` in `dir`, to be started.
pub fn command(name: &str, args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(program(name));
    command.args(args).current_dir(dir).env("RUST_BACKTRACE", "1");
    command
}

/// Runs `program` with `args` in `dir`.
pub fn run(program: &str, args: &[&str], dir: &Path) -> Run {
    run_with_input(program, args, dir, &[])
}

/// As [`run`], with `input` on standard input.
pub fn run_with_input(program: &str, args: &[&str], dir: &Path, input: &[u8]) -> Run {
    let fail = |e: std::io::Error| -> ! { panic!("{program}: {e}") };
    let mut child = command(program, args, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| fail(e));
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input may be gone already.
        let _ = stdin.write_all(input);
    }
    let output: Output = child.wait_with_output().unwrap_or_else(|e| fail(e));
    Run {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
