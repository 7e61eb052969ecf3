use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use kat_backbone::Cpu;
use kat_backbone::checkpoint::model::export;
use kat_backbone::checkpoint::safetensors;
use kat_backbone::collective::{Collective, CollectiveError, SingleProcess, Summands};

use super::*;
use crate::classify::trained::Trained;
use crate::classify::{Classify, report};
use crate::config::TaskKind;
use crate::config::{Override, load};
use crate::report::run_page::ReportContext;
use crate::run::metrics_log::read;
use crate::run::run_dir::OpenMode;
use crate::shell::progress::Style;

/// Asks to stop after `0` more steps, as Ctrl-C would.
struct StopAfter(Cell<u64>, Interrupt);

impl Collective for StopAfter {
    fn rank(&self) -> usize {
        0
    }

    fn world(&self) -> usize {
        1
    }

    /// What each step asks all processes.
    fn all_gather(&self, own: &[f32], all: &mut [f32]) -> Result<(), CollectiveError> {
        self.0.set(self.0.get() - 1);
        if self.0.get() == 0 {
            self.1.press();
        }
        SingleProcess.all_gather(own, all)
    }

    fn all_reduce(&self, numbers: Summands<'_>) -> Result<(), CollectiveError> {
        SingleProcess.all_reduce(numbers)
    }

    fn reduce_scatter(&self, numbers: &[f32], own: &mut [f32]) -> Result<(), CollectiveError> {
        SingleProcess.reduce_scatter(numbers, own)
    }

    fn all_gather_bytes(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        SingleProcess.all_gather_bytes(own)
    }

    fn broadcast(&self, bytes: &mut Vec<u8>, root: usize) -> Result<(), CollectiveError> {
        SingleProcess.broadcast(bytes, root)
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        SingleProcess.barrier()
    }

    fn abort(&self, status: u8) -> ! {
        SingleProcess.abort(status)
    }
}

fn plan(dir: &Path, changes: &[&str]) -> Plan {
    let data = format!("data.dir={}", dir.join("data").display());
    let base = [
        data.as_str(),
        "data.dataset=shapes",
        "data.generate_train=48",
        "data.generate_val=20",
        "data.generate_size=32",
        "model.image_size=32",
        "model.patch=8",
        "model.dim=32",
        "model.depth=2",
        "model.heads=2",
        "model.drop_path=0.2",
        "train.epochs=3",
        "train.batch_size=8",
        "train.accumulate=2",
        "train.ema_decay=0.9",
        "train.clip_grad=1.0",
        "train.log_every=1",
        "augment.mixup=0.8",
        "augment.cutmix=1.0",
        "augment.erase=0.25",
        "augment.label_smoothing=0.1",
    ];
    let overrides: Vec<_> = base.iter().chain(changes).map(|s| Override::parse(s).unwrap()).collect();
    Plan::new(load(None, &overrides, TaskKind::Classify).unwrap(), TaskKind::Classify).unwrap()
}

fn train(plan: &Plan, run: &Path, mode: OpenMode, stop_after: Option<u64>) -> anyhow::Result<Ended> {
    let run = RunDir::open(run, mode)?;
    let (screen, interrupt) = (Screen::new(Style::Hidden), Interrupt::default());
    let task = Classify::new(Cpu::default(), plan)?;
    let processes = match stop_after {
        Some(steps) => Processes::of(Rc::new(StopAfter(Cell::new(steps), interrupt.clone()))),
        None => Processes::alone(),
    };
    let (screen, interrupt, processes) = (&screen, &interrupt, &processes);
    let context = RunContext { plan, run: &run, screen, interrupt, device: "cpu", processes };
    Trainer::new(&task, context)?.run()
}

fn losses(run: &Path) -> Vec<(u64, Option<f64>)> {
    read(&run.join("metrics.jsonl"))
        .unwrap()
        .iter()
        .map(|r| (r.step, r.get("loss").or(r.get("val/loss"))))
        .collect()
}

