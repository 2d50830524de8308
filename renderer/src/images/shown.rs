//! What images in content are shown with: their dimensions, and narrower copies for a browser to choose from.

use std::collections::BTreeSet;
use std::sync::Arc;

use blake3::Hash;
use serde::Deserialize;

use super::{Change, Header, Wish};
use crate::whole::Whole;

/// How many widths a site may ask for: each is a copy of every image.
const WIDTHS_MAX: usize = 16;

/// What images in content are shown with: `[images]` in `bakehouse.toml`. Nothing but their address, unless a site asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageOptions {
    /// Whether they say their width and height. With `widths` they always do.
    pub dimensions: bool,
    /// The widths of copies, in pixels. An image gets those that are less than its own.
    pub widths: Vec<Whole<u32, 1, 65_535>>,
    /// What copies are written as.
    pub format: ImageFormat,
    /// The quality of copies in JPEG and AVIF, from 1 to 100: 75 and 80.
    pub quality: Option<Whole<u8, 1, 100>>,
    /// How wide images are shown, as in the attribute `sizes`. Without it: as wide as they are, if the window allows.
    pub sizes: Option<String>,
}

/// What copies of an image are written as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// JPEG for what was compressed with loss, WebP for all else.
    #[default]
    Auto,
    /// JPEG.
    Jpg,
    /// PNG.
    Png,
    /// WebP, without loss.
    Webp,
    /// AVIF.
    Avif,
}

impl ImageOptions {
    /// Whether anything is asked for.
    pub(crate) fn is_on(&self) -> bool {
        self.dimensions || !self.widths.is_empty()
    }

