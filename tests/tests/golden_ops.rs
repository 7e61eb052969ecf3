//! The backbone's ops against golden numbers: group rational and attention.

use kat_backbone::ops::rational::Denominator;
use kat_backbone::{Graph, Shape, Tensor, ops};
use kat_tests::device::{TestDevice, device};
use kat_tests::golden::{Golden, Values, assert_close};

fn leaf(values: &Values) -> Tensor<TestDevice> {
    let shape = Shape::new(&values.shape).unwrap();
    Tensor::from_vec(&device(), values.f32(), shape).unwrap().parameter().unwrap()
}

/// A scalar whose gradient at `y` is `dy`: Σ y · dy.
fn seeded(graph: &mut Graph<TestDevice>, y: &Tensor<TestDevice>, dy: &Values) -> Tensor<TestDevice> {
    let flat = y.reshape([1, y.numel()]).unwrap();
    let weight = Tensor::from_vec(&device(), dy.f32(), [1, y.numel()]).unwrap();
    ops::linear(graph, &flat, &weight, None).unwrap()
}

#[test]
fn golden_group_rational() {
    let golden = Golden::open("group_rational.safetensors");
    let cases = golden.cases("x");
    assert!(!cases.is_empty());
    for case in cases {
        let get = |name: &str| golden.get(&format!("{case}.{name}"));
        let (x, a, b) = (leaf(get("x")), leaf(get("numerator")), leaf(get("denominator")));
        let groups = get("denominator").shape[0].max(get("numerator").shape[0]);
        let mut graph = Graph::recording();
        let y = ops::rational(&mut graph, &x, &a, &b, groups, Denominator::Kernel).unwrap();
        assert_close(&format!("{case}.y"), &y.to_vec(), get("y"), 2e-6);
        let loss = seeded(&mut graph, &y, get("dy"));
        let mut gradients = graph.backward(&loss).unwrap();
        for (name, leaf) in [("dx", &x), ("dnumerator", &a), ("ddenominator", &b)] {
            let found = gradients.take_host(leaf).unwrap().unwrap();
            assert_close(&format!("{case}.{name}"), &found, get(name), 2e-6);
        }
    }
}

/// (B, heads, N, D) ×3 → the packed (B, N, 3, heads, D).
fn pack(parts: [&Values; 3]) -> (Vec<f32>, [usize; 4]) {
    let [b, h, n, d] = parts[0].shape[..] else { panic!("attention.q is not (B, heads, N, D)") };
    let mut packed = Vec::with_capacity(3 * b * h * n * d);
    for i in 0..b * n * 3 * h {
        let (image, token, part, head) = (i / (n * 3 * h), i / (3 * h) % n, i / h % 3, i % h);
        let start = ((image * h + head) * n + token) * d;
        packed.extend(parts[part].data[start..start + d].iter().map(|v| *v as f32));
    }
    (packed, [b, h, n, d])
}

#[test]
fn golden_attention() {
    let golden = Golden::open("dense_ops.safetensors");
    let get = |name: &str| golden.get(&format!("attention.{name}"));
    let (qkv, [b, h, n, d]) = pack([get("q"), get("k"), get("v")]);
    let by_head = |values: &Values| -> Values {
        let at = |i: usize| {
            let (image, token, head, c) = (i / (n * h * d), i / (h * d) % n, i / d % h, i % d);
            values.data[((image * h + head) * n + token) * d + c]
        };
        Values { shape: vec![b, n, h * d], data: (0..b * n * h * d).map(at).collect() }
    };
    let qkv = Tensor::from_vec(&device(), qkv, [b, n, 3 * h * d]).unwrap().parameter().unwrap();
    let mut graph = Graph::recording();
    let y = ops::attention(&mut graph, &qkv, h, None).unwrap();
    assert_close("attention.out", &y.to_vec(), &by_head(get("out")), 1e-5);
    let loss = seeded(&mut graph, &y, &by_head(get("dy")));
    let found = graph.backward(&loss).unwrap().take_host(&qkv).unwrap().unwrap();
    let (expected, _) = pack([get("dq"), get("dk"), get("dv")]);
    let part = |values: &[f32], part: usize| -> Vec<f32> {
        let rows = values.chunks(3 * h * d);
        rows.flat_map(|row| row[part * h * d..(part + 1) * h * d].to_vec()).collect()
    };
    for (i, name) in ["dq", "dk", "dv"].into_iter().enumerate() {
        let data: Vec<f64> = part(&expected, i).into_iter().map(f64::from).collect();
        let expected = Values { shape: vec![b, n, h * d], data };
        assert_close(&format!("attention.{name}"), &part(&found, i), &expected, 1e-5);
    }
}
