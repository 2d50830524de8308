//! Images: what their headers say, and copies of them in other sizes and formats.
//!
//! A template asks for a copy and gets its address at once; the copy itself is made when all pages are. Its name holds
//! a digest of all that it depends on, so that a name stands for the same bytes for ever; in a site that is all Zola's, the
//! digest of what was asked for, as there.

mod drawing;
mod picture;
mod resample;
mod shown;

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hasher};
use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError};

use blake3::Hash;
use bytes::Bytes;

pub(crate) use self::drawing::svg_numbers;
use self::picture::Picture;
pub(crate) use self::picture::{Encoding, Kind};
pub(crate) use self::resample::Kernel;
pub(crate) use self::shown::Shown;
pub use self::shown::{ImageFormat, ImageOptions};

use self::drawing::svg_size;

/// Where copies lie among the outputs.
pub(crate) const FOLDER: &str = "processed_images/";

/// The quality of JPEG where none is named.
const JPEG_QUALITY: u8 = 75;
const AVIF_QUALITY: u8 = 80;
const AVIF_SPEED: u8 = 5;
/// The most pixels of a copy in AVIF: a million take ten seconds or more.
const AVIF_PIXELS_MAX: u64 = 1 << 24;

/// What an image's header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// Of the file.
    digest: Hash,
    /// What it is decoded as; none where it cannot be.
    kind: Option<Kind>,
    /// Whether it has several pictures, one after the other; a copy has the first alone.
    is_moving: bool,
    /// Whether browsers show it in just this size, where a page says nothing else. Drawings may follow the page.
    is_own_size: bool,
    /// As it is meant to be seen.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// The usual extension of its format.
    pub(crate) format: &'static str,
    /// How the camera was held (Exif tag 274).
    orientation: u32,
    pub(crate) description: Option<String>,
    /// When the picture was taken.
    pub(crate) created: Option<String>,
}

impl Header {
    /// Reads the header of a file of that digest; none where the format is not known.
    pub(crate) fn read(bytes: &[u8], digest: Hash) -> Option<Self> {
        if let Some((width, height, is_own_size)) = svg_size(bytes) {
            let (kind, is_moving, format, orientation) = (None, false, "svg", 1);
            let (description, created) = (None, None);
            return Some(Self {
                digest,
                kind,
                is_moving,
                is_own_size,
                width,
                height,
                format,
                orientation,
                description,
                created,
            });
        }
        let kind = picture::kind(bytes);
        let size = imagesize::blob_size(bytes).ok()?;
        let format = format_name(imagesize::image_type(bytes).ok()?);
        let exif = match format {
            "jpg" | "png" | "webp" | "avif" | "heic" | "tiff" => {
                exif::Reader::new().read_from_container(&mut Cursor::new(bytes)).ok()
            }
            _ => None,
        };
        let field = |tag| exif.as_ref().and_then(|exif| exif.get_field(tag, exif::In::PRIMARY));
        let text = |tag| {
            let shown = field(tag).map(|field| match &field.value {
                exif::Value::Ascii(lines) => {
                    lines.iter().map(|line| String::from_utf8_lossy(line)).collect::<Vec<_>>().join(" ")
                }
                other => other.display_as(field.tag).to_string(),
            });
            shown.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let orientation = field(exif::Tag::Orientation).and_then(|f| f.value.get_uint(0)).unwrap_or(1);
        let (mut width, mut height) = (u32::try_from(size.width).ok()?, u32::try_from(size.height).ok()?);
        if (5..=8).contains(&orientation) {
            (width, height) = (height, width);
        }
        Some(Self {
            digest,
            kind,
            is_moving: kind.is_some_and(|kind| picture::is_moving(bytes, kind)),
            is_own_size: kind.is_some(),
            width,
            height,
            format,
            orientation,
            description: text(exif::Tag::ImageDescription),
            created: text(exif::Tag::DateTimeOriginal).map(|text| rfc3339(&text)),
        })
    }
}

/// `2026:03:04 10:20:30`, as cameras write it, as `2026-03-04T10:20:30`.
fn rfc3339(text: &str) -> String {
    match text.split_once(' ') {
        Some((date, time)) => format!("{}T{time}", date.replace(':', "-")),
        None => text.to_owned(),
    }
}

fn format_name(kind: imagesize::ImageType) -> &'static str {
    use imagesize::{Compression, ImageType};
    match kind {
        ImageType::Bmp => "bmp",
        ImageType::Gif => "gif",
        ImageType::Heif(Compression::Av1) => "avif",
        ImageType::Heif(_) => "heic",
        ImageType::Ico => "ico",
        ImageType::Jpeg => "jpg",
        ImageType::Jxl => "jxl",
        ImageType::Png => "png",
        ImageType::Pnm => "pnm",
        ImageType::Qoi => "qoi",
        ImageType::Tga => "tga",
        ImageType::Tiff => "tiff",
        ImageType::Webp => "webp",
        _ => "bin",
    }
}

