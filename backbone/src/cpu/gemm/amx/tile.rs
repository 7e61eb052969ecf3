//! The tile instructions: whether this machine has them, and the kernel made of them. The intrinsics are not stable, the
//! assembler is.
//!
//! Intel, *Architecture Instruction Set Extensions*, chapter 3 (AMX): eight registers of 16 rows of 64 bytes; a product adds
//! to 16 × 16 sums in f32 those of 16 × 32 by 32 × 16 bfloat16 numbers, in 16 cycles.

use super::pack::{Block, Tile};
use std::arch::asm;
use std::sync::OnceLock;

/// The shape of every register, as the processor reads it: palette 1, 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

static SHAPES: Shapes = {
    let (mut bytes, mut rows) = ([0; 16], [0; 16]);
    let mut i = 0;
    while i < 8 {
        (bytes[i], rows[i]) = (64, 16);
        i += 1;
    }
    Shapes { palette: 1, start_row: 0, reserved: [0; 14], bytes, rows }
};

/// Whether this process may use tile products of bfloat16 numbers; asks the system for leave the first time.
pub fn available() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| (processor_has_them() && system_lets_us()) || super::stand_in::wanted())
}

/// CPUID leaf 7: AMX-BF16 is bit 22 and AMX-TILE bit 24 of EDX; the system saves tiles where bits 17 and 18 of XCR0 are set.
fn processor_has_them() -> bool {
    use std::arch::x86_64::{__cpuid_count, _xgetbv};
    #[target_feature(enable = "xsave")]
    fn saved() -> u64 {
        // SAFETY: the caller has seen OSXSAVE; register 0 is always there.
        unsafe { _xgetbv(0) }
    }
    // a safe function in later versions of Rust than the oldest that is supported
    #[allow(unused_unsafe)]
    let leaf = |number| {
        // SAFETY: every x86-64 has CPUID, and a leaf that it has not reads as zeros or as its last.
        unsafe { __cpuid_count(number, 0) }
    };
    if leaf(0).eax < 7 || leaf(1).ecx & 1 << 27 == 0 {
        return false;
    }
    let features = leaf(7).edx;
    // SAFETY: OSXSAVE (bit 27) says that the processor has `xgetbv` and the system allows it.
    features & 1 << 22 != 0 && features & 1 << 24 != 0 && unsafe { saved() } & 0x6_0000 == 0x6_0000
}

/// Linux gives a process the tiles' state when it asks (arch_prctl, ARCH_REQ_XCOMP_PERM, 18 = XTILEDATA).
#[cfg(target_os = "linux")]
fn system_lets_us() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XTILEDATA: libc::c_ulong = 18;
    // SAFETY: the call takes two numbers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0 }
}

/// Other systems have not been tried.
#[cfg(not(target_os = "linux"))]
fn system_lets_us() -> bool {
    false
}

/// The tile registers of this thread, configured; released when dropped, so that the system need not save them.
pub struct Registers(());

impl Registers {
    /// # Panics
    /// Where [`available`] is false.
    pub fn configured() -> Self {
        assert!(available(), "tile products need a processor that has them");
        super::stand_in::attend();
        // SAFETY: the instruction is there (`available`), and reads 64 bytes of a static.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, readonly, preserves_flags))
        };
        Self(())
    }

    /// Adds to `sums` (or overwrites them, if `fresh`) the products of as many steps as there are tiles: two left-hand tiles
    /// by two right-hand ones each, or by the first of them where the others are `false` in `both`.
    #[inline]
    pub fn multiply(
        &self,
        left: &[Tile],
        right: &[Tile],
        sums: &mut Block,
        fresh: bool,
        both: [bool; 2],
        next: *const Tile,
    ) {
        let steps = left.len() / 2;
        assert!(left.len() == 2 * steps && right.len() == left.len(), "tiles of a product");
        // SAFETY: `self` is the proof that the registers are configured. The kernels read `steps` pairs of tiles from each
        // slice and read and write `sums`.
        unsafe {
            let (left, right, sums) = (left.as_ptr(), right.as_ptr(), &raw mut *sums);
            match both {
                [true, true] => kernel_2x2(left, right, sums, steps, fresh, next),
                [true, false] => kernel_2x1(left, right, sums, steps, fresh, next),
                [false, true] => kernel_1x2(left, right, sums, steps, fresh, next),
                [false, false] => kernel_1x1(left, right, sums, steps, fresh, next),
            }
        }
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: as in `configured`; no memory is touched.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}

