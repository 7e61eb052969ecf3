//! Mask R-CNN (arXiv 1703.06870) on the plain backbone: features → proposals → detections with masks, or the losses.
//!
//! # Shapes
//! images (B, 3, H, W), each image at the top left of its canvas, its own size beside it.

use kat_backbone::nn::Builder;
use kat_backbone::{Device, Graph, Tensor, module, ops};
use ndarray::Array3;
use rayon::prelude::*;

use crate::error::{HeadError, same_length};
use crate::roi_heads::box_head::BOX_BINS;
use crate::roi_heads::mask_head::{MASK_BINS, MASK_SIDE};
use crate::roi_heads::pooler::regions;
use crate::structures::{Detections, Proposals, Targets};
use crate::{
    Backbone, BatchCounts, BoxHead, BoxLossConfig, BoxPredictor, BoxRegression, MaskHead, MaskRcnnConfig,
    RegionPredictions, RoiLoss, RoiPooler, Rpn, box_loss, mask_loss, rpn_loss,
};
use crate::{BoxCoder, ClassBoxes, RoiTargets, sample_rois, select_detections};
use kat_images::{Boxes, Size};

/// The parts of the loss, scalars.
#[derive(Clone, Debug)]
pub struct Losses<D: Device> {
    /// RPN: object or not.
    pub rpn_objectness: Tensor<D>,
    /// RPN: where.
    pub rpn_boxes: Tensor<D>,
    /// Box head: what.
    pub classes: Tensor<D>,
    /// Box head: where.
    pub boxes: Tensor<D>,
    /// Mask head; absent where nothing was to be masked.
    pub masks: Option<Tensor<D>>,
}

impl<D: Device> Losses<D> {
    /// Names and values.
    ///
    /// # Errors
    /// None for losses as [`MaskRcnn::losses`] makes them.
    pub fn parts(&self) -> kat_backbone::Result<Vec<(&'static str, f32)>> {
        let parts = [
            ("rpn_objectness", Some(&self.rpn_objectness)),
            ("rpn_boxes", Some(&self.rpn_boxes)),
            ("classes", Some(&self.classes)),
            ("boxes", Some(&self.boxes)),
            ("masks", self.masks.as_ref()),
        ];
        parts.into_iter().filter_map(|(name, part)| Some(part?.scalar().map(|v| (name, v)))).collect()
    }

    /// Their sum.
    ///
    /// # Errors
    /// None for losses as [`MaskRcnn::losses`] makes them.
    pub fn total(&self, graph: &mut Graph<D>) -> kat_backbone::Result<Tensor<D>> {
        let mut sum = ops::add(graph, &self.rpn_objectness, &self.rpn_boxes)?;
        for part in [Some(&self.classes), Some(&self.boxes), self.masks.as_ref()].into_iter().flatten() {
            sum = ops::add(graph, &sum, part)?;
        }
        Ok(sum)
    }
}

/// What was found in an image, in pixels of its canvas.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Boxes, scores, classes.
    pub detections: Detections,
    /// (N, side, side), a grid for each, where the model predicts masks.
    pub masks: Option<Array3<f32>>,
}

/// The heads that look at one region at a time.
#[derive(Clone, Debug)]
pub struct RoiHeads<D: Device> {
    /// Region → features.
    pub box_head: BoxHead<D>,
    /// Features → class and box.
    pub box_predictor: BoxPredictor<D>,
    /// Region → mask.
    pub mask_head: Option<MaskHead<D>>,
}

module!(RoiHeads { box_head, box_predictor, mask_head });

/// The detector.
#[derive(Clone, Debug)]
pub struct MaskRcnn<D: Device> {
    /// Image → pyramid.
    pub backbone: Backbone<D>,
    /// Pyramid → proposals.
    pub proposal_generator: Rpn<D>,
    /// Proposals → detections.
    pub roi_heads: RoiHeads<D>,
    config: MaskRcnnConfig,
    box_pooler: RoiPooler,
    mask_pooler: RoiPooler,
}

module!(MaskRcnn { backbone, proposal_generator, roi_heads });

