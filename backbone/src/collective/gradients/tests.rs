use std::cell::RefCell;
use std::rc::Rc;

use super::buckets::CAPACITY;
use super::*;
use crate::collective::Collective;
use crate::collective::tests::on_each;
use crate::nn::{Builder, Linear, Module};
use crate::optim::GradientSet;
use crate::tensor::GradientReceiver as _;
use crate::{Cpu, Graph, Tensor, ops};

fn exchange(lengths: &[usize], world: usize, format: GradientFormat, share: Share) -> GradientExchange {
    GradientExchange::new(Buckets::new(lengths.to_vec(), world), format, share)
}

fn all(summed: Summed<Cpu>) -> Vec<Option<Vec<f32>>> {
    match summed {
        Summed::All(gradients) => gradients.buffers,
        Summed::Own(_) => panic!("parts came where all was asked for"),
    }
}

fn exchanged(format: GradientFormat) -> Vec<Vec<Option<Vec<f32>>>> {
    on_each(3, |rank| {
        let processes: Rc<dyn Collective> = Rc::new(rank);
        let exchange = exchange(&[6, 2], 3, format, Share::All);
        let mut under_way = exchange.begin(&processes, &Cpu::default(), None).unwrap();
        let own = processes.rank();
        under_way.receive(0, Some((0..6).map(|i| (i + own) as f32 / 3.0).collect())).unwrap();
        // Only the last process's loss depends on the second.
        if own == 2 {
            under_way.receive(1, Some(vec![0.25, -0.5])).unwrap();
        }
        all(under_way.finish().unwrap().0)
    })
}

#[test]
fn sums_are_those_of_all_and_the_same_everywhere() {
    let all = exchanged(GradientFormat::F32);
    assert!(all.iter().all(|gradients| *gradients == all[0]));
    let weight: Vec<f32> = (0..6).map(|i| (0..3).map(|rank| (i + rank) as f32 / 3.0).sum()).collect();
    assert_eq!(all[0], [Some(weight.clone()), Some(vec![0.25, -0.5])]);
    let rounded = exchanged(GradientFormat::Bf16);
    assert!(rounded.iter().all(|gradients| *gradients == rounded[0]));
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= b.abs() / 100.0;
    assert!(rounded[0][0].as_ref().unwrap().iter().zip(&weight).all(near), "{rounded:?}");
}

#[test]
fn what_no_loss_depends_on_has_no_gradient_and_large_ones_travel_alone() {
    on_each(2, |rank| {
        let (processes, cpu): (Rc<dyn Collective>, _) = (Rc::new(rank), Cpu::default());
        let lengths = [2, CAPACITY + 5, 3, CAPACITY - 1];
        let exchange = exchange(&lengths, 2, GradientFormat::F32, Share::All);
        assert_eq!((exchange.bytes(), exchange.buckets()), (4 * (2 * CAPACITY + 9), 4));
        let earlier = GradientSet { buffers: vec![None, Some(vec![2.0; lengths[1]]), None, None] };
        let mut under_way = exchange.begin(&processes, &cpu, Some(earlier)).unwrap();
        for parameter in [3, 1, 2] {
            under_way.receive(parameter, Some(vec![1.0; lengths[parameter]])).unwrap();
        }
        assert!(under_way.receive(1, None).is_err());
        let (summed, exchange) = under_way.finish().unwrap();
        let gradients = all(summed);
        assert!(gradients[0].is_none());
        for (parameter, expected) in [(1, 6.0), (2, 2.0), (3, 2.0)] {
            assert!(gradients[parameter].as_ref().unwrap().iter().all(|v| *v == expected));
        }
        assert_eq!(exchange.cost().steps, 1);
        let strange = GradientSet { buffers: vec![None] };
        assert!(exchange.begin(&processes, &cpu, Some(strange)).is_err());
    });
}