/// One kernel: which sums it keeps (register and offset), what it loads each step, what it multiplies.
macro_rules! kernel {
    ($name:ident, [$($sum:literal at $place:literal),*], [$($load:literal),*], [$($dot:literal),*]) => {
        /// # Safety
        /// The registers are configured; `left` and `right` hold 2 · `steps` tiles.
        #[inline]
        unsafe fn $name(
            left: *const Tile,
            right: *const Tile,
            sums: *mut Block,
            steps: usize,
            fresh: bool,
            next: *const Tile,
        ) {
            // SAFETY: the caller's promise; each step reads two tiles (2 KiB) of either side and goes on behind them.
            unsafe {
                asm!(
                    "test {fresh}, {fresh}",
                    "jnz 2f",
                    $(concat!("tileloadd tmm", $sum, ", [{sums} + {row}*2 + ", $place, "]"),)*
                    "jmp 3f",
                    "2:",
                    $(concat!("tilezero tmm", $sum),)*
                    "3:",
                    "test {steps}, {steps}",
                    "jz 5f",
                    "4:",
                    $($load,)*
                    $($dot,)*
                    "prefetcht1 [{next}]",
                    "prefetcht1 [{next} + 64]",
                    "prefetcht1 [{next} + 128]",
                    "prefetcht1 [{next} + 192]",
                    "prefetcht1 [{next} + 256]",
                    "prefetcht1 [{next} + 320]",
                    "prefetcht1 [{next} + 384]",
                    "prefetcht1 [{next} + 448]",
                    "add {next}, 512",
                    "add {left}, 2048",
                    "add {right}, 2048",
                    "dec {steps}",
                    "jnz 4b",
                    "5:",
                    $(concat!("tilestored [{sums} + {row}*2 + ", $place, "], tmm", $sum),)*
                    left = inout(reg) left => _,
                    right = inout(reg) right => _,
                    steps = inout(reg) steps => _,
                    next = inout(reg) next => _,
                    sums = in(reg) sums,
                    row = in(reg) 64usize,
                    fresh = in(reg) usize::from(fresh),
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

kernel!(
    kernel_2x2,
    ["0" at "0", "1" at "64", "2" at "2048", "3" at "2112"],
    [
        "tileloadd tmm6, [{right} + {row}*1]",
        "tileloadd tmm4, [{left} + {row}*1]",
        "tileloadd tmm7, [{right} + {row}*1 + 1024]",
        "tileloadd tmm5, [{left} + {row}*1 + 1024]"
    ],
    [
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tdpbf16ps tmm1, tmm4, tmm7",
        "tdpbf16ps tmm2, tmm5, tmm6",
        "tdpbf16ps tmm3, tmm5, tmm7"]
);
kernel!(
    kernel_2x1,
    ["0" at "0", "2" at "2048"],
    [
        "tileloadd tmm6, [{right} + {row}*1]",
        "tileloadd tmm4, [{left} + {row}*1]",
        "tileloadd tmm5, [{left} + {row}*1 + 1024]"
    ],
    ["tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm2, tmm5, tmm6"]
);
kernel!(
    kernel_1x2,
    ["0" at "0", "1" at "64"],
    [
        "tileloadd tmm4, [{left} + {row}*1]",
        "tileloadd tmm6, [{right} + {row}*1]",
        "tileloadd tmm7, [{right} + {row}*1 + 1024]"
    ],
    ["tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm1, tmm4, tmm7"]
);
kernel!(
    kernel_1x1,
    ["0" at "0"],
    ["tileloadd tmm4, [{left} + {row}*1]", "tileloadd tmm6, [{right} + {row}*1]"],
    ["tdpbf16ps tmm0, tmm4, tmm6"]
);