    /// Looks at what the types of the keys leave open.
    ///
    /// # Errors
    /// Which key is wrong, and what it may be.
    pub fn check(&self) -> Result<(), String> {
        if self.widths.len() > WIDTHS_MAX {
            let given = self.widths.len();
            return Err(format!("`widths` in [images] has {given} numbers, the limit is {WIDTHS_MAX}"));
        }
        match (self.quality, self.format) {
            (Some(_), ImageFormat::Png | ImageFormat::Webp) => {
                Err("`quality` in [images] is for JPEG and AVIF: PNG and WebP are written without loss"
                    .to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// What one image in content is shown with, and what that was told from.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The file, site-relative.
    pub(crate) source: Arc<str>,
    pub(crate) digest: Hash,
    /// Width and height; none where a browser would not show it in just these.
    pub(crate) size: Option<(u32, u32)>,
    /// The narrowest first.
    pub(crate) copies: Box<[Arc<Wish>]>,
    /// Whether a browser may choose the image itself: it is not wider than the widest that the site asks for, or nothing
    /// says that it is shown in less than its own width.
    pub(crate) with_itself: bool,
}

impl Shown {
    /// What the image of that header is shown with; with nothing, where there is no header.
    ///
    /// # Errors
    /// Copies that cannot be had.
    pub(crate) fn new(
        source: Arc<str>,
        digest: Hash,
        header: Option<&Header>,
        options: &ImageOptions,
    ) -> Result<Self, String> {
        let mut shown = Self { source, digest, size: None, copies: Box::from([]), with_itself: false };
        let Some(header) = header.filter(|header| header.is_own_size) else { return Ok(shown) };
        shown.size = Some((header.width, header.height));
        let Some(kind) = header.kind.filter(|_| !header.is_moving) else { return Ok(shown) };
        let format = match options.format {
            ImageFormat::Auto if kind.is_lossy() => "jpg",
            ImageFormat::Jpg => "jpg",
            ImageFormat::Auto | ImageFormat::Webp => "webp",
            ImageFormat::Png => "png",
            ImageFormat::Avif => "avif",
        };
        let widths: BTreeSet<u32> = options.widths.iter().map(|width| width.get()).collect();
        let copies = widths.range(..header.width).map(|width| {
            let quality = options.quality.map(Whole::get).filter(|_| matches!(format, "jpg" | "avif"));
            let (width, height, speed, filter, asked) = (Some(*width), None, None, None, None);
            let change = Change { op: "fit_width", width, height, format, quality, speed, filter, asked };
            Ok(Arc::new(Wish::new(&shown.source, header, &change)?.0))
        });
        shown.copies = copies.collect::<Result<_, String>>()?;
        let is_listed = |widest: &u32| options.sizes.is_none() || header.width <= *widest;
        shown.with_itself = widths.last().is_some_and(is_listed);
        Ok(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(widths: &[u64]) -> ImageOptions {
        let widths = widths.iter().map(|width| Whole::new(*width).unwrap()).collect();
        ImageOptions { widths, ..ImageOptions::default() }
    }

    /// A PNG of that size, as far as headers go.
    fn png(width: u32, height: u32, more: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes.extend(b"\x08\x06\0\0\0\0\0\0\0");
        bytes.extend(more);
        bytes
    }

    fn shown(bytes: &[u8], options: &ImageOptions) -> Shown {
        let digest = blake3::hash(bytes);
        Shown::new("a.png".into(), digest, Header::read(bytes, digest).as_ref(), options).unwrap()
    }

    fn widths(shown: &Shown) -> Vec<(u32, u32)> {
        shown.copies.iter().map(|wish| (wish.width, wish.height)).collect()
    }

    #[test]
    fn nothing_is_enlarged() {
        let image = png(1_000, 500, b"");
        let all = shown(&image, &options(&[960, 480, 1_000, 1_440, 480]));
        assert_eq!(all.size, Some((1_000, 500)));
        assert_eq!(widths(&all), [(480, 240), (960, 480)]);
        assert!(all.with_itself);
        assert!(all.copies[0].path().ends_with(".webp"));
        assert!(shown(&image, &options(&[480])).with_itself);
        let narrow = ImageOptions { sizes: Some("30rem".to_owned()), ..options(&[480]) };
        assert!(!shown(&image, &narrow).with_itself);
        let jpeg = ImageOptions { format: ImageFormat::Jpg, quality: Whole::new(60), ..options(&[480]) };
        assert!(shown(&image, &jpeg).copies[0].path().ends_with(".jpg"));
        assert!(shown(&image, &options(&[1_440])).copies.is_empty());
    }

    #[test]
    fn what_moves_and_what_is_drawn_has_no_copies() {
        let moving = shown(&png(1_000, 500, b"\0\0\0\x08acTL\0\0\0\0\0\0\0\0\0\0\0\0"), &options(&[480]));
        assert_eq!((moving.size, moving.copies.len()), (Some((1_000, 500)), 0));
        let gif = shown(b"GIF89a\xe8\x03\xf4\x01\0\0\0", &options(&[480]));
        assert_eq!((gif.size, gif.copies.len()), (Some((1_000, 500)), 0));
        let webp = b"RIFF\x12\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\xe7\x03\0\xf3\x01\0";
        let webp = shown(webp, &options(&[480]));
        assert_eq!((webp.size, webp.copies.len()), (Some((1_000, 500)), 0));
        let svg = shown(b"<svg width=\"1000\" height=\"500\"/>", &options(&[480]));
        assert_eq!((svg.size, svg.copies.len()), (Some((1_000, 500)), 0));
        for drawing in
            ["<svg viewBox=\"0 0 2 1\"/>", "<svg width=\"100%\" height=\"5\" viewBox=\"0 0 2 1\"/>"]
        {
            assert_eq!(shown(drawing.as_bytes(), &options(&[480])).size, None, "{drawing}");
        }
        assert_eq!(shown(b"no image", &options(&[480])).size, None);
    }

    #[test]
    fn wrong_values_are_named() {
        let wrong = |options: ImageOptions| options.check().unwrap_err();
        assert!(wrong(options(&[1; 17])).contains("the limit is 16"));
        let webp = ImageOptions { quality: Whole::new(80), format: ImageFormat::Webp, ..options(&[480]) };
        assert!(wrong(webp).contains("JPEG and AVIF"));
        options(&[480]).check().unwrap();
    }
}
