//! A folder with the configuration of a small run of `classify`, and how its runs are started, watched and judged.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::program::{Run, command, run};

const CONFIG: &str = r#"
[model]
image_size = 32
patch = 8
dim = 32
depth = 2
heads = 2
[data]
dataset = "shapes"
dir = "shapes"
generate_train = 60
generate_val = 20
generate_size = 32
[train]
epochs = 2
batch_size = 8
ema_decay = 0.9
log_every = 1
[output]
dir = "run"
report = false
"#;

/// A temporary folder with the configuration in c.toml.
pub struct Place {
    temp: tempfile::TempDir,
}

impl Place {
    /// The configuration with texts replaced by others.
    pub fn new(changes: &[(&str, &str)]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let text = changes.iter().fold(CONFIG.to_owned(), |text, (from, to)| text.replace(from, to));
        std::fs::write(temp.path().join("c.toml"), text).unwrap();
        Self { temp }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        self.temp.path()
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Runs `classify` there.
    pub fn classify(&self, args: &[&str]) -> Run {
        run("classify", args, self.temp.path())
    }

    /// Trains with the configuration.
    pub fn train(&self, more: &[&str]) -> Run {
        self.classify(&[&["train", "--config", "c.toml"], more].concat())
    }

    /// Starts to train with the configuration.
    pub fn start(&self, more: &[&str]) -> Child {
        let args = [&["train", "--config", "c.toml"], more].concat();
        let mut command = command("classify", &args, self.temp.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

/// The run, which must have gone well.
pub fn ok(run: Run) -> Run {
    assert_eq!(run.status, 0, "{run:?}");
    run
}

/// Checks that a run was refused with a message that has all `parts`.
pub fn refused(run: &Run, parts: &[&str]) {
    assert!(run.status == 1 || run.status == 2, "{run:?}");
    assert!(parts.iter().all(|part| run.stderr.contains(part)), "{parts:?}: {run:?}");
    assert!(!run.stderr.contains("panicked"), "{run:?}");
}

/// Sends a signal, such as "-INT".
pub fn signal(child: &Child, name: &str) {
    let status = std::process::Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

/// Waits until `there` holds.
pub fn until(what: &str, mut there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !there() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waiting for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How a program ended and what it said, within `limit`.
pub fn ended(mut child: Child, limit: Duration) -> (i32, String) {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < limit, "still running after {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code().unwrap_or(-1), said)
}

/// The step of a checkpoint.
pub fn step_of(checkpoint: &Path) -> u64 {
    let map = kat_backbone::checkpoint::safetensors::load(checkpoint).unwrap();
    let state: serde_json::Value = serde_json::from_str(&map.metadata["kat_train_state"]).unwrap();
    state["step"].as_u64().unwrap()
}
