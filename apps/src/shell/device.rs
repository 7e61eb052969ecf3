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
            Chosen::Cuda(device) => format!("cuda:{}, {}", device.ordinal(), args.amp.name()),
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

/// The device asked for; `auto` takes this process's GPU, or says why not and takes the CPU.
///
/// # Errors
/// A GPU that was asked for by number and cannot be opened.
pub fn choose(args: &DeviceArgs) -> anyhow::Result<Chosen> {
    Ok(match args.device {
        Device::Cpu => Chosen::Cpu(cpu(args)),
        Device::Auto => first(args),
        Device::OwnGpu => own(args)?,
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
fn own(_: &DeviceArgs) -> anyhow::Result<Chosen> {
    Err(without("cuda"))
}

#[cfg(not(feature = "cuda"))]
fn numbered(n: usize, _: &DeviceArgs) -> anyhow::Result<Chosen> {
    Err(without(&format!("cuda:{n}")))
}

#[cfg(not(feature = "cuda"))]
fn without(device: &str) -> anyhow::Error {
    Misuse(format!("--device {device}: this program was built without CUDA; use --device cpu")).into()
}

#[cfg(feature = "cuda")]
fn first(args: &DeviceArgs) -> Chosen {
    match own(args) {
        Ok(chosen) => {
            tracing::info!("computing on {}", chosen.describe(args));
            chosen
        }
        Err(error) => {
            tracing::warn!("no GPU, computing on the CPU: {error}");
            Chosen::Cpu(cpu(args))
        }
    }
}

#[cfg(feature = "cuda")]
fn own(args: &DeviceArgs) -> anyhow::Result<Chosen> {
    numbered(own_gpu()?, args)
}

/// The number of this process's GPU: the first, or of several processes on a host that of its place among them.
///
/// # Errors
/// No driver; more processes than GPUs.
#[cfg(feature = "cuda")]
pub fn own_gpu() -> anyhow::Result<usize> {
    let count = Cuda::count()?;
    match super::launch::place_on_host() {
        // With one GPU to be seen the launcher gave each process its own.
        place if place > 0 && count == 1 => Ok(0),
        place if place >= count.max(1) => anyhow::bail!(
            "this is process {} of its host, where the driver shows {count} GPUs: start as many processes a host as it has",
            place + 1
        ),
        place => Ok(place),
    }
}

#[cfg(feature = "cuda")]
fn numbered(n: usize, args: &DeviceArgs) -> anyhow::Result<Chosen> {
    Ok(Chosen::Cuda(Cuda::open(n, precision(args))?))
}