#[test]
fn parts_are_all_values_each_once() {
    for (lengths, world) in
        [(vec![5, 7, 1], 3), (vec![1], 4), (vec![], 2), (vec![CAPACITY, 2 * CAPACITY, 3], 2)]
    {
        let buckets = Buckets::new(lengths.clone(), world);
        let mut had: Vec<Vec<u8>> = lengths.iter().map(|length| vec![0; *length]).collect();
        for rank in 0..world {
            for piece in buckets.pieces(rank) {
                assert_eq!(piece.values.len(), piece.own.len());
                assert!(piece.own.end <= buckets.part(piece.bucket));
                had[piece.parameter][piece.values].iter_mut().for_each(|count| *count += 1);
            }
        }
        assert!(had.iter().flatten().all(|count| *count == 1), "{lengths:?} on {world}");
    }
}

#[test]
fn each_process_gets_its_part_of_the_sums() {
    for format in [GradientFormat::F32, GradientFormat::Bf16] {
        let parts = on_each(3, |rank| {
            let (processes, cpu): (Rc<dyn Collective>, _) = (Rc::new(rank), Cpu::default());
            let exchange = exchange(&[4, 3], 3, format, Share::Own);
            let mut under_way = exchange.begin(&processes, &cpu, None).unwrap();
            under_way.receive(0, Some(vec![1.0, 2.0, 3.0, 4.0])).unwrap();
            match under_way.finish().unwrap().0 {
                Summed::Own(OwnSums { parts, present }) => (parts, present),
                Summed::All(_) => panic!("all came where parts were asked for"),
            }
        });
        // The last parameter first, then what makes the parts equal.
        let expected: [[f32; 3]; 3] = [[0.0; 3], [3.0, 6.0, 9.0], [12.0, 0.0, 0.0]];
        for (found, expected) in parts.iter().zip(expected) {
            assert_eq!(*found, (vec![expected.to_vec()], vec![true, false]));
        }
    }
}

/// Each gradient is given once it is whole: a weight that two layers share, one that nothing uses, one behind a tensor
/// that the loss does not need.
#[test]
fn a_backward_pass_gives_whole_gradients() {
    let cpu = Cpu::default();
    let builder = Builder::new(&cpu, 1);
    let layers: Vec<_> = (0..4).map(|_| Linear::new(&builder, 3, 3, 0.5).unwrap()).collect();
    let parameters: Vec<Tensor<Cpu>> = layers.iter().flat_map(|layer| layer.parameters()).collect();
    let x = Tensor::from_vec(&cpu, (0..6).map(|i| i as f32 / 2.0 - 1.0).collect(), [2, 3]).unwrap();
    let loss = |graph: &mut Graph<Cpu>| {
        let y = layers[0].forward(graph, &x).unwrap();
        let y = ops::gelu(graph, &y).unwrap();
        let y = layers[1].forward(graph, &y).unwrap();
        let y = layers[0].forward(graph, &y).unwrap();
        layers[2].forward(graph, &y).unwrap();
        ops::mean(graph, &y).unwrap()
    };
    let mut graph = Graph::training(3);
    let l = loss(&mut graph);
    let mut plain = graph.backward(&l).unwrap();
    let plain: Vec<_> = parameters.iter().map(|p| plain.take(p).unwrap()).collect();
    assert_eq!(plain.iter().filter(|gradient| gradient.is_some()).count(), 4);

    let processes: Rc<dyn Collective> = Rc::new(crate::collective::SingleProcess);
    let lengths: Vec<usize> = parameters.iter().map(Tensor::numel).collect();
    let exchange = exchange(&lengths, 1, GradientFormat::F32, Share::All);
    let under_way = Rc::new(RefCell::new(exchange.begin(&processes, &cpu, None).unwrap()));
    let mut graph = Graph::training(3).giving(&parameters, under_way.clone());
    let l = loss(&mut graph);
    let mut left = graph.backward(&l).unwrap();
    assert!(parameters.iter().all(|p| left.take(p).unwrap().is_none()));
    let under_way = Rc::into_inner(under_way).unwrap().into_inner();
    assert_eq!(all(under_way.finish().unwrap().0), plain);
}
