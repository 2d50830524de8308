//! Pictures in memory: decoding PNG, JPEG, WebP and GIF, encoding PNG, JPEG, WebP and AVIF.

use std::borrow::Cow;
use std::io::Cursor;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// The most pixels of a picture that is resized: four bytes each are held, and sixteen while it is scaled.
pub(crate) const PIXELS_MAX: u64 = 100_000_000;

/// What a decoder may hold beside the pixels, in bytes: tables and profiles.
const DECODER_BYTES_MAX: usize = 1 << 30;

/// A picture: rows of red, green, blue, opacity.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) rgba: Vec<u8>,
    /// Whether its format has no opacity, or no pixel uses it.
    pub(crate) opaque: bool,
    /// The colour profile.
    pub(crate) icc: Option<Vec<u8>>,
}

/// What a picture is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Png,
    Jpeg,
    Webp { lossy: bool },
    Gif,
}

impl Kind {
    /// Whether what it was made from is lost: saying it again without loss would only take more bytes.
    pub(crate) fn is_lossy(self) -> bool {
        matches!(self, Self::Jpeg | Self::Webp { lossy: true })
    }
}

/// What it is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) enum Encoding {
    Png,
    /// With a quality from 1 to 100.
    Jpeg(u8),
    /// Without loss.
    Webp,
    /// With a quality from 1 to 100, and a speed from 1, for the fewest bytes, to 10.
    Avif {
        quality: u8,
        speed: u8,
    },
}

impl Encoding {
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg(_) => "jpg",
            Self::Webp => "webp",
            Self::Avif { .. } => "avif",
        }
    }
}

/// The kind of a file, by its first bytes; none where it cannot be decoded.
pub(crate) fn kind(bytes: &[u8]) -> Option<Kind> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some(Kind::Png),
        [0xff, 0xd8, 0xff, ..] => Some(Kind::Jpeg),
        [b'G', b'I', b'F', b'8', ..] => Some(Kind::Gif),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', chunks @ ..] => {
            Some(Kind::Webp { lossy: is_lossy(chunks) })
        }
        _ => None,
    }
}

/// Whether a file may have several pictures, one after the other. Of a GIF only decoding it would tell.
pub(crate) fn is_moving(bytes: &[u8], kind: Kind) -> bool {
    match kind {
        Kind::Gif => true,
        Kind::Jpeg => false,
        // The flag of an animation (RFC 9649 §2.7).
        Kind::Webp { .. } => bytes.get(12..16) == Some(b"VP8X") && bytes.get(20).is_some_and(|f| f & 2 != 0),
        Kind::Png => has_animation_control(&bytes[8.min(bytes.len())..]),
    }
}

/// Whether a PNG's chunks have `acTL` before the picture (PNG, third edition, §11.3.6.1).
fn has_animation_control(mut chunks: &[u8]) -> bool {
    while let [l0, l1, l2, l3, a, b, c, d, rest @ ..] = chunks {
        match [a, b, c, d] {
            [b'a', b'c', b'T', b'L'] => return true,
            [b'I', b'D', b'A', b'T'] => return false,
            _ => {}
        }
        // The checksum is behind the content.
        let length = u32::from_be_bytes([*l0, *l1, *l2, *l3]) as usize;
        chunks = rest.get(length.saturating_add(4)..).unwrap_or_default();
    }
    false
}

/// Whether the picture of a WebP file is compressed with loss: its chunks say so (RFC 9649 §2).
fn is_lossy(mut chunks: &[u8]) -> bool {
    while let [a, b, c, d, l0, l1, l2, l3, rest @ ..] = chunks {
        match [a, b, c, d] {
            [b'V', b'P', b'8', b' '] => return true,
            [b'V', b'P', b'8', b'L'] => return false,
            _ => {}
        }
        let length = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
        chunks = rest.get(length.saturating_add(length % 2)..).unwrap_or_default();
    }
    true
}

