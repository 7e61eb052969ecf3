//! JPEG to RGB. Gray, YCbCr, RGB, CMYK and YCCK; the four-component kinds are read as Adobe writes them,
//! inverted, which is how every common reader takes them.

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::{DecodeError, baseline, check_size};

/// Decodes into `buffer`, whose allocation is reused; returns the size in pixels and the raw EXIF block.
pub(super) fn decode(
    bytes: &[u8],
    max_pixels: u64,
    buffer: &mut Vec<u8>,
) -> Result<(u32, u32, Option<Vec<u8>>), DecodeError> {
    // A file without an end marker may still hold every pixel: only then must the decoder be strict, since its
    // strictness also refuses files with harmless oddities.
    let complete = has_end_marker(bytes);
    let options = DecoderOptions::new_fast()
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .set_strict_mode(!complete)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let broken = |error: zune_jpeg::errors::DecodeErrors| {
        if complete {
            DecodeError::Jpeg(error.to_string())
        } else {
            DecodeError::TruncatedJpeg { length: bytes.len(), reason: error.to_string() }
        }
    };
    decoder.decode_headers().map_err(broken)?;
    let info = decoder.info().ok_or_else(|| DecodeError::Jpeg("no frame header".to_owned()))?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    check_size(width, height, max_pixels)?;
    let exif = decoder.exif().cloned();
    let size = width as usize * height as usize * 3;
    let wanted =
        decoder.output_buffer_size().ok_or_else(|| DecodeError::Jpeg("no output size".to_owned()))?;
    if wanted != size {
        return Err(DecodeError::Jpeg(format!(
            "{wanted} output bytes for {width}x{height} RGB pixels, expected {size}"
        )));
    }
    buffer.resize(size, 0);
    if baseline::decode(bytes, (width, height), buffer).is_some() {
        return Ok((width, height, exif));
    }
    decoder.decode_into(buffer).map_err(broken)?;
    Ok((width, height, exif))
}

/// Whether an end-of-image marker stands after the first scan starts.
///
/// Segments are walked by their lengths: a thumbnail inside EXIF has markers of its own.
fn has_end_marker(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        while bytes.get(at).is_some_and(|&b| b != 0xff) {
            at += 1;
        }
        while bytes.get(at) == Some(&0xff) {
            at += 1;
        }
        let Some(&marker) = bytes.get(at) else { return false };
        at += 1;
        match marker {
            0xd9 => return true,
            // stuffed byte, restart markers and TEM have no length
            0x00 | 0x01 | 0xd0..=0xd8 => {}
            _ => {
                let Some(length) = bytes.get(at..at + 2) else { return false };
                at += usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::has_end_marker;

    #[test]
    fn end_marker_is_looked_for_outside_segments() {
        // APP1 of 6 bytes holding a thumbnail's end marker, then a scan without end
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xe1, 0x00, 0x06, 0xff, 0xd9, 0, 0];
        bytes.extend([0xff, 0xda, 0x00, 0x02, 1, 2, 0xff, 0x00, 3]);
        assert!(!has_end_marker(&bytes));
        bytes.extend([0xff, 0xd9]);
        assert!(has_end_marker(&bytes));
        assert!(!has_end_marker(&[0xff, 0xd8]));
        assert!(!has_end_marker(&[0xff]));
    }
}
