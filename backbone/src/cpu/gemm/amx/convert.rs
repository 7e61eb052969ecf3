//! Rows of f32 numbers into tiles by AVX-512, where the processor has its conversions to bfloat16 (AVX512-BF16), which every
//! one with tiles has. They round as [`pack`](super::pack) does, but for subnormal numbers, which become 0: tile products take
//! those for 0 anyway.

use super::pack::Tile;
use std::arch::x86_64::*;

/// Whether this machine runs these functions.
#[inline]
pub fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// 16 rows of 32 values, `stride` apart, rounded (or what rounding leaves over): a row of the tile each.
///
/// # Panics
/// Where [`available`] is false; if `src` is shorter.
pub fn rows<const REST: bool>(src: &[f32], stride: usize, tile: &mut Tile) {
    assert!(available() && src.len() >= 15 * stride + 32, "rows of a tile");
    // SAFETY: the instructions are there, and 16 rows of 32 values.
    unsafe { rows_512::<REST>(src.as_ptr(), stride, tile) }
}

/// 32 rows of 16 values, `stride` apart, rounded (or what rounding leaves over): two rows make one of the tile, of pairs.
///
/// # Panics
/// Where [`available`] is false; if `src` is shorter.
pub fn pairs<const REST: bool>(src: &[f32], stride: usize, tile: &mut Tile) {
    assert!(available() && src.len() >= 31 * stride + 16, "rows of a tile");
    // SAFETY: the instructions are there, and 32 rows of 16 values.
    unsafe { pairs_512::<REST>(src.as_ptr(), stride, tile) }
}

/// The tile's words, transposed.
///
/// # Panics
/// Where [`available`] is false.
pub fn transpose(tile: &mut Tile) {
    assert!(available(), "AVX-512");
    // SAFETY: the instructions are there.
    unsafe { transpose_512(tile) }
}

/// The first or last 16 numbers (`half` is 0 or 1) of 32 rows, which are two tiles of 16: two rows make one of `tile`, of pairs.
///
/// # Panics
/// Where [`available`] is false.
pub fn pairs_of_rows([top, bottom]: [&Tile; 2], half: usize, tile: &mut Tile) {
    assert!(available() && half < 2, "AVX-512");
    // SAFETY: the instructions are there.
    unsafe { pairs_of_rows_512([top, bottom], half, tile) }
}

/// Two times 16 values, rounded: `low`'s in the lower half.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn narrow<const REST: bool>(low: __m512, high: __m512) -> __m512i {
    let both = |low, high| {
        // SAFETY: both are 64 bytes of numbers.
        unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
    };
    let rounded = both(low, high);
    if !REST {
        return rounded;
    }
    let rest = |x: __m512, half: __m256i| {
        let upper = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)));
        // what is infinite or no number leaves nothing over
        let finite = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(_mm512_sub_ps(upper, upper), _mm512_setzero_ps());
        _mm512_maskz_sub_ps(finite, x, upper)
    };
    both(rest(low, _mm512_castsi512_si256(rounded)), rest(high, _mm512_extracti64x4_epi64::<1>(rounded)))
}

/// # Safety
/// `src` must be readable for 16 rows of 32 values.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn rows_512<const REST: bool>(src: *const f32, stride: usize, tile: &mut Tile) {
    for (r, row) in tile.0.iter_mut().enumerate() {
        // SAFETY: the caller's promise; a row of the tile has 64 bytes.
        unsafe {
            let src = src.add(r * stride);
            let numbers = narrow::<REST>(_mm512_loadu_ps(src), _mm512_loadu_ps(src.add(16)));
            _mm512_store_si512(row.as_mut_ptr().cast(), numbers);
        }
    }
}

/// Numbers 0, 16, 1, 17, …: of two rows side by side, pairs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn interleave(rows: __m512i) -> __m512i {
    const ORDER: [u16; 32] = {
        let (mut order, mut i) = ([0; 32], 0);
        while i < 32 {
            order[i] = (i / 2 + i % 2 * 16) as u16;
            i += 1;
        }
        order
    };
    // SAFETY: as many bytes.
    let order = unsafe { std::mem::transmute::<[u16; 32], __m512i>(ORDER) };
    _mm512_permutexvar_epi16(order, rows)
}

/// # Safety
/// `src` must be readable for 32 rows of 16 values.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pairs_512<const REST: bool>(src: *const f32, stride: usize, tile: &mut Tile) {
    for (p, row) in tile.0.iter_mut().enumerate() {
        // SAFETY: the caller's promise; a row of the tile has 64 bytes.
        unsafe {
            let (even, odd) = (src.add(2 * p * stride), src.add((2 * p + 1) * stride));
            let numbers = narrow::<REST>(_mm512_loadu_ps(even), _mm512_loadu_ps(odd));
            _mm512_store_si512(row.as_mut_ptr().cast(), interleave(numbers));
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn pairs_of_rows_512(tiles: [&Tile; 2], half: usize, tile: &mut Tile) {
    for (p, row) in tile.0.iter_mut().enumerate() {
        let rows = &tiles[p / 8].0[p % 8 * 2..][..2];
        // SAFETY: half a row of a tile has 32 bytes, a whole one 64.
        unsafe {
            let even = _mm256_load_si256(rows[0].as_ptr().add(8 * half).cast());
            let odd = _mm256_load_si256(rows[1].as_ptr().add(8 * half).cast());
            let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(even), odd);
            _mm512_store_si512(row.as_mut_ptr().cast(), interleave(both));
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn transpose_512(tile: &mut Tile) {
    let mut rows = [_mm512_setzero_si512(); 16];
    for (vector, row) in rows.iter_mut().zip(&tile.0) {
        // SAFETY: a row of the tile has 64 bytes.
        *vector = unsafe { _mm512_load_si512(row.as_ptr().cast()) };
    }
    // of every four rows: column 4 l + k of each in lane l of vector k
    let mut fours = [_mm512_setzero_si512(); 16];
    for g in 0..4 {
        let (a, b, c, d) = (rows[4 * g], rows[4 * g + 1], rows[4 * g + 2], rows[4 * g + 3]);
        let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
        fours[4 * g] = _mm512_unpacklo_epi64(ab, cd);
        fours[4 * g + 1] = _mm512_unpackhi_epi64(ab, cd);
        let (ab, cd) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
        fours[4 * g + 2] = _mm512_unpacklo_epi64(ab, cd);
        fours[4 * g + 3] = _mm512_unpackhi_epi64(ab, cd);
    }
    for k in 0..4 {
        let (a, b, c, d) = (fours[k], fours[4 + k], fours[8 + k], fours[12 + k]);
        let even = [_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0x88>(c, d)];
        let odd = [_mm512_shuffle_i32x4::<0xdd>(a, b), _mm512_shuffle_i32x4::<0xdd>(c, d)];
        let lanes = [
            _mm512_shuffle_i32x4::<0x88>(even[0], even[1]),
            _mm512_shuffle_i32x4::<0x88>(odd[0], odd[1]),
            _mm512_shuffle_i32x4::<0xdd>(even[0], even[1]),
            _mm512_shuffle_i32x4::<0xdd>(odd[0], odd[1]),
        ];
        for (l, lane) in lanes.into_iter().enumerate() {
            // SAFETY: a row of the tile has 64 bytes.
            unsafe { _mm512_store_si512(tile.0[4 * l + k].as_mut_ptr().cast(), lane) };
        }
    }
}
