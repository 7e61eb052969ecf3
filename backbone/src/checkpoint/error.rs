//! What can go wrong with checkpoints.

use std::path::PathBuf;

/// An error while reading, adapting or writing a checkpoint; always says which file or tensor.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{path}: {action}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The bytes do not follow the file format.
    #[error("{path}: {format} file is damaged: {reason}", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// safetensors, PyTorch or npz.
        format: &'static str,
        /// Where and what.
        reason: String,
    },
    /// What the file describes takes more memory than its size gives reason for.
    #[error(
        "{path}: reading it would take more than {limit} bytes of memory, which is the limit for a file of its size; \
         the environment variable {variable} raises it (in bytes)",
        path = path.display(),
        variable = super::budget::LIMIT_VARIABLE
    )]
    OverBudget {
        /// The file.
        path: PathBuf,
        /// Bytes.
        limit: u64,
    },
    /// A valid file of a kind that is not read.
    #[error("{path}: {reason}", path = path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it is and what to do.
        reason: String,
    },
    /// A pickle names something that is not plain tensor data. Nothing was executed.
    #[error(
        "{path}: the pickle refers to {global}, which is not on the list of plain data types; nothing was \
         executed. Save the state dict alone: torch.save(model.state_dict(), …)",
        path = path.display()
    )]
    ForbiddenGlobal {
        /// The file.
        path: PathBuf,
        /// module.name
        global: String,
    },
    /// One tensor is wrong.
    #[error("{path}: tensor {tensor}: found {found}, expected {expected}", path = path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// As found.
        found: String,
        /// As expected.
        expected: String,
    },
    /// Weights that are no numbers: they make every answer one.
    #[error(
        "{path}: {bad} of {values} values of the tensor {tensor} are not finite: the file is damaged or its training \
         diverged",
        path = path.display()
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The first such tensor.
        tensor: String,
        /// How many of its values.
        bad: usize,
        /// Its values.
        values: usize,
    },
    /// The file's tensors do not fit the model.
    #[error("{path}: does not fit the model\n{report}", path = path.display())]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// All differences.
        report: Box<super::LoadReport>,
    },
    /// Parts of the file's model that this model does not have: what would be loaded is another function.
    #[error(
        "{path}: {count} tensors of the file's model have no place in this one: {first}{}; {cause}. \
         model.allow_unused = true (--allow-unused) loads the rest all the same",
        if *count > 3 { " …" } else { "" },
        path = path.display()
    )]
    LeftOver {
        /// The file.
        path: PathBuf,
        /// Their number.
        count: usize,
        /// The first of them.
        first: String,
        /// What they are a sign of.
        cause: String,
    },
    /// The tensors would fit, but the file's model is another.
    #[error(
        "{path}: the file's model has model.{key} = {found} (says {says}), this one {expected}: set it so; \
         model.allow_unused = true (--allow-unused) loads it all the same",
        path = path.display()
    )]
    Differs {
        /// The file.
        path: PathBuf,
        /// What differs.
        key: &'static str,
        /// Where that is told.
        says: &'static str,
        /// The file's.
        found: String,
        /// This model's.
        expected: String,
    },
    /// A position embedding that cannot be resampled.
    #[error("position embedding: found {found}, expected {expected}")]
    PositionEmbedding {
        /// As found.
        found: String,
        /// As expected.
        expected: String,
    },
    /// Initial values for what the file lacks.
    #[error(transparent)]
    Init(#[from] crate::init::InitError),
}