impl<D: Device> MaskRcnn<D> {
    /// First values by `config` and `seed`.
    ///
    /// # Errors
    /// A configuration that cannot be.
    pub fn new(device: &D, config: &MaskRcnnConfig, seed: u64) -> Result<Self, HeadError> {
        config.check()?;
        let builder = Builder::new(device, seed);
        let heads = builder.at("roi_heads");
        let mask_head = || MaskHead::new(&heads.at("mask_head"), config.channels, config.classes);
        // the last level, pooled, serves the RPN alone
        let strides = &config.anchors.strides[..crate::LEVELS - 1];
        Ok(Self {
            backbone: Backbone::new(&builder.at("backbone"), config)?,
            proposal_generator: Rpn::new(&builder.at("proposal_generator"), config)?,
            roi_heads: RoiHeads {
                box_head: BoxHead::new(&heads.at("box_head"), config)?,
                box_predictor: BoxPredictor::new(&heads.at("box_predictor"), config)?,
                mask_head: config.masks.then(mask_head).transpose()?,
            },
            box_pooler: RoiPooler::new(BOX_BINS, config.roi_levels(), strides)?,
            mask_pooler: RoiPooler::new(MASK_BINS, config.roi_levels(), strides)?,
            config: config.clone(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &MaskRcnnConfig {
        &self.config
    }

    /// The losses of a batch; anchors and proposals are drawn by the graph's random numbers.
    ///
    /// # Errors
    /// Images that do not fit the model, another number of targets than of images, or a class out of range.
    pub fn losses(
        &self,
        graph: &mut Graph<D>,
        images: &Tensor<D>,
        targets: &[Targets],
    ) -> Result<Losses<D>, HeadError> {
        same_length("targets of the batch", targets.len(), images.shape().axes()[0])?;
        let pyramid = self.backbone.forward(graph, images)?;
        let rpn = &self.proposal_generator;
        let maps = rpn.rpn_head.forward(graph, &pyramid)?;
        let anchors = rpn.anchors(&maps)?;
        // One for each image, so that what is drawn does not depend on the others of the batch.
        let mut rngs = graph.random().row_generators(targets.len());
        let first = rpn_loss(graph, &maps, &anchors, targets, &self.config.rpn, &mut rngs)?;
        let sizes: Vec<Size> = targets.iter().map(Targets::image).collect();
        let proposals = rpn.propose(&maps, &anchors, &sizes, &self.config.proposals_train)?;
        let drawn: Vec<(RoiTargets, &Targets)> = proposals
            .into_iter()
            .zip(targets)
            .zip(&mut rngs)
            .map(|((p, t), rng)| Ok((sample_rois(p, t, self.config.classes, &self.config.roi, rng)?, t)))
            .collect::<Result<_, HeadError>>()?;
        let counts = BatchCounts::of(graph, &drawn)?;
        let all = regions(drawn.iter().map(|(rois, _)| &rois.boxes));
        let second = if all.is_empty() {
            let zero = Tensor::zeros(images.device(), [])?;
            RoiLoss { classes: zero.clone(), boxes: zero }
        } else {
            let predictions = self.predict_boxes(graph, &pyramid, &all)?;
            let (regression, smooth_l1_beta) = (self.config.box_regression, self.config.smooth_l1_beta);
            box_loss(graph, &predictions, &drawn, &counts, BoxLossConfig { regression, smooth_l1_beta })?
        };
        Ok(Losses {
            rpn_objectness: first.objectness,
            rpn_boxes: first.boxes,
            classes: second.classes,
            boxes: second.boxes,
            masks: self.mask_losses(graph, &pyramid, &drawn, &counts)?,
        })
    }

    fn mask_losses(
        &self,
        graph: &mut Graph<D>,
        pyramid: &[Tensor<D>],
        drawn: &[(RoiTargets, &Targets)],
        counts: &BatchCounts,
    ) -> Result<Option<Tensor<D>>, HeadError> {
        let Some(head) = &self.roi_heads.mask_head else { return Ok(None) };
        let objects: Vec<Boxes> =
            drawn.iter().map(|(rois, _)| rois.boxes.as_slice()[..rois.foreground].to_vec().into()).collect();
        let objects = regions(&objects);
        if counts.objects == 0.0 || counts.unmasked > 0.0 {
            return Ok(None);
        }
        if objects.is_empty() {
            // Other processes have objects.
            return Ok(Some(Tensor::zeros(pyramid[0].device(), [])?));
        }
        let pooled = self.mask_pooler.forward(graph, pyramid, &objects)?;
        let logits = head.forward(graph, &pooled)?;
        mask_loss(graph, &logits, drawn, counts)
    }

    /// What is in each image.
    ///
    /// # Errors
    /// Images that do not fit the model, or another number of sizes than of images.
    pub fn detect(&self, images: &Tensor<D>, sizes: &[Size]) -> Result<Vec<Found>, HeadError> {
        let pyramid = self.backbone.forward(&mut Graph::inference(), images)?;
        let proposals = self.proposals(&pyramid, sizes)?;
        let detections = self.detections(&pyramid, &proposals)?;
        let masks = self.masks(&pyramid, &detections)?;
        Ok(detections.into_iter().zip(masks).map(|(detections, masks)| Found { detections, masks }).collect())
    }

    /// The first step of [`MaskRcnn::detect`] after the backbone: proposals of each image.
    ///
    /// # Errors
    /// Another number of sizes than of images.
    pub fn proposals(&self, pyramid: &[Tensor<D>], sizes: &[Size]) -> Result<Vec<Proposals>, HeadError> {
        let rpn = &self.proposal_generator;
        let maps = rpn.rpn_head.forward(&mut Graph::inference(), pyramid)?;
        let anchors = rpn.anchors(&maps)?;
        rpn.propose(&maps, &anchors, sizes, &self.config.proposals_test)
    }

    /// The second step: boxes and classes of each image.
    ///
    /// # Errors
    /// Proposals of more images than the pyramid has.
    pub fn detections(
        &self,
        pyramid: &[Tensor<D>],
        proposals: &[Proposals],
    ) -> Result<Vec<Detections>, HeadError> {
        let all = regions(proposals.iter().map(Proposals::boxes));
        if all.is_empty() {
            let none = |p: &Proposals| Detections::new(p.image(), Boxes::default(), Vec::new(), Vec::new());
            return proposals.iter().map(none).collect();
        }
        let predictions = self.predict_boxes(&mut Graph::inference(), pyramid, &all)?;
        let classes = self.config.classes;
        let (mut scores, deltas) = (predictions.scores.to_vec(), predictions.deltas.to_vec());
        scores.par_chunks_mut(classes + 1).for_each(softmax);
        let each = deltas.len() / all.len();
        let decoded: Vec<[f32; 4]> = deltas
            .par_chunks(each)
            .zip(&all)
            .flat_map_iter(|(deltas, region)| {
                deltas.as_chunks::<4>().0.iter().map(|d| BoxCoder::BOX_HEAD.decode(region.corners, *d))
            })
            .collect();
        let mut first = 0;
        let of_image = |p: &Proposals| {
            let range = first..first + p.boxes().len();
            first = range.end;
            let boxes = &decoded[range.start * each / 4..range.end * each / 4];
            let boxes = match self.config.box_regression {
                BoxRegression::PerClass => ClassBoxes::PerClass(boxes),
                BoxRegression::Agnostic => ClassBoxes::Agnostic(boxes),
            };
            let scores = &scores[range.start * (classes + 1)..range.end * (classes + 1)];
            select_detections(boxes, scores, classes, p.image(), &self.config.detections)
        };
        proposals.iter().map(of_image).collect()
    }

    /// The third step: a mask for each detection, by its class.
    ///
    /// # Shapes
    /// For each image (N, side, side): the probability of "inside" on a square grid over each detection's box.
    ///
    /// # Errors
    /// Detections of more images than the pyramid has.
    pub fn masks(
        &self,
        pyramid: &[Tensor<D>],
        detections: &[Detections],
    ) -> Result<Vec<Option<Array3<f32>>>, HeadError> {
        let Some(head) = &self.roi_heads.mask_head else { return Ok(vec![None; detections.len()]) };
        let all = regions(detections.iter().map(Detections::boxes));
        let mut probabilities = Vec::new();
        if !all.is_empty() {
            let graph = &mut Graph::inference();
            let pooled = self.mask_pooler.forward(graph, pyramid, &all)?;
            let logits = head.forward(graph, &pooled)?;
            let logits = logits.reshape([all.len() * self.config.classes, MASK_SIDE * MASK_SIDE])?;
            let classes = detections.iter().flat_map(|d| d.classes().iter());
            let rows: Vec<usize> =
                classes.enumerate().map(|(i, class)| i * self.config.classes + *class as usize).collect();
            let own = ops::gather_rows(graph, &logits, &rows)?;
            probabilities = ops::sigmoid(graph, &own)?.to_vec();
        }
        let (cells, mut first) = (MASK_SIDE * MASK_SIDE, 0);
        let mut of_image = |d: &Detections| {
            let range = first * cells..(first + d.len()) * cells;
            first += d.len();
            Array3::from_shape_vec((d.len(), MASK_SIDE, MASK_SIDE), probabilities[range].to_vec())
        };
        let grids = detections.iter().map(|d| of_image(d).map(Some)).collect::<Result<_, _>>();
        grids.map_err(|e| HeadError::value("mask grids", e, "one for each detection"))
    }

    fn predict_boxes(
        &self,
        graph: &mut Graph<D>,
        pyramid: &[Tensor<D>],
        regions: &[crate::Region],
    ) -> Result<RegionPredictions<D>, HeadError> {
        let pooled = self.box_pooler.forward(graph, pyramid, regions)?;
        let features = self.roi_heads.box_head.forward(graph, &pooled)?;
        Ok(self.roi_heads.box_predictor.forward(graph, &features)?)
    }
}

/// A row of logits as probabilities; a row that is not finite becomes NaN and is left out of the detections.
fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|v| *v = (*v - largest).exp());
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|v| *v /= sum);
}