#[test]
fn a_run_cut_off_twice_ends_with_the_bits_of_an_unbroken_one() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    // Another number of loader threads must not matter either.
    let (one, three) = (plan(dir.path(), &["data.workers=1"]), plan(dir.path(), &["data.workers=3"]));
    assert_eq!(train(&one, &whole, OpenMode::Fresh, None).unwrap(), Ended::Complete);
    assert_eq!(train(&three, &parts, OpenMode::Fresh, Some(2)).unwrap(), Ended::Interrupted(2));
    assert_eq!(train(&three, &parts, OpenMode::Resume, Some(3)).unwrap(), Ended::Interrupted(5));
    assert_eq!(train(&one, &parts, OpenMode::Resume, None).unwrap(), Ended::Complete);
    let end = |run: &Path, file: &str| safetensors::load(&run.join(file)).unwrap();
    for file in ["last.safetensors", "best.safetensors"] {
        let (a, b) = (end(&whole, file), end(&parts, file));
        assert!(a.tensors.contains_key("ema.head.weight") && a.tensors.len() > 100);
        for (name, tensor) in &a.tensors {
            assert!(b.get(name) == Some(tensor), "{file}: {name} differs");
        }
        assert_eq!(a.metadata[state::PROGRESS_KEY], b.metadata[state::PROGRESS_KEY]);
    }
    assert_eq!(losses(&whole), losses(&parts));
    // 48 images / (8 · 2) = 3 steps an epoch
    assert!(end(&whole, "last.safetensors").metadata[state::PROGRESS_KEY].contains("\"step\":9"));
}

#[test]
fn a_loss_that_is_no_number_stops_and_names_the_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    assert_eq!(train(&plan(dir.path(), &[]), &run, OpenMode::Fresh, Some(2)).unwrap(), Ended::Interrupted(2));
    let good = std::fs::read(run.join("last.safetensors")).unwrap();
    let wild = plan(dir.path(), &["optimizer.lr=1e38"]);
    let error = train(&wild, &run, OpenMode::Resume, None).unwrap_err();
    let Some(TrainError::NotFinite { step, last, .. }) = error.downcast_ref() else {
        panic!("{error:#}");
    };
    assert!(*step >= 2 && last.as_deref() == Some(&run.join("last.safetensors")), "{error}");
    assert!(error.to_string().contains("learning rate "), "{error}");
    assert!(std::fs::read(run.join("last.safetensors")).unwrap() == good, "the good checkpoint is kept");
}

#[test]
fn an_evaluation_that_fails_leaves_a_run_that_goes_on_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path(), &[]);
    train(&plan, &dir.path().join("whole"), OpenMode::Fresh, None).unwrap();
    let run = dir.path().join("run");
    let mut images = std::fs::read_dir(dir.path().join("data/val/star")).unwrap();
    let image = images.next().unwrap().unwrap().path();
    let good = std::fs::read(&image).unwrap();
    for mode in [OpenMode::Fresh, OpenMode::Resume] {
        std::fs::write(&image, "damaged").unwrap();
        let error = format!("{:#}", train(&plan, &run, mode, None).unwrap_err());
        let name = image.file_name().unwrap().to_string_lossy().into_owned();
        for part in ["the evaluation at step 3 failed", "last.safetensors is at step 3", name.as_str()] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
    std::fs::write(&image, good).unwrap();
    assert_eq!(train(&plan, &run, OpenMode::Resume, None).unwrap(), Ended::Complete);
    for file in ["last.safetensors", "best.safetensors"] {
        let [a, b] = ["whole", "run"].map(|d| safetensors::load(&dir.path().join(d).join(file)).unwrap());
        assert!(a.tensors == b.tensors, "{file} differs");
        assert_eq!(a.metadata[state::PROGRESS_KEY], b.metadata[state::PROGRESS_KEY]);
    }
    assert_eq!(losses(&dir.path().join("whole")), losses(&run));
}