/// How a copy is to differ.
#[derive(Debug, Clone)]
pub(crate) struct Change<'a> {
    pub(crate) op: &'a str,
    pub(crate) width: Option<u32>,
    pub(crate) height: Option<u32>,
    pub(crate) format: &'a str,
    pub(crate) quality: Option<u8>,
    pub(crate) speed: Option<u8>,
    pub(crate) filter: Option<&'a str>,
    /// The path that a template asks with, where the copy has the name and the format that Zola gives it.
    pub(crate) asked: Option<&'a str>,
}

const OPERATIONS: [&str; 5] = ["scale", "fit_width", "fit_height", "fit", "fill"];
const FORMATS: [&str; 6] = ["auto", "jpg", "jpeg", "png", "webp", "avif"];

/// A copy that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct Wish {
    /// The file, site-relative.
    pub(crate) source: String,
    #[serde(with = "crate::memo::digest")]
    digest: Hash,
    orientation: u32,
    /// The part that is used: left, top, width, height.
    part: (u32, u32, u32, u32),
    pub(crate) width: u32,
    pub(crate) height: u32,
    encoding: Encoding,
    kernel: Kernel,
    /// What its name holds instead of its digest.
    asked: Option<u64>,
}

impl Wish {
    /// What a change means for one image; and a warning, where it cannot be had exactly.
    ///
    /// # Errors
    /// Unknown names, missing dimensions, and formats that cannot be read or written.
    pub(crate) fn new(
        source: &str,
        header: &Header,
        change: &Change<'_>,
    ) -> Result<(Self, Option<&'static str>), String> {
        let unknown = |what: &str, name: &str, known: &[&str]| {
            let near = crate::diagnostic::nearest(name, known.iter().copied());
            let near = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
            format!("there is no {what} `{name}`{near}")
        };
        let Some(kind) = header.kind else {
            return Err(format!(
                "`{source}` cannot be resized: PNG, JPEG, WebP and GIF can be read, not {}",
                header.format
            ));
        };
        let (original_width, original_height) = (header.width, header.height);
        let whole = (0, 0, original_width, original_height);
        let need = |given: Option<u32>, name: &str| match given {
            Some(n) if n > 0 => Ok(n),
            _ => Err(format!("the operation `{}` needs `{name}`, a number above 0", change.op)),
        };
        let share = |n: u32, of: u32, to: u32| {
            u32::try_from((u64::from(n) * u64::from(of) / u64::from(to.max(1))).max(1)).unwrap_or(u32::MAX)
        };
        let (part, width, height) = match change.op {
            "scale" => (whole, need(change.width, "width")?, need(change.height, "height")?),
            "fit_width" => {
                let width = need(change.width, "width")?;
                (whole, width, share(original_height, width, original_width))
            }
            "fit_height" => {
                let height = need(change.height, "height")?;
                (whole, share(original_width, height, original_height), height)
            }
            "fit" => {
                let (width, height) = (need(change.width, "width")?, need(change.height, "height")?);
                if original_width <= width && original_height <= height {
                    (whole, original_width, original_height)
                } else if u64::from(original_width) * u64::from(height)
                    > u64::from(original_height) * u64::from(width)
                {
                    (whole, width, share(original_height, width, original_width))
                } else {
                    (whole, share(original_width, height, original_height), height)
                }
            }
            "fill" => {
                let (width, height) = (need(change.width, "width")?, need(change.height, "height")?);
                (filling(original_width, original_height, width, height), width, height)
            }
            other => return Err(unknown("operation", other, &OPERATIONS)),
        };
        if u64::from(width) * u64::from(height) > picture::PIXELS_MAX {
            return Err(format!("{width} × {height} pixels are more than {}", picture::PIXELS_MAX));
        }
        // As Zola has it: WebP alone has a quality of 0.
        let least = u8::from(change.format != "webp");
        if change.quality.is_some_and(|quality| !(least..=100).contains(&quality)) {
            return Err(format!("`quality` is a number from {least} to 100"));
        }
        if change.speed.is_some_and(|speed| !(1..=10).contains(&speed)) {
            return Err("`speed` is a number from 1 to 10".to_owned());
        }
        // Zola takes all WebP and GIF for lossy.
        let lossy = kind.is_lossy() || change.asked.is_some() && kind != Kind::Png;
        let mut warning = None;
        let encoding = match change.format {
            "auto" if lossy => Encoding::Jpeg(change.quality.unwrap_or(JPEG_QUALITY)),
            "auto" | "png" => Encoding::Png,
            "jpg" | "jpeg" => Encoding::Jpeg(change.quality.unwrap_or(JPEG_QUALITY)),
            "webp" => {
                if change.quality.is_some() {
                    warning = Some("WebP is written without loss here, so its `quality` is not used");
                }
                Encoding::Webp
            }
            "avif" => Encoding::Avif {
                quality: change.quality.unwrap_or(AVIF_QUALITY),
                speed: change.speed.unwrap_or(AVIF_SPEED),
            },
            other => return Err(unknown("format", other, &FORMATS)),
        };
        if matches!(encoding, Encoding::Avif { .. }) && u64::from(width) * u64::from(height) > AVIF_PIXELS_MAX
        {
            return Err(format!("{width} × {height} pixels are more than the {AVIF_PIXELS_MAX} of an AVIF"));
        }
        let kernel = match change.filter {
            None => Kernel::Lanczos3,
            Some(name) => {
                let plain: String =
                    name.chars().filter(|c| c.is_ascii_alphanumeric()).collect::<String>().to_lowercase();
                match Kernel::NAMES.iter().find(|(known, _)| *known == plain) {
                    Some((_, kernel)) => *kernel,
                    None => return Err(unknown("filter", name, &Kernel::NAMES.map(|(known, _)| known))),
                }
            }
        };
        let asked = change.asked.map(|path| asked(path, change, encoding, kernel));
        let wish = Self {
            source: source.to_owned(),
            digest: header.digest,
            orientation: header.orientation,
            part,
            width,
            height,
            encoding,
            kernel,
            asked,
        };
        Ok((wish, warning))
    }

