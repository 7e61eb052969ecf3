//! The launcher that started this process, if one did: `mpirun`, `srun` or an MPIJob, whose processes MPI joins; `torchrun`, or
//! whoever sets the same variables, whose processes have a GPU each and are joined by NCCL.

use clap::ArgMatches;

use super::Misuse;
use super::flags::Device;
use crate::run::processes::Processes;

/// What MPI's launchers tell each process, of which the first that is there counts: Open MPI's, MPICH's and Slurm's (PMI),
/// PMIx'.
const TOLD: [&str; 4] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK", "PMIX_RANK"];

/// Names of one thing, of which the first that is there counts; those of Slurm where a script sets MASTER_ADDR alone.
const RANK: [&str; 2] = ["RANK", "SLURM_PROCID"];
const WORLD: [&str; 3] = ["WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"];
#[cfg(feature = "cuda")]
const PLACE: [&str; 4] = ["LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"];

/// What a launcher without MPI told.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "NCCL reads it"))]
struct Told {
    rank: usize,
    world: usize,
    address: String,
    port: u16,
    run: String,
}

/// The device of a subcommand that several processes carry out together.
pub fn device_of_several(matches: &ArgMatches) -> Option<Device> {
    let (name, flags) = matches.subcommand()?;
    let together = matches!(name, "train" | "eval");
    flags.try_get_one("device").ok()?.copied().filter(|_| together)
}

/// The processes that the launcher started, or this one alone. `device` is that of a subcommand that is for several.
///
/// # Errors
/// An MPI or an NCCL that cannot be joined; several processes of a program that was built for one.
pub fn join(device: Option<Device>) -> anyhow::Result<Processes> {
    let variable = |name: &str| std::env::var(name).ok();
    if let Some((name, value)) = TOLD.iter().find_map(|name| Some((*name, variable(name)?))) {
        return launched(name, &value);
    }
    let Some(device) = device else { return Ok(Processes::alone()) };
    match told(variable)? {
        Some(told) if told.world > 1 => with_gpu_each(&told, device),
        _ => Ok(Processes::alone()),
    }
}

