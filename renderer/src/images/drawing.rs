//! Sizes of SVG.

/// What an SVG's root element says of its size.
#[derive(Default)]
struct Drawing<'a> {
    width: Option<Length<'a>>,
    height: Option<Length<'a>>,
    view: Option<(f64, f64)>,
}

/// A number and its unit.
type Length<'a> = (f64, &'a str);

fn drawing<T>(bytes: &[u8], size: impl FnOnce(&Drawing<'_>) -> Option<T>) -> Option<T> {
    use quick_xml::events::Event;
    let text = std::str::from_utf8(bytes).ok()?;
    if !text.contains("<svg") {
        return None;
    }
    let mut reader = quick_xml::Reader::from_str(text);
    let root = loop {
        match reader.read_event().ok()? {
            Event::Start(start) | Event::Empty(start) => break start,
            Event::Eof => return None,
            _ => {}
        }
    };
    if root.local_name().as_ref() != "svg" {
        return None;
    }
    let attributes: Vec<_> = root.attributes().flatten().collect();
    let mut found = Drawing::default();
    for attribute in &attributes {
        let value = attribute.value.trim();
        match attribute.key.as_ref() {
            "width" => found.width = length(value),
            "height" => found.height = length(value),
            "viewBox" => {
                let numbers: Vec<f64> =
                    value.split([' ', ',']).filter_map(|part| part.trim().parse().ok()).collect();
                if let [_, _, width, height] = numbers[..] {
                    found.view = Some((width, height));
                }
            }
            _ => {}
        }
    }
    size(&found)
}

fn length(text: &str) -> Option<Length<'_>> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

/// The size of an SVG in pixels: by its attributes, or by its view box. And whether it is shown in just that: both are
/// given, in whole pixels.
pub(super) fn svg_size(bytes: &[u8]) -> Option<(u32, u32, bool)> {
    let (width, height, is_own_size) = drawing(bytes, |svg| {
        let (width, height) = (svg.width.and_then(pixels), svg.height.and_then(pixels));
        let is_whole = |side: Option<f64>| side.is_some_and(|side| side.fract() == 0.0);
        let is_own_size = is_whole(width) && is_whole(height);
        let (width, height) = match (width, height, svg.view) {
            (Some(width), Some(height), _) => (width, height),
            (Some(width), None, Some((w, h))) if w > 0.0 => (width, width * h / w),
            (None, Some(height), Some((w, h))) if h > 0.0 => (height * w / h, height),
            (None, None, Some(view)) => view,
            _ => return None,
        };
        Some((width, height, is_own_size))
    })?;
    let whole = |n: f64| (n.is_finite() && n >= 0.0).then(|| n.round().min(f64::from(u32::MAX)) as u32);
    Some((whole(width)?, whole(height)?, is_own_size))
}

/// The size of an SVG as Zola tells it: the numbers as they are written, whatever their units, without what is behind the
/// point; of a view box where one of the two is not given. A percentage is one of the view box.
pub(crate) fn svg_numbers(bytes: &[u8]) -> Option<(u32, u32)> {
    drawing(bytes, |svg| {
        let number = |length: Option<Length<'_>>, whole: Option<f64>| {
            length.map(|(n, unit)| if unit == "%" { whole.map_or(n, |whole| n / 100.0 * whole) } else { n })
        };
        let (wide, high) = svg.view.unzip();
        let (width, height) = number(svg.width, wide).zip(number(svg.height, high)).or(svg.view)?;
        Some((width as u32, height as u32))
    })
}

/// A length in CSS pixels; none for what depends on the page, such as `100%`.
fn pixels((number, unit): Length<'_>) -> Option<f64> {
    Some(match unit {
        "" | "px" => number,
        "pt" => number * 4.0 / 3.0,
        "pc" => number * 16.0,
        "in" => number * 96.0,
        "cm" => number * 96.0 / 2.54,
        "mm" => number * 96.0 / 25.4,
        "em" | "rem" => number * 16.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_drawings() {
        let size = |text: &str| svg_size(text.as_bytes());
        assert_eq!(size("<svg width=\"10\" height='20px'/>"), Some((10, 20, true)));
        assert_eq!(
            size("<?xml version=\"1.0\"?><!-- x --><svg viewBox=\"0 0 30 40.4\"></svg>"),
            Some((30, 40, false))
        );
        assert_eq!(size("<svg width=\"100%\" height=\"50\" viewBox=\"0,0,2,1\"/>"), Some((100, 50, false)));
        assert_eq!(size("<svg width=\"1in\" height=\"72pt\"/>"), Some((96, 96, true)));
        assert_eq!(size("<html><svg/></html>"), None);
        let numbers = |text: &str| svg_numbers(text.as_bytes());
        assert_eq!(numbers("<svg width=\"210.9mm\" height=\"29.7cm\"/>"), Some((210, 29)));
        assert_eq!(numbers("<svg width=\"10\" viewBox=\"0 0 30.7 40\"/>"), Some((30, 40)));
        assert_eq!(numbers("<svg width=\"50%\" height=\"7\" viewBox=\"0 0 30 40\"/>"), Some((15, 7)));
        assert_eq!(numbers("<svg width=\"10\"/>"), None);
    }
}
