//! Dropout on the GPU, with the CPU's mask.

use super::DropoutKernel;
use crate::cpu::Cpu;
use crate::cuda::launch::Grid;
use crate::cuda::{Buffer, Cuda, kernels};
use crate::error::Result;
use crate::tensor::Backend as _;
use kat_images::Run;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

const _: () = assert!(crate::cpu::GRAIN == kernels::mirrored::GRAIN);

/// Elements of a thread: the words of one ChaCha block.
const WORDS: usize = 16;

impl DropoutKernel for Cuda {
    fn dropout(&self, mut x: Buffer, rate: f32, seed: u64, pieces: &[Run]) -> Result<Buffer> {
        if pieces.iter().any(|piece| piece.own.start != piece.global) {
            // The kernel begins at the first element of a tensor: parts of one are masked on the host.
            let host = Cpu::default().dropout(self.download_buf(&x), rate, seed, pieces)?;
            return self.upload_buf(host);
        }
        let key = ChaCha8Rng::seed_from_u64(seed).get_seed();
        let [key0, key1, key2, key3] = [0, 1, 2, 3].map(|i| {
            let mut word = [0; 8];
            word.copy_from_slice(&key[8 * i..8 * i + 8]);
            u64::from_le_bytes(word)
        });
        let (context, grid, n) = (self.context(), Grid::each(x.len().div_ceil(WORDS)), x.len() as u64);
        kernels::dropout(context, grid, &mut x, n, rate, 1.0 / (1.0 - rate), key0, key1, key2, key3)?;
        Ok(x)
    }
}
