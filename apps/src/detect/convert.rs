//! `data convert` of a detector: to COCO, or to YOLO.

use kat_coco::convert::{write_coco, write_yolo};

use crate::shell::Misuse;
use crate::shell::convert::{ConvertArgs, Target, summary, tell};

/// Converts; what was written, in words.
///
/// # Errors
/// Data that cannot be read or written.
pub fn convert(args: &ConvertArgs) -> anyhow::Result<String> {
    let write = match args.target.unwrap_or(Target::Coco) {
        Target::Coco => write_coco,
        Target::Yolo => write_yolo,
        Target::Labels => {
            return Err(Misuse("--as labels is segment's: detect writes coco or yolo".to_owned()).into());
        }
    };
    let set = args.read()?;
    tell(&args.to, &write(&set, &args.to)?);
    Ok(summary(&args.to, &set))
}
