//! The ops of dense prediction against numbers made by torch and torchvision: every output and every gradient that
//! the file holds. Shapes, sizes and which cases there are come from the file.

use kat_backbone::ops::batch_norm::{self, Running};
use kat_backbone::ops::conv2d::Placement;
use kat_backbone::ops::resize::Interpolation;
use kat_backbone::ops::roi_align::{self, Roi};
use kat_backbone::ops::softmax_cross_entropy::{Options, Targets};
use kat_backbone::{Graph, Result, Tensor, ops};
use kat_tests::device::{TestDevice, device};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeSet;
use std::path::PathBuf;

const TOLERANCE: f64 = 1e-5;

/// The tensors of the file, by name.
struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    fn open() -> Self {
        let folder = std::env::var_os("KAT_GOLDEN_DIR").map(PathBuf::from);
        let folder = folder.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/golden").into());
        let path = folder.join("dense_ops.safetensors");
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { bytes }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).expect("a safetensors file")
    }

    /// Names up to the first dot that begin with `prefix`: the cases.
    fn cases(&self, prefix: &str) -> Vec<String> {
        let tensors = self.tensors();
        let names = tensors.names();
        let cases: BTreeSet<&str> =
            names.iter().filter_map(|n| n.split_once('.')).map(|(case, _)| case).collect();
        let found: Vec<String> =
            cases.into_iter().filter(|case| case.starts_with(prefix)).map(str::to_owned).collect();
        assert!(!found.is_empty(), "the file has no case {prefix}…");
        found
    }

    fn has(&self, name: &str) -> bool {
        self.tensors().tensor(name).is_ok()
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        self.tensors().tensor(name).unwrap_or_else(|_| panic!("{name} is missing")).shape().to_vec()
    }

    fn values(&self, name: &str) -> Vec<f32> {
        let tensors = self.tensors();
        let tensor = tensors.tensor(name).unwrap_or_else(|_| panic!("{name} is missing"));
        assert_eq!(tensor.dtype(), Dtype::F32, "{name}");
        tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn integers(&self, name: &str) -> Vec<u32> {
        let tensors = self.tensors();
        let tensor = tensors.tensor(name).unwrap_or_else(|_| panic!("{name} is missing"));
        assert_eq!(tensor.dtype(), Dtype::I64, "{name}");
        let integer = |b: &[u8; 8]| u32::try_from(i64::from_le_bytes(*b)).expect("a class");
        tensor.data().as_chunks::<8>().0.iter().map(integer).collect()
    }

    fn tensor(&self, name: &str) -> Tensor<TestDevice> {
        let shape = kat_backbone::Shape::new(&self.shape(name)).expect("at most five axes");
        Tensor::from_vec(&device(), self.values(name), shape).unwrap()
    }

    fn parameter(&self, name: &str) -> Tensor<TestDevice> {
        self.tensor(name).parameter().unwrap()
    }

    fn assert_close(&self, name: &str, found: &[f32]) {
        let expected = self.values(name);
        assert_eq!(found.len(), expected.len(), "{name}: number of values");
        let square = |v: f64| v * v;
        let pairs = found.iter().zip(&expected);
        let difference: f64 = pairs.map(|(f, e)| square(f64::from(*f) - f64::from(*e))).sum();
        let norm: f64 = expected.iter().map(|e| square(f64::from(*e))).sum();
        let error = if difference == 0.0 { 0.0 } else { (difference / norm).sqrt() };
        assert!(error <= TOLERANCE, "{name}: relative error {error:e} > {TOLERANCE:e}");
    }

    /// Runs `op` and compares its output with `case.out`, and the gradients for the upstream gradient `case.dy`
    /// with the named tensors.
    fn check(
        &self,
        case: &str,
        mut graph: Graph<TestDevice>,
        op: impl FnOnce(&mut Graph<TestDevice>) -> Result<Tensor<TestDevice>>,
        gradients: &[(&str, &Tensor<TestDevice>)],
    ) {
        let y = op(&mut graph).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(y.shape().axes(), self.shape(&format!("{case}.out")), "{case}: shape of the output");
        self.assert_close(&format!("{case}.out"), &y.to_vec());
        let loss = dot(&mut graph, &y, &self.tensor(&format!("{case}.dy"))).unwrap();
        let mut found = graph.backward(&loss).unwrap();
        for (name, tensor) in gradients {
            let gradient = found.take_host(tensor).unwrap().expect("a gradient");
            self.assert_close(&format!("{case}.{name}"), &gradient);
        }
    }
}

