//! Tensors and gradients that pass between dfdx and the suite: storage is shared, and both agree on gradients.

use dfdx::prelude::{
    AsArray as _, Backward as _, Gradients as DfdxGradients, PermuteTo as _, Rank2, ReshapeTo as _,
    Trace as _, TryMatMul as _, ZerosTensor as _, cross_entropy_with_logits_loss,
};
use dfdx::prelude::{Axes2, Const, TensorFrom as _, TensorFromVec as _};
use kat_backbone::ops::softmax_cross_entropy::{Options, Targets};
use kat_backbone::tensor::dfdx::{DfdxCpu, take_gradient};
use kat_backbone::{Cpu, Graph, Kat, KatConfig, Size, Tensor, ops};

/// Values that are all different.
fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 0.37).sin()).collect()
}

#[test]
fn conversions_share_storage_and_writing_does_not_reach_the_other_side() {
    let device = Cpu::default();
    let mut ours = Tensor::from_vec(&device, values(6), [2, 3]).unwrap();
    let address = ours.view().as_ptr();
    let mut theirs = ours.to_dfdx(Rank2::<2, 3>::default()).unwrap();
    assert!(std::ptr::eq(&raw const theirs[[0, 0]], address), "towards dfdx");
    let back = Tensor::from_dfdx(theirs.clone()).unwrap();
    assert!(std::ptr::eq(back.view().as_ptr(), address), "and back");
    assert_eq!((back.shape().axes(), back.to_vec()), (&[2, 3][..], values(6)));
    theirs[[1, 2]] = 9.0;
    assert_eq!(ours.to_vec(), values(6));
    ours.view_mut()[0] = 7.0;
    assert_eq!((ours.to_vec()[0], back.to_vec()[0], theirs.array()[0][0]), (7.0, 0.0, 0.0));
    ours.view_mut()[1] = 8.0;
    assert_eq!(ours.to_vec()[..2], [7.0, 8.0]);
}

#[test]
fn tensors_that_dfdx_made_are_read_where_they_are_and_copied_before_a_write() {
    let device = Cpu::default();
    let theirs = device.as_dfdx().tensor_from_vec(values(24), (4usize, Const::<6>));
    let mut ours = Tensor::from_dfdx(theirs.clone()).unwrap();
    assert!(std::ptr::eq(ours.view().as_ptr(), &raw const theirs[[0, 0]]));
    assert_eq!((ours.shape().axes(), ours.to_vec()), (&[4, 6][..], values(24)));
    drop(theirs);
    ours.view_mut()[23] = 3.0;
    assert_eq!(ours.to_vec()[22..], [values(24)[22], 3.0]);

    let permuted =
        device.as_dfdx().tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).permute::<Rank2<3, 2>, Axes2<1, 0>>();
    let ours = Tensor::from_dfdx(permuted).unwrap();
    assert_eq!((ours.shape().axes(), ours.to_vec()), (&[3, 2][..], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
    let empty: dfdx::tensor::Tensor<(usize, usize), f32, DfdxCpu> = device.as_dfdx().zeros_like(&(0, 5));
    assert!(Tensor::from_dfdx(empty).unwrap().to_vec().is_empty());
    assert!(ours.to_dfdx((7usize,)).is_err());
}

#[test]
fn a_dfdx_head_gives_the_gradients_of_our_own() {
    const BATCH: usize = 4;
    let device = Cpu::default();
    let config = KatConfig {
        image_size: Size::square(16),
        patch_size: Size::square(8),
        dim: 16,
        depth: 1,
        heads: 2,
        classes: 0,
        ..KatConfig::default()
    };
    let kat = Kat::new(&device, &config, 3).unwrap();
    let images = Tensor::from_vec(&device, values(BATCH * 3 * 256), [BATCH, 3, 16, 16]).unwrap();
    let weight = Tensor::from_vec(&device, values(3 * 16), [3, 16]).unwrap().parameter().unwrap();
    let features = |graph: &mut Graph<Cpu>| {
        let tokens = kat.tokens(graph, &images).unwrap();
        ops::mean_tokens(graph, &tokens).unwrap()
    };

    let mut graph = Graph::recording();
    let x = features(&mut graph);
    let logits = ops::linear(&mut graph, &x, &weight, None).unwrap();
    let targets = Targets::hard(vec![0, 1, 2, 1]);
    let loss = ops::softmax_cross_entropy(&mut graph, &logits, &targets, &Options::default()).unwrap();
    let (expected_loss, mut expected) = (loss.scalar().unwrap(), graph.backward(&loss).unwrap());

    let mut graph = Graph::recording();
    let x = features(&mut graph);
    let theirs = x.to_dfdx(Rank2::<BATCH, 16>::default()).unwrap();
    let their_weight = weight.to_dfdx(Rank2::<3, 16>::default()).unwrap();
    let transposed = their_weight.leaky_trace().permute::<Rank2<16, 3>, Axes2<1, 0>>();
    let logits = theirs.leaky_trace().matmul(transposed);
    let one_hot =
        device.as_dfdx().tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]);
    let loss = cross_entropy_with_logits_loss(logits, one_hot);
    assert!((loss.array() - expected_loss).abs() < 1e-5);
    let mut gradients = loss.backward();
    let at_weight = gradients.get(&their_weight).reshape::<dfdx::prelude::Rank1<48>>().as_vec();
    let at_features = take_gradient(&mut gradients, &theirs).unwrap();
    let mut ours = graph.backward_from(&x, at_features).unwrap();

    let close = |found: &[f32], expected: &[f32]| {
        let scale = expected.iter().fold(1e-6, |m: f32, v| m.max(v.abs()));
        found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-4 * scale)
    };
    assert!(close(&at_weight, &expected.take_host(&weight).unwrap().unwrap()), "the head's weight");
    for block in &kat.blocks {
        let own = &block.attn.qkv.weight;
        let expected = expected.take_host(own).unwrap().unwrap();
        let mut table = DfdxGradients::leaky();
        let tensor = own.to_dfdx((own.numel(),)).unwrap();
        assert!(ours.give_to_dfdx(own, &mut table, &tensor).unwrap());
        assert!(!ours.give_to_dfdx(own, &mut table, &tensor).unwrap(), "it was moved");
        assert!(close(&table.get(&tensor).as_vec(), &expected), "the backbone's weight");
    }
}