#[test]
fn averaged_weights_that_lag_are_evaluated_beside_the_weights() {
    let dir = tempfile::tempdir().unwrap();
    let figures = |warmup: &str, name: &str| {
        let changes = ["train.ema_decay=0.9999", warmup, "optimizer.lr=0.01"];
        let run = dir.path().join(name);
        train(&plan(dir.path(), &changes), &run, OpenMode::Fresh, None).unwrap();
        let records = read(&run.join("metrics.jsonl")).unwrap();
        records.last().unwrap().values.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let both = figures("train.ema_warmup=none", "fixed");
    assert!(
        both.contains(&"without_ema/top1".to_owned()) && both.contains(&"val/top1".to_owned()),
        "{both:?}"
    );
    assert!(!figures("train.ema_warmup=ultralytics", "warm").contains(&"without_ema/top1".to_owned()));
}

#[test]
fn a_changed_model_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    train(&plan(dir.path(), &[]), &run, OpenMode::Fresh, Some(1)).unwrap();
    let wider = plan(dir.path(), &["model.dim=64"]);
    let message = train(&wider, &run, OpenMode::Resume, None).unwrap_err().to_string();
    assert!(message.contains("last.safetensors: tensor") && message.contains("expected"), "{message}");
}

#[test]
fn a_finished_run_is_reported_and_its_export_stands_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, path) = (plan(dir.path(), &["train.epochs=1"]), dir.path().join("run"));
    train(&plan, &path, OpenMode::Fresh, None).unwrap();
    let device = Cpu::default();
    let trained = Trained::open(&device, &path.join("last.safetensors"), &[]).unwrap();
    assert_eq!(trained.classes.len(), 10);
    let saved = safetensors::load(&path.join("last.safetensors")).unwrap();
    assert_eq!(export(&trained.model).get("head.weight"), saved.get("ema.head.weight"));
    let small = dir.path().join("model.safetensors");
    safetensors::save(&small, &trained.map).unwrap();
    let again = Trained::open(&device, &small, &[]).unwrap();
    assert_eq!(export(&trained.model).tensors, export(&again.model).tensors);
    assert_eq!(export(&again.model).tensors.len(), again.map.tensors.len(), "weights only");

    let task = Classify::new(device, &plan).unwrap();
    let logged = read(&path.join("metrics.jsonl")).unwrap();
    let evaluation =
        task.evaluate(&again.model, &Screen::new(Style::Hidden), 24, &Processes::alone()).unwrap();
    for (name, value) in task.figures(&evaluation) {
        assert_eq!(logged.last().unwrap().get(name), Some(value), "{name}");
    }
    let run = RunDir::open(&path, OpenMode::Resume).unwrap();
    let start = &start::of_model(&again.model);
    let context = ReportContext { plan: &plan, run: &run, start, under_way: None };
    report::write(&task, &again.model, &evaluation, context).unwrap();
    let page = std::fs::read_to_string(run.report()).unwrap();
    for part in ["top-1, held out", "Most confident mistakes", "blocks.1.mlp.act2", "data:image/jpeg;base64,"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(run.plots().join("confusion.png").is_file() && run.plots().join("rational.png").is_file());
}