/// Σ y · dy, whose gradient at y is dy: the product of a row and a column.
fn dot(
    graph: &mut Graph<TestDevice>,
    y: &Tensor<TestDevice>,
    dy: &Tensor<TestDevice>,
) -> Result<Tensor<TestDevice>> {
    let n = y.numel();
    ops::linear(graph, &y.reshape([1, n])?, &dy.reshape([1, n])?, None)
}

/// The sizes behind `prefix` in a case's name, as 29x31 in bilinear_29x31.
fn sizes(case: &str, prefix: &str) -> Vec<usize> {
    let size = |n: &str| n.parse().unwrap_or_else(|_| panic!("a size in {case}"));
    case[prefix.len()..].split('x').map(size).collect()
}

/// Stride and padding with which windows of `kernel` give `output` pixels of `input`: a kernel of odd size is
/// padded by half of it ("pad 1" for 3×3), and the stride follows.
fn placement(case: &str, input: &[usize], output: &[usize], kernel: &[usize]) -> Placement {
    let padding = [kernel[0] / 2 * (kernel[0] % 2), kernel[1] / 2 * (kernel[1] % 2)];
    let gives = |stride: &usize, i: usize| (input[i] + 2 * padding[i] - kernel[i]) / stride + 1 == output[i];
    let stride = (1..=16).find(|stride| gives(stride, 0) && gives(stride, 1));
    let stride = stride.unwrap_or_else(|| panic!("{case}: no stride gives {output:?} of {input:?}"));
    Placement { stride: [stride; 2], padding }
}

#[test]
fn golden_convolutions() {
    let golden = Golden::open();
    for case in golden.cases("conv") {
        let name = |part: &str| format!("{case}.{part}");
        let (x, w) = (golden.parameter("feat"), golden.parameter(&name("w")));
        let b = golden.has(&name("b")).then(|| golden.parameter(&name("b")));
        let (input, output) = (golden.shape("feat"), golden.shape(&name("out")));
        let placement = placement(&case, &input[2..], &output[2..], &golden.shape(&name("w"))[2..]);
        let gradients: Vec<_> =
            [("dx", &x), ("dw", &w)].into_iter().chain(b.as_ref().map(|b| ("db", b))).collect();
        let op = |graph: &mut Graph<TestDevice>| ops::conv2d(graph, &x, &w, b.as_ref(), placement);
        golden.check(&case, Graph::recording(), op, &gradients);
    }
}

#[test]
fn golden_transposed_convolutions() {
    let golden = Golden::open();
    for case in golden.cases("deconv") {
        let name = |part: &str| format!("{case}.{part}");
        let (x, w) = (golden.parameter("feat"), golden.parameter(&name("w")));
        let b = golden.parameter(&name("b"));
        let stride = golden.shape(&name("w"))[2];
        let op = |graph: &mut Graph<TestDevice>| {
            ops::conv_transpose2d(graph, &x, &w, Some(&b), Placement::new(stride, 0))
        };
        golden.check(&case, Graph::recording(), op, &[("dx", &x), ("dw", &w), ("db", &b)]);
    }
}

#[test]
fn golden_pools() {
    let golden = Golden::open();
    for case in golden.cases("adaptive_avg_pool_") {
        let x = golden.parameter("feat");
        let size = sizes(&case, "adaptive_avg_pool_");
        let size = [size[0], size[size.len() - 1]];
        let op = |graph: &mut Graph<TestDevice>| ops::adaptive_average_pool(graph, &x, size);
        golden.check(&case, Graph::recording(), op, &[("dx", &x)]);
    }
    for case in golden.cases("max_pool_") {
        let x = golden.parameter("feat");
        let size = sizes(&case, "max_pool_")[0];
        let op = |graph: &mut Graph<TestDevice>| ops::max_pool(graph, &x, [size; 2], Placement::new(size, 0));
        golden.check(&case, Graph::recording(), op, &[("dx", &x)]);
    }
}