    /// The output that the copy becomes.
    pub(crate) fn path(&self) -> String {
        let name = self.source.rsplit('/').next().unwrap_or(&self.source);
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let digest = match self.asked {
            Some(asked) => format!("{asked:016x}"),
            None => self.name().to_hex()[..16].to_owned(),
        };
        format!("{FOLDER}{stem}.{digest}.{}", self.encoding.extension())
    }

    /// A digest of all that the copy depends on.
    pub(crate) fn name(&self) -> Hash {
        blake3::hash(format!("{self:?}").as_bytes())
    }

    /// Makes the copy.
    ///
    /// # Errors
    /// What the format of the source refuses.
    pub(crate) fn make(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let picture = self.part_of(bytes)?;
        resample::resize(&picture, self.width, self.height, self.kernel).encode(self.encoding)
    }

    /// What of the source the copy shows, in its own size.
    ///
    /// # Errors
    /// What the format of the source refuses.
    pub(crate) fn part_of(&self, bytes: &[u8]) -> Result<Picture, String> {
        let kind = picture::kind(bytes).ok_or_else(|| "it is no image".to_owned())?;
        let picture = picture::decode(bytes, kind)?.turned(self.orientation);
        let (left, top, width, height) = self.part;
        if u64::from(left) + u64::from(width) > u64::from(picture.width)
            || u64::from(top) + u64::from(height) > u64::from(picture.height)
        {
            return Err("its size is not what its header says".to_owned());
        }
        if (width, height) == (picture.width, picture.height) {
            return Ok(picture);
        }
        Ok(picture.crop(left, top, width, height))
    }
}

