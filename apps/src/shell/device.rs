//! From `--device` and `--amp` to a device.

#[cfg(feature = "cuda")]
use kat_backbone::Cuda;
use kat_backbone::{Cpu, Precision};

#[cfg(not(feature = "cuda"))]
use super::Misuse;
use super::flags::{Amp, Device, DeviceArgs};

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
            Chosen::Cpu(device) => {
                let (arch, threads) = (std::env::consts::ARCH, rayon::current_num_threads());
                let numbers = match device.precision() {
                    Precision::F32 => "f32",
                    Precision::Tf32 => "tf32",
                    Precision::Bf16 => "bf16",
                };
                format!("cpu ({arch}), {threads} threads, {numbers}")
            }
            #[cfg(feature = "cuda")]
            Chosen::Cuda(_) => {
                let number = if let Device::Cuda(n) = args.device { n } else { 0 };
                format!("cuda:{number}, {}", args.amp.name())
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
/// A GPU that was asked for by number and cannot be opened.
pub fn choose(args: &DeviceArgs) -> anyhow::Result<Chosen> {
    Ok(match args.device {
        Device::Cpu => Chosen::Cpu(cpu(args)),
        Device::Auto => first(args),
        Device::Cuda(n) => numbered(n, args)?,
    })
}

/// The CPU; in f32, and a line says so, where it has no tile products for the numbers asked for.
fn cpu(args: &DeviceArgs) -> Cpu {
    Cpu::with_precision(precision(args)).unwrap_or_else(|error| {
        tracing::warn!("--amp {}: {error}; computing in f32", args.amp.name());
        Cpu::default()
    })
}

fn precision(args: &DeviceArgs) -> Precision {
    match args.amp {
        Amp::Off => Precision::F32,
        Amp::Tf32 => Precision::Tf32,
        Amp::Bf16 => Precision::Bf16,
    }
}

#[cfg(not(feature = "cuda"))]
fn first(args: &DeviceArgs) -> Chosen {
    Chosen::Cpu(cpu(args))
}

#[cfg(not(feature = "cuda"))]
fn numbered(n: usize, _: &DeviceArgs) -> anyhow::Result<Chosen> {
    Err(Misuse(format!("--device cuda:{n}: this program was built without CUDA; use --device cpu")).into())
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
            Chosen::Cpu(cpu(args))
        }
    }
}

#[cfg(feature = "cuda")]
fn numbered(n: usize, args: &DeviceArgs) -> anyhow::Result<Chosen> {
    Ok(Chosen::Cuda(Cuda::open(n, precision(args))?))
}