#[test]
fn golden_resizes() {
    let golden = Golden::open();
    for case in golden.cases("bilinear_") {
        let x = golden.parameter("feat");
        let size = sizes(&case, "bilinear_");
        let op = |graph: &mut Graph<TestDevice>| {
            ops::resize(graph, &x, [size[0], size[1]], Interpolation::Bilinear)
        };
        golden.check(&case, Graph::recording(), op, &[("dx", &x)]);
    }
}

#[test]
fn golden_norms() {
    let golden = Golden::open();
    let channels = golden.shape("feat")[1];
    let constant = |value: f32| Tensor::from_vec(&device(), vec![value; channels], [channels]).unwrap();
    for case in golden.cases("layer_norm_channels_first") {
        let x = golden.parameter("feat");
        let op = |graph: &mut Graph<TestDevice>| {
            ops::channel_norm(graph, &x, &constant(1.0), &constant(0.0), 1e-6)
        };
        golden.check(&case, Graph::recording(), op, &[("dx", &x)]);
    }
    for case in golden.cases("batch_norm_train") {
        let x = golden.parameter("feat");
        let weight = golden.tensor(&format!("{case}.w"));
        let mut updated = None;
        let op = |graph: &mut Graph<TestDevice>| {
            let (start, options) = (Running::new(&device(), channels)?, batch_norm::Options::default());
            let (y, running) = ops::batch_norm(graph, &x, &weight, &constant(0.0), &start, &options)?;
            updated = running;
            Ok(y)
        };
        golden.check(&case, Graph::training(0), op, &[("dx", &x)]);
        let updated = updated.expect("running statistics come back from training");
        golden.assert_close(&format!("{case}.running_mean"), &updated.mean.to_vec());
        golden.assert_close(&format!("{case}.running_var"), &updated.variance.to_vec());
    }
}

#[test]
fn golden_roi_align() {
    let golden = Golden::open();
    let values = golden.values("roi_align.rois");
    let roi = |&[image, x0, y0, x1, y1]: &[f32; 5]| Roi { image: image as usize, corners: [x0, y0, x1, y1] };
    let rois: Vec<Roi> = values.as_chunks().0.iter().map(roi).collect();
    for case in golden.cases("roi_align_") {
        let x = golden.parameter("roi_align.feat");
        let out = golden.shape(&format!("{case}.out"));
        let sampling = match case.rsplit_once("_sr") {
            Some((_, ratio)) => roi_align::Sampling::Fixed(ratio.parse().expect("a sampling ratio")),
            None => roi_align::Sampling::Adaptive,
        };
        let options = roi_align::Options {
            output: [out[2], out[3]],
            spatial_scale: 1.0 / 8.0,
            sampling,
            alignment: roi_align::Alignment::HalfPixel,
        };
        let op = |graph: &mut Graph<TestDevice>| ops::roi_align(graph, &x, &rois, &options);
        golden.check(&case, Graph::recording(), op, &[("dfeat", &x)]);
    }
}

#[test]
fn golden_cross_entropy() {
    let golden = Golden::open();
    for case in golden.cases("cross_entropy_ignore") {
        let name = |part: &str| format!("{case}.{part}");
        let logits = golden.parameter(&name("logits"));
        let ignore = Some(sizes(&case, "cross_entropy_ignore")[0] as u32);
        let targets = Targets::Hard { classes: golden.integers(&name("target")), ignore };
        let mut graph = Graph::recording();
        let loss = ops::softmax_cross_entropy(&mut graph, &logits, &targets, &Options::default()).unwrap();
        golden.assert_close(&name("loss"), &loss.to_vec());
        let gradient = graph.backward(&loss).unwrap().take_host(&logits).unwrap().expect("a gradient");
        golden.assert_close(&name("dlogits"), &gradient);
    }
}
