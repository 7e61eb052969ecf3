//! Processes with a GPU each, joined by NCCL: this program starts itself once for each rank. Worlds of up to three, as many as
//! there are GPUs (tests/gpu/host stands for them with KAT_HOST_GPU_COUNT=3, and for NCCL).
//!
//! Skipped, with a line that says so, where there is no GPU or no NCCL; a failure there if KAT_REQUIRE_NCCL is set.
#![cfg(feature = "cuda")]

mod ranks;
mod work;

use std::time::{Duration, Instant};

use ranks::{Rank, World, worlds};
use work::{Training, numbers};

/// What a rank does that another program of this file started; nothing by itself.
#[test]
fn rank() {
    if let Some(rank) = Rank::told() {
        rank.work();
    }
}

#[test]
fn sums_and_parts_are_those_of_all_ranks() {
    for ranks in worlds() {
        World::start(ranks, "collectives").succeeds();
    }
}

/// As beneath an MPI, which moves the host's values; here NCCL does both.
#[test]
fn processes_that_another_launcher_started_are_joined() {
    for ranks in worlds() {
        World::start(ranks, "over").succeeds();
    }
}

#[test]
fn a_training_step_is_that_of_one_process_with_the_whole_batch() {
    let Some(&most) = worlds().last() else { return };
    let whole = Training::alone();
    for (ranks, format) in [(1, "f32"), (2.min(most), "f32"), (most, "bf16")] {
        let what = format!("training {format}");
        let [first, again] = [(); 2].map(|()| World::start(ranks, &what).results());
        assert!(first.iter().all(|weights| *weights == first[0]), "{ranks} ranks have other weights");
        assert!(first == again, "two runs of {ranks} ranks have other bits");
        // One rank sums nothing, and rounds where gradients travel as bfloat16.
        let bound = match (ranks, format) {
            (1, "f32") => 0.0,
            (_, "f32") => 1e-5,
            _ => 1e-2,
        };
        let distance = work::distance(&first[0], &whole);
        println!("{ranks} ranks, {format}: {distance:.1e}");
        assert!(distance <= bound, "{ranks} ranks, {format}: weights differ by {distance:.1e}");
    }
}

#[test]
fn a_rank_that_is_killed_fails_or_hangs_ends_the_others_in_time() {
    if worlds().last().is_none_or(|most| *most < 2) {
        return;
    }
    let begun = Instant::now();
    let said = World::start(2, "killed").ended();
    assert!(said[0].1.contains("all-reduce: rank 1 ended"), "{said:?}");
    // Who fails has told why; the others say nothing.
    let said = World::start(2, "aborted").ended();
    assert!(said[0].0 == Some(7) && said[1].0 == Some(7) && !said[0].1.contains("panicked"), "{said:?}");
    let said = World::start(2, "late").ended();
    assert!(said[0].1.contains("all-reduce: not done within 1 s"), "{said:?}");
    let said = World::start(2, "same GPU").ended();
    assert!(said.iter().all(|(_, said)| said.contains("NCCL: ncclCommInitRank: invalid usage")), "{said:?}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn numbers_are_exact_in_bfloat16() {
    for rank in 0..3 {
        assert!(numbers(rank, 64).iter().all(|n| half::bf16::from_f32(3.0 * n).to_f32() == 3.0 * n));
    }
}