fn show(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Decodes a picture.
///
/// # Errors
/// What its format refuses, and more than [`PIXELS_MAX`] pixels.
pub(crate) fn decode(bytes: &[u8], kind: Kind) -> Result<Picture, String> {
    let mut picture = match kind {
        Kind::Png => png(bytes)?,
        Kind::Jpeg => jpeg(bytes)?,
        Kind::Webp { .. } => webp(bytes)?,
        Kind::Gif => gif(bytes)?,
    };
    picture.opaque = picture.opaque || picture.rgba.chunks_exact(4).all(|pixel| pixel[3] == 255);
    Ok(picture)
}

fn check(width: u32, height: u32) -> Result<(), String> {
    if u64::from(width) * u64::from(height) > PIXELS_MAX {
        return Err(format!("it has {width} × {height} pixels, the limit is {PIXELS_MAX} in all"));
    }
    if width == 0 || height == 0 {
        return Err("it has no pixels".to_owned());
    }
    Ok(())
}

/// Pixels of one to four channels as four.
fn widen(data: &[u8], channels: usize) -> Vec<u8> {
    match channels {
        1 => data.iter().flat_map(|grey| [*grey, *grey, *grey, 255]).collect(),
        2 => data.chunks_exact(2).flat_map(|p| [p[0], p[0], p[0], p[1]]).collect(),
        3 => data.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect(),
        _ => data.to_vec(),
    }
}

fn png(bytes: &[u8]) -> Result<Picture, String> {
    let limits = png::Limits { bytes: DECODER_BYTES_MAX };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(show)?;
    let (width, height) = (reader.info().width, reader.info().height);
    check(width, height)?;
    let icc = reader.info().icc_profile.as_ref().map(|profile| profile.to_vec());
    let size = reader.output_buffer_size().ok_or_else(|| "it is too large".to_owned())?;
    let mut data = vec![0; size];
    let frame = reader.next_frame(&mut data).map_err(show)?;
    data.truncate(frame.buffer_size());
    let channels = frame.color_type.samples();
    Ok(Picture { width, height, rgba: widen(&data, channels), opaque: channels % 2 == 1, icc })
}

fn jpeg(bytes: &[u8]) -> Result<Picture, String> {
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| format!("{e:?}"))?;
    let info = decoder.info().ok_or_else(|| "it has no header".to_owned())?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    check(width, height)?;
    let data = decoder.decode().map_err(|e| format!("{e:?}"))?;
    let channels = data.len() / (width as usize * height as usize);
    let rgba = widen(&data, channels);
    Ok(Picture { width, height, rgba, opaque: true, icc: decoder.icc_profile() })
}

fn webp(bytes: &[u8]) -> Result<Picture, String> {
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(bytes)).map_err(show)?;
    decoder.set_memory_limit(DECODER_BYTES_MAX);
    let (width, height) = decoder.dimensions();
    check(width, height)?;
    let icc = decoder.icc_profile().map_err(show)?;
    let mut data = vec![0; decoder.output_buffer_size().ok_or_else(|| "it is too large".to_owned())?];
    decoder.read_image(&mut data).map_err(show)?;
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    Ok(Picture { width, height, rgba: widen(&data, channels), opaque: channels == 3, icc })
}

/// The first picture of a GIF, on its canvas.
fn gif(bytes: &[u8]) -> Result<Picture, String> {
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::RGBA);
    let mut decoder = options.read_info(Cursor::new(bytes)).map_err(show)?;
    let (width, height) = (u32::from(decoder.width()), u32::from(decoder.height()));
    check(width, height)?;
    let mut rgba = vec![0; width as usize * height as usize * 4];
    let frame = decoder.read_next_frame().map_err(show)?.ok_or_else(|| "it has no picture".to_owned())?;
    let (left, top) = (usize::from(frame.left), usize::from(frame.top));
    let visible = usize::from(frame.width).min((width as usize).saturating_sub(left)) * 4;
    for (y, row) in frame.buffer.chunks_exact(usize::from(frame.width).max(1) * 4).enumerate() {
        if visible > 0 && top + y < height as usize {
            let start = ((top + y) * width as usize + left) * 4;
            rgba[start..start + visible].copy_from_slice(&row[..visible]);
        }
    }
    Ok(Picture { width, height, rgba, opaque: false, icc: None })
}

impl Picture {
    /// The part that begins at `left` and `top`.
    pub(crate) fn crop(&self, left: u32, top: u32, width: u32, height: u32) -> Self {
        let mut rgba = Vec::with_capacity(width as usize * height as usize * 4);
        for y in top..top + height {
            let start = (y as usize * self.width as usize + left as usize) * 4;
            rgba.extend_from_slice(&self.rgba[start..start + width as usize * 4]);
        }
        Self { width, height, rgba, opaque: self.opaque, icc: self.icc.clone() }
    }

    /// The picture as it is meant to be seen, by the orientation that a camera recorded (Exif 2.3, tag 274).
    pub(crate) fn turned(self, orientation: u32) -> Self {
        if !(2..=8).contains(&orientation) {
            return self;
        }
        let (w, h) = (self.width as usize, self.height as usize);
        let swapped = orientation >= 5;
        let (width, height) = if swapped { (h, w) } else { (w, h) };
        let mut rgba = Vec::with_capacity(self.rgba.len());
        for y in 0..height {
            for x in 0..width {
                let (sx, sy) = match orientation {
                    2 => (w - 1 - x, y),
                    3 => (w - 1 - x, h - 1 - y),
                    4 => (x, h - 1 - y),
                    5 => (y, x),
                    6 => (y, h - 1 - x),
                    7 => (w - 1 - y, h - 1 - x),
                    _ => (w - 1 - y, x),
                };
                let start = (sy * w + sx) * 4;
                rgba.extend_from_slice(&self.rgba[start..start + 4]);
            }
        }
        Self { width: width as u32, height: height as u32, rgba, opaque: self.opaque, icc: self.icc }
    }

    fn rgb(&self) -> Vec<u8> {
        self.rgba.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect()
    }

