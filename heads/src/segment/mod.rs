//! Semantic segmentation.
