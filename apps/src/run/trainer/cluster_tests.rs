//! Several processes (here threads) against one: the same batches over all make the same training, evaluation and resumed run.

use std::path::Path;
use std::rc::Rc;

use kat_backbone::Cpu;
use kat_backbone::checkpoint::compare::furthest;
use kat_backbone::checkpoint::{TensorMap, safetensors};
use kat_backbone::collective::threads::world;

use super::*;
use crate::classify::Classify;
use crate::config::{Override, TaskKind, load};
use crate::detect::Detect;
use crate::run::generated::prepare;
use crate::run::metrics_log::read;
use crate::run::run_dir::OpenMode;
use crate::run::task::Trainable;
use crate::segment::Segment;
use crate::shell::progress::Style;

/// All that draws random numbers is on. Where a gradient is 0 but for rounding (a key's bias, one before a batch norm), Adam
/// would make steps of the full rate of that rounding; its eps is above it here.
const SMALL: [&str; 15] = [
    "data.dataset=shapes",
    "data.generate_train=48",
    "data.generate_val=7",
    "data.generate_size=32",
    "model.image_size=32",
    "model.patch=8",
    "model.dim=32",
    "model.depth=4",
    "model.heads=2",
    "model.drop_path=0.2",
    "train.ema_decay=0.9",
    "train.clip_grad=0.5",
    "train.log_every=1",
    "optimizer.eps=1",
    "optimizer.lr=2e-4",
];

fn plan(dir: &Path, task: TaskKind, batch: usize, changes: &[&str]) -> Plan {
    let data = format!("data.dir={}", dir.join("data").display());
    let batch = format!("train.batch_size={batch}");
    let task_keys: &[&str] = match task {
        TaskKind::Classify => &["augment.mixup=0.8", "augment.cutmix=1.0", "augment.erase=0.25"],
        TaskKind::Detect => &[
            "data.generate_objects=3",
            "detect.window=0",
            "detect.pretrain_size=32",
            "detect.channels=16",
            "detect.rpn_convs=1",
            "detect.box_head=two_fc",
            "detect.box_hidden=16",
            "detect.anchor_sizes=[4, 8, 12, 16, 24]",
            "detect.rpn_samples=8",
            "detect.roi_samples=8",
        ],
        TaskKind::Segment => &[
            "data.generate_classes=3",
            "segment.crop=32",
            "segment.channels=8",
            "segment.aux_channels=8",
            "segment.out_blocks=[0, 1, 2, 3]",
            "segment.reduce_zero_label=false",
        ],
    };
    let own = [data.as_str(), batch.as_str()];
    let all = SMALL.iter().chain(&own).chain(task_keys).chain(changes);
    let overrides: Vec<_> = all.map(|s| Override::parse(s).unwrap()).collect();
    Plan::new(load(None, &overrides, task).unwrap(), task).unwrap()
}