/// What the variables tell, if they are those of a launcher that joins processes itself.
fn told(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Told>, Misuse> {
    let first = |names: &[&'static str]| names.iter().find_map(|name| Some((*name, variable(name)?)));
    let (Some(address), Some(rank), Some(world)) = (variable("MASTER_ADDR"), first(&RANK), first(&WORLD))
    else {
        return Ok(None);
    };
    let number = |(name, text): &(&str, String), below: usize| match text.parse::<usize>() {
        Ok(number) if number < below => Ok(number),
        _ => Err(Misuse(format!("the launcher's {name}={text} is no number below {below}"))),
    };
    let world = number(&world, 1 << 16)?;
    let rank = number(&rank, world.max(1))?;
    let port = ("MASTER_PORT", variable("MASTER_PORT").unwrap_or_else(|| "29500".to_owned()));
    let mut port_number = number(&port, 1 << 16)? as u16;
    // There its own store listens.
    if variable("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        port_number = port_number.saturating_add(1);
    }
    let names = ["TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "SLURM_JOB_ID", "SLURM_STEP_ID"];
    let mut run: Vec<String> = names.iter().filter_map(|name| variable(name)).collect();
    run.push(port.1);
    Ok(Some(Told { rank, world, address, port: port_number, run: run.join("/") }))
}

/// This process's place on its host.
#[cfg(feature = "cuda")]
pub fn place_on_host() -> usize {
    let told = PLACE.iter().find_map(|name| std::env::var(name).ok());
    told.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// How long processes wait for one another.
#[cfg(feature = "cuda")]
fn limit() -> Result<std::time::Duration, Misuse> {
    const VARIABLE: &str = "KAT_NCCL_TIMEOUT";
    let seconds = match std::env::var(VARIABLE) {
        Err(_) => 600,
        Ok(text) => match text.parse() {
            Ok(seconds @ 1..=604_800) => seconds,
            _ => return Err(Misuse(format!("{VARIABLE}={text} is no number of seconds from 1 to 604800"))),
        },
    };
    Ok(std::time::Duration::from_secs(seconds))
}

#[cfg(feature = "cuda")]
fn with_gpu_each(told: &Told, device: Device) -> anyhow::Result<Processes> {
    use kat_backbone::collective::{Nccl, nccl::Launch};
    let ordinal = match device {
        Device::Cpu => {
            let reason = "--device cpu: processes of a launcher without MPI are joined by NCCL, which is for GPUs; on CPUs start \
                          them with mpirun or srun (docs/cluster.md)";
            return Err(Misuse(reason.to_owned()).into());
        }
        Device::Auto | Device::OwnGpu => super::device::own_gpu()?,
        Device::Cuda(n) => n,
    };
    let Told { rank, world, address, port, run } = told;
    let (address, run) = (address.clone(), run.clone());
    let launch = Launch { rank: *rank, world: *world, address, port: *port, run };
    Ok(Processes::of(std::rc::Rc::new(Nccl::join(&launch, ordinal, limit()?)?)))
}

#[cfg(not(feature = "cuda"))]
fn with_gpu_each(told: &Told, _: Device) -> anyhow::Result<Processes> {
    let reason = format!(
        "a launcher started {} processes (WORLD_SIZE, MASTER_ADDR), but this program was built for one: build it with \
         --features cuda for a GPU each, or with --features mpi and start it with mpirun",
        told.world
    );
    Err(Misuse(reason).into())
}

/// The same processes, whose GPUs NCCL joins where they have one each; else what GPUs exchange goes through the host.
///
/// # Errors
/// A process that is gone.
#[cfg(feature = "cuda")]
pub fn with_gpus(processes: &Processes, device: Option<Device>) -> anyhow::Result<Processes> {
    use kat_backbone::{Cuda, collective::Nccl};
    let Some(device) = device.filter(|device| *device != Device::Cpu) else { return Ok(processes.clone()) };
    if processes.is_alone() || processes.collective().nccl().is_some() {
        return Ok(processes.clone());
    }
    let seen = Cuda::count().unwrap_or(0);
    if processes.gather(&[seen as f64])?.iter().all(|seen| *seen == 0.0) {
        return Ok(processes.clone());
    }
    let ordinal = match device {
        Device::Cuda(n) => n,
        // What is wrong with it is told where it is opened.
        _ => super::device::own_gpu().unwrap_or(usize::MAX),
    };
    match Nccl::over(processes.collective().clone(), ordinal, limit()?) {
        Ok(nccl) => Ok(processes.by(std::rc::Rc::new(nccl))),
        Err(error) => {
            tracing::warn!("GPUs exchange gradients through the host: {error}");
            Ok(processes.clone())
        }
    }
}

/// The same processes.
///
/// # Errors
/// None without GPUs.
#[cfg(not(feature = "cuda"))]
pub fn with_gpus(processes: &Processes, _: Option<Device>) -> anyhow::Result<Processes> {
    Ok(processes.clone())
}

#[cfg(feature = "mpi")]
fn launched(_: &str, _: &str) -> anyhow::Result<Processes> {
    Ok(Processes::of(std::rc::Rc::new(kat_backbone::collective::Mpi::join()?)))
}

#[cfg(not(feature = "mpi"))]
fn launched(name: &str, value: &str) -> anyhow::Result<Processes> {
    if name.ends_with("_SIZE") && value.parse().is_ok_and(|size: usize| size > 1) {
        let reason = format!(
            "a launcher started {value} processes ({name}), but this program was built for one: build it with \
             --features mpi"
        );
        return Err(Misuse(reason).into());
    }
    Ok(Processes::alone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Told>, Misuse> {
        told(|name| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn what_torchrun_and_slurm_tell() {
        let torchrun = [
            ("RANK", "3"),
            ("WORLD_SIZE", "8"),
            ("MASTER_ADDR", "node-1"),
            ("MASTER_PORT", "29400"),
            ("TORCHELASTIC_RUN_ID", "none"),
            ("TORCHELASTIC_USE_AGENT_STORE", "True"),
        ];
        let expected =
            Told { rank: 3, world: 8, address: "node-1".into(), port: 29401, run: "none/29400".into() };
        assert_eq!(of(&torchrun).unwrap(), Some(expected));
        let slurm = [("SLURM_PROCID", "1"), ("SLURM_NTASKS", "2"), ("SLURM_JOB_ID", "77")];
        // Slurm sets these for any step: only who names the first host wants its processes joined.
        assert_eq!(of(&slurm).unwrap(), None);
        let named = [&slurm[..], &[("MASTER_ADDR", "a")]].concat();
        let expected = Told { rank: 1, world: 2, address: "a".into(), port: 29500, run: "77/29500".into() };
        assert_eq!(of(&named).unwrap(), Some(expected));
        let error = of(&[("RANK", "8"), ("WORLD_SIZE", "8"), ("MASTER_ADDR", "a")]).unwrap_err().to_string();
        assert!(error.contains("RANK=8 is no number below 8"), "{error}");
    }
}