#[test]
fn the_final_evaluation_is_made_once_and_reaches_the_report() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, path) = (plan(dir.path(), &["train.epochs=1"]), dir.path().join("run"));
    let run = RunDir::open(&path, OpenMode::Fresh).unwrap();
    let (screen, interrupt) = (Screen::new(Style::Hidden), Interrupt::default());
    let task = Classify::new(Cpu::default(), &plan).unwrap();
    let (screen, interrupt, processes) = (&screen, &interrupt, &Processes::alone());
    let context = RunContext { plan: &plan, run: &run, screen, interrupt, device: "cpu", processes };
    let mut trainer = Trainer::new(&task, context).unwrap();
    trainer.run().unwrap();
    // What was found is there: nobody looks at the images again.
    std::fs::remove_dir_all(dir.path().join("data/val")).unwrap();
    let evaluation = trainer.evaluation().unwrap();
    let wrong: u64 = evaluation.confusion.most_confused(1000).iter().map(|c| c.count).sum();
    let (top1, samples) = (evaluation.top.accuracy().top1, evaluation.top.accuracy().samples);
    assert_eq!(wrong as f64, ((1.0 - top1) * samples as f64).round());
    assert_eq!(evaluation.mistakes.len() as u64, wrong.min(plan.eval.examples as u64));
    let context = ReportContext { plan: &plan, run: &run, start: trainer.start(), under_way: None };
    report::write(&task, trainer.evaluated(), &evaluation, context).unwrap();
    assert!(run.report().is_file());
}

#[test]
fn a_run_without_a_new_best_stops_and_stays_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    // weights that hardly move: the first evaluation stays the best
    let still = ["train.epochs=30", "train.eval_every=1 steps", "train.patience=3", "optimizer.lr=1e-12"];
    let plan = plan(dir.path(), &still);
    assert_eq!(train(&plan, &run, OpenMode::Fresh, Some(3)).unwrap(), Ended::Interrupted(3));
    assert_eq!(train(&plan, &run, OpenMode::Resume, None).unwrap(), Ended::Complete);
    let steps = |run: &Path| read(&run.join("metrics.jsonl")).unwrap().last().unwrap().step;
    assert_eq!(steps(&run), 4);
    assert_eq!(train(&plan, &run, OpenMode::Resume, None).unwrap(), Ended::Complete);
    assert_eq!(steps(&run), 4, "it has no patience left");
    let best = safetensors::load(&run.join("best.safetensors")).unwrap();
    assert!(best.metadata[state::PROGRESS_KEY].contains("\"step\":1,"));
    let longer = self::plan(dir.path(), &[&still[..], &["train.patience=5"]].concat());
    assert_eq!(train(&longer, &run, OpenMode::Resume, None).unwrap(), Ended::Complete);
    assert_eq!(steps(&run), 6);
    let table = std::fs::read_to_string(run.join("metrics.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + read(&run.join("metrics.jsonl")).unwrap().len());
    assert!(table.starts_with("step,loss,lr,gradient norm,val/loss,val/top1,"), "{table}");
}

#[test]
fn frozen_blocks_stay_and_the_rest_learns_also_where_blocks_are_recomputed() {
    let dir = tempfile::tempdir().unwrap();
    let end = |name: &str, changes: &[&str]| {
        let changes = [&["train.epochs=1", "train.ema_decay=0"], changes].concat();
        let plan = plan(dir.path(), &changes);
        let start = export(&Classify::new(Cpu::default(), &plan).unwrap().build().unwrap());
        train(&plan, &dir.path().join(name), OpenMode::Fresh, None).unwrap();
        (start, safetensors::load(&dir.path().join(name).join("last.safetensors")).unwrap())
    };
    let moved = |name: &str, changes: &[&str], kept: &dyn Fn(&str) -> bool| {
        let (start, end) = end(name, changes);
        for (name, tensor) in &start.tensors {
            assert_eq!(end.get(name) == Some(tensor), kept(name), "{name}");
        }
        end
    };
    let first = |name: &str| {
        name.starts_with("blocks.0.")
            || ["pos_embed", "cls_token"].contains(&name)
            || name.starts_with("patch_embed")
    };
    let plain = moved("blocks", &["model.freeze=1"], &first);
    let recomputed = moved("recomputed", &["model.freeze=1", "model.recompute=true"], &first);
    assert!(plain.tensors == recomputed.tensors);
    moved("backbone", &["model.freeze=backbone"], &|name| !name.starts_with("head."));
}
