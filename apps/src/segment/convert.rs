//! `data convert` of a segmentor: label maps of other layouts, and outlines drawn as label maps.
//!
//! Of outlines, label 0 is the background, and where objects overlap the smaller one is seen.

use std::path::Path;

use anyhow::{Context, bail};
use image::{GrayImage, Luma};
use kat_ade20k::ColorTable;
use kat_ade20k::convert::{IGNORED, LabelSet};
use kat_coco::convert::{AnnotatedImage, AnnotatedSet, Notes, Object, Outline};
use kat_images::encode::save_png;
use kat_images::polygon;

use super::data::BACKGROUND;
use crate::shell::Misuse;
use crate::shell::convert::{ConvertArgs, Target, summary, tell};

/// Converts; what was written, in words.
///
/// # Errors
/// Data that cannot be read or written.
pub fn convert(args: &ConvertArgs) -> anyhow::Result<String> {
    if !matches!(args.target, None | Some(Target::Labels)) {
        return Err(Misuse("--as coco and --as yolo are detect's: segment writes labels".to_owned()).into());
    }
    let colors = args.colors.as_deref().map(|path| ColorTable::read(path, &[])).transpose()?;
    let found = match args.from.is_dir() {
        true => LabelSet::find(&args.from, colors)?,
        false => None,
    };
    if let Some(set) = found {
        return maps(args, set);
    }
    let set = args.read()?;
    outlines(&args.to, &set)?;
    Ok(summary(&args.to, &set) + NEXT)
}

/// How what was written is read: its labels count from 0.
const NEXT: &str =
    "\ncheck and train with --set segment.reduce_zero_label=false: label 0 is the first class of classes.txt";

/// Writes label maps of another layout.
fn maps(args: &ConvertArgs, mut set: LabelSet) -> anyhow::Result<String> {
    if let Some(share) = args.val_fraction {
        hold_out(&mut set, share, args.seed)
            .map_err(|reason| Misuse(format!("{}: --val-fraction: {reason}", args.from.display())))?;
    }
    set.write(&args.to)?;
    let parts = set.parts.iter().map(|(name, images)| format!("{name} with {} images", images.len()));
    let parts = parts.collect::<Vec<_>>().join(", ");
    Ok(format!("{}: {parts}; {} classes{NEXT}", args.to.display(), set.classes.len()))
}

/// As a dataset of outlines holds a share out.
fn hold_out(set: &mut LabelSet, share: f64, seed: u64) -> Result<(), String> {
    let [(_, only)] = &mut set.parts[..] else {
        let names: Vec<&str> = set.parts.iter().map(|(name, _)| &name[..]).collect();
        return Err(format!("there are parts already: {}", names.join(", ")));
    };
    let names: Vec<&str> = only.iter().map(|image| &image.name[..]).collect();
    let held = kat_images::hold_out(&names, share, seed).map_err(|error| error.to_string())?;
    let (mut train, mut val) = (Vec::new(), Vec::new());
    for (image, held) in std::mem::take(only).into_iter().zip(held) {
        if held { val.push(image) } else { train.push(image) }
    }
    set.parts = vec![("training".to_owned(), train), ("validation".to_owned(), val)];
    Ok(())
}

/// Draws the objects of `set` as label maps.
fn outlines(to: &Path, set: &AnnotatedSet) -> anyhow::Result<()> {
    if set.categories.len() + 1 > usize::from(IGNORED) {
        bail!("{} categories, label maps hold {} and the background", set.categories.len(), IGNORED - 1);
    }
    let mut notes = Notes::default();
    for part in &set.parts {
        let name = match &part.name[..] {
            "train" => "training",
            "val" => "validation",
            other => other,
        };
        for image in &part.images {
            let labels = draw(image, &mut notes).with_context(|| image.source.display().to_string())?;
            let target = to.join("images").join(name).join(&image.name);
            let map = to.join("annotations").join(name).join(&image.name).with_extension("png");
            for folder in [&target, &map].into_iter().filter_map(|path| path.parent()) {
                std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            }
            if std::fs::hard_link(&image.source, &target).is_err() {
                std::fs::copy(&image.source, &target).with_context(|| image.source.display().to_string())?;
            }
            save_png(&labels, &map).with_context(|| format!("cannot write {}", map.display()))?;
        }
    }
    let names: Vec<&str> =
        std::iter::once(BACKGROUND).chain(set.categories.iter().map(String::as_str)).collect();
    std::fs::write(to.join("classes.txt"), names.join("\n") + "\n")
        .with_context(|| format!("cannot write {}", to.display()))?;
    tell(to, &notes);
    Ok(())
}

/// The label of each pixel.
fn draw(image: &AnnotatedImage, notes: &mut Notes) -> anyhow::Result<GrayImage> {
    let (width, height) = image.size.dimensions();
    let mut labels = GrayImage::new(width, height);
    let mut masks = Vec::new();
    for object in &image.objects {
        match pixels(object, image.size)? {
            Some(mask) => masks.push((mask.area(), object, mask)),
            None => notes.add("objects with a box alone were left out: a label map needs outlines"),
        }
    }
    masks.sort_by_key(|(area, ..)| std::cmp::Reverse(*area));
    for (_, object, mask) in masks {
        let label = if object.crowd { IGNORED } else { object.category as u8 + 1 };
        for (Luma([pixel]), inside) in labels.pixels_mut().zip(mask.to_bitmap()) {
            if inside == 1 {
                *pixel = label;
            }
        }
    }
    Ok(labels)
}

fn pixels(object: &Object, size: kat_images::Size) -> anyhow::Result<Option<kat_images::Rle>> {
    Ok(match &object.outline {
        Outline::Rings(rings) if !rings.is_empty() => {
            let points = rings.iter().map(|ring| ring.chunks_exact(2).map(|p| (p[0], p[1])));
            Some(polygon::fill(points, size)?)
        }
        Outline::Mask(mask) if mask.size() == size => Some(mask.clone()),
        Outline::Mask(mask) => bail!("a mask of {:?} for an image of {size:?}", mask.size()),
        Outline::None | Outline::Rings(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kat_images::Size;

    #[test]
    fn the_smaller_object_is_seen_and_boxes_are_said() {
        let square = |category: usize, side: f64| {
            Object::of_rings(category, vec![vec![0.0, 0.0, side, 0.0, side, side, 0.0, side]])
        };
        let boxed = Object { outline: Outline::None, ..square(0, 3.0) };
        let image = AnnotatedImage {
            source: "a.png".into(),
            name: "a.png".into(),
            size: Size::new(6, 6),
            objects: vec![square(0, 2.0), square(4, 5.0), boxed],
        };
        let mut notes = Notes::default();
        let labels = draw(&image, &mut notes).unwrap();
        let at = |x, y| labels.get_pixel(x, y).0[0];
        assert_eq!((at(0, 0), at(1, 1), at(3, 3), at(5, 5)), (1, 1, 5, 0));
        assert_eq!(notes.iter().count(), 1);
    }
}
