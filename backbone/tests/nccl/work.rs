//! What ranks do, and what one process makes of the same.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use half::bf16;
use kat_backbone::collective::gradients::{Buckets, Summed};
use kat_backbone::collective::in_place::InPlaceSums as _;
use kat_backbone::collective::{
    Collective, CollectiveError, GradientExchange, GradientFormat, Nccl, Share, Summands,
};
use kat_backbone::nn::Module as _;
use kat_backbone::ops::adamw::AdamWConfig;
use kat_backbone::ops::softmax_cross_entropy::{Options, Targets};
use kat_backbone::optim::{AdamW, ParameterOptions};
use kat_backbone::step_monitor::{Clip, StepMonitor};
use kat_backbone::tensor::GradientReceiver as _;
use kat_backbone::{Backend as _, Cuda, Graph, Kat, KatConfig, Precision, Size, Tensor, ops, variants};

/// `count` numbers of a rank: quarters up to 15 of them, so that sums over three ranks are exact even in bfloat16.
pub fn numbers(rank: usize, count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + rank * 11) % 31) as f32 / 4.0 - 3.75).collect()
}

/// Every call, of the host's values and of a GPU's buffers.
pub fn collectives(nccl: &Nccl, gpu: usize) {
    let (rank, world) = (nccl.rank(), nccl.world());
    let sums = |count: usize| {
        let mut sums = vec![0.0; count];
        for rank in 0..world {
            sums.iter_mut().zip(numbers(rank, count)).for_each(|(sum, term)| *sum += term);
        }
        sums
    };
    nccl.barrier().unwrap();
    for part in [0, 1, 3, 1023] {
        let count = part * world;
        let own = numbers(rank, count);
        let mut single = own.clone();
        nccl.all_reduce(Summands::F32(&mut single)).unwrap();
        assert_eq!(single, sums(count));
        let mut double: Vec<f64> = own.iter().map(|v| f64::from(*v)).collect();
        nccl.all_reduce(Summands::F64(&mut double)).unwrap();
        assert!(double.iter().zip(&single).all(|(a, b)| *a == f64::from(*b)));
        let mut half: Vec<bf16> = own.iter().map(|v| bf16::from_f32(*v)).collect();
        nccl.all_reduce(Summands::Bf16(&mut half)).unwrap();
        assert!(half.iter().zip(&single).all(|(a, b)| a.to_f32() == *b));
        let mut summed = vec![0.0; part];
        nccl.reduce_scatter(&own, &mut summed).unwrap();
        assert_eq!(summed, single[rank * part..(rank + 1) * part]);
        let mut all = vec![0.0; count];
        nccl.all_gather(&summed, &mut all).unwrap();
        assert_eq!(all, single);
    }
    let bytes = nccl.all_gather_bytes(&vec![rank as u8; 3 * rank]).unwrap();
    assert_eq!(bytes, (0..world).map(|rank| vec![rank as u8; 3 * rank]).collect::<Vec<_>>());
    let mut told = vec![rank as u8; rank + 1];
    nccl.broadcast(&mut told, world - 1).unwrap();
    assert_eq!(told, vec![world as u8 - 1; world]);
    assert!(nccl.reduce_scatter(&[1.0; 7], &mut [0.0; 8]).is_err());

    let gpu = Cuda::open(gpu, Precision::Bf16).unwrap();
    // Odd sizes, nothing, and more than a slot of the stand-in holds.
    let sizes = [1, 7, 0, 1025, 300_001];
    for format in [GradientFormat::F32, GradientFormat::Bf16] {
        let ways = gpu.buffer_sums(nccl).unwrap();
        let begin = || {
            let buffers = sizes.map(|size| gpu.upload_buf(numbers(rank, size)).unwrap()).to_vec();
            ways.begin(buffers, format).unwrap()
        };
        // Two at once, of which one is not waited for.
        let (first, second) = (begin(), begin());
        drop(second);
        let (summed, _) = first.wait().unwrap();
        for (size, buffer) in sizes.into_iter().zip(&summed) {
            assert!(gpu.download_buf(buffer) == sums(size), "{size} values as {format:?}");
        }
        let (_, times) = begin().wait().unwrap();
        assert!(times.summing > Duration::ZERO, "{times:?}");
    }
}

/// What goes wrong on a rank.
pub fn fault(what: &str, nccl: &Nccl) {
    let sum = || nccl.all_reduce(Summands::F32(&mut [1.0; 100]));
    for _ in 0..5 {
        sum().unwrap();
    }
    let first = nccl.rank() == 0;
    match what {
        _ if first => {
            let error = sum().unwrap_err();
            eprintln!("{error}");
        }
        "killed" => {
            drop(std::process::Command::new("kill").args(["-9", &std::process::id().to_string()]).status())
        }
        "aborted" => nccl.abort(7),
        "late" => std::thread::sleep(Duration::from_secs(3)),
        other => panic!("{other}"),
    }
}

/// A world that does not know when it is one of one, so that it is asked.
struct Asked(Nccl);

