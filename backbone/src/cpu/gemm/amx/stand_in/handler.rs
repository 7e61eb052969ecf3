//! The handler of the signal "illegal instruction" that does tile instructions.
//!
//! Intel, *Architecture Instruction Set Extensions*, chapter 3: each instruction's VEX encoding and operation.

use std::cell::Cell;
use std::sync::Once;

/// A register's bytes, as rows of 16 words.
type Register = [[u32; 16]; 16];

thread_local! {
    /// The thread's eight registers; `None` while they are not configured.
    static REGISTERS: Cell<Option<[Register; 8]>> = const { Cell::new(None) };
}

/// Whether tests stand in for the processor: always in this crate's own tests, elsewhere where the environment asks.
pub fn wanted() -> bool {
    cfg!(test) || std::env::var_os("KAT_AMX_STAND_IN").is_some_and(|value| value == "1")
}

/// Takes the signal over, where the processor has no tiles.
pub fn attend() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the action is zeroed, which is a valid one, and then ours; the handler has the type that SA_SIGINFO asks for.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_illegal as extern "C" fn(_, _, _) as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
            libc::sigaction(libc::SIGILL, &raw const action, std::ptr::null_mut());
        }
    });
}

/// Does the tile instruction at which the thread stopped, and goes on behind it; any other ends the process as before.
extern "C" fn on_illegal(signal: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system gives a context of this type to a handler that was installed with SA_SIGINFO.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let at = registers[libc::REG_RIP as usize] as *const u8;
    // SAFETY: `at` is the instruction that the thread was about to run; what it addresses is what the program asked for.
    match unsafe { instruction(at, registers) } {
        Some(length) => registers[libc::REG_RIP as usize] += length,
        // SAFETY: the default action, met again at the same instruction.
        None => unsafe {
            libc::signal(signal, libc::SIG_DFL);
        },
    }
}

/// The numbers by which instructions name general registers, in the order of the context's.
const NAMES: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// Does the instruction and returns its length; `None` if it is no tile instruction.
///
/// # Safety
/// `at` points to an instruction that the thread was about to run with these registers.
unsafe fn instruction(at: *const u8, general: &[libc::greg_t; 23]) -> Option<libc::greg_t> {
    // SAFETY: the longest instruction has 15 bytes; the shorter forms are read no further than they are long.
    let byte = |i: usize| unsafe { *at.add(i) };
    if byte(0) != 0xc4 || byte(1) & 0x1f != 2 {
        return None;
    }
    let (flags, second, opcode, modrm) = (byte(1), byte(2), byte(3), byte(4));
    let prefix = second & 3;
    let (mode, reg, rm) = (modrm >> 6, usize::from(modrm >> 3 & 7), usize::from(modrm & 7));
    let value = |number: usize| general[NAMES[number] as usize];
    let extended = |bit: u8| if flags & bit == 0 { 8 } else { 0 };
    // the address, the distance of rows and the length of an instruction that has a memory operand
    let memory = || {
        let (mut length, mut address, mut stride) = (5, 0, 0);
        let mut base = rm + extended(0x20);
        if rm == 4 {
            let sib = byte(5);
            length = 6;
            base = usize::from(sib & 7) + extended(0x20);
            let index = usize::from(sib >> 3 & 7) + extended(0x40);
            if index != 4 {
                stride = value(index) << (sib >> 6);
            }
        }
        address += value(base);
        match mode {
            1 => {
                address += i64::from(byte(length) as i8);
                length += 1;
            }
            2 => {
                let displacement = [0, 1, 2, 3].map(|i| byte(length + i));
                address += i64::from(i32::from_le_bytes(displacement));
                length += 4;
            }
            _ => {}
        }
        (address, stride, length as libc::greg_t)
    };
    let mut registers = REGISTERS.get();
    let length = match (prefix, opcode, mode) {
        (0, 0x49, 3) => {
            REGISTERS.set(None);
            return Some(5);
        }
        (0, 0x49, _) => {
            REGISTERS.set(Some([[[0; 16]; 16]; 8]));
            return Some(memory().2);
        }
        (3, 0x49, 3) => {
            registers.as_mut()?[reg] = [[0; 16]; 16];
            5
        }
        (3 | 2, 0x4b, 0..=2) => {
            let (address, stride, length) = memory();
            for (i, row) in registers.as_mut()?[reg].iter_mut().enumerate() {
                let place = (address + stride * i as i64) as *mut [u32; 16];
                match prefix {
                    // SAFETY: where the program's own instruction would have read.
                    3 => *row = unsafe { place.read_unaligned() },
                    // SAFETY: where the program's own instruction would have written.
                    _ => unsafe { place.write_unaligned(*row) },
                }
            }
            length
        }
        (2, 0x5c, 3) => {
            let right = usize::from(!(second >> 3) & 15);
            let registers = registers.as_mut()?;
            let (left, right) = (registers[rm], registers[right]);
            dot(&mut registers[reg], &left, &right);
            5
        }
        _ => return None,
    };
    REGISTERS.set(registers);
    Some(length)
}

/// TDPBF16PS: even and odd products of a row are summed apart, then added to what was there; subnormal numbers are 0.
fn dot(sums: &mut Register, left: &Register, right: &Register) {
    let number = |bits: u32| {
        let value = f32::from_bits(bits);
        if value.is_subnormal() { 0.0 } else { value }
    };
    for (sums, left) in sums.iter_mut().zip(left) {
        let (mut even, mut odd) = ([0f32; 16], [0f32; 16]);
        for (a, row) in left.iter().zip(right) {
            let (first, second) = (number(a << 16), number(a & 0xffff_0000));
            for (n, b) in row.iter().enumerate() {
                even[n] = number((first.mul_add(number(b << 16), even[n])).to_bits());
                odd[n] = number((second.mul_add(number(b & 0xffff_0000), odd[n])).to_bits());
            }
        }
        for (sum, (even, odd)) in sums.iter_mut().zip(even.iter().zip(odd)) {
            let total = number((even + odd).to_bits());
            *sum = number((number(*sum) + total).to_bits()).to_bits();
        }
    }
}
