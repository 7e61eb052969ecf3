//! Pascal VOC: an XML file for each image in `Annotations`, images in `JPEGImages`, parts listed in `ImageSets/Main`; or XML files
//! and images in any folders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use roxmltree::{Document, Node};

use super::images::{files_below, is_image, relative, size_of, text_of};
use super::{AnnotatedImage, AnnotatedSet, ConvertError, Object, Outline, Part};

/// Reads a folder.
pub(super) fn read(root: &Path) -> Result<AnnotatedSet, ConvertError> {
    let files = files_below(root)?;
    let stem =
        |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let images: BTreeMap<String, &PathBuf> =
        files.iter().filter(|file| is_image(file)).map(|file| (stem(file), file)).collect();
    let mut set = AnnotatedSet::default();
    let mut read = BTreeMap::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "xml")) {
        let Some(source) = images.get(&stem(file)) else {
            return Err(ConvertError::new(
                file,
                format!("no image {}.* below {}", stem(file), root.display()),
            ));
        };
        let image = image(file, source, root, &mut set)?;
        read.insert(stem(file), image);
    }
    // in the order of the alphabet, so that it does not depend on which file comes first
    let order: Vec<String> = set.categories.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
    let place: Vec<usize> =
        set.categories.iter().map(|name| order.iter().position(|other| other == name).unwrap_or(0)).collect();
    read.values_mut().flat_map(|image| &mut image.objects).for_each(|o| o.category = place[o.category]);
    set.categories = order;
    for (name, stems) in lists(root)? {
        let images = stems.iter().filter_map(|stem| read.remove(stem)).collect();
        set.parts.push(Part { name, images });
    }
    if set.parts.is_empty() {
        set.parts.push(Part { name: "train".to_owned(), images: read.into_values().collect() });
    } else if !read.is_empty() {
        let what = format!("images of no list in ImageSets/Main were left out, such as {}", sample(&read));
        (0..read.len()).for_each(|_| set.notes.add(what.clone()));
    }
    Ok(set)
}

fn sample(images: &BTreeMap<String, AnnotatedImage>) -> &str {
    images.keys().next().map_or("", String::as_str)
}

/// The parts of ImageSets/Main: train and val, or where they are not both there, trainval; and test.
fn lists(root: &Path) -> Result<Vec<(String, Vec<String>)>, ConvertError> {
    let folder = root.join("ImageSets/Main");
    let there = |name: &str| folder.join(format!("{name}.txt")).is_file();
    let parts: &[(&str, &str)] = match there("train") && there("val") {
        true => &[("train", "train"), ("val", "val"), ("test", "test")],
        false => &[("trainval", "train"), ("train", "train"), ("val", "val"), ("test", "test")],
    };
    let mut found = Vec::new();
    for (file, name) in parts.iter().filter(|(file, _)| there(file)) {
        let text = text_of(&folder.join(format!("{file}.txt")))?;
        let stems =
            text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
        found.push(((*name).to_owned(), stems));
    }
    Ok(found)
}

fn image(
    file: &Path,
    source: &Path,
    root: &Path,
    set: &mut AnnotatedSet,
) -> Result<AnnotatedImage, ConvertError> {
    let text = text_of(file)?;
    let document = Document::parse(&text).map_err(ConvertError::of(file))?;
    let annotation = document.root_element();
    let size = size_of(source)?;
    let stated =
        child(annotation, "size").and_then(|size| Some((number(size, "width")?, number(size, "height")?)));
    if let Some((width, height)) = stated.filter(|(width, height)| *width > 0.0 && *height > 0.0)
        && (width as usize, height as usize) != (size.width, size.height)
    {
        let reason =
            format!("drawn on {width} x {height} pixels, the image has {} x {}", size.width, size.height);
        return Err(ConvertError::new(file, reason));
    }
    let mut objects = Vec::new();
    for object in annotation.children().filter(|node| node.has_tag_name("object")) {
        let fail = |what: &str| ConvertError::new(file, format!("object {}: no {what}", objects.len() + 1));
        let name = child(object, "name").and_then(|node| node.text()).ok_or_else(|| fail("name"))?.trim();
        let bounds = child(object, "bndbox").ok_or_else(|| fail("bndbox"))?;
        let corner = |name: &str| number(bounds, name).ok_or_else(|| fail(name));
        // pixels are counted from 1, and the last one is inside
        let (x, y) = ((corner("xmin")? - 1.0).max(0.0), (corner("ymin")? - 1.0).max(0.0));
        let bbox = [x, y, corner("xmax")? - x, corner("ymax")? - y];
        let crowd = number(object, "difficult") == Some(1.0);
        if crowd {
            set.notes.add("difficult objects became crowds, which COCO's evaluation leaves out too");
        }
        objects.push(Object { category: set.category(name), bbox, outline: Outline::None, crowd });
    }
    let folder = root.join("JPEGImages");
    let base = if source.starts_with(&folder) { &folder } else { root };
    Ok(AnnotatedImage { source: source.to_owned(), name: relative(source, base), size, objects })
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn number(node: Node<'_, '_>, name: &str) -> Option<f64> {
    child(node, name)?.text()?.trim().parse().ok().filter(|value: &f64| value.is_finite())
}
