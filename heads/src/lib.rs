//! Detection and segmentation heads: simple feature pyramid, Mask R-CNN, UperNet.
