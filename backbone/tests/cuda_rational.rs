//! The CUDA kernels' arithmetic and their division of work, run on the host: the functions that the kernels inline are
//! compiled by the C++ compiler and held against the CPU kernel. Skipped, with a line that says so, where there is none.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kat_backbone::ops::rational::Denominator;
use kat_backbone::{Cpu, Graph, Tensor, ops};

/// Compiles the host program into `dir`.
fn host_program(dir: &Path) -> Option<PathBuf> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    if Command::new(&compiler).arg("--version").output().is_err() {
        eprintln!("skipped: no C++ compiler \"{compiler}\"");
        return None;
    }
    let program = dir.join("rational_host");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops/rational/rational_host.cpp");
    let args = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-o"];
    let built = Command::new(&compiler).args(args).arg(&program).arg(source).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(program)
}

/// Numbers in [-1, 1) from a linear congruential generator.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// What the C++ functions make of (a, |b|, x, dy): y, dx, gradients at a and |b|.
fn on_host(program: &Path, form: Denominator, a: &[f32], b: &[f32], x: &[f32], dy: &[f32]) -> [Vec<f32>; 4] {
    let mut child = Command::new(program)
        .arg(if form == Denominator::Kernel { "math" } else { "paper" })
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the host program starts");
    let mut bytes = Vec::new();
    for size in [a.len(), b.len(), x.len()] {
        bytes.extend((size as i32).to_ne_bytes());
    }
    let b: Vec<f32> = match form {
        Denominator::Kernel => b.iter().map(|b| b.abs()).collect(),
        Denominator::Paper => b.to_vec(),
    };
    for values in [a, &b, x, dy] {
        bytes.extend(values.iter().flat_map(|v| v.to_ne_bytes()));
    }
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    let mut values = output.stdout.as_chunks::<4>().0.iter().map(|b| f32::from_ne_bytes(*b));
    [x.len(), x.len(), a.len(), b.len()].map(|count| values.by_ref().take(count).collect())
}

fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= tolerance * scale, "{what}[{i}]: {f}, the CPU kernel says {e}");
    }
}

#[test]
fn the_kernels_arithmetic_is_that_of_the_cpu() {
    let dir = tempfile::tempdir().unwrap();
    let Some(program) = host_program(dir.path()) else { return };
    let forms = [Denominator::Kernel, Denominator::Paper];
    for ((m, n), form) in [(6, 4), (4, 3), (13, 13), (1, 1)].into_iter().flat_map(|o| forms.map(|f| (o, f))) {
        let count = 4096;
        let a = numbers(m, 1);
        let mut b = numbers(n, 2);
        // The published start of act1: denominators of exactly 0 still have a gradient.
        b[0] = 0.0;
        let mut x: Vec<f32> = numbers(count, 3).iter().map(|v| 2.0 * v).collect();
        x[..2].copy_from_slice(&[0.0, -0.0]);
        let dy = numbers(count, 4);
        let [y, dx, da, db] = on_host(&program, form, &a, &b, &x, &dy);

        let device = Cpu::default();
        let tensor = |v: &[f32], shape: [usize; 2]| Tensor::from_vec(&device, v.to_vec(), shape).unwrap();
        let parameter = |v: &[f32], shape: [usize; 2]| tensor(v, shape).parameter().unwrap();
        let (x_t, a_t, b_t) = (parameter(&x, [count, 1]), parameter(&a, [1, m]), parameter(&b, [1, n]));
        let mut graph = Graph::recording();
        let y_t = ops::rational(&mut graph, &x_t, &a_t, &b_t, 1, form).unwrap();
        assert_close("y", &y, &y_t.to_vec(), 1e-6);
        // A loss whose gradient at y is dy: y · dy, by a linear layer of one output.
        let row = y_t.reshape([1, count]).unwrap();
        let weight = tensor(&dy, [1, count]);
        let loss = ops::linear(&mut graph, &row, &weight, None).unwrap();
        let loss = ops::mean(&mut graph, &loss).unwrap();
        let mut gradients = graph.backward(&loss).unwrap();
        let mut take = |t: &Tensor| gradients.take_host(t).unwrap().unwrap();
        assert_close("dx", &dx, &take(&x_t), 1e-5);
        assert_close("gradient at a", &da, &take(&a_t), 1e-4);
        let signed: Vec<f32> = db
            .iter()
            .zip(&b)
            .map(|(g, b)| if form == Denominator::Kernel && *b < 0.0 { -g } else { *g })
            .collect();
        assert_close("gradient at b", &signed, &take(&b_t), 1e-4);
    }
}

#[test]
fn the_threads_of_a_launch_meet_every_element_once() {
    let dir = tempfile::tempdir().unwrap();
    let Some(program) = host_program(dir.path()) else { return };
    // (rows, groups, group size, pack, rows a block): KAT-T, S and B's act1 and act2, odd sizes, groups wider than a
    // block of packs.
    for launch in [
        [197, 8, 24, 4, 80],
        [197, 8, 48, 4, 160],
        [33, 8, 96, 8, 64],
        [33, 8, 384, 4, 16],
        [7, 3, 5, 1, 4],
        [1, 1, 1, 1, 1],
        [5, 2, 1536, 4, 2],
        [3, 1, 700, 1, 2],
    ] {
        let words = launch.map(|n: u32| n.to_string());
        let output = Command::new(&program).arg("place").args(&words).output().unwrap();
        assert!(output.status.success(), "{launch:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
}
