//! The worlds against what a plain loop makes of all ranks' values.

use half::bf16;

use super::threads::{ThreadRank, world};
use super::*;

/// What `work` makes on each rank of a world of threads.
pub(crate) fn on_each<T: Send>(ranks: usize, work: impl Fn(ThreadRank) -> T + Sync) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = world(ranks).into_iter().map(|rank| scope.spawn(move || work(rank))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Value `i` of a rank.
fn value(rank: usize, i: usize) -> f32 {
    ((i * 37 + rank * 11) % 101) as f32 / 8.0 - 5.0
}

#[test]
fn sums_and_parts_are_those_of_all_ranks() {
    for ranks in 1..5 {
        let len = 3 * ranks;
        let sum = |i: usize| (0..ranks).map(|rank| value(rank, i)).sum::<f32>();
        on_each(ranks, |collective| {
            let rank = collective.rank();
            let own: Vec<f32> = (0..len).map(|i| value(rank, i)).collect();
            let mut single = own.clone();
            collective.all_reduce(Summands::F32(&mut single)).unwrap();
            assert_eq!(single, (0..len).map(sum).collect::<Vec<_>>());
            let mut double: Vec<f64> = own.iter().map(|v| f64::from(*v)).collect();
            collective.all_reduce(Summands::F64(&mut double)).unwrap();
            assert_eq!(double, (0..len).map(|i| f64::from(sum(i))).collect::<Vec<_>>());
            let mut half: Vec<bf16> = own.iter().map(|v| bf16::from_f32(*v)).collect();
            collective.all_reduce(Summands::Bf16(&mut half)).unwrap();
            assert_eq!(half, (0..len).map(|i| bf16::from_f32(sum(i))).collect::<Vec<_>>());
            let mut part = [0.0; 3];
            collective.reduce_scatter(&own, &mut part).unwrap();
            assert_eq!(part, [0, 1, 2].map(|i| sum(3 * rank + i)));
            let mut all = vec![0.0; len];
            collective.all_gather(&part, &mut all).unwrap();
            assert_eq!(all, single);
            let bytes = collective.all_gather_bytes(&vec![rank as u8; rank]).unwrap();
            assert_eq!(bytes, (0..ranks).map(|rank| vec![rank as u8; rank]).collect::<Vec<_>>());
            let mut told = vec![rank as u8; rank + 1];
            collective.broadcast(&mut told, ranks - 1).unwrap();
            assert_eq!(told, vec![ranks as u8 - 1; ranks]);
        });
    }
}

#[test]
fn what_does_not_go_together_is_said_and_nobody_waits_for_ever() {
    let said = on_each(2, |collective| {
        let mut numbers = vec![0.0f32; 2 + collective.rank()];
        collective.all_reduce(Summands::F32(&mut numbers)).unwrap_err().to_string()
    });
    assert_eq!(said[0], "all-reduce: 12 bytes from rank 1, expected 8 as from this one");
    let said = on_each(3, |collective| match collective.rank() {
        1 => String::new(),
        _ => collective.barrier().unwrap_err().to_string(),
    });
    assert!(said[0].contains("another process ended") && said[2] == said[0], "{said:?}");
    let error = SingleProcess.reduce_scatter(&[1.0, 2.0], &mut [0.0]).unwrap_err().to_string();
    assert!(error.contains("a buffer of 2 values, expected 1"), "{error}");
}
