//! The launcher that started this process, if one did: `mpirun`, `srun`, an MPIJob.

use crate::run::processes::Processes;

/// What launchers tell each process, of which the first that is there counts: Open MPI's, MPICH's and Slurm's (PMI), PMIx'.
const TOLD: [&str; 4] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK", "PMIX_RANK"];

/// The processes that the launcher started, or this one alone.
///
/// # Errors
/// An MPI that cannot be joined; several processes of a program that was built without MPI.
pub fn join() -> anyhow::Result<Processes> {
    match TOLD.iter().find_map(|name| Some((*name, std::env::var(name).ok()?))) {
        None => Ok(Processes::alone()),
        Some((name, value)) => launched(name, &value),
    }
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
        return Err(crate::shell::Misuse(reason).into());
    }
    Ok(Processes::alone())
}