impl Collective for Asked {
    fn rank(&self) -> usize {
        self.0.rank()
    }
    fn world(&self) -> usize {
        self.0.world()
    }
    fn all_reduce(&self, numbers: Summands<'_>) -> Result<(), CollectiveError> {
        self.0.all_reduce(numbers)
    }
    fn reduce_scatter(&self, numbers: &[f32], own: &mut [f32]) -> Result<(), CollectiveError> {
        self.0.reduce_scatter(numbers, own)
    }
    fn all_gather(&self, own: &[f32], all: &mut [f32]) -> Result<(), CollectiveError> {
        self.0.all_gather(own, all)
    }
    fn all_gather_bytes(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        self.0.all_gather_bytes(own)
    }
    fn broadcast(&self, bytes: &mut Vec<u8>, root: usize) -> Result<(), CollectiveError> {
        self.0.broadcast(bytes, root)
    }
    fn barrier(&self) -> Result<(), CollectiveError> {
        self.0.barrier()
    }
    fn abort(&self, status: u8) -> ! {
        self.0.abort(status)
    }
    fn nccl(&self) -> Option<&Nccl> {
        Some(&self.0)
    }
    fn is_alone(&self) -> bool {
        false
    }
}

/// Images of a batch over all ranks: six, so that two and three ranks have equal parts.
const BATCH: usize = 6;
const SIDE: usize = 32;

/// A small KAT on one GPU, with all that trains it.
pub struct Training {
    gpu: Cuda,
    model: Kat<Cuda>,
    optimizer: AdamW<Cuda>,
    monitor: StepMonitor<Cuda>,
}

impl Training {
    fn new(ordinal: usize) -> Self {
        let gpu = Cuda::open(ordinal, Precision::F32).unwrap();
        let named = variants::named("kat_tiny_patch16_224").unwrap().config;
        let config =
            KatConfig { image_size: Size::square(SIDE), depth: 1, classes: 10, drop_path: 0.3, ..named };
        let model = Kat::new(&gpu, &config, 3).unwrap();
        // An eps above gradients of nothing but rounding (the keys' bias), which would make steps of full length.
        let adamw = AdamWConfig { eps: 1e-3, ..AdamWConfig::default() };
        let options =
            |_: &str, _: usize| ParameterOptions { weight_decay: 0.05, ..ParameterOptions::default() };
        let optimizer = AdamW::new(&model, adamw, options).unwrap();
        let monitor = StepMonitor::new(&gpu).unwrap();
        Self { gpu, model, optimizer, monitor }
    }

    /// The rows of rank `rank` of `world`.
    fn batch(&self, step: usize, rank: usize, world: usize) -> (Tensor<Cuda>, Targets) {
        let each = BATCH / world;
        let values = 3 * SIDE * SIDE;
        let pixel = |i: usize| ((i * 7 + step * 13) % 101) as f32 / 50.0 - 1.0;
        let pixels: Vec<f32> = (rank * each * values..(rank + 1) * each * values).map(pixel).collect();
        let images = Tensor::from_vec(&self.gpu, pixels, [each, 3, SIDE, SIDE]).unwrap();
        let classes = (rank * each..(rank + 1) * each).map(|row| ((row * 3 + step) % 10) as u32).collect();
        (images, Targets::hard(classes))
    }

    fn steps(&mut self, processes: &Rc<dyn Collective>, format: GradientFormat) -> Vec<f32> {
        let (rank, world) = (processes.rank(), processes.world());
        let buckets = Buckets::of(&self.model, world);
        let mut exchange = Some(GradientExchange::new(buckets, format, Share::All));
        for step in 0..3 {
            let (images, targets) = self.batch(step, rank, world);
            let begun = exchange.take().unwrap().begin(processes, &self.gpu, None).unwrap();
            let under_way = Rc::new(RefCell::new(begun));
            let parameters = self.model.parameters();
            let graph = Graph::training(step as u64).over(processes);
            let mut graph = graph.giving(&parameters, under_way.clone());
            let logits = self.model.forward(&mut graph, &images).unwrap();
            let loss =
                ops::softmax_cross_entropy(&mut graph, &logits, &targets, &Options::smoothed(0.1)).unwrap();
            self.monitor.loss(&loss, step as u64).unwrap();
            let mut left = graph.backward(&loss).unwrap();
            let mut exchanging = Rc::into_inner(under_way).unwrap().into_inner();
            for (place, parameter) in parameters.iter().enumerate() {
                if let Some(gradient) = left.take(parameter).unwrap() {
                    exchanging.receive(place, Some(gradient)).unwrap();
                }
            }
            let (summed, again) = exchanging.finish().unwrap();
            exchange = Some(again);
            drop(parameters);
            let Summed::All(gradients) = summed else { panic!("parts came where all was asked for") };
            let clip = Clip { mean: 1.0, max_norm: 1.0 };
            self.monitor.gradients(&gradients, clip, step as u64).unwrap();
            self.optimizer.step(&mut self.model, &gradients, 1e-3, &self.monitor).unwrap();
        }
        assert!(self.monitor.read().failure.is_none());
        self.model.parameters().iter().flat_map(|parameter| parameter.to_vec()).collect()
    }

    /// The weights after three steps on one process.
    pub fn alone() -> Vec<f32> {
        let processes: Rc<dyn Collective> = Rc::new(kat_backbone::collective::SingleProcess);
        Self::new(0).steps(&processes, GradientFormat::F32)
    }

    /// The same among others.
    pub fn among(nccl: Nccl, format: &str) -> Vec<f32> {
        let format = if format == "bf16" { GradientFormat::Bf16 } else { GradientFormat::F32 };
        let mut training = Self::new(nccl.ordinal());
        let processes: Rc<dyn Collective> = Rc::new(Asked(nccl));
        training.steps(&processes, format)
    }
}

/// |a - b| over |b|, as roots of sums of squares.
pub fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    (squares(&mut pairs().map(|(a, b)| a - b)) / squares(&mut pairs().map(|(_, b)| b))).sqrt()
}
