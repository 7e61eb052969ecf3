//! Starting this program once for each rank, and what a rank finds in its environment.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kat_backbone::Cuda;
use kat_backbone::collective::Nccl;
use kat_backbone::collective::nccl::Launch;

use crate::work;

/// What to do, then where to write what came of it.
const WHAT: &str = "KAT_NCCL_TEST";
const RESULT: &str = "KAT_NCCL_TEST_RESULT";

/// Numbers of ranks for which there are GPUs, at most three.
pub fn worlds() -> Vec<usize> {
    let gpus = Nccl::library().map_err(|error| error.to_string()).and_then(|library| {
        println!("{library}");
        Cuda::count().map_err(|error| error.to_string())
    });
    let reason = match gpus {
        Ok(0) => "the driver shows no GPU".to_owned(),
        Ok(count) => return (1..=count.min(3)).collect(),
        Err(reason) => reason,
    };
    assert!(std::env::var_os("KAT_REQUIRE_NCCL").is_none(), "no NCCL: {reason}");
    eprintln!("skipped: no NCCL: {reason}");
    Vec::new()
}

/// A rank within its process.
pub struct Rank {
    launch: Launch,
    what: String,
}

impl Rank {
    /// What the environment tells, if it tells.
    pub fn told() -> Option<Self> {
        let what = std::env::var(WHAT).ok()?;
        let value = |name| std::env::var(name).unwrap();
        let number = |name| value(name).parse::<usize>().unwrap();
        let launch = Launch {
            rank: number("RANK"),
            world: number("WORLD_SIZE"),
            address: "127.0.0.1".into(),
            port: value("MASTER_PORT").parse().unwrap(),
            run: value("MASTER_PORT"),
        };
        Some(Self { launch, what })
    }

    /// Joins the others with the GPU of this number.
    fn join(&self, gpu: usize, seconds: u64) -> Nccl {
        Nccl::join(&self.launch, gpu, Duration::from_secs(seconds)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Does what it was started for.
    pub fn work(&self) {
        let rank = self.launch.rank;
        match self.what.split_once(' ') {
            None if self.what == "collectives" => work::collectives(&self.join(rank, 60), rank),
            None if self.what == "over" => {
                let host = std::rc::Rc::new(self.join(rank, 60));
                let nccl = Nccl::over(host, rank, Duration::from_secs(60)).unwrap();
                work::collectives(&nccl, rank);
            }
            None => work::fault(&self.what, &self.join(rank, if self.what == "late" { 1 } else { 60 })),
            Some(("same", _)) => drop(self.join(0, 20)),
            Some((_, format)) => {
                let weights = work::Training::among(self.join(rank, 60), format);
                let bytes: Vec<u8> = weights.iter().flat_map(|v| v.to_le_bytes()).collect();
                std::fs::write(std::env::var(RESULT).unwrap(), bytes).unwrap();
            }
        }
    }
}

/// Started ranks.
pub struct World {
    ranks: Vec<Child>,
    results: Vec<PathBuf>,
    _dir: tempfile::TempDir,
}

impl World {
    /// Starts `ranks` processes that do `what`.
    pub fn start(ranks: usize, what: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let results: Vec<PathBuf> = (0..ranks).map(|rank| dir.path().join(rank.to_string())).collect();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().min(u16::MAX - 8);
        let start = |(rank, result): (usize, &PathBuf)| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "rank", "--nocapture", "--test-threads", "1"]);
            command.env(WHAT, what).env(RESULT, result).env("MASTER_PORT", port.to_string());
            command.env("RANK", rank.to_string()).env("WORLD_SIZE", ranks.to_string());
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let ranks = results.iter().enumerate().map(start).collect();
        Self { ranks, results, _dir: dir }
    }

    /// How each rank ended, by its status and its last words.
    pub fn ended(self) -> Vec<(Option<i32>, String)> {
        let end = |rank: Child| {
            let output = rank.wait_with_output().unwrap();
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        self.ranks.into_iter().map(end).collect()
    }

    /// Waits for all of them, which have to succeed.
    pub fn succeeds(self) {
        for (rank, (status, said)) in self.ended().into_iter().enumerate() {
            assert_eq!(status, Some(0), "rank {rank}: {said}");
        }
    }

    /// What each rank wrote.
    pub fn results(mut self) -> Vec<Vec<f32>> {
        // The folder stays until they are read.
        let (results, ranks) = (std::mem::take(&mut self.results), std::mem::take(&mut self.ranks));
        for (rank, child) in ranks.into_iter().enumerate() {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "rank {rank}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let read = |path: &PathBuf| {
            let bytes = std::fs::read(path).unwrap();
            bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        results.iter().map(read).collect()
    }
}