/// The digest that Zola names a copy by: of the path, operation, format and filter that are asked for. Its hasher is the
/// standard library's, whose algorithm may change there as here: a test holds what it is.
fn asked(path: &str, change: &Change<'_>, encoding: Encoding, kernel: Kernel) -> u64 {
    let path = match path.strip_prefix("@/") {
        Some(inside) => format!("content/{inside}"),
        None => path.trim_start_matches('/').to_owned(),
    };
    let place = |of: Option<usize>| of.unwrap_or_default() as u64;
    let (width, height) = (change.width.unwrap_or_default(), change.height.unwrap_or_default());
    let sides = match change.op {
        "fit_width" => vec![width],
        "fit_height" => vec![height],
        _ => vec![width, height],
    };
    let (quality, speed) = match encoding {
        Encoding::Png => (None, None),
        Encoding::Jpeg(quality) => (Some(quality), None),
        Encoding::Webp => (change.quality, None),
        Encoding::Avif { quality, speed } => (Some(quality), Some(speed)),
    };
    let mut hasher = DefaultHasher::new();
    hasher.write(path.as_bytes());
    hasher.write_u64(place(OPERATIONS.iter().position(|op| *op == change.op)));
    sides.into_iter().for_each(|side| hasher.write_u32(side));
    hasher.write(encoding.extension().as_bytes());
    hasher.write_i16(quality.map_or(-1, i16::from));
    hasher.write_i16(speed.map_or(-1, i16::from));
    if kernel != Kernel::Lanczos3 {
        hasher.write_u64(place(Kernel::NAMES.iter().position(|(_, known)| *known == kernel)));
    }
    hasher.finish()
}

/// The middle of an image that has the shape of another.
fn filling(from_width: u32, from_height: u32, width: u32, height: u32) -> (u32, u32, u32, u32) {
    let factor = (f64::from(from_width) / f64::from(width)).min(f64::from(from_height) / f64::from(height));
    let part = |n: u32, most: u32| ((f64::from(n) * factor).round() as u32).clamp(1, most.max(1));
    let (part_width, part_height) = (part(width, from_width), part(height, from_height));
    (
        from_width.saturating_sub(part_width) / 2,
        from_height.saturating_sub(part_height) / 2,
        part_width,
        part_height,
    )
}

/// The copies that a render wants, by output path, and the headers that it has read.
#[derive(Default)]
pub(crate) struct Wanted {
    wishes: Mutex<BTreeMap<String, Arc<Wish>>>,
    headers: Mutex<HashMap<Hash, Arc<Header>>>,
}

impl Wanted {
    /// Notes a wish, and says which output it becomes. An output that is not rendered again asks for nothing: whoever
    /// leaves one out must note what it asked for.
    pub(crate) fn add(&self, wish: &Arc<Wish>) -> String {
        let path = wish.path();
        let mut wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        wishes.entry(path.clone()).or_insert_with(|| wish.clone());
        path
    }