    /// Encodes it, with its colour profile, which the encoder of AVIF cannot write.
    ///
    /// # Errors
    /// Dimensions that the format does not have.
    pub(crate) fn encode(&self, encoding: Encoding) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        match encoding {
            Encoding::Png => {
                let mut info = png::Info::with_size(self.width, self.height);
                info.icc_profile = self.icc.as_deref().map(Cow::Borrowed);
                info.bit_depth = png::BitDepth::Eight;
                info.color_type = if self.opaque { png::ColorType::Rgb } else { png::ColorType::Rgba };
                let encoder = png::Encoder::with_info(&mut out, info).map_err(show)?;
                let mut writer = encoder.write_header().map_err(show)?;
                let data = if self.opaque { self.rgb() } else { self.rgba.clone() };
                writer.write_image_data(&data).map_err(show)?;
                writer.finish().map_err(show)?;
            }
            Encoding::Jpeg(quality) => {
                let (Ok(width), Ok(height)) = (u16::try_from(self.width), u16::try_from(self.height)) else {
                    return Err("JPEG has at most 65535 pixels a side".to_owned());
                };
                let mut encoder = jpeg_encoder::Encoder::new(&mut out, quality);
                if let Some(icc) = &self.icc {
                    encoder.add_icc_profile(icc).map_err(show)?;
                }
                encoder.encode(&self.rgb(), width, height, jpeg_encoder::ColorType::Rgb).map_err(show)?;
            }
            Encoding::Webp => {
                let mut encoder = image_webp::WebPEncoder::new(&mut out);
                if let Some(icc) = &self.icc {
                    encoder.set_icc_profile(icc.clone());
                }
                let (data, kind) = if self.opaque {
                    (self.rgb(), image_webp::ColorType::Rgb8)
                } else {
                    (self.rgba.clone(), image_webp::ColorType::Rgba8)
                };
                encoder.encode(&data, self.width, self.height, kind).map_err(show)?;
            }
            Encoding::Avif { quality, speed } => {
                // One thread: copies are made side by side.
                let encoder = ravif::Encoder::new()
                    .with_quality(f32::from(quality))
                    .with_alpha_quality(f32::from(quality))
                    .with_speed(speed)
                    .with_num_threads(Some(1));
                let (width, height) = (self.width as usize, self.height as usize);
                let pixels = self.rgba.chunks_exact(4);
                let pixels: Vec<_> = pixels.map(|p| ravif::RGBA8::new(p[0], p[1], p[2], p[3])).collect();
                // It leaves opacity out where there is none. What takes colours alone would be compiled here, with all
                // that it calls.
                let made = encoder.encode_rgba(ravif::Img::new(&pixels, width, height));
                out = made.map_err(show)?.avif_file;
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient() -> Picture {
        let rgba = (0..12_u8).flat_map(|i| [i * 20, 255 - i * 20, 90, 255]).collect();
        Picture { width: 4, height: 3, rgba, opaque: true, icc: None }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for encoding in [Encoding::Png, Encoding::Webp, Encoding::Jpeg(100)] {
            let bytes = gradient().encode(encoding).unwrap();
            let kind = kind(&bytes).unwrap();
            let back = decode(&bytes, kind).unwrap();
            assert_eq!((back.width, back.height), (4, 3), "{encoding:?}");
            if !matches!(encoding, Encoding::Jpeg(_)) {
                assert_eq!(back.rgba, gradient().rgba, "{encoding:?}");
            }
        }
    }

    #[test]
    fn avif_is_written_in_each_quality_and_the_same_each_time() {
        let mut clear = gradient();
        clear.rgba[3] = 0;
        clear.opaque = false;
        for picture in [gradient(), clear] {
            let written = |quality| picture.encode(Encoding::Avif { quality, speed: 10 }).unwrap();
            let (rough, fine) = (written(1), written(100));
            let size = imagesize::blob_size(&fine).unwrap();
            assert_eq!((size.width, size.height), (4, 3));
            assert!(rough.len() < fine.len(), "{} {}", rough.len(), fine.len());
            assert_eq!(fine, written(100));
            // The picture of opacity is an item of its own (AV1 Image File Format §4.1).
            let has_opacity = fine.windows(9).any(|bytes| bytes == b"auxiliary".as_slice());
            assert_eq!(has_opacity, !picture.opaque);
        }
    }

    #[test]
    fn pictures_are_turned_as_the_camera_was_held() {
        let right = gradient().turned(6);
        assert_eq!((right.width, right.height), (3, 4));
        assert_eq!(right.rgba[..4], gradient().rgba[8 * 4..9 * 4]);
        assert_eq!(gradient().turned(3).turned(3).rgba, gradient().rgba);
        assert_eq!(gradient().turned(6).turned(8).rgba, gradient().rgba);
    }

    #[test]
    fn broken_files_are_refused() {
        let bytes = gradient().encode(Encoding::Png).unwrap();
        assert!(decode(&bytes[..bytes.len() / 2], Kind::Png).is_err());
        assert!(decode(b"\xff\xd8\xff nothing", Kind::Jpeg).is_err());
        assert!(kind(b"<svg>").is_none());
    }
}