/// Trains on `ranks` threads in the run's directory, and says how it ended.
fn train<P: Trainable<Device = Cpu>>(plan: &Plan, ranks: usize, run: &Path, mode: OpenMode) -> Ended {
    let (screen, interrupt) = (Screen::new(Style::Hidden), Interrupt::default());
    prepare(plan, &screen, &interrupt).unwrap();
    let work = |processes: Processes| {
        let (screen, interrupt) = (&Screen::new(Style::Hidden), &Interrupt::default());
        let mut plan = plan.clone();
        plan.ranks = ranks;
        let plan = &plan;
        let open = || match processes.is_first() {
            true => Ok(RunDir::open(run, mode)?),
            false => Ok(RunDir::follow(run)?),
        };
        let run = &processes.first_then_others(open).unwrap();
        let task = processes.first_then_others(|| P::open(Cpu::default(), plan)).unwrap();
        let processes = &processes;
        let context = RunContext { plan, run, screen, interrupt, device: "cpu", processes };
        Trainer::new(&task, context).unwrap().run().unwrap()
    };
    if ranks == 1 {
        return work(Processes::alone());
    }
    let work = &work;
    let ended: Vec<Ended> = std::thread::scope(|scope| {
        let start = |rank| scope.spawn(move || work(Processes::of(Rc::new(rank))));
        let threads: Vec<_> = world(ranks).into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(ended.iter().all(|other| *other == ended[0]));
    ended[0]
}

fn last(run: &Path) -> TensorMap {
    safetensors::load(&run.join("last.safetensors")).unwrap()
}

fn agrees<P: Trainable<Device = Cpu>>(batches: [usize; 3], changes: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let runs = batches.map(|batch| dir.path().join(format!("batch{batch}")));
    for (ranks, (batch, run)) in (1..).zip(batches.iter().zip(&runs)) {
        let plan = plan(dir.path(), P::KIND, *batch, changes);
        assert_eq!(train::<P>(&plan, ranks, run, OpenMode::Fresh), Ended::Complete);
    }
    let whole = last(&runs[0]);
    for run in &runs[1..] {
        let found = last(run);
        let (distance, name) =
            furthest(&found, &whole, 1e-2, |name| !name.starts_with("optimizer.")).unwrap();
        assert!(distance <= 1e-5, "{}: {name} differs by {distance:.1e}", run.display());
        let (distance, name) =
            furthest(&found, &whole, 1e-4, |name| name.starts_with("optimizer.first.")).unwrap();
        assert!(distance <= 1e-3, "{}: {name} differs by {distance:.1e}", run.display());
        let records = [run, &runs[0]].map(|run| read(&run.join("metrics.jsonl")).unwrap());
        assert_eq!(records[0].len(), records[1].len());
        for (a, b) in records[0].iter().zip(&records[1]) {
            let names = |r: &crate::run::metrics_log::Record| {
                r.values.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
            };
            assert_eq!((a.step, names(a)), (b.step, names(b)));
            for ((name, a), (_, b)) in a.values.iter().zip(&b.values) {
                assert!((a - b).abs() <= 1e-4 * b.abs().max(1e-3), "{name}: {a} is not {b}");
            }
        }
    }
}

#[test]
fn classification_is_the_same_on_one_two_and_three_processes() {
    agrees::<Classify<Cpu>>([12, 6, 4], &["train.epochs=3"]);
}

#[test]
fn accumulated_batches_are_the_same_too() {
    agrees::<Classify<Cpu>>([12, 6, 4], &["train.epochs=2", "train.accumulate=2"]);
}

#[test]
fn a_sharded_optimizer_makes_the_same_steps() {
    let sharded = "train.shard_optimizer=true";
    agrees::<Classify<Cpu>>([12, 6, 4], &["train.epochs=2", "train.accumulate=2", sharded]);
}

#[test]
fn detection_is_the_same_on_one_two_and_three_processes() {
    agrees::<Detect<Cpu>>([6, 3, 2], &["train.steps=10"]);
}

#[test]
fn segmentation_is_the_same_on_one_two_and_three_processes() {
    agrees::<Segment<Cpu>>([6, 3, 2], &["train.steps=10"]);
}

#[test]
fn a_run_goes_on_among_other_processes() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    // 48 images: three epochs of 4 steps on two processes, then of 3 on four and of 8 on one.
    let epochs = |n: usize| format!("train.epochs={n}");
    // What a sharded optimizer wrote goes on with any number of processes.
    let plan = |n| plan(dir.path(), TaskKind::Classify, 6, &[&epochs(n), "train.shard_optimizer=true"]);
    train::<Classify<Cpu>>(&plan(1), 2, &run, OpenMode::Fresh);
    let state = |run: &Path| {
        let text = last(run).metadata[state::PROGRESS_KEY].clone();
        serde_json::from_str::<Progress>(&text).unwrap()
    };
    assert_eq!((state(&run).step, state(&run).schedule_shift), (4, 0));
    train::<Classify<Cpu>>(&plan(2), 4, &run, OpenMode::Resume);
    let now = state(&run);
    assert_eq!((now.step, now.schedule_shift, now.loader.epoch, now.loader.world), (6, -2, 2, 4));
    train::<Classify<Cpu>>(&plan(3), 1, &run, OpenMode::Resume);
    let now = state(&run);
    assert_eq!((now.step, now.schedule_shift, now.loader.epoch, now.loader.world), (14, 10, 3, 1));
    let steps: Vec<u64> = read(&run.join("metrics.jsonl")).unwrap().iter().map(|r| r.step).collect();
    assert!(steps.is_sorted() && steps.last() == Some(&14), "{steps:?}");
}