    /// All wishes so far.
    pub(crate) fn take(&self) -> Vec<(String, Arc<Wish>)> {
        std::mem::take(&mut *self.wishes.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }

    /// What an image's header says, read once; the bytes are asked for only then.
    pub(crate) fn header(&self, digest: Hash, bytes: impl FnOnce() -> Option<Bytes>) -> Option<Arc<Header>> {
        let known = || self.headers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(header) = known().get(&digest) {
            return Some(header.clone());
        }
        let header = Arc::new(Header::read(&bytes()?, digest)?);
        known().insert(digest, header.clone());
        Some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Made = (u32, u32, (u32, u32, u32, u32), &'static str);

    fn wish(change: Change<'_>) -> Result<Made, String> {
        let header = Header {
            digest: blake3::hash(b""),
            kind: Some(Kind::Png),
            is_moving: false,
            is_own_size: true,
            width: 300,
            height: 380,
            format: "png",
            orientation: 1,
            description: None,
            created: None,
        };
        let (wish, _) = Wish::new("a/b.png", &header, &change)?;
        Ok((wish.width, wish.height, wish.part, wish.encoding.extension()))
    }

    fn change(op: &str, width: u32, height: u32) -> Change<'_> {
        let given = |n| Some(n).filter(|n| *n > 0);
        let (width, height) = (given(width), given(height));
        let (quality, speed, filter, asked) = (None, None, None, None);
        Change { op, width, height, format: "auto", quality, speed, filter, asked }
    }

    #[test]
    fn names_that_zola_gives() {
        let named = |path: &str, change: Change<'_>, encoding, kernel| {
            format!("{:016x}", asked(path, &change, encoding, kernel))
        };
        let jpeg = |path: &str| named(path, change("fill", 40, 40), Encoding::Jpeg(75), Kernel::Lanczos3);
        assert_eq!(jpeg("static/gutenberg.jpg"), "e99218b5a3185c99");
        assert_eq!(jpeg("@/gutenberg.jpg"), "155d032b1aae0133");
        assert_eq!(jpeg("/content/gutenberg.jpg"), "155d032b1aae0133");
        assert_eq!(jpeg("gallery/asset.jpg"), "160461e0d0be19e6");
        let png = |change: Change<'_>, kernel| {
            named("/documentation/content/image-processing/01-zola.png", change, Encoding::Png, kernel)
        };
        assert_eq!(png(change("fit_width", 150, 0), Kernel::Lanczos3), "7c678f94a2743d43");
        assert_eq!(png(change("scale", 150, 150), Kernel::Lanczos3), "782c862031f6b2d5");
        assert_eq!(png(change("fit", 5000, 5000), Kernel::Lanczos3), "766fcd939b56ba4d");
        assert_eq!(png(change("fill", 226, 285), Kernel::Lanczos3), "74f3603e2bd9dab0");
        assert_eq!(png(change("fill", 226, 285), Kernel::Nearest), "c7b689f48c777e9c");
        assert_eq!(png(change("fill", 226, 285), Kernel::Gaussian), "a067671f181b0c66");
    }

    #[test]
    fn every_operation() {
        let whole = (0, 0, 300, 380);
        let png = "png";
        assert_eq!(wish(change("scale", 150, 150)).unwrap(), (150, 150, whole, png));
        assert_eq!(wish(change("fit_width", 100, 0)).unwrap(), (100, 126, whole, png));
        assert_eq!(wish(change("fit_height", 0, 150)).unwrap(), (118, 150, whole, png));
        assert_eq!(wish(change("fit", 5000, 5000)).unwrap(), (300, 380, whole, png));
        assert_eq!(wish(change("fit", 150, 150)).unwrap(), (118, 150, whole, png));
        assert_eq!(wish(change("fill", 150, 150)).unwrap(), (150, 150, (0, 40, 300, 300), png));
        assert!(wish(change("fill", 150, 0)).unwrap_err().contains("needs `height`"));
        assert!(wish(change("fitt", 1, 1)).unwrap_err().contains("did you mean `fit`?"));
        let avif = Change { format: "avif", speed: Some(10), ..change("fill", 1, 1) };
        assert_eq!(wish(avif.clone()).unwrap().3, "avif");
        let large = Change { format: "avif", ..change("scale", 4096, 4097) };
        assert!(wish(large).unwrap_err().contains("pixels are more than the 16777216"));
        assert!(wish(Change { speed: Some(0), ..avif.clone() }).unwrap_err().contains("from 1 to 10"));
        assert!(wish(Change { quality: Some(0), ..avif }).unwrap_err().contains("from 1 to 100"));
    }
}
