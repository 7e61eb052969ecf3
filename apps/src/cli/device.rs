//! From `--device` to a device.

use kat_backbone::Cpu;
#[cfg(feature = "cuda")]
use kat_backbone::{Cuda, Precision};

use super::Misuse;
use super::common::{Device, DeviceArgs};

/// An open device; a command that runs on any of them does the same for each.
pub enum Chosen {
    /// The CPU.
    Cpu(Cpu),
    /// A GPU.
    #[cfg(feature = "cuda")]
    Cuda(Cuda),
}

/// The device asked for; `auto` takes the first GPU, or says why not and takes the CPU.
///
/// # Errors
/// A GPU that was asked for by number and cannot be opened.
pub fn choose(args: &DeviceArgs) -> anyhow::Result<Chosen> {
    args.start()?;
    match args.device {
        Device::Cpu => Ok(Chosen::Cpu(Cpu::default())),
        Device::Auto => Ok(first()),
        Device::Cuda(n) => numbered(n),
    }
}

/// The CPU, for a command that runs nowhere else.
///
/// # Errors
/// A GPU was asked for.
pub fn cpu(args: &DeviceArgs) -> anyhow::Result<Cpu> {
    args.start()?;
    match args.device {
        Device::Auto | Device::Cpu => Ok(Cpu::default()),
        Device::Cuda(n) if cfg!(feature = "cuda") => {
            Err(Misuse(format!("--device cuda:{n}: this command runs on the CPU only; use --device cpu"))
                .into())
        }
        Device::Cuda(n) => Err(without_cuda(n)),
    }
}

fn without_cuda(n: usize) -> anyhow::Error {
    Misuse(format!("--device cuda:{n}: this program was built without CUDA; use --device cpu")).into()
}

#[cfg(not(feature = "cuda"))]
fn first() -> Chosen {
    Chosen::Cpu(Cpu::default())
}

#[cfg(not(feature = "cuda"))]
fn numbered(n: usize) -> anyhow::Result<Chosen> {
    Err(without_cuda(n))
}

#[cfg(feature = "cuda")]
fn first() -> Chosen {
    match Cuda::open(0, Precision::F32) {
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
fn numbered(n: usize) -> anyhow::Result<Chosen> {
    Ok(Chosen::Cuda(Cuda::open(n, Precision::F32)?))
}
