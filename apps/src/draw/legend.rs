//! A panel beside a picture that says which colour is what.

use image::{Rgb as Pixel, RgbImage};

use super::font::Font;
use super::palette::Rgb;

/// One line of a legend.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The colour in the picture.
    pub colour: Rgb,
    /// What it stands for.
    pub name: String,
    /// Its share of the picture in [0, 1], if worth saying.
    pub share: Option<f64>,
}

/// The picture with a legend at its right, in as many columns as its height asks for.
pub fn with_legend(picture: &RgbImage, entries: &[Entry]) -> RgbImage {
    if entries.is_empty() {
        return picture.clone();
    }
    let font = Font::new();
    let px = Font::size_for(picture.width(), picture.height());
    let row = (font.line_height(px) * 1.25).ceil();
    let rows = ((picture.height() as f32 - row * 0.5) / row).floor().max(1.0) as usize;
    // A strip has room for one row; a legend of its own height serves better there.
    let rows = rows.max(entries.len().min(8));
    let texts: Vec<String> = entries
        .iter()
        .map(|e| {
            let name = font.fit(&e.name, px, px * 16.0);
            e.share.map_or(name.clone(), |s| format!("{name}  {:.1} %", 100.0 * s))
        })
        .collect();
    let widths: Vec<f32> = texts
        .chunks(rows)
        .map(|column| column.iter().map(|t| font.width(t, px)).fold(0.0, f32::max) + px * 2.6)
        .collect();
    let panel = (widths.iter().sum::<f32>() + px * 0.4).ceil() as u32;
    let height = picture.height().max((row * (rows.min(entries.len()) as f32 + 0.5)).ceil() as u32);
    let mut out = RgbImage::from_pixel(picture.width() + panel, height, Pixel([255, 255, 255]));
    image::imageops::replace(&mut out, picture, 0, 0);
    let mut x = picture.width() as f32 + px * 0.6;
    for (column, width) in widths.iter().enumerate() {
        let range = column * rows..((column + 1) * rows).min(entries.len());
        for (i, (entry, text)) in entries[range.clone()].iter().zip(&texts[range]).enumerate() {
            let y = row * (i as f32 + 0.25);
            let top = y + (font.line_height(px) - px) / 2.0;
            for dy in 0..px as u32 {
                for dx in 0..px as u32 {
                    let at = (x as u32 + dx, top as u32 + dy);
                    if at.0 < out.width() && at.1 < out.height() {
                        out.put_pixel(at.0, at.1, Pixel(entry.colour));
                    }
                }
            }
            font.draw(&mut out, (x + px * 1.4, y), text, px, [28, 30, 33]);
        }
        x += width;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(n: usize) -> Vec<Entry> {
        (0..n)
            .map(|i| Entry { colour: [0, 100, i as u8 + 1], name: format!("class {i}"), share: Some(0.5) })
            .collect()
    }

    #[test]
    fn every_entry_has_its_swatch_and_the_picture_stays() {
        let picture = RgbImage::from_pixel(300, 200, Pixel([9, 9, 9]));
        for n in [1, 7, 40, 150] {
            let out = with_legend(&picture, &entries(n));
            assert_eq!(out.pixels().filter(|p| p.0 == [9, 9, 9]).count(), 300 * 200);
            for i in 0..n {
                let colour = [0, 100, i as u8 + 1];
                assert!(out.pixels().filter(|p| p.0 == colour).count() >= 100, "entry {i} of {n}");
            }
        }
    }

    #[test]
    fn strips_and_empty_legends_work() {
        assert_eq!(with_legend(&RgbImage::new(5, 5), &[]).dimensions(), (5, 5));
        let out = with_legend(&RgbImage::new(1000, 4), &entries(3));
        assert!(out.height() > 40 && out.width() > 1000);
        assert!(with_legend(&RgbImage::new(0, 0), &entries(1)).width() > 0);
    }
}
