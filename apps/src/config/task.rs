//! The three programs.

/// Which program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// Image classification.
    Classify,
    /// Object detection and instance segmentation.
    Detect,
    /// Semantic segmentation.
    Segment,
}

impl TaskKind {
    /// Name of the program.
    pub fn program(self) -> &'static str {
        match self {
            TaskKind::Classify => "classify",
            TaskKind::Detect => "detect",
            TaskKind::Segment => "segment",
        }
    }

    /// Whether the program reads the configuration section of this name.
    pub fn reads(self, section: &str) -> bool {
        match section {
            "detect" => self == TaskKind::Detect,
            "segment" => self == TaskKind::Segment,
            _ => true,
        }
    }
}
