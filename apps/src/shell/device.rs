//! From `--device` and `--amp` to a device.

use kat_backbone::Cpu;
#[cfg(feature = "cuda")]
use kat_backbone::{Cuda, Precision};

use super::Misuse;
#[cfg(feature = "cuda")]
use super::flags::Amp;
use super::flags::{Device, DeviceArgs};

/// An open device; a command that runs on any of them does the same for each.
pub enum Chosen {
    /// The CPU.
    Cpu(Cpu),
    /// A GPU.
    #[cfg(feature = "cuda")]
    Cuda(Cuda),
}

impl Chosen {
    /// What computes and how, in words.
    #[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
    pub fn describe(&self, args: &DeviceArgs) -> String {
        match self {
            Chosen::Cpu(_) => {
                let threads = rayon::current_num_threads();
                format!("cpu ({}), {threads} threads", std::env::consts::ARCH)
            }
            #[cfg(feature = "cuda")]
            Chosen::Cuda(_) => {
                let number = if let Device::Cuda(n) = args.device { n } else { 0 };
                format!("cuda:{number}, {}", args.amp.name().unwrap_or("f32"))
            }
        }
    }
}

/// Evaluates an expression with the device that the arguments name.
macro_rules! on_device {
    ($args:expr, $device:ident => $body:expr) => {
        match $crate::shell::device::choose($args)? {
            $crate::shell::device::Chosen::Cpu($device) => $body,
            #[cfg(feature = "cuda")]
            $crate::shell::device::Chosen::Cuda($device) => $body,
        }
    };
}
pub(crate) use on_device;

/// The device asked for; `auto` takes the first GPU, or says why not and takes the CPU.
///
/// # Errors
/// A GPU that was asked for by number and cannot be opened; numbers that the device does not compute in.
pub fn choose(args: &DeviceArgs) -> anyhow::Result<Chosen> {
    let chosen = match args.device {
        Device::Cpu => Chosen::Cpu(Cpu::default()),
        Device::Auto => first(args),
        Device::Cuda(n) => numbered(n, args)?,
    };
    if let (Chosen::Cpu(_), Some(name)) = (&chosen, args.amp.name()) {
        return Err(Misuse(format!("--amp {name} needs a GPU; the CPU computes in f32 (--amp off)")).into());
    }
    Ok(chosen)
}

#[cfg(not(feature = "cuda"))]
fn first(_: &DeviceArgs) -> Chosen {
    Chosen::Cpu(Cpu::default())
}

#[cfg(not(feature = "cuda"))]
fn numbered(n: usize, _: &DeviceArgs) -> anyhow::Result<Chosen> {
    Err(Misuse(format!("--device cuda:{n}: this program was built without CUDA; use --device cpu")).into())
}

#[cfg(feature = "cuda")]
fn precision(args: &DeviceArgs) -> Precision {
    match args.amp {
        Amp::Off => Precision::F32,
        Amp::Tf32 => Precision::Tf32,
        Amp::Bf16 => Precision::Bf16,
    }
}

#[cfg(feature = "cuda")]
fn first(args: &DeviceArgs) -> Chosen {
    match Cuda::open(0, precision(args)) {
        Ok(device) => {
            tracing::info!("computing on cuda:0");
            Chosen::Cuda(device)
        }
        Err(error) => {
            tracing::warn!("no GPU, computing on the CPU: {error}");
            Chosen::Cpu(Cpu::default())
        }
    }
}

#[cfg(feature = "cuda")]
fn numbered(n: usize, args: &DeviceArgs) -> anyhow::Result<Chosen> {
    Ok(Chosen::Cuda(Cuda::open(n, precision(args))?))
}
